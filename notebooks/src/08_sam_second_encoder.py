# %% [markdown]
# # A second encoder that the first decoder understands
#
# Three bands fit into Segment Anything [4]. We have six. So the other three get an encoder of their own, and it has to learn the language that
# the mask decoder already speaks.
#
# **What you will do.** Look at avalanche debris in VV and in VH, count what a second encoder costs, watch a decoder that does not understand
# it, and train that encoder through the frozen decoder: with labels, and without any.
#
# **What you will learn.** What *alignment* is (phase 2 of [1]); why a frozen network still passes gradients on; how to tell
# whether two encoders say the same, as a number and as a map; when the second encoder is the better one, and how much there is to gain by fusion.
#
# **What you need.** About 40 minutes, 5 of them computing. [03](03_sentinel1_preparation.ipynb) explains VV, VH and prompts. An **adapter** is a pair of small layers
# beside frozen ones, and, but for a small stem in our model (section 2), the only thing of an encoder that is trained; [07](07_sam_adapters.ipynb) builds it. A path as `DATA` takes your own folder (section 10).

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with a dataset.yaml, images/ and masks/

# %% [markdown]
# We bring in the tools. `sartutor.learn.sam` holds the model, `sartutor.lab.aligning` the pictures and measures of this notebook.

# %%
import copy
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from sartutor.lab import aligning, data, plots
from sartutor.lab.checks import check
from sartutor.learn.evaluate import sam_answer
from sartutor.learn.sam.baselines import fill_boxes, otsu_boxes
from sartutor.learn.scores import SIZES, SLOPES, class_of
from sartutor.presets import ALIGNING_SIZES, SAM_SIZES

MODEL = "sam_tiny_avalanche"  # or the path of a model that you adapted, with two encoders
numbers = {}
sizes = ALIGNING_SIZES[PRESET]

# %% [markdown]
# ## 1 · What the other bands show
#
# The model of [1] sees two dates, before (0) and after (1) the avalanches. Its first encoder gets VV0, VV1 and heights. Left over are VH0, VH1 and slope.
# **VH** is the echo that comes back across: sent vertically, received horizontally. Rough debris scatters a wave several times, and that turns it. VH is also the
# weaker echo, nearer to the noise of the instrument. **Slope** says where debris can come to rest at all.

# %%
known = aligning.lesson(DATA, PRESET, SEED, sizes, MODEL)
asked = aligning.ask(known)
objects = aligning.seen_objects(asked)
first, second = aligning.encoder_names(known.model)
print(known.credit)
if DATA == "sample":
    print("There is no small, free, labelled pair of dates: the scenes are simulated here too.")
for name, ranges in zip((first, second), known.model.branches, strict=True):
    print(f"the {name} encoder sees {', '.join(ranges)}")
print(f"{len(asked)} unseen images with {len(objects)} objects of at least {aligning.LEAST_PIXELS} pixels")

# %% [markdown]
# One of these scenes. Above, how much brighter date 1 is than date 0, in both polarisations; power is averaged over 5 x 5 pixels first. Below, the two bands of terrain.
# Orange: labelled debris. Look for debris that you find in one of the upper pictures only, and for bright places that are no debris.

# %%
scene = max(asked, key=lambda question: len(question.parts))
pictures = plots.panels(4, columns=2)
for axes, name, ranges in zip(pictures, (first, second), known.model.branches, strict=False):
    change = aligning.calm_change(scene.scene, ranges)
    plots.show_image(axes, change, f"change in {name}", "dB", scene.scene.valid, aligning.CHANGE_DB)
for axes, ranges in zip(pictures[2:], known.model.branches, strict=True):
    band = tuple(ranges)[-1]
    unit = scene.scene.bands[scene.scene.band_names.index(band)].units
    plots.show_image(axes, scene.scene.band(band), band, str(unit), scene.scene.valid)
for axes in pictures:
    plots.outline(axes, scene.truth, plots.ORANGE)

# %% [markdown]
# How well can an object be seen? Take the mean change on it, less the mean in a ring around it, divided by the standard deviation in that ring. So 0 is invisible and
# 2 is plain to see. Each dot is one object. Above the dashed line VH shows it better, below it VV.

# %%
found = aligning.contrasts(objects, known.model)
aligning.show_contrasts(plots.panels(1)[0], objects, found, (first, second))
better = int((found[:, 1] > found[:, 0]).sum())
numbers["stands_out"] = {first: float(found[:, 0].mean()), second: float(found[:, 1].mean())}
print(f"{better} of {len(objects)} objects stand out more in {second}")
for name in SLOPES:
    here = np.array([class_of(each.part.slope, SLOPES) == name for each in objects], bool)
    if here.any():
        vv, vh = found[here].mean(0)
        print(f"{name:8} ({here.sum():3} objects): {first} {vv:+.2f}, {second} {vh:+.2f} on average")

# %% [markdown]
# Dots near the line say: both bands show much the same. Dots away from it are what a second encoder can be good for. Speckle in VV and in VH is independent, so even a band
# that is no better is a second look.
#
# Move through the objects. Objects with a high number are easy for you too. Average over 1 pixel and see what the network has to work with.

# %%
aligning.band_explorer(known, objects)

