# %% [markdown]
# # Downstream: what is a pretrained encoder worth?
#
# **What you will do.** Take an encoder that has seen only unlabelled radar images, put a small head on it, and teach it three tasks:
# land cover, many labels per image, and floods between two images. Watch it learn beside the same network with random weights.
#
# **What you will learn.** Why accuracy misleads where classes are rare, and what class weights, Dice and focal loss do about it; how mIoU comes from
# one table; what label efficiency is; how to read an experiment with controls, intervals and the word *undecided*.
#
# **What you need.** About 45 minutes, 10 of them computing. [01](01_sar_basics.ipynb) and [03](03_sentinel1_preparation.ipynb) explain decibels and bands. How the encoders
# were pretrained is the matter of [04](04_weighted_simmim.ipynb) and [05](05_weighted_mixmae.ipynb); here you only need that they exist.
# `DATA = "sample"` takes a real flood near Almoradí, Spain [8], for the first task; a path takes your own folder (section 10).

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with a dataset.yaml, images/ and masks/

# %% [markdown]
# We bring in the tools. `sartutor.learn` has the tasks, losses and metrics; `sartutor.lab.downstream` draws what they do, and
# `sartutor.lab.verdicts` draws what the recorded experiments say.

# %%
import copy
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from sartutor.lab import data, downstream, plots, verdicts
from sartutor.lab.checks import check
from sartutor.learn import classification, losses, metrics
from sartutor.learn.chips import SENTINEL1_DUAL, SimulatedChips
from sartutor.learn.curves import read_curve
from sartutor.learn.downstream import evidence, train_model
from sartutor.learn.frozen import linear_probe
from sartutor.learn.labelled import FloodPairs, MultiLabel, covering, label_subset, training_weights
from sartutor.learn.pretrain import load_pretrained
from sartutor.learn.tasks import PairClassifier, PooledClassifier, cut, land_cover_task, pooled
from sartutor.presets import LESSON_RECIPES

numbers = {}
recipe = LESSON_RECIPES[PRESET]

# %% [markdown]
# ## 1 · The idea
#
# An **encoder** $E$ turns an image $x$ into **features** $f = E(x)$: numbers that say what is there. A **head** turns features into the answer. The
# smallest head is one linear layer,
#
# $$\hat{y} = W\,E(x) + b .$$
#
# **Pretraining** chooses the weights of $E$ without any label, by hiding parts of images and guessing them. **Fine-tuning** then trains head and
# encoder together on labelled images. The hope: an encoder that knows what radar images look like needs fewer labels. A hope is no result, so
# everything here stands beside the same network with **random** weights, trained with the same number of steps.
#
# Two encoders come with the package. `simmim_hh` learned from simulated ALOS-2 HH images as in [1], `mixmae_s1` from simulated Sentinel-1
# VV and VH images as in [2]. Their papers weight dark pixels more; whether that helps is asked in section 9.

# %%
lesson = downstream.land_cover(DATA, PRESET, SEED, recipe.finetuning)
classes = lesson.train.classes
pretrained = load_pretrained(lesson.encoder)
start = downstream.untrained(lesson.encoder, SEED)
count = sum(p.numel() for p in start.parameters())
print(lesson.credit)
print(
    f"{lesson.encoder}: bands {', '.join(lesson.train.statistics.names)}, {count / 1e6:.1f} million parameters"
)
print(
    f"{len(lesson.train)} labelled chips to train, {len(lesson.val)} to validate, {len(lesson.test)} to test; "
    f"{len(classes)} classes"
)

# %% [markdown]
# ## 2 · Land cover: look at the labels first
#
# A **chip** is a small square image, here 128 pixels wide. Each of its pixels has a class. Above, three chips in decibels; below, their labels (black: no label that counts).
# Find a class that you could not tell from its neighbours by brightness alone.

# %%
pictures = plots.panels(6)
for column in range(3):
    sample = lesson.train[column % len(lesson.train)]
    image = downstream.decibels(lesson.train, sample)[0]
    plots.show_image(pictures[column], image, f"chip {column}, {lesson.train.statistics.names[0]}")
    downstream.show_labels(pictures[3 + column], sample["label"], classes, "labels")
downstream.name_classes(pictures[5], classes)

# %% [markdown]
# Now count. If class $c$ has the share $f_c$ of all labelled pixels, and there are $C$ classes, the weight
#
# $$w_c = \frac{1 - f_c}{C - 1}$$
#
# is larger for rarer classes, and all weights sum to 1. The released code of [1] holds weights that agree with this law. It is a mild one:
# the weight of the rarest class is never more than $1/(C-1)$. One line computes it; the package has the same function.

