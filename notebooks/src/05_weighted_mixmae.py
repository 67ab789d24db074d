# %% [markdown]
# # Weighted MixMAE: two chips in one
#
# **What you will do.** Mix two radar images into one, let a network restore both, build every step of it yourself, and train
# a small one in about a minute.
#
# **What you will learn.** What *masked pretraining* is and why one would mix images for it; how attention is kept from looking
# across; how the loss is weighted by backscatter in two bands, and what the fine print of the loss does to these weights.
#
# **What you need.** About 35 minutes; [01](01_sar_basics.ipynb) explains decibels and speckle. `DATA = "sample"` uses a real
# Sentinel-1 image (1.5 MB); a path uses your own GeoTIFF, or folder with a `dataset.yaml`, with two radar bands. The method is
# MixMAE [1] in its radar form SAR-W-MixMAE [2].

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF or folder with two radar bands

# %% [markdown]
# We bring in the tools. `taught` is a small model that comes with the package. It was pretrained by this method on simulated land
# cover; how, and how well, its card in `sartutor/weights` tells.

# %%
import numpy as np
import torch

from sartutor.lab import data, masking, mixing, plots
from sartutor.lab.checks import check
from sartutor.learn.chips import SENTINEL1_DUAL
from sartutor.learn.masked_swin import CELL, fixed_positions, may_attend
from sartutor.learn.mixmae import MixMAE, mix, partner, patchify, targets, unmix
from sartutor.learn.pretrain import load_pretrained
from sartutor.learn.weighting import WeightRule, weighted_mean_shift_db
from sartutor.presets import EXPERIMENT_SIZES, MIXMAE_SIZES, PRETRAIN_RECIPES

numbers = {}
taught = load_pretrained("mixmae_s1")
sizes = EXPERIMENT_SIZES["smoke" if PRESET == "smoke" else "laptop"]
recipe = sizes.pretraining["mixmae"]  # of the network that we train ourselves
small, side = MIXMAE_SIZES[recipe.size].image_size, taught.size.image_size
count = 8 if PRESET == "smoke" else 32
chips = data.chips(DATA, PRESET, SEED, SENTINEL1_DUAL, small, sizes.chips, side, count, taught.statistics)
print(chips.credit)
print(f"{len(chips.train)} chips of {small} px to learn from, {len(chips.unseen)} of {side} px to judge by")

# %% [markdown]
# ## 1 · Two chips
#
# A **chip** is a small square cut from a radar image. Ours have two **bands**: VV (the wave is sent and received swinging vertically)
# and VH (received horizontally). Networks like numbers around zero, so each band is *standardised*: in decibels, less its mean,
# divided by its standard deviation over many chips. What we show is turned back into decibels.
#
# Nobody has labelled these chips. That is the point: labels are rare, images are not.