# %% [markdown]
# ## 2 · Why not six bands into one encoder?
#
# The first layer of the encoder, the **patch embedding**, turns each square of 16 x 16 pixels and **three** channels into one token. It is one convolution, and its weights have
# the shape *outputs x 3 x 16 x 16*.

# %%
sam = known.sam
base = sam.base
embed = base.image_encoder.patch_embed.proj
print("weights of the patch embedding:", tuple(embed.weight.shape))
try:
    embed(torch.zeros(1, 6, base.size.image_size, base.size.image_size))
except RuntimeError as error:
    print("six channels:", str(error).split(", but")[0][:110])

# %% [markdown]
# One can widen it: repeat the weights for the second three channels, and halve them. Then six channels that are three channels twice give the old tokens.

# %%
wide = torch.cat([embed.weight / 2] * 2, 1)
three = torch.rand(1, 3, base.size.image_size, base.size.image_size)
with torch.no_grad():
    as_before = functional.conv2d(torch.cat([three, three], 1), wide, embed.bias, embed.stride)
    assert torch.allclose(as_before, embed(three), atol=1e-4)
print(f"widened: {wide.numel() / 1e3:.0f} thousand weights instead of {embed.weight.numel() / 1e3:.0f}")

# %% [markdown]
# Real VV and VH are not the same twice. Then each token is the *average* of what VV and VH would have given, everywhere, until training finds something better, and all that comes after has seen only tokens of one kind of image. The other
# way out mixes bands into three by a formula, as the single encoder of [1] does (VV and VH of both dates into two, the third is height; slope is left out); then the formula has to decide, before anything was learned, what matters where. (The benchmark has both, for comparison; `docs/RESULTS.md` says how they do.)
#
# Or take a second encoder, and decide later, place by place, which one to believe. A whole one would double
# the model. A second set of **adapters** [5] does not: both encoders are the same frozen trunk $E$, with adapters $\theta_1$ or $\theta_2$ in its blocks,
#
# $$e_1 = E_{\theta_1}(x_1), \qquad e_2 = E_{\theta_2}(x_2).$$
#
# What does one set cost? Each block of width $D$ has two adapters, $D \to D/4 \to D$, with biases.

# %%
from sartutor.learn.sam.model import EncoderBranch, RadarSam


def adapter_count(width, depth):
    narrow = width // 4
    return depth * 2 * ((width * narrow + narrow) + (narrow * width + width))


for name, size in SAM_SIZES.items():
    with torch.device("meta"):  # shapes alone, no memory
        untrained = RadarSam(size)
        branch = EncoderBranch(untrained)
    counted = adapter_count(size.width, size.depth)
    assert counted == aligning.parameters(branch.adapters)
    whole, stem = aligning.parameters(untrained.image_encoder), aligning.parameters(branch.detail_stem)
    numbers[f"branch_{name}"] = {"adapters": counted, "stem": stem, "encoder": whole}
    print(f"{name:6} whole encoder {whole / 1e6:6.2f} million, adapters {counted / 1e6:.2f} million", end="")
    print(f" = {counted / whole:.0%}" + (f", and {stem / 1e3:.0f} thousand of a stem" if stem else ""))

# %% [markdown]
# (The small model has a **stem** of convolutions beside the trunk, so that small objects keep sharp edges. Each encoder has its own. The official ViT-B has none.)
#
# One trunk, two encoders. For the tokens, all that differs is which adapters are handed in. This is that part of the package's `encode_branch`:

# %%
batch = aligning.windows_of(known, objects, sizes.objects)  # the windows that so many are seen in
images = batch["image"].float()  # windows x encoders x 3 channels x rows x columns


def encode(images, number):
    normal = (images[:, number] - base.pixel_mean) / base.pixel_std
    return base.image_encoder(normal, sam.branches[number].adapters)


with torch.no_grad():
    for number in (0, 1):
        tokens = encode(images[:2], number)
        assert torch.allclose(tokens, sam.encode_branch(images[:2], number)[0], atol=1e-4)
print(f"{tuple(images.shape)} -> tokens {tuple(tokens.shape)}: windows x channels x rows x columns")

# %% [markdown]
# ## 3 · A decoder that does not understand
#
# Now the problem. In phase 1 the **mask decoder** learned to read the first encoder. What does it make of another one that it has never heard of? We ask about each
# unseen object with a loose box, and score by **IoU**: overlap over union, 1 is perfect, counted within the object's own tight box (which flatters *fill the box*: what it marks outside does not count). Five answers:
#
# - the first encoder on its own bands: what we have,
# - the *untrained* second encoder on its bands: the trunk with new adapters, which do nothing yet,
# - the first encoder's *own adapters* on the second bands: no training at all, only other pixels,
# - *fill the box* and *Otsu's threshold* of the change of the second encoder's band, VH, in the box: no network (in 07 and 09 it is that of VV).