# %%
counts = downstream.counts_of(lesson.train)
share = counts.sum(0) / counts.sum()
weights = (1 - share) / (len(classes) - 1)  # w_c = (1 - f_c) / (C - 1)
assert torch.allclose(weights.float(), training_weights(lesson.train), atol=1e-6)
assert abs(weights.sum() - 1) < 1e-6
shares = dict(zip(classes, share.tolist(), strict=True))
numbers["class_shares"] = shares
downstream.show_shares(plots.panels(1)[0], shares, weights.tolist())
print(f"the commonest class has {share.max():.0%} of the pixels, the rarest {share.min():.1%}")
print(f"their weights differ by a factor of only {weights.max() / weights.min():.2f}")

# %% [markdown]
# ## 3 · A loss for rare classes
#
# **Cross-entropy** punishes a pixel by $-\ln p_t$, where $p_t$ is the probability that the network gives to the true class. Easy pixels, already right, are many,
# and their small losses add up until they drown the rare ones. **Focal loss** [3] turns them down,
#
# $$\ell = -\alpha_c\,(1 - p_t)^{\gamma}\,\ln p_t ,$$
#
# with $\gamma = 2$. At $\gamma = 0$ it is cross-entropy again. Look at $p_t = 0.9$: a pixel that is nearly right still counts at $\gamma = 0$ and hardly at $\gamma = 2$.

# %%
p = np.linspace(0.01, 1, 200)
axes = plots.panels(1)[0]
for gamma, color in ((0, plots.ORANGE), (2, plots.BLUE)):
    axes.plot(p, -((1 - p) ** gamma) * np.log(p), color=color, label=f"gamma = {gamma}")
axes.axvline(0.9, color="0.6", linestyle="--", linewidth=1)
axes.set(xlabel="probability of the true class", ylabel="loss of the pixel (alpha = 1)", title="focal loss")
axes.legend(frameon=False)
for gamma in (0, 2):
    print(
        f"gamma {gamma}: loss at p = 0.5 is {-(0.5**gamma) * np.log(0.5):.3f}, at p = 0.9 {-(0.1**gamma) * np.log(0.9):.4f}"
    )

# %% [markdown]
# The **Dice** loss [4] looks at whole classes instead of pixels: one minus twice the overlap of prediction and truth over the sum of their areas,
# averaged over the classes that occur. A class with few pixels counts as much as a common one. Alone it is rough, for its gradient is that of a ratio, and it
# says little about how sure to be. So [1] takes half of each, with $\alpha_c = \tfrac{1}{2} w_c$:
#
# $$L = \tfrac{1}{2}\,\mathrm{Dice} + \tfrac{1}{2}\,\mathrm{focal}.$$
#
# Here is the whole loss in ten lines, on random scores, and the check that the package's is the same.


# %%
def dice(p, truth):
    both, sizes = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))
    return (1 - (2 * both + 1e-5) / (sizes + 1e-5))[truth.sum((0, 2, 3)) > 0].mean()


def focal(p, truth, alpha, gamma=2):
    p_true = (p * truth).sum(1)
    return (-(alpha[:, None, None] * truth).sum(1) * (1 - p_true) ** gamma * p_true.log()).mean()


torch.manual_seed(SEED)
scores = torch.randn(2, len(classes), 16, 16)
label = torch.randint(len(classes), (2, 16, 16))
probability, truth = scores.softmax(1), torch.nn.functional.one_hot(label, len(classes)).movedim(-1, 1)
loss = 0.5 * dice(probability, truth) + 0.5 * focal(probability, truth, 0.5 * weights)
assert torch.isclose(loss, losses.land_cover_loss(scores, label, weights), atol=1e-6)
print(
    f"Dice {dice(probability, truth):.3f}, focal {focal(probability, truth, 0.5 * weights):.4f}, together {loss:.3f}"
)

# %% [markdown]
# Compare the two numbers. Because the weights sum to 1 and are halved again, the focal part is much the smaller one: with these constants Dice does most of the work.
#
# ## 4 · One table, three scores
#
# The **confusion matrix** counts pixels: rows are true classes, columns predicted ones. Everything follows from it. With true positives $TP$ on the diagonal, false positives
# $FP$ above and below it in the column, and false negatives $FN$ in the row,
#
# $$\mathrm{IoU}_c = \frac{TP_c}{TP_c + FP_c + FN_c},\qquad \mathrm{Acc}_c = \frac{TP_c}{TP_c + FN_c}.$$
#
# **mIoU** and **mAcc** are their means over classes; **pixel accuracy** is the share of right pixels. Pixels labelled −1 count nowhere. A class that nobody saw has
# no score: it is `nan`, not 0, and is left out of the mean.


# %%
def confusion_matrix(predicted, target, classes, ignore=-1):
    known = target != ignore
    pairs = target[known] * classes + predicted[known]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def three_scores(table):
    hits = table.diagonal().double()
    iou, recall = hits / (table.sum(0) + table.sum(1) - hits), hits / table.sum(1)
    return {"miou": iou.nanmean(), "macc": recall.nanmean(), "accuracy": hits.sum() / table.sum()}


