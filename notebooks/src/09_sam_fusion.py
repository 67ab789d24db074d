# %% [markdown]
# # Fusion: a gate that decides whom to believe
#
# Two encoders look at the same mountain, one in VV and heights, one in VH and slope. At every place a small network, the **gate**, decides how much each of them
# counts. This is the third and last phase of [1]. Then we ask what it was worth, and look at what still goes wrong.
#
# **What you will do.** Mix two encoders by hand and watch the mask; build the gate in ten lines; train it for half a minute, three times; map whom it believes; compare it with
# everything else; walk through a gallery of failures.
#
# **What you will learn.** Why aligned encoders can simply be added; why frozen encoders make training cheap; what a gate can know; how to compare at *equal work*; which
# avalanches are missed, which things are taken for avalanches, and why.
#
# **What you need.** About 45 minutes, 6 of them computing. [07](07_sam_adapters.ipynb) explains the model and its adapters, [08](08_sam_second_encoder.ipynb) how the second encoder
# learned the language of the first. `DATA = "sample"` uses the simulated scenes too: no labelled pair of dates is small and free. A path takes a folder of your own.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with a dataset.yaml, images/ and masks/

# %% [markdown]
# We bring in the tools. `sartutor.learn.sam` holds the model, `sartutor.lab.fusing` the pictures of this notebook.

# %%
import copy
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from IPython.display import Markdown
from torch import nn

from sartutor.lab import aligning, data, fusing, plots
from sartutor.lab.checks import check
from sartutor.learn.evaluate import sam_answer, score
from sartutor.learn.models import at_phase
from sartutor.learn.sam.baselines import fill_boxes, otsu_boxes
from sartutor.learn.sam.fusion import SelectiveFusionGate, average_weights, fused
from sartutor.learn.scores import SIZES, SLOPES, summary
from sartutor.presets import FUSING_SIZES, SAM_SIZES

MODEL = "sam_tiny_avalanche"  # or the path of a model that you adapted, with two encoders
numbers = {}
sizes = FUSING_SIZES[PRESET]

# %% [markdown]
# The scenes were in no training. An **object** is one connected piece of labelled debris. All models are asked with the same boxes: one around every object, a little too large, merged where they overlap.

# %%
known = aligning.lesson(DATA, PRESET, SEED, sizes, MODEL)
fusing.refuse_without_gate(known)
sam = known.sam
first, second = aligning.encoder_names(known.model)
asked = fusing.asked_about(known)
objects = aligning.seen_objects(asked)
batch = aligning.windows_of(known, objects, sizes.objects)
print(known.credit)
for name, ranges in zip((first, second), known.model.branches, strict=True):
    print(f"the {name} encoder sees {', '.join(ranges)}")
print(f"{len(asked)} unseen images, {len(objects)} objects of at least {aligning.LEAST_PIXELS} px")

# %% [markdown]
# ## 1 · Two encoders that speak one language
#
# Each encoder gives a list of numbers for every place, its **embedding** $e_1$ and $e_2$. Phase 2 made the second encoder say things in the words that the decoder had learned from the first. If that is so, then something in between,
#
# $$e = (1 - w)\, e_1 + w\, e_2, \qquad 0 \le w \le 1,$$
#
# should mean something too, although the decoder of phase 1 was never trained on it. (In the small model the details, and the image itself, from which the decoder makes its first guess, are mixed by the same share: two looks averaged have less speckle, whatever the encoders say.) We mix, and let the decoder of phase 1 draw the masks. Beside it the same with a second encoder that was *not* aligned.

# %%
aligned = fusing.both_embeddings(sam, batch["image"])
unlearned = aligning.start_of_alignment(known.model).sam  # its second encoder is new
strangers = fusing.both_embeddings(unlearned, batch["image"])
phase1 = at_phase(known.model, 1).sam
steps = [0, 0.5, 1] if PRESET == "smoke" else [round(0.1 * i, 1) for i in range(11)]
curves = {
    "aligned": fusing.mixing_curve(phase1, aligned, batch, steps),
    "not aligned": fusing.mixing_curve(phase1, strangers, batch, steps),
}
axes = plots.panels(1)[0]
for (name, values), style in zip(curves.items(), ("o-", "s--"), strict=True):
    axes.plot(steps, values, style, color=plots.BLUE if name == "aligned" else plots.ORANGE, label=name)
    numbers[f"mixing_{name}"] = values
axes.set(xlabel=f"share of the {second} encoder", ylabel="mean IoU", title="mixed, decoder of phase 1")
axes.legend(frameon=False)
print(", ".join(f"{name}: {values[0]:.3f} to {values[-1]:.3f}" for name, values in curves.items()))