# %%
start = aligning.start_of_alignment(known.model)  # phase 1 as it was learned, phase 2 not begun
borrowed = aligning.with_second(start, start.sam.branches[0])
known.sam.use_phase(1)
answers = {
    f"{first}, first encoder": sam_answer(known.model, known.folder),
    f"{second}, untrained": sam_answer(start, known.folder),
    f"{second}, first adapters": sam_answer(borrowed, known.folder),
    "fill the box": fill_boxes,
    "Otsu in the box": lambda scene, boxes: otsu_boxes(scene, boxes, tuple(known.model.branches[1])),
}
ious = {name: aligning.object_ious(asked, answer) for name, answer in answers.items()}
for name, values in ious.items():
    numbers[f"iou_{name}"] = float(values.mean())
    print(f"{name:24} mean IoU {values.mean():.3f}")

# %% [markdown]
# Three of these answers for the largest object, over the change in the second band. Orange is the label, blue the answer.

# %%
largest = max(objects, key=lambda each: each.part.pixels)
aligning.show_answers(plots.panels(3), known, largest, dict(list(answers.items())[:3]))

# %% [markdown]
# Compare *untrained* with *fill the box*: an encoder below it is worth less than the box alone. Then compare it
# with *first adapters*. VV and VH are both radar, so adapters that learned on one do not start from zero on the other: that is the free alternative which phase 2 has to beat, and a fair report shows it.
#
# Which part is not understood? The small model hands on **tokens**, and **details** of its stem. With the details goes the image itself, from which the decoder makes its first guess in the box. We mix: tokens of one encoder, details and image of the other, and let the decoder answer. *No tokens* puts zeros in their place.

# %%
from sartutor.learn.losses import mask_iou
from sartutor.learn.sam.samples import box_targets

place, boxes, target, weight = box_targets(batch)  # of every box: its image, its corners, the truth in it


def decode(model, embedding):
    logits, _ = model.decode(tuple(level[place] for level in embedding), boxes)
    return functional.interpolate(logits[:, :1], target.shape[-2:], mode="bilinear")


with torch.no_grad():
    own, other = sam.encode_branch(images, 0), start.sam.encode_branch(images, 1)
    mixed = {"all of the first": own, "all of the second": other}
    mixed["no tokens"] = (torch.zeros_like(own[0]), *own[1:])
    if len(own) > 1:
        mixed |= {"tokens of the second": (other[0], *own[1:]), "details of the second": (own[0], *other[1:])}
    for name, embedding in mixed.items():
        values = mask_iou(decode(sam, embedding), target, weight)
        numbers[f"mixed_{name}"] = float(values.mean())
        print(f"{name:24} mean IoU {values.mean():.3f} on {len(values)} boxes")

# %% [markdown]
# A row that stays near the first says: this part may be wrong, the decoder hardly reads it here. A row that falls says: this is what it reads, and what has to be aligned (but for the image, which stays what it is). In ViT-B there are no details, all goes through the tokens; in the small model look which
# of the two it is, and remember it in section 8.
#
# ## 4 · The idea: train through the frozen decoder
#
# If both encoders are to be fused later, their numbers must mean the same. [1] gets there without ever comparing them. The second encoder is trained on masks, and the mask is drawn
# by the decoder of phase 1, which stays as it is:
#
# $$\min_{\theta_2}\ \mathrm{Dice}\big(D_1(E_{\theta_2}(x_2),\, \text{box}),\ y\big).$$
#
# Here $D_1$ is the decoder of phase 1, $x_2$ are the bands of the second encoder, and $y$ is the labelled debris in the box. There is only one way for the loss to fall: $E_{\theta_2}$ must say what $D_1$ understands. That is **alignment**.
#
# *Frozen* does not mean *cut off*. With the embedding $e = E_{\theta_2}(x_2)$, the mask $m = D_1(e, \text{box})$ and the loss $L$, by the chain rule the adapters' gradient passes **through** the decoder,
#
# $$\frac{\partial L}{\partial \theta_2} = \frac{\partial L}{\partial m}\ \underbrace{\frac{\partial m}{\partial e}}_{\text{frozen, not zero}}\ \frac{\partial e}{\partial \theta_2}.$$
#
# So the decoder's weights get `requires_grad = False`, but it must *not* run under `no_grad`. By hand:

# %%
from sartutor.learn.losses import mask_loss


def dice(logits, truth, weight):
    p, g = logits.sigmoid() * weight, truth * weight
    return 1 - (2 * (p * g).sum((-2, -1)) + 1e-5) / ((p**2).sum((-2, -1)) + (g**2).sum((-2, -1)) + 1e-5)


student = copy.deepcopy(start.sam).use_phase(2)
for parameter in student.parameters():
    parameter.requires_grad = False
for parameter in student.branches[1].parameters():
    parameter.requires_grad = True
by_hand = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
decoder_before = copy.deepcopy(student.mask_decoder.state_dict())
logits = decode(student, student.encode_branch(images, 1))
loss = dice(logits, target, weight).mean()
assert torch.isclose(loss, mask_loss(logits, target, weight, "dice").mean(), atol=1e-6)
print(f"Dice loss of the untrained second encoder: {loss.item():.3f}")

# %% [markdown]
# Two steps of training, and we look at who gets a gradient. The second layer of an adapter starts at zero, so that training starts from the encoder as it was. Therefore the first layer hears nothing in
# step 1: its gradient is multiplied by these zeros. From step 2 on it learns as well.