guess, target = torch.randint(3, (50, 50)), torch.randint(-1, 3, (50, 50))
table = confusion_matrix(guess, target, 5)  # classes 3 and 4 do not occur
assert torch.equal(table, metrics.confusion_matrix(guess, target, 5))
known = metrics.segmentation_scores(table)
assert all(abs(float(value) - known[name]) < 1e-12 for name, value in three_scores(table).items())
assert metrics.class_iou(table)[3:].isnan().all()
print("IoU of five classes, two of which nobody saw:", metrics.class_iou(table).numpy().round(3))

# %% [markdown]
# Now the simplest model of all: call every pixel the commonest class of the training labels. Its accuracy looks like something; its mIoU tells the truth. This
# baseline stands beside every score from here on. Look at its shares in training and test too: in the sample the flood lies mostly in one part of the image.

# %%
test_labels = torch.stack([lesson.test[i]["label"] for i in range(len(lesson.test))])
always = torch.full_like(test_labels, int(share.argmax()))
baseline = metrics.segmentation_scores(metrics.confusion_matrix(always, test_labels, len(classes)))
numbers["always_commonest"] = {name: baseline[name] for name in ("miou", "macc", "accuracy")}
print(f"{classes[int(share.argmax())]}: {share.max():.0%} of the training pixels, ", end="")
print(f"{(test_labels == int(share.argmax())).sum() / (test_labels >= 0).sum():.0%} of the test pixels")
print(f"always {classes[int(share.argmax())]}: ", end="")
print(", ".join(f"{name} {value:.3f}" for name, value in numbers["always_commonest"].items()))

# %% [markdown]
# ## 5 · The head: UPerNet
#
# Land cover needs an answer per pixel. A **hierarchical** encoder gives four maps: the first is fine and knows little, the last is coarse and knows much. **UPerNet** [5] joins them.
# *Pyramid pooling* looks at the coarsest map as a whole and in 4, 9 and 36 parts: what kind of place is this? Then it climbs back: each finer map
# is added to the enlarged coarser one. All levels are joined, enlarged twice, and one last layer gives a score per class.
#
# The picture shows every map on the way with its size, *channels x rows x columns*. Many channels are shown as three colours (their principal components), so colours mean nothing by themselves;
# look at how fine the maps are, and at what they set apart. The scores come from a head that has not learned anything yet.

# %%
task = land_cover_task(len(classes), training_weights(lesson.train))
torch.manual_seed(SEED)
untrained_head = task.head(copy.deepcopy(pretrained), recipe.finetuning)
downstream.draw_upernet(untrained_head, lesson.test, 0)

# %% [markdown]
# ## 6 · Fine-tuning, live
#
# Two runs with the same head, the same chips in the same order, the same number of steps and the same learning rate; only the weights
# of the encoder at the start differ. (One rate for both is not neutral: in the search behind section 9, of smaller networks, the random start did best at a rate ten times this one, and at this one lost far more than the pretrained one.) After every few steps the model is scored on validation chips, and the best weights are kept.
# It takes a minute or so.

# %%
models, curves, began = {}, {}, time.perf_counter()
for name, encoder in (("random start", start), ("pretrained", copy.deepcopy(pretrained))):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{name}.safetensors"
        model = train_model(
            task, encoder, lesson.train, lesson.val, recipe.finetuning, SEED, out, device="cpu"
        )
        models[name], curves[name] = model, read_curve(out)
numbers["finetuning_seconds"] = time.perf_counter() - began
print(f"two runs of {recipe.finetuning.steps} steps in {numbers['finetuning_seconds']:.0f} s")

# %% [markdown]
# What to see: does one curve fall faster at first, and is it still ahead at the end? An advantage that is only early means "fewer steps",
# one that stays means "better at this rate and these steps".

# %%
val_labels = torch.stack([lesson.val[i]["label"] for i in range(len(lesson.val))])
val_always = torch.full_like(val_labels, int(share.argmax()))
level = metrics.mean_iou(metrics.confusion_matrix(val_always, val_labels, len(classes)))
pictures = plots.panels(2)
downstream.show_curves(*pictures, curves, level)

# %% [markdown]
# Test chips were never seen, not even for choosing. The scores:

# %%
tables = {
    name: evidence(task, model, lesson.test, recipe.finetuning.batch).sum(0) for name, model in models.items()
}
found = {name: metrics.segmentation_scores(table) for name, table in tables.items()}
print(f"{'':22}  mIoU   mAcc   pixel accuracy")
for name, each in {**found, "always the commonest": baseline}.items():
    print(f"{name:22}  {each['miou']:.3f}  {each['macc']:.3f}  {each['accuracy']:.3f}")
    numbers[name] = {score: each[score] for score in ("miou", "macc", "accuracy")}
gain = found["pretrained"]["miou"] - found["random start"]["miou"]
print(
    f"pretrained less random start: {gain:+.3f} mIoU, from one seed and one learning rate: an impression, not a result"
)