# %%
batch = mixing.paired(chips.unseen, taught, count)
image, valid = batch["image"], batch["valid"]
names = taught.statistics.names
decibels = taught.statistics.decibels(image)
pictures = plots.panels(4, columns=2)
for axes, (chip, band) in zip(pictures, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
    title = f"chip {'AB'[chip]}, {names[band]}"
    plots.show_image(axes, decibels[chip, band].numpy(), title, "dB", valid[chip, 0].numpy())
for band, name in enumerate(names):
    print(
        f"{name}: mean {taught.statistics.mean[band]:.1f} dB, standard deviation {taught.statistics.std[band]:.1f} dB"
    )

# %% [markdown]
# ## 2 · The idea
#
# **Masked pretraining** makes a task out of an image alone: hide a part, let a network paint it in, compare. To do it well the
# network has to learn what land looks like to a radar. Its first half, the **encoder**, which turns pixels into features, is kept for
# other tasks; the second half, the **decoder**, which turns features back into pixels, is thrown away.
#
# What stands in the holes? SimMIM ([04](04_weighted_simmim.ipynb)) puts a learned placeholder there, the **mask token**. It costs as much
# computing as a real one and tells nothing, and later, on whole images, the encoder never meets it again. **MixMAE** fills the holes of chip A
# with pieces of chip B, and the holes of B with pieces of A:
#
# $$x_1 = (1 - m) \odot A + m \odot B, \qquad x_2 = (1 - m) \odot B + m \odot A,$$
#
# with a mask $m$ of zeros and ones. Both mixtures are encoded, and A *and* B are to be restored. No place is empty, every piece of
# both chips is seen once by the encoder, and every piece is once hidden and asked for.
#
# ## 3 · The mask
#
# The chip is divided into **cells** of 32 x 32 pixels, and half of them, drawn by lot, are exchanged. All chips of a step share one
# mask; seed and step decide which. The six pictures: A in blue, B in orange; the mask; both mixtures; and the exchange made once more,
# which undoes it.


# %%
def draw_mask(cells, seed, step):
    order = np.random.default_rng((seed, step)).permutation(cells * cells)
    mask = torch.zeros(cells * cells, dtype=torch.bool)
    mask[torch.from_numpy(order[: cells * cells // 2])] = True
    return mask.view(cells, cells)


mask = draw_mask(side // CELL, taught.seed, SEED)
assert torch.equal(mask, taught.mask(batch, SEED))
mixing.show_mixing(plots.panels(6), decibels[:2, 0], mask)
print(f"{int(mask.sum())} of {mask.numel()} cells are exchanged")

# %% [markdown]
# ## 4 · Mix
#
# The encoder is a **Swin Transformer** [3]. It first turns every patch of 4 x 4 pixels into a **token**, a short list of numbers. Mixing
# exchanges tokens, not pixels; that is the same, since no token reaches beyond its own cell. Chips sit in pairs: 0 with 1, 2 with 3, and so on.


# %%
def swap(values):  # each pair of neighbours exchanged
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def stretched(mask, times):  # every cell as times x times tokens
    return mask.repeat_interleave(times, 0).repeat_interleave(times, 1)


def mixed(tokens, mask):
    return torch.where(stretched(mask, tokens.shape[1] // len(mask))[..., None], swap(tokens), tokens)


with torch.inference_mode():
    tokens = taught.encoder.embed(image)
    assert torch.equal(swap(tokens), partner(tokens))
    assert torch.equal(mixed(tokens, mask), mix(tokens, mask))
    assert torch.equal(mixed(mixed(tokens, mask), mask), tokens)
print(f"{len(image)} chips -> tokens {tuple(tokens.shape)}: chips, rows, columns, numbers in a token")

# %% [markdown]
# ## 5 · Who may attend to whom
#
# A transformer learns by **attention**: each token looks at others, gives each a weight, and takes the weighted mean of what they say.
# In Swin a token looks at those of its **window** only, a square of 8 x 8 tokens at most. In a mixture some of them belong to the other chip. If A's tokens
# could look at B's, the encoder would describe a collage that does not exist on earth. So a pair of tokens may attend only if
# both come from the same chip:
#
# $$\mathrm{allow}_{ij} = [\,m_i = m_j\,].$$
#
# That is a small matrix of truth values, the same for all chips of the step. The encoder has four stages, each with half the rows and columns of the
# one before. In the first a window lies within one cell, so nothing needs to be forbidden. Here is a window of the second.


# %%
def allowed(mask, map_side, window):
    owner = stretched(mask, map_side // len(mask))
    owner = owner.unflatten(0, (-1, window)).unflatten(2, (-1, window)).permute(0, 2, 1, 3)
    owner = owner.flatten(2).flatten(0, 1)  # (windows, tokens): whose each token is
    return owner[:, :, None] == owner[:, None, :]


assert may_attend(mask, side // 4, 8) is None
assert torch.equal(allowed(mask, side // 8, 8), may_attend(mask, side // 8, 8))
owners, pairs = mixing.most_mixed(mask, side // 8, 8)
mixing.show_attention(plots.panels(2), owners, pairs)
print(f"{pairs.float().mean():.0%} of the pairs in this window may attend")

# %% [markdown]
# *Forbidden* means: before the weights are made by the softmax (exponentials, divided by their sum), the score is set to minus infinity, and $e^{-\infty} = 0$. Six
# tokens, three of A and three of B, with scores from the dice:

# %%
owner = torch.tensor([0, 0, 1, 0, 1, 1])
scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(SEED))
scores[owner[:, None] != owner[None, :]] = float("-inf")
weights = scores.softmax(1)
print("token:   ", *(f"   {'AB'[o]}" for o in owner.tolist()))
for one, row in zip(owner.tolist(), weights.tolist(), strict=True):
    print(f"{'AB'[one]} looks: ", *(f"{value:4.2f}" for value in row))
assert torch.allclose(weights.sum(1), torch.ones(6))

# %% [markdown]
# ## 6 · Unmix
#
# The encoder returns one feature vector per cell. The decoder, a small plain transformer that looks at all cells at once, is given every mixture twice:
# once with the partner's cells replaced by the mask token, once with the own ones. So there are two **streams**: what A looks like judging by
# the half of A in mixture 1, and what B looks like judging by the half of B in the same mixture.


# %%
def streams(model, encoded, mask):
    decoder, theirs = model.decoder, mask[..., None]
    tokens = decoder.embed(encoded)
    empty = decoder.mask_token
    views = torch.cat([torch.where(theirs, empty, tokens), torch.where(theirs, tokens, empty)])
    views = views + fixed_positions(views.shape[1], views.shape[3], views.device)  # where each cell lies
    views = decoder.predict(decoder.norm(decoder.blocks(views.flatten(1, 2))))
    return views.unflatten(1, mask.shape).chunk(2)


with torch.inference_mode():
    encoded = taught.encoder(mixed(tokens, mask), mask)[-1]
    first, second = streams(taught, encoded, mask)
    assert torch.equal(first, taught.decoder(encoded, mask)[0])
print(
    f"features {tuple(encoded.shape)} -> two streams {tuple(first.shape)}: {CELL} x {CELL} px x {len(names)} bands a cell"
)

# %% [markdown]
# **Unmixing** collects, for each chip, the cells that had to be guessed. Where $m = 1$, A was absent from mixture 1, so its cells come from the first stream of
# mixture 1. Where $m = 0$, A was absent from mixture 2, and they come from the second stream of mixture 2, the partner's.
#
# Each row of the picture follows one chip: its mixture, what the first stream restores, what the partner's second stream restores, both
# together. White cells are those that the stream had seen; they are not asked for.

# %%
restored = torch.where(mask[..., None], first, swap(second))
assert torch.equal(restored, unmix(first, second, mask))
mixing.show_streams(plots.panels(8, columns=4), taught, batch, mask, band=0)

# %% [markdown]
# ## 7 · The whole of it
#
# Now everything in one function: embed, mix, encode, decode, unmix, compare. The loss is the weighted squared error over all pixels that hold
# data,
#
# $$L = \frac{1}{n}\sum_p w_p\,(\hat t_p - t_p)^2, \qquad t = \frac{x - \mu_{\mathrm{cell}}}{\sigma_{\mathrm{cell}}},$$
#
# where $w$ is the backscatter weight (section 9) and the target $t$ is the cell less its own mean, divided by its own standard deviation. Twelve lines, and
# the package gives the same number.


# %%
def loss_by_hand(model, image, valid, mask, swap=swap):
    theirs = mask[..., None]
    tokens = model.encoder.embed(image)
    mixture = torch.where(stretched(mask, 8)[..., None], swap(tokens), tokens)  # 8 tokens to a cell
    first, second = streams(model, model.encoder(mixture, mask)[-1], mask)
    restored = torch.where(theirs, first, swap(second))
    pixels, known = patchify(image), patchify(valid.expand_as(image))  # (chips, cells, cells, numbers)
    pixels = torch.where(known, pixels, torch.nan)
    mean = pixels.nanmean(-1, keepdim=True)
    variance = (pixels - mean).square().nansum(-1, keepdim=True) / (known.sum(-1, keepdim=True) - 1)
    target = (pixels - mean) / (variance + 1e-6).sqrt()
    weight = patchify(model.rule.weights(image, valid, model.statistics))
    return (weight * (restored - target).square())[known].mean()


with torch.inference_mode():
    ours, package = loss_by_hand(taught, image, valid, mask), taught.loss(batch, SEED)
assert torch.isclose(ours, package, rtol=1e-4)
print(f"loss by hand {ours:.6f}, by the package {package:.6f}")
numbers["loss_taught"] = float(package)

# %% [markdown]
# ## 8 · Does anything leak?
#
# A claim that can be tested: what the encoder says about A's tokens does not depend on B **at all**. We replace chip B by noise, encode again, and
# look at mixture 1 after the second stage. With the forbidden pairs in place, the tokens of A do not move, not in the last bit. Without them, the noise is seen
# in every window that the two chips share. The change is drawn on a logarithmic scale; white is exactly zero, and the orange lines border the cells of B.

# %%
noise = torch.randn(image[1].shape, generator=torch.Generator().manual_seed(SEED))
disturbed = image.clone()
disturbed[1] = 3 * noise
pictures, change = plots.panels(2), {}
with torch.inference_mode():
    for name, rule in (("with forbidden pairs", mask), ("without", None)):
        before, after = (
            taught.encoder(mixed(taught.encoder.embed(chip), mask), rule)[1] for chip in (image, disturbed)
        )
        change[name] = (after - before)[0].abs().mean(-1)
for axes, (name, each) in zip(pictures, change.items(), strict=True):
    mixing.show_change(axes, each, mask, name)
    at_a = each[~stretched(mask, len(each) // len(mask))]
    print(f"{name}: the largest change at a token of A is {at_a.max():.3g}")
    numbers[f"leak_{name}"] = float(at_a.max())
assert numbers["leak_with forbidden pairs"] == 0

# %% [markdown]
# **Which partner?** The released program reverses the batch: chip $i$ is mixed with chip $B - 1 - i$. Here neighbours are. The order of a shuffled batch
# means nothing, so it is the same method; laid out so that partners stand together, the losses agree:

# %%
half = len(image) // 2
order = [i for k in range(half) for i in (k, len(image) - 1 - k)]  # 0, B-1, 1, B-2, ...
with torch.inference_mode():
    released = loss_by_hand(taught, image, valid, mask, swap=lambda values: values.flip(0))
    neighbours = loss_by_hand(taught, image[order], valid[order], mask)
assert torch.isclose(released, neighbours, rtol=1e-4)
print(f"ends of the batch {released:.6f}, neighbours {neighbours:.6f}, order {order}")

# %% [markdown]
# Why change it then? With several processes, each holding a part of the batch, neighbours stay in one process; the ends of a batch do not (section 14).
#
# **An odd batch.** Reversed, the chip in the middle is its **own partner**, and both halves of its mixture are itself. Does it then see what it has to guess? We spoil the cells
# that it must guess from the first stream, and look whether the guess moves. With the forbidden pairs it does not, since the two halves may not look at each
# other even when they are of one chip; without them it would. So the middle chip does no harm, but it learns without a partner, and neighbours cannot
# be paired at all. The package refuses an odd batch:

# %%
from sartutor.errors import DataError


def guess_of_middle(three, rule):
    tokens = taught.encoder.embed(three)
    mixture = torch.where(stretched(mask, 8)[..., None], tokens.flip(0), tokens)
    return streams(taught, taught.encoder(mixture, rule)[-1], mask)[0][1][mask]


three = image[[0, 1, 0]]
spoilt = three.clone()
spoilt[1] = torch.where(stretched(mask, CELL), noise, three[1])
with torch.inference_mode():
    for name, rule in (("with forbidden pairs", mask), ("without", None)):
        moved = (guess_of_middle(spoilt, rule) - guess_of_middle(three, rule)).abs().max()
        numbers[f"own_partner_{name}"] = float(moved)
        print(f"its own partner, {name}: the guess moves by {moved:.3g}")
try:
    taught.loss({"image": three, "valid": valid[[0, 1, 0]]}, 0)
except DataError as error:
    print("Refused:", error)

# %% [markdown]
# ## 9 · Weights by backscatter
#
# Water, roads and shadow are dark. SAR-W-MixMAE lets dark pixels count more and bright ones less; its authors want to lessen the influence of speckle and of very bright
# values [2]. (In decibels speckle is equally strong at every level, as [01](01_sar_basics.ipynb) shows, so no weight by level can single it out.) With the linear power
# $p = 10^{\mathrm{dB}/10}$ of a chip,
#
# $$w = e^{\,s\,(1 - n)}, \qquad n = \frac{p - p_{\min}}{p_{\max} - p_{\min}},$$
#
# so that the brightest pixel has weight 1 and the darkest $e^s$; $s = 1$ in the paper. With two bands there are two readings. The journal version weighs
# each band by itself (`per_channel`); the conference version takes the mean power of both bands, one weight for both (`shared_avg`).


# %%
def weigh(power, valid, strength=1.0):
    low = torch.where(valid, power, torch.inf).amin((2, 3), keepdim=True)
    high = torch.where(valid, power, 0).amax((2, 3), keepdim=True)
    return torch.where(valid, torch.exp(strength * (1 - (power - low) / (high - low))), 0)


two, known = decibels[:2], valid[:2]
power = 10 ** (two / 10)
found = {"per_channel": weigh(power, known)}
found["shared_avg"] = weigh(power.mean(1, keepdim=True), known).expand_as(power)
for mode, ours in found.items():
    package = WeightRule(mode).weights(image[:2], known, taught.statistics)
    assert torch.allclose(ours, package, atol=1e-3)
limits = (min(float(w[known.expand_as(w)].quantile(0.02)) for w in found.values()), np.e)
pictures = plots.panels(6)
for band, name in enumerate(names):
    shown = known[0, 0].numpy()
    plots.show_image(pictures[3 * band], two[0, band].numpy(), f"chip A, {name}", "dB", shown)
    for axes, (mode, weight) in zip(pictures[3 * band + 1 :], found.items(), strict=False):
        plots.show_image(axes, weight[0, band].numpy(), f"{mode}, {name}", "weight", shown, limits)

# %% [markdown]
# How different are they? VV is several times stronger than VH, so the mean power is mostly VV's, and the shared weight says hardly anything about what is dark
# in VH. The correlation tells: −1 would mean that the weight follows the band's own decibels exactly.

# %%
seen = known.expand_as(power)
strong = power[:, 0][known[:, 0]].mean() / power.sum(1)[known[:, 0]].mean()
numbers["share_of_first_band_in_power"] = float(strong)
print(f"{names[0]} holds {strong:.0%} of the power of both bands")
print(f"{'':14}{'mean weight':>24}{'correlation with own dB':>30}")
print(f"{'':14}{names[0]:>14}{names[1]:>10}{names[0]:>20}{names[1]:>10}")
for mode, weight in found.items():
    means, links = [], []
    for band in range(2):
        w, x = weight[:, band][known[:, 0]], two[:, band][known[:, 0]]
        means.append(float(w.mean()))
        links.append(float(torch.corrcoef(torch.stack([w, x]))[0, 1]))
    numbers[mode] = {"mean": means, "correlation": links}
    print(f"{mode:14}{means[0]:14.2f}{means[1]:10.2f}{links[0]:20.2f}{links[1]:10.2f}")

# %% [markdown]
# A mean weight near $e = 2.72$ says that nearly all pixels weigh the same: one bright target, a mast or a house, has taken the other end of the scale for itself.
#
# Neither mode is right or wrong: the first asks for dark pixels of each band, the second for places that are dark in both. Move strength, domain and mode. Look for chips where
# one bright pixel has pressed all weights together near $e^s$ (the spread in the title falls): there the weighting is a constant and does nothing.

# %%
masking.weight_explorer(chips.unseen)

# %% [markdown]
# ## 10 · The fine print: each cell has its own scale
#
# The target of a cell is standardised by that cell. One decibel in a cell of standard deviation $\sigma$ therefore costs $w/\sigma^2$: calm cells count
# more than contrasted ones. Into each cell we write its $\sigma$ in dB (both bands together), and compare the two weightings by the ratio of the largest to the
# smallest value among the cells.

# %%
_, _, cell_std = targets(patchify(image), patchify(valid.expand_as(image)), normalise=True)
sigma = cell_std[..., 0] * float(np.mean(taught.statistics.std))
weight = patchify(WeightRule("per_channel").weights(image, valid, taught.statistics)).mean(-1)
full = patchify(valid.expand_as(image)).all(-1)
spans = {
    "backscatter weight of a cell": weight[full].max() / weight[full].min(),
    "1 / sigma^2 of a cell": (sigma[full].max() / sigma[full].min()).square(),
}
pictures = plots.panels(2)
for chip, axes in enumerate(pictures):
    mixing.show_cells(axes, decibels[chip, 0], sigma[chip], f"chip {'AB'[chip]}: sigma of each cell (dB)")
for name, span in spans.items():
    numbers[f"span_{name}"] = float(span)
    print(f"{name:30} largest / smallest = {span:.1f}")

# %% [markdown]
# The scale of the cells is the stronger weighting of the two wherever its ratio is the larger one. It is part of the method [2], and easily overlooked.
#
# **What happens to the level?** A network that cannot know a pixel predicts a mean, and under weights the *weighted* mean, which is darker since dark pixels count more. How
# much darker? Two cases: a network that had to guess one level for the whole chip, and one that is given the mean of each cell, as here. (Speckle alone makes a pixel
# dark or bright by chance; the weight follows it all the same.)


# %%
def shift_db(x, w, v):  # (..., pixels): weighted mean less plain mean
    return ((w * x).sum(-1) / w.sum(-1) - (v * x).sum(-1) / v.sum(-1)).nanmean()


everywhere = valid.expand_as(image).float()
print(f"{'dB':14}{'whole chip':>12}{'within cells':>14}")
for mode in ("none", "per_channel", "shared_avg"):
    w = WeightRule(mode).weights(image, valid, taught.statistics)
    whole = shift_db(*(each.flatten(2) for each in (decibels, w, everywhere)))
    cells = shift_db(*(mixing.cell_pixels(each) for each in (decibels, w, everywhere)))
    numbers[f"shift_db_{mode}"] = [float(whole), float(cells)]
    print(f"{mode:14}{whole:12.2f}{cells:14.2f}")
w = WeightRule().weights(image, valid, taught.statistics)
one = weighted_mean_shift_db(decibels[0, 0], w[0, 0])
assert np.isclose(one, shift_db(*(each[0, 0].flatten() for each in (decibels, w, everywhere))), atol=1e-3)

# %% [markdown]
# Compare the two columns. What they have in common comes from within cells: from speckle and small detail, which weights follow like everything else. What the
# first column has more comes from dark and bright *places*, and a network that is given the level of each cell is spared it. Section 12 measures the bias of trained models.
#
# ## 11 · Train it
#
# Ninety seconds at most. The network and its chips are small; we time a step and take fewer of them where the machine is slow. Beside the curve stand two levels, so
# that the loss means something:
#
# - **the mean of each cell**, what a network gets that predicts nothing at all; a fresh one starts near it;
# - **as good as taught**, the loss to expect after a long training: the same share of the mean's loss that the taught model has on its own, larger chips.
#
# Pictures come while it learns. Do not expect the grain to return: speckle is chance, and nobody can guess it.

# %%
from dataclasses import replace

from sartutor.learn.checkpoints import state_path
from sartutor.learn.loop import Watch
from sartutor.learn.pretrain import build_model, mean_loss, mean_predictor, pretrain

statistics = chips.train.statistics
fresh = build_model("mixmae", "swin", recipe.size, statistics, WeightRule(), SEED)
pieces = masking.cut(masking.batch_of(chips.unseen, len(image)), small)
seconds = mixing.step_seconds(fresh, masking.batch_of(chips.train, recipe.batch))
steps = min(recipe.steps, int(75 / seconds))
recipe = replace(recipe, steps=steps, warmup=steps // 10, save_every=steps)
nothing, taught_nothing = mean_predictor(fresh), mean_predictor(taught)
share_left = mean_loss(taught, [(0, batch)]) / mean_loss(taught_nothing, [(0, batch)])
levels = {"mean of each cell": mean_loss(nothing, [(0, pieces)])}
levels["as good as taught"] = share_left * levels["mean of each cell"]
print(f"a step of {recipe.batch} chips takes {1000 * seconds:.0f} ms here: {steps} steps")
print(*(f"{name}: loss {level:.3f}" for name, level in levels.items()), sep="\n")
print(f"a fresh network: loss {mean_loss(fresh, [(0, pieces)]):.3f}")
live = masking.LiveTraining(pieces, levels)
live.widget

# %% [markdown]
# The next cell trains; watch the picture above. You may stop it with the square button: the cells below go on with what there is.

# %%
out = data.runs_folder(PRESET, chips.key) / f"05-own-{SEED}.safetensors"
state_path(out).unlink(missing_ok=True)
watch = Watch(max(1, steps // 12), live.look)
try:
    run = pretrain(chips.train, "mixmae", out, recipe=recipe, seed=SEED, watch=watch)
    numbers["own"] = {"seconds": run.seconds, "steps": steps, "loss": live.losses[-1], **levels}
    print(f"{steps} steps in {run.seconds:.0f} s: loss {live.losses[-1]:.3f} on unseen chips")
except KeyboardInterrupt:
    print("stopped; what was learned so far is kept")
mine = load_pretrained(out)

# %% [markdown]
# ## 12 · How good is it?
#
# **The floor.** Speckle in decibels is equally strong at every level ([01](01_sar_basics.ipynb)); its standard deviation depends on the number of looks $L$ alone: $\sigma_{\mathrm{speckle}} = \frac{10}{\ln 10}\sqrt{\psi_1(L)}$ with the trigamma function $\psi_1$, 5.6 dB for one look. A
# network that knew everything *but* the speckle would still err by it, so no loss can fall much below
#
# $$L_{\min} = \overline{\sigma^2_{\mathrm{speckle}} / \sigma^2_{\mathrm{cell}}}$$
#
# if all pixels count alike. The looks are measured on the chips. Texture cannot be guessed either, so the true floor lies higher.

# %%
from sartutor.sar import speckle, speckle_law

rows = np.concatenate(list(10 ** (decibels[:, 0].double().numpy() / 10)), axis=1)
looks = speckle.estimate_looks(rows, np.concatenate(list(valid[:, 0].numpy()), axis=1))
grain = speckle_law.log_std_db(looks) / np.array(taught.statistics.std)
floor = float((np.mean(grain**2) / cell_std[..., 0][full].square()).mean())
models = {"trained here": (mine, pieces), "taught": (taught, batch)}
table = {name: mixing.unseen_scores(*model) for name, model in models.items()}
print(f"{looks:.1f} looks: speckle of {speckle_law.log_std_db(looks):.1f} dB")
print(f"{'loss on unseen chips':24}{'weighted':>10}{'all alike':>11}   (mean of each cell = 1)")
for name, scores in table.items():
    weighted, plain = (scores[f"{kind}loss"] / scores[f"{kind}mean_loss"] for kind in ("weighted_", ""))
    won = (1 - plain) / (1 - floor)
    numbers[f"gap_closed_{name}"] = won
    print(f"{name:24}{weighted:10.3f}{plain:11.3f}{won:12.1%} of the gap closed")
print(f"{'speckle floor, about':24}{'':10}{floor:11.3f}")
numbers |= {"looks": float(looks), "floor": floor, "scores": table}

# %% [markdown]
# The gap is what somebody could win who knew the land and not the speckle. Half of the cells do not tell where in the other half a road or a house stands, so only a small
# share of it can be won, and masked pretraining on radar images looks modest in losses. A few steps can even be worse than the mean. What counts is whether the *features*
# help; that is measured in [06](06_downstream.ipynb).
#
# Now play: choose pair, mask and model. The third picture of each row is the fair comparison. It shows the means of the cells, which
# the restored picture is **given**, since the network predicts each cell only up to its mean and standard deviation. Whatever looks right
# there already is not the network's doing.

# %%
mixing.mixing_explorer(models)

# %% [markdown]
# **Bias.** Restored less true decibels, for the dark, middle and bright third of the pixels (by their despeckled level). Any smooth guess is too bright on dark ground and
# too dark on bright ground; the mean of each cell shows how much of that is no one's fault.

# %%
table["mean of each cell"] = mixing.unseen_scores(mean_predictor(taught), batch)
print(f"{'bias in dB':20}{'dark':>8}{'middle':>8}{'bright':>8}")
for name, scores in table.items():
    print(
        f"{name:20}" + "".join(f"{scores[f'bias_db_{third}']:8.2f}" for third in ("dark", "middle", "bright"))
    )

# %% [markdown]
# ## 13 · SimMIM and MixMAE on equal terms
#
# Which one is better? Not a question for this notebook; what can be said here is what each sees and costs. Both encoders get the same chips and have the same widths and
# depths. Their windows (SimMIM's are smaller and shifted) and decoders differ. *Seen* and *asked for* are shares of the pixels of a chip in one step.

# %%
from sartutor.learn.masks import patch_mask
from sartutor.learn.simmim import MASK_PATCH, MASK_RATIO

hidden = float(patch_mask(small, MASK_PATCH, MASK_RATIO, [0], SEED, 0).float().mean())  # whole patches
some = masking.batch_of(chips.train, 8)
shares = {"simmim": (1 - hidden, hidden, hidden), "mixmae": (1.0, 1.0, 0.0)}
print(
    f"{'':8}{'seen':>7}{'asked for':>11}{'empty tokens':>14}{'encoder':>10}{'decoder':>10}{'ms a chip':>11}{'per asked':>11}"
)
numbers["cost"] = {}
for method, (seen_share, asked, empty) in shares.items():
    model = build_model(method, "swin", recipe.size, statistics, WeightRule(), SEED)
    million = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.encoder, model.decoder)]
    cost = 1000 * mixing.step_seconds(model, some, tries=5) / 8
    numbers["cost"][method] = {"ms_per_chip": cost, "ms_per_chip_asked": cost / asked}
    print(
        f"{method:8}{seen_share:7.0%}{asked:11.0%}{empty:14.0%}{million[0]:8.2f} M{million[1]:8.2f} M{cost:11.1f}{cost / asked:11.1f}"
    )

# %% [markdown]
# *Empty tokens* are places in the encoder that hold a placeholder. *Per asked* divides the time by the share of the chip that is asked for. The milliseconds are of this machine and this
# moment; on a GPU, with large batches, the ratio is another. Losses of the two methods cannot be compared: they are different errors of different targets.
# MixMAE's decoder has placeholders too, at half of its places, but its places are cells and not patches.
#
# ## 14 · At the paper's size
#
# Nothing changes but the preset. Parameters are counted without making the model; `batch` counts the chips of all processes together.

# %%
print(
    f"{'preset':8}{'chip px':>8}{'width':>7}{'depths':>15}{'windows':>13}{'million':>9}{'batch':>7}{'steps':>7}{'rate':>9}"
)
for name, row in PRETRAIN_RECIPES["mixmae-swin"].items():
    size = MIXMAE_SIZES[row.size]
    with torch.device("meta"):
        millions = sum(p.numel() for p in MixMAE(size, statistics, WeightRule()).parameters()) / 1e6
    print(
        f"{name:8}{size.image_size:8}{size.width:7}{'-'.join(map(str, size.depths)):>15}"
        f"{'-'.join(map(str, size.windows)):>13}{millions:9.1f}{row.batch:7}{row.steps:7}{row.learning_rate:9.1e}"
    )

# %% [markdown]
# On a machine with eight GPUs, and a folder of your own chips:
#
# ```bash
# torchrun --nproc-per-node 8 -m sartutor.cli pretrain FOLDER --method mixmae --preset paper --out mixmae.safetensors
# ```
#
# Several processes must compute what one would. Each takes its share of the batch; the mask comes from seed and step and is the same everywhere; and the mean is over
# the valid pixels of all. Two shares by hand, and the whole:

# %%
from sartutor.learn.loop import share

losses, counts = [], []
with torch.inference_mode():
    for process in range(2):
        part = {
            name: batch[name][list(share(len(image) // 4 * 4, process, 2))] for name in ("image", "valid")
        }
        losses.append(taught.loss(part, SEED))
        counts.append(part["valid"].sum())
    whole = taught.loss({name: batch[name][: len(image) // 4 * 4] for name in ("image", "valid")}, SEED)
together = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
assert torch.isclose(together, whole, rtol=1e-4)
print(f"processes {losses[0]:.6f} and {losses[1]:.6f}, together {together:.6f}; one process {whole:.6f}")

# %% [markdown]
# ## Where it fails
#
# **Where there is nothing but speckle.** In an even cell there is nothing to know, yet its target is blown up to standard deviation 1. Each dot is a
# cell in one band: its contrast, and the correlation of restored and true pixels within it. Even cells lie at the left, near zero. Zero is also what the mean
# of each cell would have everywhere.

# %%
pictures = plots.panels(2)
for axes, (name, model) in zip(pictures, models.items(), strict=True):
    contrast, link = mixing.cell_scores(*model, SEED)
    axes.plot(contrast, link, ".", color=plots.BLUE, alpha=0.5)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlabel="standard deviation of the cell (dB)",
        ylabel="correlation within the cell",
        title=name,
        ylim=(-0.5, 1),
    )
    calm = contrast <= np.median(contrast)
    numbers[f"correlation_{name}"] = [float(link[calm].mean()), float(link[~calm].mean())]
    print(
        f"{name}: mean correlation {link[calm].mean():.2f} in the calmer half of the cells, {link[~calm].mean():.2f} in the other"
    )

# %% [markdown]
# **One bright target.** We put a corner reflector, 30 dB above everything, into chip A. The weights of all other pixels run together near $e$ (their spread falls), and in its
# cell the scale is set by one pixel, so that all else there is pressed flat.

# %%
bright = {"image": image[:2].clone(), "valid": valid[:2]}
row, column = (CELL * (int(index) + 0.5) for index in mask.nonzero()[0])
bright["image"][0, :, int(row), int(column)] = image[:2].max() + 30 / min(taught.statistics.std)
with torch.inference_mode():
    guess = taught.statistics.decibels(taught.reconstruct(bright["image"], mask, valid[:2]))[0, 0]
spread = [
    taught.rule.weights(each[:1], valid[:1], taught.statistics).std() for each in (image, bright["image"])
]
numbers["spread_of_weights"] = [float(each) for each in spread]
limits = masking.stretch(decibels[0, 0])
pictures = plots.panels(2)
shown = (taught.statistics.decibels(bright["image"])[0, 0], guess)
for axes, values, title in zip(pictures, shown, ("with a bright target", "restored"), strict=True):
    plots.show_image(axes, values.numpy(), title, "dB", valid[0, 0].numpy(), limits)
    plots.draw_box(axes, (column - 16, row - 16, column + 16, row + 16), plots.ORANGE)
print(f"standard deviation of the weights: {spread[0]:.3f} before, {spread[1]:.4f} after")

# %% [markdown]
# **Blur.** Restored pictures are smooth: of all images that could be behind the mask they show the mean. Compare the grain within cells:

# %%
with torch.inference_mode():
    smooth = taught.statistics.decibels(taught.reconstruct(image, mask, valid))
for name, each in (("true", decibels), ("restored", smooth)):
    inside = mixing.cell_pixels(each).std(-1).mean()
    numbers[f"grain_db_{name}"] = float(inside)
    print(f"{name:9} standard deviation within a cell: {inside:.2f} dB")

# %% [markdown]
# - **Borders of cells.** Each cell is guessed by itself, with its own mean and scale; they do not always meet.
# - **Other places.** The taught model has seen simulated plains. `DATA = "sample"` shows it a real flood.
# - **A lower loss is no better map.** Whether weights and pretraining help a task is an experiment of its own (notebook 06).
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** Write the unmixing yourself: `a` and `b` are the two streams (chips, cells, cells, numbers), `m` the mask (cells, cells).

# %%
a, b = (torch.arange(16.0).view(4, 2, 2, 1) + shift for shift in (0, 100))
m = torch.tensor([[True, False], [False, True]])


def your_unmix(a, b, m):
    return ...


# %% tags=["solution"]
def solution_unmix(a, b, m):
    return torch.where(m[..., None], a, swap(b))


assert torch.equal(solution_unmix(a, b, m), unmix(a, b, m))
check(
    "Exercise 1",
    your_unmix(a, b, m),
    solution_unmix(a, b, m).numpy(),
    hint="Masked cells from the own first stream, the others from the partner's second: torch.where and swap.",
)

# %% [markdown]
# **Exercise 2.** A window of $N$ tokens has a share $r$ of the partner's. Which share of all $N^2$ pairs may attend? Give it for $r = 0.75$.

# %%
share_of_pairs = ...

# %% tags=["solution"]
solution = 0.75**2 + 0.25**2
theirs = torch.arange(64) < 48
assert solution == (theirs[:, None] == theirs[None, :]).float().mean()
check(
    "Exercise 2", share_of_pairs, solution, hint="Both of A, or both of B: r^2 + (1 - r)^2.", tolerance=1e-3
)

# %% [markdown]
# **Exercise 3.** Eight chips on two processes: 0 to 3 on the first, 4 to 7 on the second. With the reversed batch of the released
# program, how many chips have their partner in their own process? And with neighbours? Answer with two numbers in a list.

# %%
at_home = ...

# %% tags=["solution"]
numbered = torch.arange(8)
home = [int((numbered // 4 == other // 4).sum()) for other in (numbered.flip(0), partner(numbered))]
assert home == [0, 8]
check(
    "Exercise 3",
    at_home,
    np.array(home),
    hint="Reversed: 0 with 7, 1 with 6, ... Neighbours: 0 with 1, 2 with 3, ...",
)

# %% [markdown]
# ## Summary
#
# Mixing fills the holes of one chip with another, so that nothing the encoder sees is empty; forbidden pairs keep the two apart exactly; unmixing asks for
# every cell once. Two bands can be weighted each or together, and the scale of each cell weighs as well. A loss means something between the
# mean of each cell and the speckle floor.

# %%
data.write_numbers("05", PRESET, chips.key, SEED, numbers)

# %% [markdown]
# **Next:** [06 · Downstream](06_downstream.ipynb) asks what such encoders are worth for maps of land cover and of floods.
# [04 · Weighted SimMIM](04_weighted_simmim.ipynb) hides patches of one band instead.
#
# ## References
#
# 1. J. Liu, X. Huang, J. Zheng, Y. Liu, H. Li: *MixMAE: mixed and masked autoencoder for efficient pretraining of hierarchical vision
#    transformers*, CVPR 2023; arXiv:2205.13137.
# 2. A. Caglayan, N. Imamoglu, T. Kouyama: *SAR-W-MixMAE: SAR foundation model training using backscatter power weighting*, IGARSS 2025,
#    pp. 265-269; arXiv:2503.01181 (`shared_avg`). Journal version: IEEE JSTARS, 2026; doi:10.1109/JSTARS.2026.3652404 (`per_channel`).
# 3. Z. Liu et al.: *Swin Transformer: hierarchical vision transformer using shifted windows*, ICCV 2021; arXiv:2103.14030.
# 4. K. He et al.: *Masked autoencoders are scalable vision learners*, CVPR 2022; arXiv:2111.06377 (standardised targets).