# %%
groups = {
    "trunk": list(student.base.image_encoder.parameters()),
    "decoder": list(student.mask_decoder.parameters()),
    "adapters, 1st layer": [p for n, p in student.branches[1].named_parameters() if ".down." in n],
    "adapters, 2nd layer": [p for n, p in student.branches[1].named_parameters() if ".up." in n],
}


def gradient(parameters):
    found = [p.grad.norm() ** 2 for p in parameters if p.grad is not None]
    return float(sum(found) ** 0.5) if found else None


optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], 1e-3)
for step in (1, 2):
    optimizer.zero_grad()
    dice(decode(student, student.encode_branch(images, 1)), target, weight).mean().backward()
    heard = {name: gradient(parameters) for name, parameters in groups.items()}
    optimizer.step()
    print(f"step {step}:", ", ".join(f"{n} {'-' if g is None else f'{g:.1e}'}" for n, g in heard.items()))

# %% [markdown]
# A dash is *no gradient at all*: nothing there is stored, and nothing can change. We check both halves of the promise: the adapters move, the decoder does not change in a single bit.

# %%
assert heard["adapters, 1st layer"] > 0
assert heard["adapters, 2nd layer"] > 0
assert heard["decoder"] is None
after = student.mask_decoder.state_dict()
assert all(torch.equal(decoder_before[name], after[name]) for name in after)
assert set(copy.deepcopy(start.sam).train_phase(2)) == by_hand  # the package's version
with torch.no_grad():
    cut_off = dice(decode(student, student.encode_branch(images, 1)), target, weight)
assert not cut_off.requires_grad
trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
print(f"{trained / 1e6:.2f} million numbers learn; the decoder is the same, bit by bit")
print("under no_grad the loss has a value, but no gradient: nothing could learn from it")

# %% [markdown]
# How does the gradient spread over the blocks? It enters at the last one and works its way to the first. If a bar were zero, that block would learn nothing.

# %%
strength = [
    gradient([p for p in block.parameters() if p.grad is not None]) for block in student.branches[1].adapters
]
axes = plots.panels(1)[0]
axes.bar(range(1, len(strength) + 1), strength, color=plots.BLUE)
_ = axes.set(
    xlabel="block (1 = nearest to the image)", ylabel="norm of the gradient", title="adapters, step 2"
)

# %% [markdown]
# ## 5 · Without labels
#
# The other way compares the encoders directly. Both look at the same place; let the second imitate the first,
#
# $$\min_{\theta_2}\ \frac{1}{n}\,\big\| E_{\theta_2}(x_2) - \mathrm{sg}\big[E_{\theta_1}(x_1)\big] \big\|^2 ,$$
#
# where $n$ is how many numbers an embedding has (our small model has tokens and three levels of details: each has its own mean, and the four count alike), and sg (*stop gradient*) says that the first encoder is a fixed target. No mask appears, so in principle **any** pair of dates can be used, labelled or not. (The package takes images with labelled objects here too, so that both ways see the same.) [2] aligns encoders like this; the released code of [1]
# contains it too, switched off. The price: the target is only as good as the first encoder. Where VV shows nothing, the second encoder learns to show nothing too, although VH might know better.

# %%
from sartutor.learn.sam.objectives import embedding_distance


def distance(learned, fixed):
    parts = [i for i in range(len(learned)) if i != 1]  # 0 tokens, 2-4 details; 1 is the image itself
    return torch.stack([((learned[i] - fixed[i]) ** 2).mean() for i in parts]).mean()


assert torch.isclose(distance(other, own), embedding_distance(other, own))
turned = tuple(level.flip(-1) for level in own)
print(f"untrained second encoder to the first, same place: {distance(other, own):.4f}")
print(f"first encoder to itself, mirrored places:          {distance(turned, own):.4f}")

# %% [markdown]
# ## 6 · Align it yourself, twice
#
# We start from the embedded phase 1 with a new second encoder, and run phase 2 for some dozens of steps. It is the package's `adapt` with `phases=[2]`. The picture follows: left, IoU through the frozen
# decoder on validation boxes; middle, how alike both encoders are at the same place, in tokens (solid) and details (dashed), which section 8 explains; right, one mask with its label in orange. First **by masks**.

# %%
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.loop import Watch
from sartutor.learn.models import at_phase, load_model

folder = data.runs_folder(PRESET, known.key)
begin = aligning.save_model(start, folder / f"08-start-{SEED}.safetensors")
watched = aligning.watched_batch(known, sizes.watched, SEED)
references = {
    f"{first} encoder": aligning.mean_iou(sam.use_phase(1), watched),
    f"{second}, untrained": aligning.mean_iou(start.sam, watched),
}
about = known.model.about
method = Method(activation=about["activation"], fusion=about["fusion"], tuning=about["tuning"])
masks = aligning.LiveAlignment("by masks", watched, references)
masks.widget

# %% [markdown]
# The next cell trains; scroll up to watch. Each run takes about a minute.