# %% [markdown]
# In the confusion matrices each row is one true class in percent; a perfect model has 100 on the diagonal. Look for columns that are dark all the way down: that class is
# called too often.

# %%
pictures = plots.panels(2)
for axes, (name, table) in zip(pictures, tables.items(), strict=True):
    downstream.show_confusion(axes, table, classes, name)

# %% [markdown]
# And on the map. Move through the test chips; switch the model. Red is wrong.

# %%
downstream.map_explorer(models, lesson.test)

# %% [markdown]
# ## 7 · Many labels per image
#
# Sometimes a label belongs to the whole image: "forest, water, town". Such labels are cheap, and BigEarthNet [6] has half a million of them. From maps we make them by a rule: a chip has
# every class that covers **more than 5 %** of its labelled pixels. This task and the next use simulated Sentinel-1 chips with VV and VH, whatever `DATA` is,
# and the encoder `mixmae_s1`.

# %%
mixmae = load_pretrained("mixmae_s1")
first = downstream.LESSON_SCENES + 500_000 + 3 * SEED
cache = data.runs_folder(PRESET, lesson.key) / "chips"
train_chips, test_chips = (
    MultiLabel(SimulatedChips(SENTINEL1_DUAL, first + k, count, 128, mixmae.statistics, cache))
    for k, count in enumerate(recipe.chips)
)


def covers(label, classes, least=0.05):
    return torch.stack([((label == c).sum() > least * (label >= 0).sum()).float() for c in range(classes)])


wide = SimulatedChips(SENTINEL1_DUAL, first, 3, 128, mixmae.statistics, cache)
pictures = plots.panels(3)
for axes, sample in zip(pictures, (wide[i] for i in range(3)), strict=True):
    present = covers(sample["label"], 7)
    assert torch.equal(present, covering(sample["label"], 7, 0.05))
    names = [wide.classes[c] for c in range(7) if present[c]]
    downstream.show_labels(
        axes, sample["label"], wide.classes, "\n".join([" + ".join(names[:3]), " + ".join(names[3:])])
    )
downstream.name_classes(pictures[2], wide.classes)

# %% [markdown]
# The head is the linear one of section 1: the mean of the last map over rows and columns, and one layer. To see what is *in* the features,
# we leave the encoder as it is (**frozen**) and fit only that layer, a **linear probe**: least squares with a penalty on large weights (*ridge regression*), solved in one step, the penalty chosen by
# leaving out each training chip in turn. Four rows compete:
# features of the pretrained encoder, features of the encoder with random weights, **no network at all** (mean and standard deviation of each band), and a blind guess.
# The score is **average precision**: sort the chips by how sure the model is; the area under precision over recall. A blind guess scores the share of chips that have the class.
# Simulated chips are so varied that some classes are in all of them. These are left out here: whoever recognises them has shown nothing.

# %%
frozen = {"pretrained": mixmae, "random weights": downstream.untrained("mixmae_s1", SEED)}
image = default_collate([test_chips[i] for i in range(2)])["image"]
head = PooledClassifier(mixmae, 7)
by_hand = mixmae.features(image)[-1].mean((2, 3)) @ head.scores.weight.T + head.scores.bias
assert torch.allclose(by_hand, head(image), atol=1e-4)
features = {
    name: tuple(downstream.chip_features(encoder, chips) for chips in (train_chips, test_chips))
    for name, encoder in frozen.items()
}
features["mean and spread"] = tuple(downstream.level_features(chips) for chips in (train_chips, test_chips))
labels = [torch.stack([chips[i]["label"] for i in range(len(chips))]) for chips in (train_chips, test_chips)]
probed = downstream.Probed(features, *labels, wide.classes)
everywhere = [name for k, name in enumerate(wide.classes) if k not in classification.telling(labels[1])]
print(f"classes that all test chips have, or none: {', '.join(everywhere) or 'no class'}; they are left out")

# %% [markdown]
# Move the first slider: fewer labels. The subsets are **nested**: the chips of 12.5 % are among those of 25 %, and so on, so that going right only
# adds labels. The second slider draws other subsets. How much do the bars move with the draw? That is how far *one* run can mislead you.

# %%
subsets = [set(label_subset(len(train_chips), share, SEED)) for share in downstream.SHARES]
assert all(few <= more for few, more in pairwise(subsets))
downstream.probe_explorer(probed)

# %% [markdown]
# The same as numbers, mean over classes and over eight draws of the subset; behind ± their standard deviation (at 100 % there is only one subset).

# %%
numbers["probe_average_precision"] = {}
for share_of in downstream.SHARES:
    draws = [downstream.probe_scores(probed, share_of, draw) for draw in range(8)]
    means = {name: [np.mean(draw[name]) for draw in draws] for name in draws[0]}
    numbers["probe_average_precision"][f"{share_of:g}"] = {
        name: float(np.mean(v)) for name, v in means.items()
    }
    said = ", ".join(f"{name} {np.mean(v):.3f} ± {np.std(v):.3f}" for name, v in means.items())
    print(f"{share_of:6.1%} of the labels: {said}")