# %% [markdown]
# At 0 both curves are the first encoder alone. At 1 they are the second alone. Is there a hill in between? Then the two know different things, or err by different speckle, and the average of two opinions is better than each.

# %%
best = int(np.argmax(curves["aligned"]))
ends = max(curves["aligned"][0], curves["aligned"][-1])
numbers["hill"] = curves["aligned"][best] - ends
print(f"best share {steps[best]:.1f}: {numbers['hill']:+.3f} IoU over the better end")
word = "a hill: the mixture is better than either" if numbers["hill"] > 0.005 else "no hill to speak of"
print(
    f"{word}, on the boxes around these {sizes.objects} objects; the best of {len(steps)} shares flatters itself"
)

# %% [markdown]
# ## 2 · The gate in ten lines
#
# One $w$ for all places is a crude choice. In radar shadow there is nothing to see in either band; on wet snow one band may fail and the other not. So let a small network look at *both* embeddings around a place and give a weight for each encoder, at each place. That is the **selective fusion gate** [2]:
#
# $$a = \mathrm{conv}_{3\times3}^{32\to2}\bigl(\mathrm{GELU}(\mathrm{conv}_{3\times3}^{2C\to32}[e_1, e_2])\bigr), \qquad
# w = \mathrm{softmax}(a), \qquad e = w_1 e_1 + w_2 e_2 .$$
#
# Softmax over the two encoders makes $w_1 + w_2 = 1$. All $C$ channels of a place share one weight.


# %%
class MyGate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.squeeze = nn.Conv2d(2 * channels, 32, 3, padding=1)
        self.weigh = nn.Conv2d(32, 2, 3, padding=1)

    def forward(self, e1, e2):
        a = self.weigh(nn.functional.gelu(self.squeeze(torch.cat([e1, e2], 1))))
        w = a.softmax(1)
        return w, w[:, :1] * e1 + w[:, 1:] * e2


mine, packaged = MyGate(sam.size.embedding), SelectiveFusionGate(sam.size.embedding)
packaged.load_state_dict(dict(zip(packaged.state_dict(), mine.state_dict().values(), strict=True)))
e1, e2 = (each[0] for each in aligned)  # tokens; finer levels are weighted by the same map, resized
with torch.no_grad():
    weights, by_hand = mine(e1, e2)
    assert torch.allclose(weights, packaged([e1, e2]), atol=1e-6)
    assert torch.allclose(by_hand, fused(aligned, packaged([e1, e2]))[0], atol=1e-5)
print(
    f"equal to the package's; weights {tuple(weights.shape)}, windows x encoders x rows x columns of tokens"
)

# %% [markdown]
# What does it cost? By hand $2C \cdot 32 \cdot 9 + 32$ and $32 \cdot 2 \cdot 9 + 2$.

# %%
for name, size in SAM_SIZES.items():
    counted = aligning.parameters(SelectiveFusionGate(size.embedding))
    assert counted == 2 * size.embedding * 32 * 9 + 32 + 32 * 2 * 9 + 2
    numbers[f"gate_{name}"] = counted
    print(f"{name:6} {size.embedding} channels: {counted:>8,} parameters of the gate")
assert numbers["gate_vit_b"] == 148_066

# %% [markdown]
# Its receptive field is small: two 3 x 3 convolutions see 5 x 5 tokens. It can ask "is VV noisy here?", not "where on the mountain am I?", unless the tokens tell it.
#
# ## 3 · Frozen encoders: look once
#
# In phase 3 both encoders are **frozen**. Only the gate and the decoder learn. Then an image has the same embeddings in every step, and there is no need to compute them again. The package keeps them (`sartutor.learn.sam.kept`), as 16-bit numbers under a key made of the image and the
# weights of the encoder: change either, and the key is another one. One step of training, with and without, timed here and now:

# %%
from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.losses import mask_loss
from sartutor.learn.sam.kept import KeptEmbeddings
from sartutor.learn.sam.objectives import prompted_masks

start = fusing.start_of_fusion(known.model)
learner = copy.deepcopy(start.sam)
trained = learner.train_phase(3)
optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], 1e-4)
few = {name: value[:4] for name, value in batch.items()}
kept = KeptEmbeddings(learner, EmbeddingCache())

# %% [markdown]
# A step is what it always is: masks, loss, gradient, update. With `kept` the embeddings come from memory, without it from the encoders.


# %%
def train_step(kept):
    began = time.perf_counter()
    logits, _, target, weight = prompted_masks(learner, few, kept)
    optimizer.zero_grad()
    mask_loss(logits, target, weight, "dice").mean().backward()
    optimizer.step()
    return time.perf_counter() - began