# %%
every = max(1, sizes.recipe.phases[1].steps // 8)


def align(live, alignment):
    out = folder / f"08-{alignment}-{SEED}.safetensors"
    run = adapt(
        known.folder.folder,
        out,
        init=begin,
        phases=[2],
        recipe=sizes.recipe,
        method=replace(method, alignment=alignment),
        seed=SEED,
        device="cpu",
        watch=Watch(every, live.look),
    )
    numbers[f"live_{alignment}"] = {"iou": live.ious[-1], **live.likeness[-1]}
    print(f"{live.title}: {run.steps[0]} steps in {run.seconds:.0f} s, IoU {live.ious[-1]:.3f} on validation")
    return at_phase(load_model(out), 2)


by_masks = align(masks, "supervised")

# %% [markdown]
# Now **by embedding**, without labels: the same start, the same scenes, as many steps. No gradient comes from a mask here; IoU on validation boxes is only watched, and says which step is kept. The orange curves repeat the run above.

# %%
imitation = aligning.LiveAlignment("by embedding", watched, references, other=masks)
imitation.widget

# %% [markdown]
# Watch the middle panel: this run asks for likeness, and does not look at masks. Does IoU follow?

# %%
by_embedding = align(imitation, "embedding")

# %% [markdown]
# And on objects that no encoder has seen. The last row is the second encoder that comes with the package, after many more steps by masks.

# %%
candidates = {f"{second}, by masks": by_masks, f"{second}, by embedding": by_embedding}
for name, model in candidates.items():
    ious[name] = aligning.object_ious(asked, sam_answer(model, known.folder))
ious[f"{second}, embedded"] = aligning.object_ious(asked, sam_answer(at_phase(known.model, 2), known.folder))
for name, values in ious.items():
    numbers[f"iou_{name}"] = float(values.mean())
    print(f"{name:32} mean IoU {values.mean():.3f}")

# %% [markdown]
# Read it with the references in mind. *Untrained* is where both runs started. *First adapters* cost nothing. And the first encoder itself is no upper bound: VH may
# know things that VV does not.
#
# ## 7 · A conflict: is the decoder frozen or not?
#
# The text of [1] says that phase 2 goes through the *frozen* decoder of phase 1. In its released code the line that would freeze it is commented out: there, decoder and second encoder
# learn **together**. Does it matter? With a free decoder there are two ways to lower the loss: the encoder learns the decoder's language, or the decoder learns the
# encoder's. Then nothing keeps the first encoder's language alive, and phase 3 wants one decoder for both. We try it: as many steps, decoder free. (By hand, at a constant learning rate and without the small term for the guessed IoU; so a small difference says nothing.)

# %%
from sartutor.learn.sam.samples import PromptedImages

recipe = sizes.recipe
steps, rate = recipe.phases[1].steps, recipe.phases[1].learning_rate
side, scales = base.size.image_size, known.model.scales
samples = PromptedImages(
    known.folder, "train", known.model.branches, side, steps * recipe.batch, SEED, scales
)
free = aligning.train_with_decoder(start, samples, steps, recipe.batch, rate)
free_second = aligning.object_ious(asked, sam_answer(free, known.folder))
free_first = aligning.object_ious(asked, sam_answer(at_phase(free, 1), known.folder))
print(f"{'mean IoU':18}{second + ', second':>14}{first + ', first':>14}")
for name, two, one in (
    ("decoder frozen", ious[f"{second}, by masks"], ious[f"{first}, first encoder"]),
    ("decoder free", free_second, free_first),
):
    numbers[name] = {"second": float(two.mean()), "first": float(one.mean())}
    print(f"{name:18}{two.mean():14.3f}{one.mean():14.3f}")
change = free_first.mean() - ious[f"{first}, first encoder"].mean()
print(f"the first encoder through the decoder that moved on: {change:+.3f}")

# %% [markdown]
# Look at the last column. Frozen, the first encoder keeps its score, by construction. Free, it moves by what the last line says. Below zero, the decoder forgets the first encoder, since nobody asks it to remember. Above zero, it still
# profits from going on with the same task. In the first column the free decoder may well win: two learn faster than one. But then the two encoders are no longer held together by a decoder that stays, and that is what phase 3 builds on. The package freezes, as the text says.
#
# ## 8 · Do they speak the same language?
#
# An embedding is a list of numbers for each place: 128 for a token (256 in ViT-B), 48 for a detail. Two encoders are alike if they give like lists at the same places. Two measures:
#
# - the **cosine** between the two lists of a place, after the mean list was taken off both: 1 is the same direction, 0 unrelated. It asks: *could the decoder take one for the other?*
# - linear **CKA** [3], from 0 to 1. It asks less: are the same places alike to both encoders? A turned or scaled copy has CKA 1. With tokens as rows of $X$ and $Y$, means taken off,
#
# $$\mathrm{CKA} = \frac{\|Y^\top X\|_F^2}{\|X^\top X\|_F\,\|Y^\top Y\|_F}.$$


# %%
def cosine(x, y, mean):
    x, y = x - mean, y - mean
    return (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return ((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())).item()


x, y = (aligning.as_rows(embedding[0]) for embedding in (own, other))  # tokens x channels
assert torch.allclose(cosine(x, y, x.mean(0)), aligning.cosine_similarity(x, y, x.mean(0)), atol=1e-5)
assert abs(cka(x, y) - aligning.linear_cka(x, y)) < 1e-4
rotation = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1]))[0]
print(f"a turned copy of the first encoder: cosine {cosine(x, x @ rotation, 0).mean():.2f}", end=", ")
print(f"CKA {cka(x, x @ rotation):.2f}")

