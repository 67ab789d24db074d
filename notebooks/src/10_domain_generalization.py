# %% [markdown]
# # Domain generalisation: experts that know what kind of image they see
#
# **What you will do.** Train a small mapper on one kind of radar image and ask it about another. Measure three numbers that tell kinds of images apart. Build a **mixture of
# experts** in ten lines, see how its router fails to learn and how it comes to favour one expert, and watch which expert takes which pixels.
#
# **What you will learn.** What a domain gap is; what the descriptors of CrossEarth-SAR [1] measure and when they mislead; why a gate of 1 stops learning and what the balance loss
# does; why a model with four times the parameters can multiply as often per pixel; how to read a table of gaps.
#
# **What you need.** About 40 minutes, 3 of them computing. [01](01_sar_basics.ipynb) explains decibels, looks and polarisation; [06](06_downstream.ipynb) mIoU and frozen encoders.
# `DATA = "sample"` adds a real Sentinel-1 scene from Spain [4] to the descriptors, a path adds your own.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a raster or a folder of your own

# %% [markdown]
# We bring in the tools. `sartutor.learn.moe` has the layer, `sartutor.sar.descriptors` the three numbers, and `sartutor.sim.gaps` simulated domains; `sartutor.lab.experts` draws.

# %%
import copy
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from sartutor.lab import data, experts, plots
from sartutor.lab.checks import check
from sartutor.lab.downstream import name_classes, show_labels
from sartutor.learn.domains import scene_descriptors
from sartutor.learn.generalisation import KeptMaps, confusions, continue_pretraining, encoded_maps, train_head
from sartutor.learn.generalists import load_generalist
from sartutor.learn.metrics import class_iou, mean_iou
from sartutor.learn.moe import Mixture, MixtureOfExperts, Routing, balance_loss, gates, parameter_counts
from sartutor.presets import GAP_LESSONS, GENERALIST_RECIPES
from sartutor.sar.descriptors import NAMES, contrast_enl, descriptors, directional_entropy, local_roughness
from sartutor.sim.gaps import DOMAINS, FIRST, GAPS, OWN_NAMES

numbers = {}
lesson = GAP_LESSONS[PRESET]

# %% [markdown]
# ## 1 · The gap
#
# A mapper learns from labelled images of one **domain**: a region, a platform, a radar band, a polarisation. Then it meets another. Water that was a dark lake is now a river
# between rice fields; a forest that was bright in HV is asked about in VV; the single-look image of a satellite becomes the smooth one of an aircraft. CrossEarth-SAR [1] names
# **eight kinds of gaps**, alone or together, and asks 22 questions of the form "trained here, asked there". `VV2F` reads: from VV to full polarisation.
#
# The benchmark `gaps` of this package has 22 such questions with simulated scenes. They carry names of the publication where we know them; own names are starred below. Letters of data
# sets, as in `D2F`, stand for **simulated** domains here; which of them differs from which in what is assumed.

# %%
for kind in FIRST:
    names = [f"{name}*" if name in OWN_NAMES else name for name, gap in GAPS.items() if gap.kind == kind]
    print(f"{kind:26} {', '.join(names)}")
side = 128  # pixels
experts.draw_gaps(["VV2F", "C(r)2R", "N2S"], SEED, side)

# %% [markdown]
# Above the source, below the target. From VV to full polarisation the place is the same. The mapper has seen VV three times; now its channels are HH, HV and VV. The picture shows the first: HH looks much like VV. The second, HV, is new in kind; the third is the VV it knows. The real part of a complex image has
# one more trouble: it swings around zero, so that even bright ground has dark pixels everywhere. Now the gaps of several things at once:

# %%
experts.draw_gaps(["F2A", "W2D", "D2F"], SEED, side)

# %% [markdown]
# ## 2 · Falling into it
#
# Let us fall into one gap on purpose. An encoder that has seen many other domains is **frozen**; on its maps a small head, two linear layers, learns land cover in the source. Then we ask it twice: about new
# places in its *own* domain, and about the target.