# %% [markdown]
# A frozen random network is a stronger baseline than it sounds: its features are random averages of the image, and averages of backscatter tell a lot. If the pretrained
# row is not above the others here, then its *frozen mean features* hold no more about these labels than simple statistics do; fine-tuning may still use what they hold.
#
# ## 8 · A flood between two images
#
# Two images of one place, and the question: was there a flood between them? The images are larger than the encoder's chips, so each is cut into **tiles**; every tile
# has features before, $f_1$, and after, $f_2$. The difference forgets what stays the same [2]:
#
# $$d = \frac{1}{T}\sum_{t=1}^{T} \bigl|\,f_{1,t} - f_{2,t}\,\bigr|, \qquad \hat{y} = W d + b .$$
#
# Not every change is a flood: fields are harvested, soil dries, wind roughens lakes. The simulated pairs without flood have all that too. Left and middle: a pair with a flood. Right: how much
# the features of each tile changed. Is the flooded ground where the tiles are bright?

# %%
from sartutor.sar.radiometry import power_to_db
from sartutor.sim.flood import flood_pair

pair = flood_pair(10**6 * (first + 2) + 1, SENTINEL1_DUAL, 4 * 128, flood=True)
decibels = torch.from_numpy(power_to_db(np.stack([pair.before, pair.after])))
bands = [("VV", "VH").index(name) for name in mixmae.statistics.names]
images = mixmae.statistics.standardise(decibels[:, bands], torch.ones(2, 1, 512, 512, dtype=torch.bool))
with torch.no_grad():
    before, after = pooled(mixmae, cut(images, 128)).unflatten(0, (2, 16))
    difference = (before - after).abs()  # 16 tiles, one row each
    whole = PairClassifier(mixmae, 128)
    assert torch.allclose(whole.scores(difference.mean(0)), whole(images[None])[0], atol=1e-4)
downstream.draw_pair(
    decibels[0, 0].numpy(), decibels[1, 0].numpy(), pair.flooded, difference.mean(1).reshape(4, 4), 128
)

# %% [markdown]
# Again a linear probe on frozen encoders, beside two baselines: "always a flood", and no network: the mean of $|\Delta\,\mathrm{dB}|$ over the
# image and band. Half of the pairs have a flood. **F1** is $2PR/(P+R)$ with precision $P$ (of the pairs called flood, how many are) and recall $R$ (of
# the floods, how many are found).

# %%
train_pairs, test_pairs = (
    FloodPairs(SENTINEL1_DUAL, first + k, count, recipe.pair_side, mixmae.statistics)
    for k, count in enumerate(recipe.pairs)
)
truth = [
    torch.tensor([float(pairs[i]["label"]) for i in range(len(pairs))])[:, None]
    for pairs in (train_pairs, test_pairs)
]
kinds = {
    name: [downstream.pair_features(encoder, pairs, 128).mean(1) for pairs in (train_pairs, test_pairs)]
    for name, encoder in frozen.items()
}
kinds["no network: mean |change|"] = [
    torch.stack(
        [(p["image"][1] - p["image"][0]).abs().mean((1, 2)) for p in (pairs[i] for i in range(len(pairs)))]
    )
    for pairs in (train_pairs, test_pairs)
]

# %% [markdown]
# The probe on all three, fitted to the training pairs and scored on the others:

# %%
numbers["flood"] = {}
for name, (fit_on, test_on) in kinds.items():
    flood = linear_probe(fit_on, truth[0])(test_on).clamp(0, 1)
    numbers["flood"][name] = classification.binary_scores(flood[:, 0], truth[1][:, 0])
numbers["flood"]["always a flood"] = classification.binary_scores(torch.ones(len(truth[1])), truth[1][:, 0])
for name, each in numbers["flood"].items():
    print(f"{name:26}" + "".join(f"  {score} {value:.2f}" for score, value in each.items()))
best = max(numbers["flood"], key=lambda name: numbers["flood"][name]["f1"])
print(f"highest F1, one seed: {best}")

# %% [markdown]
# Who won? Where "no network" does, there is a reason: in the simulation a flood is a large, level, dark area, and the mean change in dB sees just that. A frozen encoder averages each tile
# into features that were made for restoring pixels, not for finding change; fine-tuning may do better, and section 9 asks whether it does.
#
# ## 9 · Does it help? The recorded experiments
#
# What you saw so far is one seed. The package comes with an experiment: many starts, several **seeds** (each draws its own scenes, weights, masks and labels), all rows with equal
# architecture, equal steps, and learning rates searched on the same grid on validation. The networks are smaller than the ones above, so that a cell takes about a minute.
# `python -m sartutor.learn.experiments weighting` fills the table; the cells below read its records and nothing else.
#
# ### How to read it
#
# Scores of different seeds differ because their scenes differ. So starts are compared **in pairs**, seed by seed, on the same scenes. The mean difference has a 95 % interval (Student's t).
# If it holds 0 the verdict is **undecided**: the design cannot resolve it, which is not the same as "no effect". Each verdict stands alone: of twenty comparisons of *equals*, about one is decided by chance.