# %% [markdown]
# The turned copy holds all that the original holds, yet the decoder could not read it. That is the difference between *knowing the same* (CKA) and *saying it in the same words* (cosine).
#
# Now before and after. A number alone says little, so beside the cosine stands that of *shuffled* places: how alike tokens are that have nothing to do with each other.

# %%
stages = {
    "untrained": start.sam.branches[1],
    "first adapters": sam.branches[0],
    "by masks": by_masks.sam.branches[1],
    "by embedding": by_embedding.sam.branches[1],
    "embedded": sam.branches[1],
}
with torch.no_grad():
    embeddings = {
        name: aligning.with_second(start, branch).sam.encode_branch(images, 1)
        for name, branch in stages.items()
    }
    fixed = sam.encode_branch(images, 0)

# %% [markdown]
# The table. The embedded model is the second encoder that comes with the package.

# %%
print(f"{'':8}{'second encoder':16}{'cosine':>8}{'shuffled':>10}{'CKA':>7}")
for part, level in aligning.levels(sam).items():
    x = aligning.as_rows(fixed[level])  # places x channels
    shuffle = torch.from_numpy(np.random.default_rng(SEED).permutation(len(x)))
    for name, embedding in embeddings.items():
        y = aligning.as_rows(embedding[level])
        row = [float(cosine(x, each, x.mean(0)).mean()) for each in (y, y[shuffle])] + [cka(x, y)]
        numbers[f"likeness_{part}_{name}"] = dict(zip(("cosine", "shuffled", "cka"), row, strict=True))
        print(f"{part:8}{name:16}{row[0]:8.2f}{row[1]:10.2f}{row[2]:7.2f}")

# %% [markdown]
# Which training makes the encoders more alike, and which masks better? *By embedding* asks for likeness, *by masks* only for masks. If the first wins the cosine and the second the IoU, then
# the decoder does not need all of the likeness: it reads some directions and ignores others. What section 3 showed to be ignored, masks cannot align: nothing in the loss asks for it.
# Unlike numbers can give like masks. Whether a *mixture* of both encoders can still be read is another question, and the one that phase 3 has to answer.
#
# As a picture: tokens of both encoders along the two directions in which the **first** encoder's tokens differ most (principal components; the same axes in every panel). Grey lines join the two tokens of one place. Short lines: same words. (All tokens lie in a disc because the encoder's last layer gives them one length.)

# %%
x = aligning.as_rows(fixed[0])
space = aligning.principal_axes(x)
pictures = plots.panels(4, columns=2)
for axes, name in zip(pictures, [n for n in stages if n != "first adapters"], strict=True):
    aligning.show_tokens(axes, x, aligning.as_rows(embeddings[name][0]), f"second encoder: {name}", space)
low, high = np.percentile(((x - space[0]) @ space[1][:, :2]).numpy(), (0.5, 99.5), axis=0)
for axes in pictures:
    axes.set(xlim=(low[0] - 0.2, high[0] + 0.2), ylim=(low[1] - 0.2, high[1] + 0.2))
plots.legend(pictures[-1])

# %% [markdown]
# And in place. Three principal components as red, green and blue, with the same colours for both encoders; to the right the cosine at every token. White or orange: tokens that hold labelled debris. Change the second encoder and see where
# it comes to agree first, on debris or beside it.

# %%
aligning.space_explorer(stages, known, batch, space)

# %% [markdown]
# The same as numbers: how alike are the tokens that hold debris, and all others? (A token is 16 px wide here; a small object fills none.)

# %%
inside = functional.max_pool2d(batch["target"][:, None].float(), base.size.patch)[:, 0].flatten() > 0
for name in stages:
    alike = cosine(x, aligning.as_rows(embeddings[name][0]), x.mean(0))
    on = f"{alike[inside].mean():.2f}" if inside.any() else "-"
    print(f"{name:22} cosine on debris {on}, beside it {alike[~inside].mean():.2f}")

# %% [markdown]
# ## 9 · The embedded model: who is better where?
#
# `sam_tiny_avalanche` was trained for longer, on more scenes; its card in `sartutor/weights` says how. `use_phase(1)` makes it predict with VV and heights, `use_phase(2)` with VH and slope, through the
# same decoder. Each dot is one unseen object; above the line the second encoder is better. We call them VV and VH for short, but they also differ in heights against slope, and in how they were trained: a difference is not that of the polarisations alone.

# %%
one, two = ious[f"{first}, first encoder"], ious[f"{second}, embedded"]
aligning.show_ious(plots.panels(1)[0], objects, (one, two), (first, second))
parts = [each.part for each in objects]
print(f"{'mean IoU':16}{'objects':>8}{first:>8}{second:>8}{'box':>8}")
for key, classes in (("slope", SLOPES), ("pixels", SIZES)):
    for name in classes:
        row = [
            aligning.by_class(parts, values, classes, key)[name]
            for values in (one, two, ious["fill the box"])
        ]
        if len(row[0]):
            numbers[f"{key}_{name}"] = {"n": len(row[0]), first: row[0].mean(), second: row[1].mean()}
            print(f"{name:16}{len(row[0]):8}" + "".join(f"{values.mean():8.2f}" for values in row))