train_step(kept)  # the first time encodes, and keeps
repeats = 1 if PRESET == "smoke" else 2
encoding, keeping = (min(train_step(each) for _ in range(repeats)) for each in (None, kept))
numbers["step_s"], numbers["step_kept_s"] = encoding, keeping
print(
    f"a step of {len(few['image'])} images: {encoding:.2f} s encoding anew, {keeping:.2f} s with kept embeddings"
)

# %% [markdown]
# Our small model spends much of a step in its decoder, which works at full resolution. In ViT-B the encoders are nearly everything, so there keeping is worth far more. The price is that nothing new is seen later: no fresh loosening or mirroring, only a fixed list of views (`kept` in the recipe) that comes again and again.
#
# Who learns, and did anybody else change?

# %%
groups = {"gate": "gate.", "decoder": "fusion_decoder.", "encoders": "branches."}
for name, prefix in groups.items():
    amount = sum(p.numel() for n, p in learner.named_parameters() if n.startswith(prefix) and n in trained)
    print(f"{name:9}{amount:>10,} parameters learn")
states = learner.branches.state_dict(), start.sam.branches.state_dict()
assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

# %% [markdown]
# ## 4 · Train phase 3, live, three times
#
# The embedded model's phases 1 and 2 are the start; the gate is new. We train
#
# - the **gate** and the decoder;
# - **half and half**, $w = 0.5$ everywhere, and the decoder;
# - the **first encoder alone**, and the decoder. This one matters most. Phase 3 trains the decoder for longer, and *that* alone may help. A fair comparison gives everyone the same number of steps: *equal work*.
#
# Left, the IoU on validation boxes with the levels before training; middle, the weight of the second encoder; right, one mask.

# %%
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.loop import Watch
from sartutor.learn.models import at_phase, load_model

folder = data.runs_folder(PRESET, known.key)
begin = aligning.save_model(start, folder / f"09-start-{SEED}.safetensors")
watched = aligning.watched_batch(known, sizes.watched, SEED)
seen = fusing.both_embeddings(sam, watched["image"])
references = {
    f"{first}, phase 1": fusing.batch_iou(phase1, seen[0], watched),
    "half and half, untrained": fusing.batch_iou(
        phase1, fused(seen, average_weights([seen[0][0]] * 2)), watched
    ),
}
numbers["live_references"] = references
lives = {}
for name, earlier in (("gate", []), ("average", ["gate"]), ("first", ["gate", "average"])):
    others = [lives[each] for each in earlier]
    lives[name] = fusing.LiveFusion(name, watched, seen, references, others)
lives["gate"].widget

# %% [markdown]
# The next cell trains the gate. `adapt` goes on from a model that has phases 1 and 2 behind it.