# %%
known = verdicts.known_records()
seeds = sorted({record["seed"] for record in known})
print(f"{len(known)} records, seeds: {', '.join(map(str, seeds)) or 'none yet'}")
simulators = {record["values"]["simulator"] for record in known}
if len(simulators) > 1:
    print(f"Careful: they come from {len(simulators)} versions of the simulator.")
numbers["records"] = len(known)

# %% [markdown]
# ### Label efficiency
#
# Score over the share of labels, bars are intervals over seeds. In the panel of many labels, grey, stand published numbers: **theirs**, of the code of [2],
# on BigEarthNet, with real images, 19 classes and a far larger network. Compare shapes, not heights: does the
# gap between pretrained and random open towards few labels? In theirs it is about as wide everywhere.

# %%
theirs = verdicts.PUBLISHED_AP
gaps = [f"{theirs['pretrained'][s] - theirs['random'][s]:.3f} at {100 * s:g} %" for s in verdicts.SHARES]
print("theirs, pretrained less random, by share of labels:", ", ".join(gaps))
verdicts.draw_efficiency(known)

# %% [markdown]
# Intervals of two starts may overlap although their difference is clear, because both move together from seed to seed. So here are the differences themselves: a **map of when it helps**.
# Blue is better, red worse, grey undecided; a hollow dot is a single seed, which decides nothing. "Weighted" is the weighting that did best on validation.

# %%
verdicts.draw_gains(known)

# %% [markdown]
# ### The controls
#
# Suppose weighted pretraining scores higher. Is it *because* dark pixels count more? Controls change one thing at a time (but for the last, which changes the images of the task as well):
#
# | control | what it keeps | what it changes | if it does as well ... |
# |---|---|---|---|
# | unit mean | where the weights lie | their mean is 1 | ... the size of the loss was not the reason (AdamW hardly cares) |
# | shuffled | all values of the weights | they lie at other pixels | ... it does not matter *where* weights lie |
# | inverted | strength | bright pixels count more | ... dark is not the right way round |
# | despeckled | the rule | weights come from averaged power | ... the speckle in the weights did no harm |
# | filtered | the rule | all images, those of the task too | ... a filter adds nothing to the weights; set it beside *filtered without pretraining*, for the task becomes easier too |
#
# Each line asks one question. To believe in weighting you want *"Do weights help?"* to be blue **and** *"Does it matter where the weights lie?"* and *"Is dark the right way round?"* too.
# The last three lines look at *longer* pretraining, of four times as many steps.

# %%
verdicts.draw_answers(known)

# %% [markdown]
# Fine-tuning changes every weight of the encoder, and with enough steps it can make good for a poor start. So the same encoders are asked once more **frozen**: one linear layer on their maps, as
# in section 7 but for every token, solved in closed form. No learning rate, no luck of a training run: what differs here is what pretraining has left in the features. If a
# difference shows when frozen and not when fine-tuned, the features did change, but this task, with these steps, had no need of it.

# %%
verdicts.draw_answers(known, "frozen_miou")

# %% [markdown]
# What the records say, in words made from the records alone:

# %%
from sartutor.learn.starts import QUESTIONS

for line in verdicts.summary(known):
    print(line)
every = [
    a
    for method in verdicts.METHODS
    for share_of in verdicts.FRACTIONS
    for metric in verdicts.READOUTS
    for a in verdicts.answers(known, method, share_of, metric)
]
about_weights = {question.text for question in QUESTIONS if question.on_weights}
clear, asked = verdicts.decided([answer for answer in every if answer.text in about_weights])
numbers["answers"] = {"decided": clear, "asked": asked}
print(
    f"\n{clear} of {asked} comparisons of weights are decided; if no weighting did anything, about {0.05 * asked:.0f} would be."
)