# %% [markdown]
# A mean hides who wins where. Suppose somebody told us for each object which encoder to believe: an **oracle**. It is an upper bound for choosing one encoder per object. But beware: the better of
# *any* two answers beats each of them, even if they differ by chance alone. So we compare with a second opinion without new bands: the first encoder asked once more about the **mirror image**. That is a lenient comparison, for the speckle is the same and the model learned from mirrored images too; an encoder trained anew on the same bands would be the strict one. What is left is at most what the other bands bring.

# %%
again = aligning.object_ious(asked, aligning.mirrored_answer(known))
bounds = {
    f"{first} alone": one,
    f"{second} alone": two,
    f"better of {first} and {first} mirrored": np.maximum(one, again),
    f"better of {first} and {second}": np.maximum(one, two),
}
for name, values in bounds.items():
    numbers[f"oracle_{name}"] = float(values.mean())
    print(f"{name:34} {values.mean():.3f}")
room = float(np.maximum(one, two).mean() - np.maximum(one, again).mean())
numbers["room_for_fusion"] = room
print(f"\nroom beyond a mirrored second look: {room:+.3f}")

# %% [markdown]
# A positive number is what motivates phase 3: something is to be gained by choosing. But can one *know* whom to believe without the label? A first sign: is the encoder better whose band shows the object better? We compare the
# difference of the IoUs with the difference in section 1 (rank correlation: 1 always, 0 no relation).

# %%
relation = aligning.rank_correlation(found[:, 1] - found[:, 0], two - one)
if relation is not None:
    numbers["rank_correlation"] = relation
    print(f"rank correlation over {len(objects)} objects: {relation:+.2f}")
print(
    f"{second} is better for {(two > one).sum()} of {len(objects)} objects, by more than 0.1 for {(two - one > 0.1).sum()}"
)
print(f"{first} is better for {(one > two).sum()}, by more than 0.1 for {(one - two > 0.1).sum()}")

# %% [markdown]
# Two objects: where VH gains most over VV, and the other way round. Look at the texture around them: is it speckle, a bright field, an edge?

# %%
second_model = aligning.with_second(known.model, sam.branches[1])
both = {first: sam_answer(known.model, known.folder), second: sam_answer(second_model, known.folder)}
pictures = plots.panels(4, columns=2)
for row, chosen in enumerate((int((two - one).argmax()), int((one - two).argmax()))):
    for column, name in enumerate(both):
        panel = [pictures[2 * row + column]]
        aligning.show_answers(panel, known, objects[chosen], {name: both[name]}, column)

# %% [markdown]
# One training run and some dozens of objects decide little. Where the package's benchmark of several seeds is at hand, here is what it says about the same questions, as mean IoU over objects, each ± half of a 95 % interval over seeds. Its rows see the surroundings of a box, where the model of this notebook sees whole chips: compare them only with each other. Rows may have different seeds; `docs/RESULTS.md` has differences seed by seed.

# %%
from sartutor.learn.records import mean_interval, recorded

rows = {
    "phase1": f"{first}, phase 1",
    "phase2": f"{second}, by masks",
    "aligned_free": f"{second}, by embedding",
}
records = recorded("avalanche_small")
table = {
    value: aligning.recorded_rows(records, rows, value) for value in ("iou_box", "iou_small", "iou_flat")
}
print(f"{'':20}{'seeds':>6}{'all':>16}{'small':>16}{'flat':>16}" if table["iou_box"] else "not run yet")
for title in table["iou_box"]:
    cells = []
    for each in table.values():
        mean, half = mean_interval(each.get(title, np.array([np.nan])).tolist())
        cells.append(f"{mean:.3f} ± {half:.3f}" if len(each.get(title, ())) > 1 else f"{mean:.3f}")
    numbers[f"recorded_{title}"] = float(table["iou_box"][title].mean())
    print(f"{title:20}{len(table['iou_box'][title]):6}" + "".join(f"{cell:>16}" for cell in cells))

# %% [markdown]
# ## Where it fails
#
# **Both fail together.** Where debris is no brighter than its surroundings in either band, no choice helps. The objects that both encoders miss, worst first, over the change in VH:

# %%
best = np.maximum(one, two)
missed = int((best < 0.3).sum())
numbers["both_below_0.3"] = missed / len(objects)
print(f"{missed} of {len(objects)} objects stay below an IoU of 0.3 with both encoders")
worst = best.argsort()[:3]
for axes, index in zip(plots.panels(len(worst)), worst, strict=True):
    aligning.show_answers([axes], known, objects[index], {second: both[second]})
print(
    "they stand out by",
    ", ".join(f"{found[i, 0]:+.1f} / {found[i, 1]:+.1f}" for i in worst),
    f"in {first} / {second}",
)

# %% [markdown]
# **What the simulation knows of VH.** In the simulated scenes debris stands out of its snow about as much in VH as in VV: its contrast in decibels is multiplied by a number drawn for each scene. Trees, soil and snow differ by level and texture alone. So here VH is mostly a *second look*
# with speckle of its own. Real VH reacts to wet snow and to vegetation in its own way; how much it adds there only real data can say.