# %%
dense = load_generalist("generalist_dense")
GAP = "D2F"
head = lesson.head
source, target = GAPS[GAP].source, GAPS[GAP].target
train, val = (
    experts.benchmark_chips([source], SEED, count, dense, role)
    for role, count in enumerate((head.train, head.val))
)
own, other = (experts.benchmark_chips([domain], SEED, head.test, dense, 2) for domain in (source, target))
with tempfile.TemporaryDirectory() as folder:
    kept = [KeptMaps(dense.model.encoder, chips) for chips in (train, val)]
    mapper, _ = train_head(
        dense.model.encoder, *kept, head, SEED, Path(folder) / "head.safetensors", device="cpu"
    )
tables = {
    f"own domain, {source.name}": confusions(mapper, KeptMaps(dense.model.encoder, own)).sum(0),
    f"target, {target.name}": confusions(mapper, KeptMaps(dense.model.encoder, other)).sum(0),
}
numbers["gap"] = {name: mean_iou(table) for name, table in tables.items()}
for name, score in numbers["gap"].items():
    print(f"{name:45} mIoU {score:.3f}")

# %% [markdown]
# The difference holds two things: what the mapper loses on the way, and how hard the target is for any mapper. Only a head that is trained in the target would tell them apart; within one target, mappers can be compared. Look at it class by class and on the map: which classes survive the journey, and which are called by another's name?

# %%
axes = plots.panels(1)[0]
width = 0.4
for shift, (name, table) in zip((-width / 2, width / 2), tables.items(), strict=True):
    axes.bar(np.arange(7) + shift, class_iou(table).nan_to_num(), width, label=name.split(",")[0])
axes.set_xticks(range(7), own.classes, rotation=40, ha="right", fontsize="small")
axes.set(ylabel="IoU", title=f"{GAP}: IoU by class")
axes.legend(frameon=False)
at_home, abroad = numbers["gap"].values()
print(f"own domain less target: {at_home - abroad:+.3f} mIoU")

# %%
sample = other[0]
with torch.no_grad():
    maps = encoded_maps(dense.model.encoder, {key: value[None] for key, value in sample.items()})
    guess = mapper(maps, (other.side, other.side)).argmax(1)[0]
pictures = plots.panels(3)
plots.show_image(pictures[0], other.decibels(0)[0], target.name)
show_labels(pictures[1], sample["label"], other.classes, "labels")
show_labels(pictures[2], guess, other.classes, f"says the mapper from {source.name.split('-')[0]}")
name_classes(pictures[2], other.classes)

# %% [markdown]
# ## 3 · Three numbers that tell what kind of image this is
#
# A person sees at once that an image is grainy, or built-up, or flat. CrossEarth-SAR describes each image $X$ by three numbers, computed on $X' = \ln(1 + |X|)$:
#
# $$H_\mathrm{DE} = -\sum_i p_i \ln p_i, \qquad \mathrm{ENL} = \Bigl(\frac{\mu}{\sigma}\Bigr)^2, \qquad R_\mathrm{LR} = \operatorname{Var}_j(\mu_j).$$
#
# **Directional entropy**: $p$ is the histogram of gradient directions; streets and fields in rows make it small, speckle makes it large, and speckle is everywhere: it keeps the entropy of radar images close under the largest that is possible. **ENL** compares mean and spread of all pixels. On
# even ground and power it is the equivalent number of looks of [notebook 01](01_sar_basics.ipynb); of a whole image and of $X'$ it is a measure of **contrast** and no more. **Local
# roughness** is the variance of the means $\mu_j$ of blocks: it forgets speckle and sees large forms.
#
# We found no statement of how many bins and blocks, and of what $X$ is. Here: 36 bins over half a turn, weighted by the gradient's magnitude, 16 x 16 blocks, and digital numbers of amplitude, for on calibrated power, far
# below 1, $\ln(1 + x) \approx x$ would do nothing. By hand, and with the package:

# %%
db = other.decibels(0)[0].astype(float)
x = np.log1p(np.sqrt(10 ** ((db + 83) / 10)))  # digital numbers as in JAXA's products: 0 dB is 14,125
down, across = (ndimage.sobel(x, axis)[1:-1, 1:-1] for axis in (0, 1))
bins = np.rint(np.arctan2(down, across) * 36 / np.pi).astype(int) % 36
p = np.bincount(bins.ravel(), np.hypot(down, across).ravel(), 36)
p = p[p > 0] / p.sum()
by_hand = [
    -(p * np.log(p)).sum(),
    (x.mean() / x.std()) ** 2,
    x.reshape(16, side // 16, 16, side // 16).mean((1, 3)).var(),
]
assert np.allclose(by_hand, descriptors(np.sqrt(10 ** ((db[None] + 83) / 10)), "log1p")[0])
print(", ".join(f"{name} {value:.4f}" for name, value in zip(NAMES, by_hand, strict=True)))

# %% [markdown]
# Explore. The list has a chip of each domain and, last, a real or drawn Sentinel-1 scene. Change the number of bins: the entropy rises with it, so only equal numbers of bins can be compared. Which image has the lowest
# entropy, and can you see why?

# %%
example = data.sentinel1(DATA, PRESET, SEED)
chips = experts.benchmark_chips(list(DOMAINS.values()), SEED, lesson.shown * len(DOMAINS), dense, 3)
images = {domain.name: chips.decibels(place)[0] for place, domain in enumerate(DOMAINS.values())}
sentinel = f"Sentinel-1, {example.key}"
images[sentinel] = experts.centre_db(example.scene, side)
print(example.credit)
experts.descriptor_explorer(images)

# %% [markdown]
# Do they tell domains apart? Each dot is an image, each colour and sign a domain of the benchmark. Domains that form islands can be told apart by these two numbers alone; where they overlap, the router will need the image itself.

# %%
raw = chips.raw_descriptors.numpy()
groups = {name: raw[place :: len(DOMAINS)] for place, name in enumerate(DOMAINS)}
valid = np.isfinite(images[sentinel])
own_values = scene_descriptors(np.nan_to_num(images[sentinel])[None], valid)
pictures = plots.panels(2, 2)
for axes, (first, second) in zip(pictures, ((0, 1), (2, 1)), strict=True):
    experts.show_descriptors(axes, groups, first, second, NAMES)
    axes.set_title(f"{len(groups)} domains", fontsize="medium")
    axes.plot(own_values[first], own_values[second], "k*", markersize=12, label=sentinel)
pictures[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="x-small", frameon=False)
spread = {name: raw[:, k].std() for k, name in enumerate(NAMES)}
print(", ".join(f"{name} varies by {value:.3g}" for name, value in spread.items()))

# %% [markdown]
# What may change without changing the numbers? Turning the image by a quarter turn leaves all three. Doubling the power leaves the entropy of a *logarithm*, for it adds a constant, and moves the ENL: here is a first way to mislead them.

# %%
turned = np.rot90(x)
assert np.isclose(directional_entropy(x), directional_entropy(turned), atol=0.02)
assert np.isclose(contrast_enl(x), contrast_enl(turned))
assert np.isclose(local_roughness(x), local_roughness(turned))
brighter = np.log1p(np.sqrt(10 ** ((db + 3 + 83) / 10)))
numbers["three_db"] = {"enl": float(contrast_enl(x)), "enl_3_db_brighter": float(contrast_enl(brighter))}
print(f"entropy {directional_entropy(x):.4f}, 3 dB brighter {directional_entropy(brighter):.4f}")
print(f"ENL {contrast_enl(x):.1f}, 3 dB brighter {contrast_enl(brighter):.1f}")

# %% [markdown]
# ## 4 · A mixture of experts in ten lines
#
# A transformer's block has two parts: attention, which moves information between tokens, and a **feed-forward layer**, which works on each token alone. The second is copied $n$ times: $n$ **experts**. A
# **router**, one linear layer, looks at token $z$ and descriptors $s$:
#
# $$\pi = \mathrm{softmax}\bigl(W\,[z \,\Vert\, s] + b\bigr), \qquad \mathrm{out} = \sum_{i \in K} g_i\,E_i(z),$$
#
# and only the $k$ experts with the largest $\pi_i$, the set $K$, compute. In [1] $n = 6$ and $k = 1$ did best. So a token pays for one expert and a model has six. Ten lines, one token at a time; the package sorts
# the tokens by expert instead and lets each expert work through its pile at once.

# %%
torch.manual_seed(SEED)
width = 16
layer = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
package = MixtureOfExperts(layer, width, Mixture(experts=6, chosen=1))
for parameter in package.parameters():
    nn.init.normal_(parameter, std=0.5)
z, s = torch.randn(2, 20, width), torch.randn(2, 3)


def mixture(z, s):
    out = torch.zeros_like(z)
    for image in range(len(z)):
        for token in range(z.shape[1]):
            pi = package.router(torch.cat([z[image, token], s[image]])).softmax(0)
            best = pi.argmax()
            out[image, token] = package.experts[best](z[image, token])  # the gate of one expert is 1
    return out


with torch.no_grad():
    assert torch.allclose(mixture(z, s), package(z, s)[0], atol=1e-5)
print("ten lines and the package agree")

# %% [markdown]
# The experts start as copies of one *trained* layer. So at the start nothing changes at all, whatever the router says:

# %%
from sartutor.learn.vit import Vit
from sartutor.presets import VIT_SIZES

block = copy.deepcopy(dense.model.encoder.blocks[-1].mlp)
upcycled = MixtureOfExperts(block, dense.model.encoder.size.width, Mixture())
tokens = torch.randn(4, 64, dense.model.encoder.size.width)
with torch.no_grad():
    assert torch.allclose(upcycled(tokens, torch.randn(4, 3))[0], block(tokens), atol=1e-5)
moe = load_generalist("generalist_moe")
for name, known in (("dense", dense), ("six experts", moe)):
    size = parameter_counts(known.model)
    numbers[f"parameters_{name}"] = list(size)
    print(f"{name:12} {size.total / 1e6:.2f} M parameters, {size.active / 1e6:.2f} M compute for a token")
with torch.device("meta"):
    published = Vit(VIT_SIZES["dinov2_s"])
    published.mix(Mixture())
size = parameter_counts(published)
print(
    f"{'ViT-S of [1]':12} {size.total / 1e6:.0f} M parameters, {size.active / 1e6:.0f} M compute for a token"
)

# %% [markdown]
# (The publication reports 90 M and 20 M for its ViT-S.) As many multiplications are not as much time: tokens have to be sorted and brought back, and six small products run less well than one large one. The clock says:

# %%
batch, descriptions = torch.randn(16, 256, dense.model.encoder.size.width), torch.randn(16, 3)
took = {}
with torch.no_grad():
    for name, layer in (
        ("one layer", lambda: block(batch)),
        ("experts", lambda: upcycled(batch, descriptions)),
    ):
        times = []
        for _ in range(6):  # the first one warms up
            began = time.perf_counter()
            layer()
            times.append(time.perf_counter() - began)
        took[name] = min(times[1:])
numbers["experts_over_layer"] = took["experts"] / took["one layer"]
print(
    f"one of six experts: {1000 * took['experts']:.1f} ms, one layer {1000 * took['one layer']:.1f} ms,"
    f" {numbers['experts_over_layer']:.1f} times as long for layers as narrow as these"
)

# %% [markdown]
# ## 5 · The gate that learns nothing
#
# How does the router learn? Not through the choice: choosing the largest has no gradient. It learns through the gate $g$, which multiplies what the expert says. The publication divides by the
# sum over the chosen: $g_i = \pi_i / \sum_K \pi$. **With $k = 1$ that is $\pi / \pi = 1$**, whatever $\pi$ is. A constant has no gradient, and the router never hears whether its choice was good.
# Two ways out: leave out the division (and scale by $n$, else a layer shrinks to a sixth at the start), or divide by the sum *held constant*: the value stays 1, the gradient stays alive.


# %%
def router_gradient(gate):
    test = copy.deepcopy(package)
    test.mixture = replace(package.mixture, gate=gate)
    test(z, s)[0].square().mean().backward()
    return float(test.router.weight.grad.norm())


pi = torch.tensor([[0.7]], requires_grad=True)
for gate in ("normalised", "unnormalised", "kept"):
    value = gates(pi, 6, gate)
    slope = torch.autograd.grad(value.sum(), pi, allow_unused=True)[0]
    numbers[f"router_gradient_{gate}"] = learns = router_gradient(gate)
    print(
        f"{gate:13} g(0.7) = {value.item():.2f}, dg/dpi = {float(slope):.2f}, router's gradient {learns:.4f}"
    )
assert numbers["router_gradient_normalised"] < 1e-6 < numbers["router_gradient_kept"]

# %% [markdown]
# ## 6 · All to one: the balance loss
#
# A router that learns has another bad habit. An expert that gets more tokens learns faster, becomes better, and gets still more. It can end with one expert that does everything, and five that are ballast. The **balance loss** [2] pushes back:
#
# $$L_\mathrm{BC} = \lambda\, n \sum_{i=1}^{n} f_i\, p_i,$$
#
# where $f_i$ is the share of tokens that went to expert $i$ (no gradient) and $p_i$ its mean probability. Even shares give $\lambda$; one expert with everything gives $\lambda n$.

# %%
even = torch.full((600, 6), 1 / 6)
turns = (torch.arange(600) % 6)[:, None]
everything = nn.functional.one_hot(torch.zeros(600, dtype=torch.long), 6).float()
cases = {"even": Routing(even, turns, turns < 0), "all to one": Routing(everything, turns * 0, turns < 0)}
for name, routing in cases.items():
    f = torch.bincount(routing.expert.flatten(), minlength=6) / 600
    by_hand = 6 * (f * routing.probability.mean(0)).sum()
    assert torch.isclose(by_hand, balance_loss(routing))
    print(f"{name:10}: n sum f p = {by_hand:.1f}")

# %% [markdown]
# Now live: experts are copied from the dense encoder, and trained for some steps on chips of many domains, with $\lambda = 0$ and with the published $\lambda = 0.005$. The picture shows the share of tokens that each
# expert gets, sorted, mean over the blocks; even would be six bands of the same height.

# %%
from sartutor.learn.loop import Watch

recipe = replace(
    GENERALIST_RECIPES["laptop"].continued,
    steps=lesson.steps,
    warmup=1,
    save_every=lesson.steps,
    learning_rate=1e-3,
)
many = experts.benchmark_chips(list(DOMAINS.values()), SEED, len(chips), dense, 4)
watched = {key: torch.stack([chips[i][key] for i in range(len(DOMAINS))]) for key in ("image", "descriptors")}
logs = {}
for name, weight in (("without balance loss", 0.0), ("with balance loss", 0.005)):
    encoder = copy.deepcopy(dense.model.encoder)
    torch.manual_seed(SEED)
    encoder.mix(Mixture(balance=weight))
    logs[name] = experts.UsageLog(watched)
    watch = Watch(max(1, lesson.steps // 12), logs[name].look)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "mixture.safetensors"
        continue_pretraining(encoder, many, recipe, 64, out, {"kind": "lesson"}, SEED, "cpu", watch)
    numbers[f"busiest {name}"] = float(logs[name].shares[-1].max(1).mean())
experts.draw_usage(logs)

# %% [markdown]
# Few steps show only the beginning. The records of section 8 hold the end of longer runs:

# %%
from sartutor.learn.runner import of_row

known = experts.known_gaps()
for name in ("moe", "balance"):
    busiest = [record["values"]["largest_share"] for record in of_row(known, name)]
    print(
        f"{name:8} the busiest of six has {np.mean(busiest):.0%} of the tokens, mean over {len(busiest)} seeds"
    )

# %% [markdown]
# Why must the load be even at all? On many devices each expert lies on another, and all wait for the fullest. So an expert gets a **capacity**: room for so many times an even share [2]. Choices beyond it are **dropped**: the layer adds nothing to those tokens. The embedded mixture was trained
# without a limit. With one, some of these chips' tokens would have been dropped, had they come as one batch in training (in use nothing is dropped, so that no image depends on its neighbours):

# %%
for capacity in (None, 2.0, 1.25, 1.0):
    dropped, right = experts.with_capacity(moe, chips, capacity)
    numbers[f"capacity {capacity}"] = {"dropped": dropped, "accuracy": right}
    print(
        f"capacity {capacity or 'none'!s:4}: {dropped:5.1%} of the choices dropped, {right:.1%} of the pixels right"
    )

# %% [markdown]
# ## 7 · Who computes what?
#
# The embedded `generalist_moe` was trained for longer, with descriptors and balance loss. Go through the chips and the blocks: do experts follow classes, brightness, or whole images? What a token is routed by is
# the token *and* the descriptors of its image, so both answers are possible.

# %%
experts.expert_explorer(moe, chips)

# %% [markdown]
# Count over all chips. Each row sums to 1. If all rows of the left table were alike, experts would not care for classes; if all rows of the right one were alike, they would not care for domains.

# %%
last = moe.model.encoder.size.depth - 1
by_class, by_domain = experts.expert_shares(moe, chips, last)
columns = [f"expert {i + 1}" for i in range(by_class.shape[1])]
pictures = plots.panels(2, 2)
experts.show_heat(pictures[0], by_class, chips.classes, columns, "share of the tokens of a class")
experts.show_heat(pictures[1], by_domain, list(DOMAINS), columns, "share of the tokens of a domain")
pictures[0].figure.set_size_inches(14, 5.5)
spread = {"classes": np.nanstd(by_class, 0).mean(), "domains": np.nanstd(by_domain, 0).mean()}
numbers["spread_of_shares"] = {name: float(value) for name, value in spread.items()}
print(", ".join(f"shares differ by {value:.2f} between {name}" for name, value in spread.items()))

# %% [markdown]
# ## 8 · Gap by gap: the recorded experiments
#
# One run of one seed decides nothing. `python -m sartutor.learn.experiments gaps` fills a table. Most rows are pretrained on 167 simulated domains, none of which is asked about, with labels of which 75.88 % are right, as in
# [1]; frozen; and asked across one gap of each kind. The others are named for what they are: `plain` has no pretraining (and learns on the source for no longer than the heads do: a weak rival), `masked` had no labels, `simmim_hh` and `mixmae_s1` come with the package, and rows with `weaker` and `true_labels` had other labels. All rows of a seed see the same chips, all mixtures start from the same weights. The cell reads the records and nothing else.

# %%
seeds = sorted({record["seed"] for record in known})
numbers["records"] = len(known)
print(f"{len(known)} records, seeds: {', '.join(map(str, seeds)) or 'none yet'}")
experts.draw_gap_scores(known)

# %% [markdown]
# Rows that are better in their own domain need not be better across a gap. The differences, seed by seed, with their 95 % intervals; *undecided* means that the design cannot tell, which is not "no effect", and a single seed decides nothing. Each interval stands alone: of so many questions, one would be decided wrongly even if nothing had an effect. And mind the learning rates: `all` and
# all that is derived from it learn at a third of the rate of `dense`, `moe`, `descriptors` and `balance`, because that did best in the search. *Own domain* in the picture above is the score on the chips by which the head was chosen, a little too good.

# %%
from IPython.display import Markdown

from sartutor.learn.gap_report import order_found
from sartutor.learn.gap_rows import QUESTIONS, SEEN_QUESTIONS, with_gains
from sartutor.learn.record_tables import answers

Markdown(answers(known, QUESTIONS))

# %% [markdown]
# For comparison, what the publication reports (mean mIoU over its single gaps, in percent): no experts 59.4, experts 61.1, with descriptors 61.6, with balance loss 62.2, with both 62.4; three experts instead of six 60.9, two chosen instead of one 61.7.
# Its single steps are between 0.2 and 1.7 points, 3 in all. Here:

# %%
Markdown(order_found(known))

# %% [markdown]
# What might stand in its way: a transformer of 0.5 million parameters instead of 20, minutes of training instead of 18 epochs of 200,000 images, simulated land, and learning rates that differ between some rows. The second, training, can be looked into here. Where one expert of six does no better than one layer, what does it lack? One suspect: six experts that take turns learn from a sixth of the tokens each, and the runs here are short. If that is
# it, three times as many steps help experts *more than* they help one layer, and six experts that *all* compute, so that each sees every token, do better than one that is chosen. The cell shows what has been run of that. (An undecided difference does not show that two rows are equal.)

# %%
Markdown(answers(with_gains([*known, *experts.known_tokens()]), SEEN_QUESTIONS))

# %% [markdown]
# More steps help experts, and they help one layer; which of the two they help more is not decided. The interval leaves room for no difference, and for one as large as what experts lack after fewer steps. After three times the steps it is no longer decided that experts are worse.
# The other trace is clearer: six that all compute are better than one that is chosen, and no difference was found between them and the one layer. What experts lose against one layer here, they lose where each sees a part of the tokens alone. Whether patience would give it back, longer runs on more seeds would have to say.
# (The rows from `all` learn at a third of the rate of `dense`; `moe` and `balance`, at that of `dense`, are no better.) Of larger networks, whose experts may have something to specialise in, this says nothing.
#
# All 22 questions, for one layer and for the mixture that did best on its own sources:

# %%
experts.draw_gap_scores(experts.known_whole(), tuple(GAPS))

# %% [markdown]
# **With your own data** a folder is a domain. Folders whose `dataset.yaml` name the same classes make a gap; this command trains a head on the first and asks it on the others:
#
# ```
# sartutor generalise HERE THERE --encoder generalist_moe --out cover.safetensors
# ```
#
# The encoder may be your own: `sartutor mixture HERE AND-HERE --out experts.safetensors` makes experts of `generalist_dense` (or of DINOv2's weights, `--encoder dinov2_vits14_pretrain.pth`) and trains them on labelled folders of several radars, as the publication does; then freeze it with `--encoder experts.safetensors`.
# `--head mask2former` takes the publication's head, `--tuning lora` lets low-rank updates of the encoder learn with it, and `sartutor map SCENE.tif --model cover.safetensors --out map.tif` maps a whole scene.
#
# ## Where it fails: when descriptors mislead
#
# The router believes its three numbers. What if they are wrong while the image is right? Three cases: those of **another domain**; those of an image that is **6 dB brighter** (a true error of calibration would shift the image as well; of the three, practically the ENL alone moves); and **none**, the mean of
# all images. Counted are the tokens that change their expert in the last block, and what that does to the map.

# %%
whole = {
    key: torch.stack([chips[i][key] for i in range(len(chips))]) for key in ("image", "descriptors", "label")
}
cases = {
    "right": whole["descriptors"],
    "of another domain": whole["descriptors"].roll(len(DOMAINS) // 2, 0),
    "of 6 dB more": torch.from_numpy(
        chips.scales.descriptors.apply([scene_descriptors(chips.decibels(i) + 6) for i in range(len(chips))])
    ).float(),
    "unknown (mean of all)": torch.zeros_like(whole["descriptors"]),
}
routed, scores = {}, {}
with torch.no_grad():
    for name, told in cases.items():
        logits, found = moe.model(whole["image"], told)
        routed[name] = found.routings[last].expert
        hit = logits.argmax(1) == whole["label"]
        scores[name] = float(hit.double().mean())
        moved = float((routed[name] != routed["right"]).double().mean())
        numbers[f"misled {name}"] = {"moved": moved, "accuracy": scores[name]}
        print(
            f"{name:24} {moved:6.1%} of the tokens change their expert, {scores[name]:.1%} of the pixels right"
        )

# %% [markdown]
# If many tokens move and the map hardly changes, experts are still much alike: they started as copies, and a short training does not drive them far apart. If few tokens move, the router listens to the token more than to the descriptors. Both are
# findings about *this* small model.
#
# A fourth: an image of one constant value (even *ground* has speckle) has an ENL without bound; the package stops at a million. Look at the second line of each, what the router is told: standard deviations of the images it was trained on. The entropy is hundreds of them away, because speckle
# holds it nearly constant in all other images, and a router that has never seen more than a few follows such a number whatever the tokens say. And one mast moves it by more than a hundred, though nothing about the radar has changed:

# %%
flat = np.full((3, side, side), -12.0)
mast = flat.copy()
mast[:, side // 2, side // 2] = 15.0
for name, image in (("even", flat), ("even, and one mast", mast)):
    values = scene_descriptors(image)
    numbers[f"descriptors {name}"] = values.tolist()
    print(f"{name:20}" + ", ".join(f"{key} {value:.4g}" for key, value in zip(NAMES, values, strict=True)))
    told = moe.scales.descriptors.apply(values[None])[0]
    print(f"{'':20}" + ", ".join(f"{key} {value:+.0f}" for key, value in zip(NAMES, told, strict=True)))
    assert np.isfinite(values).all()

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Six experts. Two of them share all tokens evenly and with certainty, the other four get nothing. What is $n \sum f_i p_i$?

# %%
two_of_six = ...

# %% tags=["solution"]
solution = 6 * (0.5 * 0.5 + 0.5 * 0.5)
half = nn.functional.one_hot(turns[:, 0] % 2, 6).float()
assert np.isclose(solution, float(balance_loss(Routing(half, turns % 2, turns < 0))))
check("Exercise 1", two_of_six, solution, hint="f and p are one half for two experts, and 0 for the others.")

# %% [markdown]
# **Exercise 2.** What is the largest directional entropy that 36 bins allow, in nat?

# %%
largest = ...

# %% tags=["solution"]
solution = np.log(36)
assert directional_entropy(np.random.default_rng(SEED).normal(size=(256, 256))) <= solution
check("Exercise 2", largest, solution, hint="All 36 directions alike: p = 1/36 each.", tolerance=0.001)

# %% [markdown]
# **Exercise 3.** `generalist_moe` has six experts of which one computes. How many parameters compute for a token if two are chosen? (`moe.model.encoder.blocks[0].mlp.experts[0]` is one expert; there is one such layer in each of the blocks.)

# %%
active_with_two = ...

# %% tags=["solution"]
one = sum(p.numel() for p in moe.model.encoder.blocks[0].mlp.experts[0].parameters())
solution = parameter_counts(moe.model).active + one * len(moe.model.encoder.blocks)
check(
    "Exercise 3",
    active_with_two,
    solution,
    hint="Take what is active with one, and add one more expert for each block.",
)

# %% [markdown]
# ## Summary
#
# A gap is what a mapper loses between its own domain and another, beside what makes the other harder for all; measure both. Three descriptors tell kinds of images apart, and can be misled by calibration and by single bright targets. A mixture of experts
# buys parameters for few more multiplications per token, though not for free; its router learns from the task only through a gate with a gradient, and a loss keeps experts busy. Whether any of it helps is a question for seeds and intervals.

# %%
data.write_numbers("10", PRESET, example.key, SEED, numbers)

# %% [markdown]
# **Next:** [11 · Interactive segmentation](11_interactive_segmentation.ipynb), where you draw the boxes.
#
# ## References
#
# 1. Z. Ye, Z. Gong, N. Liao et al.: *CrossEarth-SAR: a SAR-centric and billion-scale geospatial foundation model for domain generalizable semantic segmentation*, 2026; arXiv:2603.12008.
# 2. W. Fedus, B. Zoph, N. Shazeer: *Switch Transformers*, JMLR 23, 2022; arXiv:2101.03961 (balance loss, one expert per token).
# 3. A. Komatsuzaki et al.: *Sparse upcycling: training mixture-of-experts from dense checkpoints*, ICLR 2023; arXiv:2212.05055 (experts as copies of a trained layer).
# 4. Bonafilia et al., *Sen1Floods11: a georeferenced dataset to train and test deep learning flood algorithms for Sentinel-1*,
#    CVPR Workshops, 2020 (the sample; contains modified Copernicus Sentinel data).