# %% [markdown]
# ### What the records say, and why
#
# **Pretraining leaves something in the encoder.** Frozen, SimMIM's features beat random ones with all labels and with an eighth of them, and by more with few.
#
# **Weights leave nothing that can be seen.** Frozen, weighted and unweighted SimMIM cannot be told apart, although the design would resolve a tenth of what pretraining itself gives; shuffled and
# inverted weights do as well. What weights do change is the *guess*: they shift it between dark and bright, as the next picture shows. But to make that guess the encoder
# must recognise the same towns, fields and roads, whatever an error costs where. In MixMAE, with all labels, weights are once called worse than none; among so many comparisons one or two such verdicts are to be expected by chance.
#
# **Fine-tuning hides it.** After fine-tuning SimMIM, scores of equals differ so much from seed to seed that the intervals are wider than what pretraining gave. A table of single runs could show almost any order.
#
# **MixMAE learned little here.** Its cells are 32 px wide, so a chip of the experiment has four of them; what lies in one tells little of the next. Its loss stays within two percent of the mean's, and
# frozen features are not shown to be better than random ones. Where little is learned, weights cannot matter. Fine-tuned it still beats the random start at nearly all shares of labels, but that start's rate
# won the search by a hair at the end of the grid, so part of the gain may be a poor rate. The embedded encoder saw larger chips for longer.
#
# **Less speckle does help, and mostly without pretraining.** Frozen, filtered input does better than any weighting. But those rows are also fine-tuned, read out and tested on filtered images, and random features gain by the filter as well: in MixMAE as much as pretrained ones, in SimMIM with few labels more. It is the reading of the image that becomes easier; that pretraining gains by it is not shown.
#
# **The other tasks decide nothing about weights**: no more of their comparisons than chance would. Flood pairs are hardly learned at all, no start is shown to beat the answer "flood" to every pair. Their
# learning rates are those found on land cover, and few pairs are seen. (Section 8 has larger pairs and another read-out; its scores cannot be set beside these.)

# %%
verdicts.draw_bias(known)

# %% [markdown]
# The main table in full, for all labels and the first method. Change the two arguments to see the others: `"simmim"` or `"mixmae"`, `1.0` or `0.125`.

# %%
verdicts.start_table(known, "simmim", 1.0).style.set_properties(**{"text-align": "left"})

# %% [markdown]
# If it helps, where? The difference by class, with an eighth of the labels: pretrained with weights against random, and against pretrained without. Weights favour dark pixels, so look at the dark classes: water, roads and bare ground.

# %%
verdicts.draw_class_gains(known, wide.classes, 0.125, "physical", "random")

# %%
verdicts.draw_class_gains(known, wide.classes, 0.125, "physical", "unweighted")

# %% [markdown]
# ## Where it fails
#
# **Rare classes.** Here is the IoU of every class over its share of the training pixels. The weights are mild, and a class with few pixels also
# has few *places* to learn from.

# %%
axes = plots.panels(1)[0]
for (name, table), color in zip(tables.items(), (plots.ORANGE, plots.BLUE), strict=True):
    axes.plot(100 * share, metrics.class_iou(table), "o", color=color, label=name)
axes.set(xlabel="share of the training pixels (%)", ylabel="IoU", ylim=(-0.02, 1.02), title="IoU by share")
axes.set_xlim(0, 130 * float(share.max()))
axes.legend(frameon=False)
for index, name in enumerate(classes):
    height = float(metrics.class_iou(tables["pretrained"])[index])
    if height == height:
        axes.annotate(f" {name}", (100 * float(share[index]), height), fontsize="small")

# %% [markdown]
# **Borders.** Pixels where two classes meet are the harder ones: such a pixel holds both, speckle hides the edge, and the finest map has one value for 4 x 4 pixels. Share of right pixels by
# distance to the next border:

# %%
numbers["right_by_distance"] = downstream.border_accuracy(models["pretrained"], lesson.test, (2, 4, 8))
for name, right in numbers["right_by_distance"].items():
    print(f"{name:12} {right:.0%} right")

# %% [markdown]
# **Look-alikes.** The three largest confusions, from the matrix. Ask of each pair: do they differ in backscatter at all, or only in shape and surroundings?

# %%
for true, said, part in downstream.confusions(tables["pretrained"], classes):
    print(f"{part:.0%} of {true} is called {said}")

# %% [markdown]
# And the three test chips with the most errors:

# %%
each = evidence(task, models["pretrained"], lesson.test, recipe.finetuning.batch).double()
right = each.diagonal(dim1=1, dim2=2).sum(1) / each.sum((1, 2))
worst = right.nan_to_num(2.0).argsort()[:3].tolist()
from IPython.display import display

for chip in worst:
    display(downstream.draw_map(models["pretrained"], "pretrained", lesson.test, chip))

# %% [markdown]
# **The experiment itself.** All records are of simulated scenes, small networks and short training. What is undecided here may be decided by more seeds, and what is decided here may be otherwise on real data.
# Both starts are fine-tuned with *layer decay*: layers near the input learn more slowly, which is made for pretrained weights, and holds a random start back. The papers do so too.
#
# ## 10 · Your own data
#
# Set `DATA` to a folder like this and run the notebook again: sections 2 to 6 and the failures then show your classes.
#
# ```text
# my_folder/
#   images/<id>.tif     bands as named in dataset.yaml
#   masks/<id>.tif      one whole number per pixel
#   splits.csv          id,split,block      split: train, val, or the name of a test set
#   dataset.yaml        bands: [{name: VV, units: db}, {name: VH, units: db}]
#                       labels: {land: [0], water: [1], town: [2]}
#                       ignore: 255
# ```
#
# Blocks are places: a place belongs to one split only. Images are at least 128 pixels wide. The bands must be those of an embedded encoder (HH, or VV and VH). For other bands pretrain an encoder of your own; it needs no labels:
#
# ```bash
# sartutor pretrain my_folder --method mixmae --preset laptop --out my_encoder.safetensors
# ```
#
# and give it to the first cell of section 1: `downstream.land_cover(DATA, PRESET, SEED, recipe.finetuning, "my_encoder.safetensors")`. Few images? Then label efficiency is your question: label a quarter, fine-tune, and see whether the next quarter is worth the work.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** A data set has two classes: 95 % land and 5 % water. A model calls everything land. What is its mIoU?