# %%
from sartutor.sim.avalanche import VH_SHARE

print(f"contrast in VH over contrast in VV, both in dB: drawn between {VH_SHARE[0]:g} and {VH_SHARE[1]:g}")

# %% [markdown]
# **A small trunk that saw drawn shapes.** The base of this model was trained on drawn shapes, not on the eleven million photographs of SA-1B. That adapters suffice because the trunk has seen so much is a claim of [1] about SAM, and it is tested
# only with `vit_b`. Here we see the mechanism.
#
# **A second path around the tokens.** The small model's decoder also sees the input image itself and its stem's details. Section 3 shows how much of the mask hangs on which; in ViT-B all goes through the tokens.
#
# **Alignment inherits.** What phase 1 has learned wrongly, the frozen decoder asks of the second encoder too.
#
# ## 10 · Your own data
#
# A folder with the six bands VV0, VV1, VH0, VH1, DEM and slope, masks and splits runs here as `DATA = "my_folder"`. With other bands (HH and HV, or one date of each) adapt a model of your own first, then name it in `MODEL`:
#
# ```bash
# sartutor adapt my_folder --preset laptop --out mine.safetensors
# ```
#
# `dataset.yaml` says which bands go to which encoder: `primary: [VV0, VV1, DEM]`, `secondary: [VH0, VH1, slope]`. `--alignment embedding` runs phase 2 as in section 5. Its loss uses no mask, but the folder still needs them: phase 1 learns from them, and images without an object are left out unless `--empty-share` says otherwise.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** How many numbers does one more encoder cost in ViT-B: adapters in 12 blocks of width 768, a quarter of it inside, two in each block, with biases?

# %%
count = ...

# %% tags=["solution"]
solution = 12 * 2 * (768 * 192 + 192 + 192 * 768 + 768)
with torch.device("meta"):
    assert solution == aligning.parameters(EncoderBranch(RadarSam(SAM_SIZES["vit_b"])).adapters)
check("Exercise 1", count, solution, hint="One adapter: 768 x 192 + 192, and 192 x 768 + 768.")

# %% [markdown]
# **Exercise 2.** The smallest phase 2 there is: an encoder $e = \theta x$, a frozen decoder $m = 3e$, the loss $L = (m - y)^2$. At $x = 2$, $\theta = 0.5$, $y = 1$: what is $\partial L / \partial \theta$?

# %%
slope_of_loss = ...

# %% tags=["solution"]
theta = torch.tensor(0.5, requires_grad=True)
((3 * theta * 2 - 1) ** 2).backward()
solution = float(theta.grad)
assert solution == 2 * (3 * 0.5 * 2 - 1) * 3 * 2
check(
    "Exercise 2",
    slope_of_loss,
    solution,
    hint="Chain rule: 2 (m - y), times 3 for the frozen decoder, times x.",
    tolerance=1e-6,
)

# %% [markdown]
# **Exercise 3.** You freeze the decoder and train the second encoder for a week. Its tokens have CKA 0.95 with those of the first. You swap the encoders in front of the *same* decoder. Does it read the second one as well as
# the first? Build the case: `x` turned by `rotation` stands for such an encoder. Write the expression of its mean cosine with `x` (0 as the mean to take off), and say what it means for the decoder.

# %%
mean_cosine = ...

# %% tags=["solution"]
solution = float(cosine(x, x @ rotation, 0).mean())
assert aligning.linear_cka(x, x @ rotation) > 0.999
check(
    "Exercise 3",
    mean_cosine,
    solution,
    hint="cosine(x, x @ rotation, 0).mean(): CKA does not see a rotation, a decoder does.",
    tolerance=1e-3,
)

# %% [markdown]
# ## Summary
#
# A second encoder is a second set of adapters in the same frozen trunk. The decoder of phase 1 does not understand it until it is aligned: by masks through the frozen decoder, or by imitation without labels. Frozen weights still pass gradients on.
# Knowing the same (CKA) is not saying the same (cosine). Two encoders that err at different places leave room for fusion, at most as much as the better of two beats the better of one asked twice.

# %%
data.write_numbers("08", PRESET, known.key, SEED, numbers)

# %% [markdown]
# **Next:** [09 · Fusion](09_sam_fusion.ipynb) lets a gate decide, place by place, which encoder to believe. [11 · Interactive segmentation](11_interactive_segmentation.ipynb) puts the model on a map.
#
# ## References
#
# 1. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519, 2026; arXiv:2601.01213. Code:
#    github.com/RiccardoGelato/AdaptingSAMToSARAvalancheDetection.
# 2. A. Xiao et al., *Segment anything with multiple modalities*, 2024; arXiv:2408.09085 (MM-SAM: unsupervised alignment of encoders).
# 3. S. Kornblith, M. Norouzi, H. Lee, G. Hinton, *Similarity of neural network representations revisited*, ICML 2019; arXiv:1905.00414 (CKA).
# 4. A. Kirillov et al., *Segment Anything*, ICCV 2023; arXiv:2304.02643.
# 5. J. Wu et al., *Medical SAM Adapter: adapting Segment Anything Model for medical image segmentation*, 2023; arXiv:2304.12620 (adapters in SAM).