# %%
about = known.model.about
method = Method(activation=about["activation"], tuning=about["tuning"])
every = max(1, sizes.recipe.phases[2].steps // 5)


def fuse(name):
    run = adapt(
        known.folder.folder,
        folder / f"09-{name}-{SEED}.safetensors",
        init=begin,
        phases=[3],
        recipe=sizes.recipe,
        method=replace(method, fusion=name),
        seed=SEED,
        device="cpu",
        watch=Watch(every, lives[name].look),
    )
    numbers[f"live_{name}"] = {"seconds": run.seconds, "iou": lives[name].ious[-1]}
    print(
        f"{name}: {run.steps[0]} steps in {run.seconds:.0f} s, IoU {lives[name].ious[-1]:.3f} on validation"
    )
    return at_phase(load_model(run.out), 3)


mine_trained = {"gate": fuse("gate")}

# %% [markdown]
# Now the two others, from the same start, on the same images, for as many steps. The curve of the gate is drawn along.

# %%
lives["average"].widget

# %% [markdown]
# Its level is the dotted line: that is how good half and half is before the decoder has seen a single mixture.

# %%
mine_trained["average"] = fuse("average")

# %% [markdown]
# And without any second encoder:

# %%
lives["first"].widget

# %% [markdown]
# Before its first step it would lie on the dashed line, and whatever it gains, it gains without fusion.

# %%
mine_trained["first"] = fuse("first")
gain = lives["gate"].ious[-1] - references[f"{first}, phase 1"]
fair = lives["gate"].ious[-1] - lives["first"].ious[-1]
print(f"gate over phase 1: {gain:+.3f}; gate over the first encoder at equal work: {fair:+.3f}")

# %% [markdown]
# The difference of the two numbers is what training the decoder for longer did, without any fusion. These are a handful of boxes and one seed: enough to see how it is done, not to decide anything. Section 7 has more.
#
# ## 5 · Whom does the gate believe?
#
# From here on we use the embedded `sam_tiny_avalanche`, which learned on more scenes and for longer. Mix the encoders by hand, once more, and compare with what its gate does on the same window. The decoder is that of phase 3.

# %%
final = at_phase(known.model, 3)
fusing.mix_explorer(final.sam, batch, aligned)

# %% [markdown]
# Can a single number, the same everywhere, do as well as the gate? On these windows:

# %%
with torch.no_grad():
    gate = final.sam.fusion_weights([each[0] for each in aligned])
by_gate = fusing.batch_iou(final.sam, fused(aligned, gate), batch)
by_number = fusing.mixing_curve(final.sam, aligned, batch, steps)
numbers["gate_iou"], numbers["best_number_iou"] = by_gate, max(by_number)
axes = plots.panels(1)[0]
axes.plot(steps, by_number, "o-", color=plots.BLUE, label="one share for all places")
axes.axhline(by_gate, color=plots.ORANGE, linestyle="--", label="the gate")
axes.set(xlabel=f"share of the {second} encoder", ylabel="mean IoU", title="decoder of phase 3")
axes.legend(frameon=False)
print(f"gate {by_gate:.3f}, best single share {max(by_number):.3f} at {steps[int(np.argmax(by_number))]:.1f}")
print(
    "on these boxes a single number does as well"
    if max(by_number) >= by_gate
    else "on these boxes the gate beats every number"
)
print(f"the gate gives {second} between {gate[:, 1].min():.2f} and {gate[:, 1].max():.2f}")

# %% [markdown]
# If the curve is flat near the dashed line, *where* each encoder counts hardly matters for the mask, and the gate is close to an average. The best single share was chosen on these very windows, which flatters it.
#
# Now beside what is known of each scene. Look for a pattern: does the weight follow slope, shadow, debris, or the speckle of one band? Orange: labelled debris. *Confused* is what the simulator changed besides debris.

# %%
with_objects = [question for question in asked if question.parts]
worlds = {question.id: fusing.world_of(known, question.id) for question in asked}
maps = {question.id: fusing.gate_weights(final, question.scene) for question in asked}
fusing.scene_explorer(known, with_objects, maps, worlds)

# %% [markdown]
# The eye finds patterns everywhere, so we count. For each scene: the rank correlation, over its tokens, of the weight with a circumstance. One dot is one scene. If the dots scatter around 0, there is no rule; if all lie on one side, there is one.

# %%
relations = fusing.trust(known, asked, maps, worlds)
axes = plots.panels(1)[0]
axes.axvline(0, color="0.5", linewidth=1)
axes.set_yticks(range(len(relations)), list(relations))
axes.set(
    xlim=(-1, 1), xlabel=f"rank correlation with the weight of {second}", title="what the weight follows"
)
for place, (name, values) in enumerate(relations.items()):
    axes.plot(values, [place] * len(values), ".", color=plots.BLUE, alpha=0.5)
    axes.plot(np.mean(values), place, "D", color=plots.ORANGE, markersize=7)
    numbers[f"trust_{name}"] = float(np.mean(values))
    side = max(np.mean(np.array(values) > 0), np.mean(np.array(values) < 0))
    print(f"{name:18} mean {np.mean(values):+.2f}, {side:.0%} of {len(values)} scenes on one side")
strongest = max(relations, key=lambda name: abs(np.mean(relations[name])))
strength = abs(np.mean(relations[strongest]))
said = "none of these says much about the weight" if strength < 0.2 else f"it follows {strongest} most"
print(f"\nstrongest: {strongest}, {strength:.2f} on average; {said}")

# %% [markdown]
# Where the last line says *none*, the gate's map is not a map of the mountain: it reads the tokens themselves, patch by patch, and what it reads there we have not named. And even a correlation is no cause. Slope, height and debris go together in mountains. And what the gate *needs* to know is not which band is brighter, but which encoder would be wrong; nobody tells it that directly. The loss of the mask is all it hears.
#
# ## 6 · A number next to its baselines
#
# Every object of the unseen scenes, one dot each, by five answers. *Fill the box* and *Otsu in the box* [4] (a threshold on the change) know nothing of avalanches. The card `sartutor/weights/sam_tiny_avalanche.md` has the same comparison on more scenes.

# %%
answers = {
    "fill the box": fill_boxes,
    "Otsu in the box": partial(otsu_boxes, bands=tuple(known.model.branches[0])),
    f"{first}, phase 1": sam_answer(at_phase(known.model, 1), known.folder),
    f"{second}, phase 2": sam_answer(at_phase(known.model, 2), known.folder),
    "fused, phase 3": sam_answer(final, known.folder),
}
answers = {name: fusing.remembered(answer) for name, answer in answers.items()}
ious = {
    name: np.array([fusing.object_counts(each, answer).iou for each in objects])
    for name, answer in answers.items()
}
for name, values in ious.items():
    numbers[f"iou_{name}"] = float(values.mean())
axes = plots.panels(1)[0]
axes.figure.set_size_inches(7, 4.6)
plots.show_scores(axes, ious, f"{len(objects)} objects of {len(asked)} scenes")

# %% [markdown]
# Prompts. *Box* is 10 px loose (on 512), *jitter* as loose as eight of ten boxes in training, on average no looser than *box*; *full* is the whole image, which says nothing about where to look. Precision is the share of marked pixels that are debris, recall the share of debris that is marked. All three are cut to each object's own box, which flatters *fill the box*.

# %%
shown = ("fill the box", "Otsu in the box", f"{first}, phase 1", "fused, phase 3")
print(f"{'':18}{'prompt':>8}{'IoU':>8}{'precision':>11}{'recall':>8}{'pooled IoU':>12}")
for prompt in ("box", "jitter", "full"):
    put = asked if prompt == "box" else fusing.asked_about(known, prompt, SEED)
    for name in shown:
        found = summary([score(question, answers[name]) for question in put])
        row = {key: found["objects"][key] for key in ("iou", "precision", "recall")}
        row["pooled"] = found["pooled"]["iou"]
        numbers[f"{prompt}_{name}"] = row
        print(
            f"{name:18}{prompt:>8}{row['iou']:8.3f}{row['precision']:11.3f}{row['recall']:8.3f}{row['pooled']:12.3f}"
        )

# %% [markdown]
# Read *pooled* for *full*: all pixels of all labelled images together, nothing cut. There a method pays for everything that it marks beside the debris.
#
# ## 7 · The comparison, over seeds
#
# One model and some dozens of objects decide little. The benchmark `avalanche-small` trains every row anew for each seed, on scenes of their own, and asks all rows of a seed with the same boxes. Adapted rows see the surroundings of a box, but for `chip`, `two_scales`, `stacked_long` and those named `_chip`; `phase3_chip`, where it has been run, is made like the model of this notebook, in fewer steps and on fewer scenes. Here are the records: dots are means over seeds, bars 95 % *t* intervals, a hollow dot is a single seed, which has no
# interval. To the right what [1] reports, on other data: compare the **order**, not the numbers.

# %%
from sartutor.learn.avalanche_rows import QUESTIONS
from sartutor.learn import record_tables
from sartutor.learn.record_tables import difference, interval, table, verdict
from sartutor.learn.records import recorded
from sartutor.learn.runner import of_row

records = recorded("avalanche_small")
means = fusing.recorded_means(records, "iou_box")
if means:
    left, right = plots.panels(2)
    left.figure.set_size_inches(11, 5.5)
    fusing.show_records(left, means, "mean IoU of objects, prompt box")
    plots.legend(left)
else:
    right = plots.panels(1)[0]
    print("avalanche_small: not run yet")
fusing.show_paper(right)

# %% [markdown]
# The same as a table, with other prompts, small objects and flat ground.

# %%
columns = {
    "iou_box": "box",
    "iou_jitter": "jitter",
    "iou_full": "full",
    "iou_small": "small",
    "iou_flat": "flat",
}
rows = []
for name in sorted(means, key=lambda each: -means[each][0]):
    of = of_row(records, name)
    numbers[f"recorded_{name}"] = means[name][0]
    rows.append([f"`{name}`", fusing.meaning(name), str(len(of)), *(interval(of, each) for each in columns)])
Markdown(table(("row", "what it is", "seeds", *columns.values()), rows) if rows else "*not run yet*")

# %% [markdown]
# Differences are taken seed by seed, so that what is easy or hard about a seed's scenes cancels. *Undecided* means that the interval holds 0; with a single seed nothing can be decided. *So far*: looked at before all seeds were run. Each verdict stands alone: of twenty comparisons of equals about one would be decided by chance.

# %%
for question in QUESTIONS:
    found = difference(records, question.a, question.b, question.metric)
    if found is not None:
        numbers[f"{question.a}_less_{question.b}_{question.metric}"] = found.mean
Markdown(record_tables.answers(records, QUESTIONS))

# %% [markdown]
# And the paper's order? Its two encoders beat its single encoder by little, and both beat SegFormer and U-Net by far. The neighbours in that order, as our records have them:

# %%
order = sorted(fusing.PAPER_IOU, key=lambda name: -fusing.PAPER_IOU[name])
for a, b in pairwise(order):
    reported = fusing.PAPER_IOU[a] - fusing.PAPER_IOU[b]
    print(f"{a:>9} less {b:9} reported {reported:+.4f}, here {verdict(difference(records, a, b, 'iou_box'))}")

# %% [markdown]
# Five things differ from [1] for certain. Its images are real, and from Norway. Its score is a mean over whole samples, ours over objects, each cut to its own box. Its model is ViT-B at 1024 px, ours is small. It looks at whole chips, our two rows of Segment Anything above at the surroundings of a box. Its trunk saw the eleven million photographs of SA-1B [3], ours saw **drawn shapes**; so what [1] says of transfer from photographs is not tested here, only with `vit_b`. That its single encoder is our `composite` is assumed. How [1] started its U-Net and SegFormer [5],
# our sources do not say. Ours start from random weights, those named `_shapes` from the drawn shapes; all are asked with the same boxes, to which the masks of U-Net and SegFormer are cut. Whether [1] compared with a network that is told the boxes, as `box_unet` is, our sources do not say: mind its row. It is asked what Segment Anything is asked, all of it learns, at full resolution, and on these scenes **it is ahead of late and of early fusion** given as many steps. Adapters on a trunk that drawn shapes have taught do not make up for that; whether on one that has seen SA-1B they do is what `vit_b` is there to ask.
#
# **Early or late?** [1] fuses *late*: two encoders of three bands each, since a trunk made for photographs takes three, and a gate that joins what they have found. *Early* fusion is one encoder whose first layer takes all six bands (`stacked` in the table): there every layer can hold VH against VV, before against after. On whole chips as `phase3_chip`:

# %%
early = [question for question in QUESTIONS if "stacked_" in f"{question.a} {question.b}"]
Markdown(record_tables.answers(records, early))

# %% [markdown]
# Where both are trained for as many steps (`phase3_chip` less `stacked_long`), **early fusion comes out ahead of late**. Early fusion needs one phase instead of three besides, and encodes a window once instead of twice. Why then fuse late at all? A trunk that photographs have taught takes three bands; with `vit_b` early fusion has to stretch its first layer over six, which nobody has measured here, where the trunk is small and saw drawn shapes. So `adapt` does as [1] does unless told otherwise, and which is better for data of your own is a question for your validation images; ask it before choosing. Early fusion is given as many steps as the three phases of late fusion together; either ends sooner where validation no longer rises:
#
# ```
# sartutor adapt FOLDER --out late.safetensors
# sartutor adapt FOLDER --out early.safetensors --encoders stacked
# sartutor evaluate FOLDER --model late.safetensors --split val       # and early.safetensors
# ```
#
# ## Where it fails
#
# **By size and slope.** Mean IoU of the fused model and of the best rule. Classes with few objects say little.

# %%
ours, rule = ious["fused, phase 3"], max(ious["fill the box"], ious["Otsu in the box"], key=np.mean)
parts = [each.part for each in objects]
print(f"{'':10}{'objects':>8}{'fused':>8}{'rule':>8}")
for key, classes in (("pixels", SIZES), ("slope", SLOPES)):
    for name in classes:
        a, b = (aligning.by_class(parts, values, classes, key)[name] for values in (ours, rule))
        if len(a):
            numbers[f"class_{name}"] = {"n": len(a), "fused": float(a.mean()), "rule": float(b.mean())}
            print(f"{name:10}{len(a):8}{a.mean():8.3f}{b.mean():8.3f}")

# %% [markdown]
# A few dozen objects decide nothing; [1] found small debris and flat terrain hard. In the records, one class less the other within a row:

# %%
from sartutor.learn.avalanche_rows import HARD

Markdown(record_tables.hardships(records, ("chip", "phase3_chip", "stacked_long", "box_unet", "unet"), HARD))

# %% [markdown]
# *Worse* in the first column: small debris is hard here too, for U-Net most of all. On flat ground no row is decidedly worse: in the simulator how much debris stands out is drawn for each deposit, by whether its snow is wet and not by how steep the ground is. So these scenes cannot show what [1] found of flat terrain.
#
# **The gallery.** The worst object of every size: VV before, VV after with label (orange) and mask (blue), and the errors. What do they have in common?

# %%
answer = answers["fused, phase 3"]
worst = [found[0] for name in SIZES if (found := fusing.worst_of(objects, ours, name))]
pictures = plots.panels(3 * len(worst))
for row, index in enumerate(worst):
    fusing.show_failure(pictures[3 * row : 3 * row + 3], known, objects[index], answer)

# %% [markdown]
# Choose a size and a slope, and go through the failures from the worst.

# %%
fusing.failure_explorer(known, objects, ours, answer)

# %% [markdown]
# **The grid.** SAM draws its mask on cells of a quarter of a patch and enlarges it. In an image of 256 px that is given to the model as it is, a cell has 4 px. How good can a mask on such a grid be at best? We take the label itself, fill every cell that it covers by more than half, and score that. (The decoder of the small model also sees details at full resolution, so it
# is not bound by this line; a plain SAM at 256 px would be. ViT-B enlarges such an image to 1024 px, where a cell is one of its pixels.)

# %%
ceilings = {
    side: np.array([fusing.grid_ceiling(each.mask, side) for each in objects]) for side in fusing.GRIDS_PX
}
axes = plots.panels(1)[0]
axes.figure.set_size_inches(7, 4.2)
compared = {name: ious[name] for name in ("fused, phase 3", "Otsu in the box")}
fusing.show_by_size(axes, objects, compared, ceilings)
axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
for side, values in ceilings.items():
    numbers[f"grid_{side}"] = float(values.mean())
    print(f"grid of {side} px: best possible mean IoU {values.mean():.3f}; fused {ours.mean():.3f}")

# %% [markdown]
# **Speckle.** The gap between the dots and the lines is not the grid. How far an object stands out of its surroundings, in standard deviations of the calmed change, is a measure of how visible it is at all. Rank correlation with the IoU of the fused model:

# %%
visible = aligning.contrasts(objects, known.model)
slopes = np.array([np.nan if each.part.slope is None else each.part.slope for each in objects])
reasons = {
    "size": np.array([each.part.pixels for each in objects], float),
    f"stands out in {first}": visible[:, 0],
    f"stands out in {second}": visible[:, 1],
    "stands out in the better": visible.max(1),
    "slope": slopes,
}
for name, values in reasons.items():
    there = np.isfinite(values)
    relation = aligning.rank_correlation(values[there], ours[there])
    if relation is not None:
        numbers[f"reason_{name}"] = relation
        print(f"{name:26} {relation:+.2f} over {there.sum()} objects")

# %% [markdown]
# **Things that are no avalanche.** Five *confusers* of the simulator can be mistaken for fresh debris: ploughed fields, a snow line that moved, debris of last month, misregistered edges, ice on lakes. Here are scenes with one of them and *no* fresh debris at all. We ask about the whole image. All that is marked is wrong.

# %%
count = 1 if PRESET == "smoke" else 4
empty = fusing.difficulties(SEED, count, sam.size.image_size) if worlds[asked[0].id] is not None else []
judged = {name: fusing.false_shares(answers[name], empty) for name in ("fused, phase 3", "Otsu in the box")}
print(f"{'':16}" + "".join(f"{name + ': on it':>24}{'elsewhere':>12}" for name in judged))
for kind in dict.fromkeys(each.name for each in empty):
    cells = "".join(f"{found[kind][0]:24.1%}{found[kind][1]:12.1%}" for found in judged.values())
    print(f"{kind:16}{cells}")
    for name, found in judged.items():
        numbers[f"false_{kind}_{name}"] = {"on": found[kind][0], "off": found[kind][1]}
if not empty:
    print("your own data: look at the images without an object, below")

# %% [markdown]
# A confuser with a larger share *on it* than *elsewhere* fools the model. Old debris is bright on both dates: a model that compares dates should leave it alone. The case in which most was marked:

# %%
if empty:
    falsely = [
        answers["fused, phase 3"](e.scene, [(0.0, 0.0, *map(float, e.scene.grid.shape[::-1]))]) for e in empty
    ]
    place = int(np.argmax([marked.mean() for marked in falsely]))
    pictures = plots.panels(3)
    change = aligning.calm_change(empty[place].scene, known.model.branches[0])
    plots.show_image(pictures[0], change, f"change in {first}", "dB", limits=aligning.CHANGE_DB)
    plots.show_image(
        pictures[1], empty[place].confused.astype(float), f"confuser: {empty[place].name}", "0 or 1"
    )
    plots.show_image(
        pictures[2], falsely[place].astype(float), "marked, all of it wrong", "0 or 1", limits=(0, 1)
    )

# %% [markdown]
# **Scenes without debris.** Training had none: [1] removes them, as one has no box to draw there. So no box of its training was drawn around nothing, and the model was hardly ever told to be silent. On the unseen scenes without a label, asked about as a whole:

# %%
blank = [question for question in asked if not question.truth.any()]
print(f"{len(blank)} of {len(asked)} unseen images have no label")
for name in shown[1:]:
    shares = [float((answers[name](q.scene, q.boxes) & q.known).sum() / q.known.sum()) for q in blank]
    if shares:
        numbers[f"blank_{name}"] = float(np.mean(shares))
        print(f"{name:18} marks {np.mean(shares):.1%} of such an image")

# %% [markdown]
# **Shadow and layover.** Where the beam does not reach there is noise alone; the simulator puts no label there, and no method can. In layover several slopes share one cell: their power is added, and debris keeps its label there. Real labels are drawn by people who may have seen the slope from elsewhere.
#
# **A simulator.** Debris, snow and confusers follow assumptions. An order of methods found here is a hypothesis about real images, not a finding.
#
# ## 8 · Your own data
#
# Six bands, masks, and a list of splits are all it takes; `dataset.yaml` says which bands go to which encoder (`primary: [VV0, VV1, DEM]`, `secondary: [VH0, VH1, slope]`). All three phases, then scores beside *fill the box* and *Otsu*:
#
# ```bash
# sartutor adapt my_folder --preset laptop --phases 1,2,3 --out mine.safetensors
# sartutor evaluate my_folder --model mine.safetensors --split test --prompt box --report scores.json
# sartutor evaluate my_folder --model mine.safetensors --split test --prompt full
# ```
#
# Then set `DATA = "my_folder"` and `MODEL = "mine.safetensors"` above, and this notebook is about your own avalanches, or floods, or fields. With three bands there is one encoder and phase 1 alone, and nothing to fuse.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** A third encoder joins, say for L-band. How many parameters does a gate for three encoders of 256 channels have?

# %%
amount = ...

# %% tags=["solution"]
solution = 3 * 256 * 32 * 9 + 32 + 32 * 3 * 9 + 3
assert solution == aligning.parameters(SelectiveFusionGate(256, 3))
check("Exercise 1", amount, solution, hint="3C channels come in, three weights go out; mind the biases.")

# %% [markdown]
# **Exercise 2.** At one place the gate's last layer gives $a = (1.2,\ 0.2)$. How much does the second encoder count?

# %%
share = ...

# %% tags=["solution"]
solution = float(torch.tensor([1.2, 0.2]).softmax(0)[1])
assert abs(solution - 1 / (1 + np.e)) < 1e-6
check("Exercise 2", share, solution, hint="Softmax: only the difference of the two counts.", tolerance=1e-3)

# %% [markdown]
# **Exercise 3.** Both encoders tell the truth at a place, plus independent noise: of variance 1 in the first, of variance 4 in the second. What is the least variance that a mixture $(1 - w)\, e_1 + w\, e_2$ can have?

# %%
variance = ...

# %% tags=["solution"]
w = np.linspace(0, 1, 1001)
mixed = (1 - w) ** 2 * 1 + w**2 * 4
solution = float(mixed.min())
assert abs(solution - 4 / 5) < 1e-6  # at w = 1 / 5: weights go as one over the variance
check(
    "Exercise 3",
    variance,
    solution,
    hint="Variances add with the squares of the weights; minimise (1 - w)^2 + 4 w^2.",
    tolerance=1e-3,
)

# %% [markdown]
# ## Summary
#
# Aligned encoders can be mixed in any share; a stranger's part the decoder cannot read. The gate is two convolutions and a softmax that give each encoder a weight at each place. Frozen encoders look once, and phase 3 is cheap. What fusion is worth shows only at equal work, beside half and half, and over seeds. A whole-image prompt, an empty
# scene and a confuser show what a box had hidden.

# %%
data.write_numbers("09", PRESET, known.key, SEED, numbers)

# %% [markdown]
# **Next:** [10 · Domain generalisation](10_domain_generalization.ipynb) asks what is left when region or radar change; [11 · Interactive segmentation](11_interactive_segmentation.ipynb) puts the fused model on a map, with your boxes.
#
# ## References
#
# 1. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519, 2026; arXiv:2601.01213.
# 2. A. Xiao et al., *Segment anything with multiple modalities*, 2024; arXiv:2408.09085 (the selective fusion gate).
# 3. A. Kirillov et al., *Segment Anything*, ICCV 2023; arXiv:2304.02643.
# 4. N. Otsu, *A threshold selection method from gray-level histograms*, IEEE Trans. Systems, Man, and Cybernetics 9(1), 1979.
# 5. O. Ronneberger, P. Fischer, T. Brox, *U-Net*, MICCAI 2015; arXiv:1505.04597. E. Xie et al., *SegFormer*, NeurIPS 2021; arXiv:2105.15203.
# 6. S. Leinss et al., *Snow avalanche detection and mapping in multitemporal and multiorbital radar images from TerraSAR-X and Sentinel-1*, Natural Hazards and Earth System Sciences 20, 2020.