# %%
miou = ...

# %% tags=["solution"]
solution = np.mean([95 / 100, 0 / 5])
assert np.isclose(solution, metrics.mean_iou(torch.tensor([[95, 0], [5, 0]])))
check(
    "Exercise 1",
    miou,
    solution,
    hint="IoU of land is 95 / (95 + 5 + 0). What is that of water?",
    tolerance=0.001,
)

# %% [markdown]
# **Exercise 2.** What share of its cross-entropy (of equal $\alpha$) is left of the loss of a pixel with $p_t = 0.8$ under focal loss with $\gamma = 2$?

# %%
factor = ...

# %% tags=["solution"]
solution = (1 - 0.8) ** 2
scores = torch.tensor([0.8, 0.2]).log()[None, :, None, None]
one = [
    losses.focal_loss(scores, torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(2), gamma)
    for gamma in (2.0, 0.0)
]
assert np.isclose(solution, float(one[0] / one[1]))
check(
    "Exercise 2",
    factor,
    solution,
    hint="Divide the formula at gamma = 2 by the one at gamma = 0.",
    tolerance=0.001,
)

# %% [markdown]
# **Exercise 3.** Five seeds gave these differences in mIoU, weighted less unweighted. What is the half width of their 95 % interval? Is 0 inside? (`scipy.stats.t.ppf(0.975, 4)` is 2.776.)

# %%
five = np.array([0.012, -0.004, 0.009, 0.001, 0.006])
half_width = ...

# %% tags=["solution"]
from sartutor.learn.records import mean_interval

solution = 2.776 * five.std(ddof=1) / np.sqrt(5)
assert np.isclose(solution, mean_interval(five)[1], atol=1e-4)
assert abs(five.mean()) < solution  # 0 is inside: undecided
check(
    "Exercise 3",
    half_width,
    solution,
    hint="Standard deviation with ddof=1, over the root of 5, times 2.776.",
    tolerance=1e-4,
)

# %% [markdown]
# ## Summary
#
# Features are worth what a small head can do with them. Count classes before training, and put "always the commonest" beside every score. mIoU, mAcc and accuracy
# come from one table. A comparison needs equal steps, pairs, several seeds, an interval, and controls; and *undecided* is an answer.

# %%
data.write_numbers("06", PRESET, lesson.key, SEED, numbers)

# %% [markdown]
# **Next:** [10 · Domain generalisation](10_domain_generalization.ipynb) takes frozen encoders to other regions and radars; [11 · Interactive segmentation](11_interactive_segmentation.ipynb) asks for one object at a time instead of a class for every pixel.
#
# ## References
#
# 1. N. Imamoglu, A. Caglayan, T. Kouyama: *A Tutorial on ALOS2 SAR Utilization: Dataset Preparation, Self-Supervised Pretraining, and Semantic
#    Segmentation*, 2026; arXiv:2603.15119.
# 2. A. Caglayan, N. Imamoglu, T. Kouyama: *SAR-W-MixMAE: SAR Foundation Model Training Using Backscatter Power Weighting*, IGARSS 2025;
#    arXiv:2503.01181. The numbers in grey are from its code: github.com/acaglayan/SAR-W-MixMAE, `analysis/train_data_sampling.py`.
# 3. T.-Y. Lin et al., *Focal loss for dense object detection*, ICCV 2017; arXiv:1708.02002.
# 4. F. Milletari, N. Navab, S.-A. Ahmadi, *V-Net*, 3DV 2016; arXiv:1606.04797 (Dice loss).
# 5. T. Xiao et al., *Unified perceptual parsing for scene understanding*, ECCV 2018; arXiv:1807.10221 (UPerNet).
# 6. G. Sumbul et al., *BigEarthNet: a large-scale benchmark archive for remote sensing image understanding*, IGARSS 2019; arXiv:1902.06148.
# 7. Z. Ye, Z. Gong, N. Liao et al.: *CrossEarth-SAR: a SAR-centric and billion-scale geospatial foundation model for domain generalizable
#    semantic segmentation*, 2026; arXiv:2603.12008 (the seven classes of the simulated land cover).
# 8. Bonafilia et al., *Sen1Floods11: a georeferenced dataset to train and test deep learning flood algorithms for Sentinel-1*,
#    CVPR Workshops, 2020 (the sample; contains modified Copernicus Sentinel data).
