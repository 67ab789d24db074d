# %% [markdown]
# # Masked pretraining, weighted by backscatter
#
# A network can learn from images that nobody has labelled: hide a part of each, and let it paint that part in.
#
# **What you will do.** Weigh pixels by how dark they are, break that weighting with one bright target, build SimMIM from a few lines, train
# it in about a minute, and move sliders while a network paints in what you hide.
#
# **What you will learn.** What masked pretraining is, what *SAR-W-SimMIM* [1] adds to it, what the weights really do to a radar image (and
# what they do not), and what a network that was asked to guess speckle answers.
#
# **What you need.** About 40 minutes. [01](01_sar_basics.ipynb) explains power, decibels, looks and speckle. You know Python; that is
# enough. `DATA = "synthetic"` simulates the satellite of the paper, ALOS-2; `DATA = "sample"` uses real images of
# Sentinel-1 and ALOS-2 (5 MB); a path uses your own GeoTIFF or folder. `PRESET` says how large things are; `laptop` is the normal size.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF, or of a folder with a dataset.yaml

# %% [markdown]
# We bring in the tools. `sartutor.learn` holds networks and training, `sartutor.lab.masking` the pictures of this notebook.

# %%
import numpy as np
import torch
from torch.nn import functional

from sartutor.lab import data, masking, plots
from sartutor.lab.checks import check
from sartutor.learn.chips import ALOS2_HH
from sartutor.learn.masks import patch_mask, upsample_mask
from sartutor.learn.pretrain import load_pretrained
from sartutor.learn.weighting import BandStatistics, WeightRule, backscatter_weights, weighted_mean_shift_db
from sartutor.presets import EXPERIMENT_SIZES, SWIN_SIZES, preset
from sartutor.sim.landcover import Domain

numbers = {}
sizes = EXPERIMENT_SIZES["smoke" if PRESET == "smoke" else "laptop"]
small = SWIN_SIZES[sizes.pretraining["simmim"].size].image_size  # px, the chips that we train on
embedded = load_pretrained("simmim_hh")
wide = embedded.size.image_size  # px, the chips of the network that comes with the package

# %% [markdown]
# ## 1 · Learning without labels
#
# Radar images are plenty, labels are few: a person must look at each image, and radar images are hard to read. So one trains in two
# steps. **Pretraining** uses many images *without* labels and leaves an **encoder**, the part of a network that turns an image into
# features. **Fine-tuning** then needs few labels, because the encoder already knows what such images look like. Pretraining without
# labels is **self-supervision**: the task is made from the image itself. Encoders that were pretrained on photographs exist, but photographs
# have no speckle, no decibels and no double bounce.
#
# Networks take images in small pieces, called **chips** here. Each band is **standardised**: in decibels, less the mean of the training
# chips, divided by their standard deviation. So 0 is an average pixel, and −1 is one standard deviation darker.

# %%
count = 8 if PRESET == "smoke" else 32
chips = data.chips(DATA, PRESET, SEED, ALOS2_HH, small, sizes.chips, wide, count, embedded.statistics)
statistics = chips.unseen.statistics
unseen = masking.batch_of(chips.unseen)
image, valid = unseen["image"], unseen["valid"]
print(chips.credit)
print(f"{len(chips.train)} chips of {small} px to learn from, {len(image)} of {wide} px to judge by")
print(
    f"band {statistics.names[0]}: {statistics.mean[0]:.1f} dB on average, standard deviation {statistics.std[0]:.1f} dB"
)
db = statistics.decibels(image)[:, 0].numpy()
for axes, each, mask in zip(plots.panels(3), db, valid[:, 0].numpy(), strict=False):
    plots.show_image(axes, each, f"a chip, {statistics.names[0]}", "dB", mask)

# %% [markdown]
# The synthetic chips show towns, fields and rivers as ALOS-2 sees them at L-band (24 cm waves), with two looks. HH says: sent and
# received with the wave swinging horizontally. In the sample it is C-band (5.6 cm) and VV, a plain in Spain.
#
# ## 2 · Hide and paint in
#
# **Masked pretraining** cuts a chip into square **patches**, hides some of them at random, and asks a network for the hidden pixels. To
# guess them it must learn what belongs together: that a field goes on, that a road stays straight. **SimMIM** [2] hides 60 % of the
# patches, so that copying the nearest pixel is not enough. The paper on ALOS-2 [1] hides patches of 16 x 16 pixels in chips of 256.
#
# A mask is a shuffled list. Ours is the package's, because both draw from the same random generator. The second function enlarges the
# mask to pixels.


# %%
def hide(side, patch, ratio, key):
    cells = (side // patch) ** 2
    mask = np.zeros(cells, bool)
    mask[np.random.default_rng(key).permutation(cells)[: int(np.ceil(ratio * cells))]] = True
    return mask.reshape(side // patch, side // patch)


def to_pixels(mask, patch):
    return mask.repeat(patch, 0).repeat(patch, 1)


places = range(len(image))
mask = patch_mask(wide, 16, 0.6, places, SEED, step=0)
assert np.array_equal(hide(wide, 16, 0.6, (SEED, 0, 0)), mask[0].numpy())
hidden = upsample_mask(mask, 16)
assert np.array_equal(to_pixels(mask[0].numpy(), 16), hidden[0].numpy())
print(f"{int(mask[0].sum())} of {mask[0].numel()} patches are hidden")
pictures = plots.panels(2)
plots.show_image(pictures[0], db[0], "a chip")
plots.show_image(pictures[1], np.where(hidden[0], np.nan, db[0]), "what the network sees")
pictures[1].set_facecolor(masking.HIDDEN)

# %% [markdown]
# What could a *person without a network* answer? Two answers serve as **baselines**, what any network must beat. *Predict the mean*: 0
# everywhere, in standardised numbers. *Neighbours*: a blur of the visible pixels around. (We average decibels here, against the rule of 01, because
# decibels are what is to be guessed.) The error is the mean absolute difference in decibels over hidden pixels that hold data.

# %%
counted = hidden[:, None] & valid


def error_db(guess):
    return float((guess - image).abs()[counted].mean()) * statistics.std[0]


guesses = {
    "predict the mean": torch.zeros_like(image),
    "neighbours": masking.from_neighbours(image, hidden & valid[:, 0]),
}
for name, guess in guesses.items():
    print(f"{name:18}{error_db(guess):6.2f} dB")

# %% [markdown]
# ## 3 · The weights
#
# A plain loss counts all pixels alike. *SAR-W-SimMIM* [1] and its sister *SAR-W-MixMAE* [3] count dark pixels more: water, roads, bare ground,
# shadow. A pixel of power $p$ (power, not decibels) is scaled to $n$ between the darkest and the brightest pixel of its chip, and gets the
# weight
#
# $$w = e^{\,s\,(1-n)}, \qquad n = \frac{p - p_{\min}}{p_{\max} - p_{\min}},$$
#
# with the **strength** $s = 1$ in [3] (the part of the code of [1] that weighs is not public; we take the formula of [3] for both): $w = 1$ at the brightest pixel, $e \approx 2.7$ at the darkest. Pixels without data count in no
# minimum and weigh nothing. The whole thing, and the package's:


# %%
def my_weights(power, valid, strength=1.0):
    low, high = power[valid].min(), power[valid].max()
    scaled = (power - low) / (high - low)
    return torch.where(valid, torch.exp(strength * (1 - scaled)), 0.0)


power = 10 ** (statistics.decibels(image) / 10)
weights = torch.stack([my_weights(p, v) for p, v in zip(power, valid, strict=True)])
assert torch.allclose(weights, backscatter_weights(power, valid), atol=1e-4)
assert torch.allclose(weights, WeightRule().weights(image, valid, statistics), atol=1e-3)
print(
    f"weights from {weights[valid].min():.2f} to {weights[valid].max():.2f}, on average {weights[valid].mean():.2f}"
)

# %% [markdown]
# Three things were left open by the papers and their code, and you can try them all:
#
# - **domain**: which numbers are scaled. *physical*: power, as the text says. *zscore*: the code released with [3] computes
#   $10^{z/10}$ from *standardised* decibels $z$, which is the power to the exponent $1/\sigma$, and so much less spread out. *clipped*: power, but
#   everything above its 99th percentile counts as that.
# - **channel mode**, for images of two bands: *per_channel* scales each for itself, *shared_avg* scales their mean power, so that both bands share
#   one weight.
# - **strength** $s$: with 0 all weights are 1.
#
# Move the sliders. Watch the middle picture and its standard deviation: if that is near 0, all pixels weigh the same, and the weighting does
# nothing. The right picture shows weight over decibels (blue) above a histogram of the pixels (orange).

# %%
two_bands = Domain("plains", "HH+HV", None, "alos2", "L")
pairs = data.chips(DATA, PRESET, SEED, two_bands, small, 4, wide, 8)
masking.weight_explorer(pairs.unseen)

# %% [markdown]
# ## 4 · One bright target, and the weights collapse
#
# In *physical* the middle picture is often flat. Here is why. The brightest pixel sets $p_{\max}$. A house wall, a ship or a mast
# sends back a thousand times more than a field, so all fields have $n \approx 0$, and $w \approx e$: a constant. To see this without anything
# else, take an even field at −12 dB with the speckle of Sentinel-1 (4.4 looks), and put *one* pixel of +10 dB into it. Mean and
# standard deviation of the weights, each as mean ± standard deviation over seeds:

# %%
even = BandStatistics(("VV",), (-12.5,), (2.96,), (True,))  # 2.96 dB: the VV of the released loaders [3]
whole = torch.ones(1, 1, 128, 128, dtype=torch.bool)


def field(seed, looks, target_db=None):
    speckle = np.random.default_rng((SEED, seed)).gamma(looks, 1 / looks, (128, 128))
    values = -12 + 10 * np.log10(speckle)
    if target_db is not None:
        values[64, 64] = target_db
    return torch.from_numpy(values).float()[None, None]


print(f"{'domain':10}{'target':>8}{'mean of w':>18}{'std of w':>18}")
for domain in ("physical", "zscore", "clipped"):
    for target in (None, 10.0):
        fields = [even.standardise(field(seed, 4.4, target), whole) for seed in range(8)]
        found = [WeightRule(domain=domain).weights(each, whole, even) for each in fields]
        rows = np.array([(float(w.mean()), float(w.std())) for w in found])
        numbers[f"weights_{domain}_{target}"] = {
            "mean": float(rows[:, 0].mean()),
            "std": float(rows[:, 1].mean()),
        }
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(rows.mean(0), rows.std(0), strict=True)]
        print(f"{domain:10}{target or 'none':>8}{cells[0]:>18}{cells[1]:>18}")

# %% [markdown]
# One pixel of 16 384, and in *physical* the standard deviation falls by an order of magnitude: the weights say nothing any more. The z-score
# softens it, the clip is immune. Without a target *physical* moves with the seed, because the brightest speckle is never the same.
#
# A weight that is the same everywhere is only a larger loss, and the optimiser used here and in the papers, **AdamW**, divides each step by the
# size of the gradient: it hardly notices. So before asking whether weighting helps, ask whether there *is* any. Below: all chips, one dot each. To the right, chips
# with a bright target; low, chips whose weights have collapsed.

# %%
axes = plots.panels(1)[0]
above = np.array([v[m].max() - np.median(v[m]) for v, m in zip(db, valid[:, 0].numpy(), strict=True)])
for domain, color in (("physical", plots.BLUE), ("zscore", plots.ORANGE), ("clipped", plots.GREEN)):
    found = WeightRule(domain=domain).weights(image, valid, statistics)
    spread = np.array([float(w[m].std()) for w, m in zip(found, valid, strict=True)])
    numbers[f"chip_std_{domain}"] = float(np.median(spread))
    axes.plot(above, spread, ".", color=color, label=domain)
    print(f"{domain:10} median standard deviation of the weights of a chip: {np.median(spread):.3f}")
axes.set(
    xlabel="brightest pixel above the median (dB)",
    ylabel="standard deviation of w",
    title="real chips" if DATA != "synthetic" else "simulated chips",
)
plots.legend(axes)

# %% [markdown]
# Seen on one image. With `DATA = "sample"` it is the island of Lehua, Hawaii, in the sea, by ALOS-2; otherwise the chip with the brightest
# target. In the middle the weights of *physical*, to the right those of *clipped*.

# %%
from rasterio.windows import Window

from sartutor.sar import alos2, geotiff

linear, known = power[above.argmax()][None], valid[above.argmax()][None]
if DATA == "sample":
    tile = data.mosaic_tile(DATA, PRESET, SEED)
    print(tile.credit)
    (mask_file,) = tile.folder.glob("*_mask_*.tif")
    rows, cols = np.nonzero(geotiff.read_scene(mask_file, units="class").pixels[0] == 255)  # land
    window = Window(cols.min(), rows.min() - 48, np.ptp(cols), np.ptp(rows) + 48)
    island = alos2.open_mosaic(tile.folder).read(window)
    linear, known = (
        torch.from_numpy(island.band("HH"))[None, None],
        torch.from_numpy(island.valid)[None, None],
    )
bright = 10 * np.log10(np.maximum(linear[0, 0].numpy(), 1e-4))
pictures = plots.panels(3)
plots.show_image(pictures[0], bright, "a bright target", "dB", known[0, 0].numpy())
for axes, clip, title in ((pictures[1], None, "physical"), (pictures[2], 99.0, "clipped")):
    w = backscatter_weights(linear, known, clip_percentile=clip)[0, 0].numpy()
    plots.show_image(axes, w, f"{title}: std {w.std():.3f}", "weight", limits=(1, np.e))

# %% [markdown]
# ## 5 · A side effect: the answer shifts into the dark
#
# Where weights do vary on even ground, they follow the *speckle*, since they come from the noisy pixel itself. A pixel that is dark by chance counts
# more than its neighbour that is bright by chance. Ask for the one number that fits an even field best: with equal weights and squared
# errors it is the mean of the decibels, with weights
#
# $$\hat x = \frac{\mathbb{E}[w\,x]}{\mathbb{E}[w]} = \mathbb{E}[x] + \frac{\operatorname{cov}(w, x)}{\mathbb{E}[w]},$$
#
# and the covariance is negative. With *absolute* errors, as in [1], it is the **weighted median**: half of the weight lies below it. Neither has to do
# with water or roads. Below, both shifts in dB against the number of looks: the fewer looks, the larger. The dashed line takes the weights from power
# that was averaged over 7 x 7 pixels first: only a small part of the shift is left, so on *even* ground speckle is its cause.


# %%
def weighted_median(values, weights):
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return values[order][np.searchsorted(reached, reached[-1] / 2)]


def shifts(looks, rule, seed):
    values = field(seed, looks)
    w = rule.weights(even.standardise(values, whole), whole, even)
    x, flat = values.numpy().ravel(), w.numpy().ravel()
    by_hand = (flat * x).sum() / flat.sum() - x.mean()
    assert np.isclose(by_hand, weighted_mean_shift_db(values, w), atol=1e-3)
    return by_hand, weighted_median(x, flat) - np.median(x)


shift = shifts(4.4, WeightRule(), seed=0)
print(f"physical, 4.4 looks: {shift[0]:+.2f} dB for squared errors, {shift[1]:+.2f} dB for absolute errors")

# %% [markdown]
# Now for all domains, each the mean over five fields. The lower a curve, the darker the best answer.

# %%
rules = {name: WeightRule(domain=name) for name in ("physical", "zscore", "clipped")}
rules["averaged first"] = WeightRule(control="despeckled")
looks_tried = (1, 2, 4.4, 8, 16)
found = {
    name: np.array([[shifts(looks, each, seed) for seed in range(5)] for looks in looks_tried]).mean(1)
    for name, each in rules.items()
}
for name, values in found.items():
    numbers[f"shift_db_{name}"] = {
        str(looks): list(row) for looks, row in zip(looks_tried, values.tolist(), strict=True)
    }
masking.show_shifts(plots.panels(2), looks_tried, found)

# %% [markdown]
# Sections 4 and 5 are two sides of one coin: a bright target in the chip makes the weights constant, and the shift goes as well. Without one they follow
# speckle. Only *between* fields of different brightness do they do what they are meant to do.
#
# ## 6 · SimMIM in ten lines
#
# Now the network. Its encoder is a **Swin Transformer** [5]. It cuts the chip into squares of 4 x 4 pixels and turns each into a list of
# numbers, a **token**. Tokens then exchange information by **attention**: the chip is tiled with windows, and each token looks at the others in its own and takes what resembles
# what it asks for; every second time the windows are shifted by half, so that news travels on. Four stages follow, and after each but the last, 2 x 2 tokens become one. In the end a token stands for 32 x 32 pixels.
#
# SimMIM changes two things. Where pixels are hidden, one learned list of numbers, the **mask token**, stands in place of the token. And one linear layer,
# the **decoder**, turns each last token into its 32 x 32 pixels; the *pixel shuffle* lays them out in the plane. All of it, from chip to painted
# chip:


# %%
def restore(model, image, mask):
    tokens = model.encoder.embed(image)  # 4 x 4 pixels -> one token
    k = model.mask_patch // model.size.patch
    cells = mask.repeat_interleave(k, 1).repeat_interleave(k, 2)
    tokens = torch.where(cells[..., None], model.mask_token, tokens)  # hide
    tokens = tokens + model.encoder.pos_embed  # say where each token is
    for stage in model.encoder.layers:
        tokens = stage(tokens)  # 2 x 2 tokens -> 1 (not in the first), then attention in windows
    pixels = model.decoder.linear(model.encoder.norm(tokens))  # (B, S / 32, S / 32, bands * 32 * 32)
    return functional.pixel_shuffle(pixels.permute(0, 3, 1, 2), 32)


with torch.no_grad():
    assert torch.allclose(
        restore(embedded, image[:2], mask[:2]), embedded.reconstruct(image[:2], mask[:2]), atol=1e-5
    )
print(
    f"the embedded network has {sum(p.numel() for p in embedded.parameters()) / 1e6:.2f} million numbers to learn"
)

# %% [markdown]
# The loss is the weighted absolute error over hidden pixels (that of SimMIM, with $W$ put in as we infer it for [1]),
#
# $$L = \frac{\sum W\,|x - \hat x|\, M}{C \sum M},$$
#
# with the weights $W$, the mask $M$ (1 where a pixel is hidden and holds data) and the number of bands $C$. Nothing visible counts: the network is
# not rewarded for copying. The **gradient**, the direction in which training changes the answer, is exactly zero there.

# %%
from sartutor.learn.simmim import masked_error


def my_loss(restored, image, weight, counted):
    return (weight * (restored - image).abs() * counted).sum() / (image.shape[1] * counted.sum() + 1e-5)


restored = torch.randn_like(image, requires_grad=True)
loss = my_loss(restored, image, weights, counted)
assert torch.isclose(loss, masked_error(restored, image, weights, counted), rtol=1e-4)
loss.backward()
assert (restored.grad[~counted] == 0).all()
print(
    f"gradient at visible pixels: {restored.grad[~counted].abs().max():g}, at hidden ones up to {restored.grad.abs().max():.1e}"
)

# %% [markdown]
# ## 7 · Which loss to expect
#
# A falling curve alone says little. Three numbers tell where it can fall from and to.
#
# - *Predict the mean* is where it starts.
# - *Neighbours* is what a blur reaches.
# - *Speckle alone*: even somebody who knew the true brightness of every pixel could not guess its speckle. On even ground of $L$ looks [4] the
#   mean absolute deviation of the decibels from their median is left over. It is a bound for even ground; real ground only adds to it.

# %%
from sartutor.sar import speckle

looks = speckle.estimate_looks((10 ** (db / 10)).reshape(-1, wide), valid.numpy().reshape(-1, wide))
grain = 10 * np.log10(np.random.default_rng(SEED).gamma(looks, 1 / looks, 100_000))
speckle_db = float(np.abs(grain - np.median(grain)).mean())
print(f"about {looks:.1f} looks: {speckle_db:.2f} dB of error cannot be avoided, even on even ground")

watched = masking.cut(unseen, small)
rule = WeightRule()  # per channel, physical, strength 1: as the text of [3] says
w = rule.weights(watched["image"], watched["valid"], statistics)
w_mean = float(w[watched["valid"]].mean())
numbers["speckle_db"], numbers["mean_weight"] = speckle_db, w_mean
print(
    f"the mean weight is {w_mean:.2f}, so the weighted loss of speckle alone is about {w_mean * speckle_db / statistics.std[0]:.2f}"
)

# %% [markdown]
# ## 8 · Train it yourself
#
# A small network, some hundred steps, about a minute at most. In each step it sees a **batch** of 16 chips, flipped at random, and is asked for what was
# hidden. The picture is drawn anew as it goes: the loss on chips it does not learn from, what it sees of one of them, what it makes of that.

# %%
from sartutor.learn.loop import Watch
from sartutor.learn.pretrain import build_model, mean_loss, mean_predictor, pretrain

fresh = build_model("simmim", "swin", sizes.pretraining["simmim"].size, statistics, rule, SEED)
where = upsample_mask(fresh.mask(watched, 0), fresh.mask_patch)
near = masking.from_neighbours(watched["image"], where & watched["valid"][:, 0])
references = {
    "predict the mean": mean_loss(mean_predictor(fresh), [(0, watched)]),
    "neighbours": float(masked_error(near, watched["image"], w, where[:, None] & watched["valid"])),
    "speckle alone, about": w_mean * speckle_db / statistics.std[0],
}
live = masking.LiveTraining(watched, references)
live.widget

# %% [markdown]
# The next cell trains. The whole run is one call; `Watch` looks at the network now and then.

# %%
folder = data.runs_folder(PRESET, chips.key)
out = folder / f"04-own-{SEED}.safetensors"
recipe = sizes.pretraining["simmim"]
run = pretrain(
    chips.train,
    "simmim",
    out,
    backbone="swin",
    recipe=recipe,
    rule=rule,
    seed=SEED,
    watch=Watch(max(4, recipe.steps // 12), live.look),
)
own = load_pretrained(out)
numbers["own"] = {"seconds": run.seconds, "loss": live.losses[-1], **references}
print(f"{recipe.steps} steps in {run.seconds:.0f} s: loss {live.losses[-1]:.3f} on unseen chips")
for name, level in references.items():
    print(f"{name:22}{level:.3f}")

# %% [markdown]
# The curve falls slowly, and it must: most of what is asked for is speckle.
#
# ## 9 · The embedded encoder
#
# The package brings an encoder that went on for much longer, on thousands of simulated chips of 128 x 128 pixels. Its card,
# `sartutor/weights/simmim_hh.md`, says how it was made. Here are all answers to the same hidden pixels. (Your network takes smaller
# chips; it paints each in four pieces.)

# %%
guesses["your network"] = masking.paint(own, image, hidden)
guesses["embedded encoder"] = masking.paint(embedded, image, hidden)
print(f"{'':20}{'error (dB)':>12}{'weighted loss':>16}")
for name, guess in guesses.items():
    level = float(masked_error(guess, image, weights, counted))
    numbers[name] = {"error_db": error_db(guess), "weighted_loss": level}
    print(f"{name:20}{error_db(guess):12.2f}{level:16.3f}")
print(f"{'speckle alone':20}{speckle_db:12.2f}")

# %% [markdown]
# Compare your network with *neighbours*, not only with the mean: a blur is a strong opponent, the more so the grainier the image
# is. Run both kinds of `DATA` to see it. And even the best row stays above *speckle alone*: in between lies ground that nobody can know from its
# surroundings: where the next field begins, where a house stands. (With `DATA = "sample"` mind that the embedded encoder has seen simulated L-band
# chips only, and here is asked about real C-band; yours has learned on the upper part of the very image.)
#
# ## 10 · Sliders
#
# Hide more or less, in larger or smaller patches, and choose who paints. All networks were trained with 60 % hidden in patches of 16. Things to
# try: patches of 4 pixels (an easy task: it becomes an interpolation), patches of 64 (nothing left to hold on to), 90 % hidden.

# %%
masking.mask_explorer({"embedded encoder": embedded, "your network": own}, chips.unseen)

# %% [markdown]
# ## 11 · Do the weights change what is restored?
#
# The claim to test: weighting makes dark ground come out better. We train pairs of networks, one without weights and one with, everything else equal:
# the same chips, masks, first numbers and steps. Then we sort the hidden pixels into thirds, *dark*, *middle* and *bright*, and ask by how
# many decibels the answer is too high. (Thirds of the *averaged* brightness: pixels picked by their own value would seem wrong even where the
# answer is right.) The difference within each pair is what counts, and seeds say how sure we are.

# %%
from sartutor.learn.reconstruction import STRATA, restored, stratum_bias_db
from sartutor.learn.records import mean_interval

bias = {"unweighted": [], "weighted": []}
for seed in range(1 if PRESET == "smoke" else 3):
    for name, each in (("unweighted", WeightRule("none")), ("weighted", rule)):
        path = folder / f"04-{name}-{SEED + seed}.safetensors"
        if name == "weighted" and seed == 0:
            path = out  # trained above
        else:
            pretrain(chips.train, "simmim", path, backbone="swin", recipe=recipe, rule=each, seed=SEED + seed)
        bias[name].append(stratum_bias_db([restored(load_pretrained(path), watched, 0)]))

# %% [markdown]
# *Dark* ground comes out too bright and *bright* ground too dark, with and without weights: a network in doubt answers with something in
# between. That is regression to the mean, and no weighting removes it. The last column is weighted less unweighted, with the half width of
# its 95 % interval over the seeds. Look where the difference sits. If weights help dark ground in particular, dark comes down more than bright: the first row is below 0, **and the last row is below 0 too**. A last row above 0 means that bright ground was darkened even more than dark.
# If it is about the same in all three, everything became a little darker and dark ground is no better known. Speckle does that (section 5), and so does doubt: not knowing which ground is hidden, the network answers with the darker one.

# %%
columns = {
    name: np.array([[each[f"bias_db_{s}"] for s in STRATA] for each in found]) for name, found in bias.items()
}
gains = columns["weighted"] - columns["unweighted"]  # seeds x strata
rows = {
    name: (columns["unweighted"][:, i].mean(), columns["weighted"][:, i].mean(), gains[:, i])
    for i, name in enumerate(STRATA)
}
rows["dark less bright"] = (*(rows["dark"][k] - rows["bright"][k] for k in (0, 1)), gains[:, 0] - gains[:, 2])
print(f"{'too high by (dB)':20}{'unweighted':>12}{'weighted':>12}{'difference':>20}")
for name, (plain, weighted, gain) in rows.items():
    mean, half = mean_interval(gain.tolist())
    numbers[f"bias_{name}"] = {
        "unweighted": float(plain),
        "weighted": float(weighted),
        "difference": mean,
        "half": half,
    }
    interval = f"± {half:.2f}{'  undecided' if abs(mean) <= half else ''}" if len(gain) > 1 else "(one pair)"
    print(f"{name:20}{plain:12.2f}{weighted:12.2f}{mean:12.2f} {interval}")

# %% [markdown]
# Three seeds decide little, and all of them are judged by the same chips. The package's experiment *weighting* repeats this with more seeds, other domains, and controls that tell
# cause from side effect; where its records are at hand, here is what they say about the same difference. *inverted* weighs bright pixels, *shuffled* moves the weights to other pixels of the chip, *unit_mean* divides them by their mean, *despeckled* takes them from power averaged over 7 x 7 pixels. Look at the last: speckle has left its weights, and it shifts more than *physical*, since averaging dims single bright targets and the weights no longer collapse. So on uneven ground speckle is not the only cause.

# %%
from sartutor.learn.records import recorded

records = recorded("weighting")
print(
    f"{'less unweighted (dB)':22}{'dark':>16}{'middle':>16}{'bright':>16}{'seeds':>7}"
    if records
    else "not run yet"
)
for start in ("physical", "zscore", "clipped", "unit_mean", "shuffled", "inverted", "despeckled"):
    cells = masking.recorded_differences(records, start)
    if cells:
        numbers[f"recorded_{start}"] = {stratum: cells[stratum].mean for stratum in STRATA}
        words = [f"{cells[s].mean:+.2f} ± {cells[s].smallest_resolved:.2f}" for s in STRATA]
        print(f"{start:22}{words[0]:>16}{words[1]:>16}{words[2]:>16}{cells['dark'].seeds:>7}")

# %% [markdown]
# An interval that holds 0 means: *undecided*, not "equal". Whether the encoder serves better afterwards, for land cover say, is another question;
# [06](06_downstream.ipynb) and `docs/RESULTS.md` answer it.
#
# ## Where it fails
#
# - **Blur.** Speckle cannot be predicted. So the best answer to "which decibels?" is the middle of what is possible, and the painted chip looks
#   *despeckled*. Measured: the grain, which is the standard deviation of what remains after a 7 x 7 mean is taken off; and
#   how well the painted pixels go with the true ones and with true ones averaged first (correlation).

# %%
from scipy import ndimage

from sartutor.learn.weighting import despeckle

painted = statistics.decibels(guesses["embedded encoder"])[:, 0].numpy()
calm = statistics.decibels(despeckle(image, valid, statistics))[:, 0].numpy()
inside = counted[:, 0].numpy()
for name, values in (("true", db), ("painted", painted)):
    numbers[f"grain_db_{name}"] = float((values - ndimage.uniform_filter(values, (0, 7, 7)))[inside].std())
    print(f"grain of the {name} pixels: {numbers[f'grain_db_{name}']:.2f} dB")
for name, values in (("as it is", db), ("averaged first", calm)):
    numbers[f"correlation_{name}"] = float(np.corrcoef(painted[inside], values[inside])[0, 1])
    print(f"correlation with the truth, {name}: {numbers[f'correlation_{name}']:.2f}")
pictures = plots.panels(3)
masking.show_hiding(pictures, db[0], painted[0], hidden[0].numpy(), "painted in")

# %% [markdown]
# A network that is asked to guess speckle learns to remove it. That is a gift where calm images are wanted, and a reason to doubt where
# texture is the signal: forests and towns are told apart by their grain.
#
# - **Bright targets are painted away.** A mast is one pixel in thousands; to guess "no mast" is nearly always right. Below, the surroundings of
#   the brightest hidden pixels, true and painted. Weighting by darkness asks for them even less.

# %%
away = np.zeros_like(inside)
away[:, 20:-20, 20:-20] = True  # from the border, so that there are surroundings to see
brightest = np.where(inside & away, db, -np.inf).reshape(len(db), -1)
order = brightest.max(1).argsort()[::-1][:3]
pictures = plots.panels(6)
for i, chip in enumerate(order):
    row, col = np.unravel_index(brightest[chip].argmax(), db[chip].shape)
    for axes, values, name in ((pictures[i], db, "true"), (pictures[i + 3], painted, "painted")):
        title = f"{name}: {values[chip, row, col]:+.1f} dB in the middle"
        shown = np.where(inside[chip], values[chip], db[chip])
        plots.show_image(axes, shown, title, limits=(db[chip].min() + 5, db[chip][inside[chip]].max()))
        plots.zoom(axes, (col, row, col + 1, row + 1), margin=20)
top = inside & (db >= np.quantile(db[inside], 0.999))
numbers["brightest_db"] = {"true": float(db[top].mean()), "painted": float(painted[top].mean())}
print(f"the brightest thousandth: {db[top].mean():+.1f} dB in truth, {painted[top].mean():+.1f} dB painted")

# %% [markdown]
# - **Weights collapse** where one target is bright (section 4), and follow speckle where none is (section 5).
# - **A low loss is no proof of a good encoder.** The loss says how well pixels are guessed, not what the features are worth.
#
# ## 12 · The same for Segment Anything
#
# **Segment Anything** (SAM) [6] is the model behind notebooks 00 and 11: an image encoder, and a **mask decoder** that turns your box and the encoder's
# output into a mask. `SamSimMIM` asks the same of SAM's own encoder: hide, paint in, weigh. Its tensors have the same names, so that what is
# pretrained can be put back. It takes exactly three bands, for example VV before, VV after and height; only radar bands are weighted, height counts 1.
#
# Why would one? To adapt SAM to radar with unlabelled radar images. The open question is **alignment**: the mask decoder was trained to read *that*
# encoder. Does it still understand an encoder that has meanwhile learned to paint? A small trial: some steps of masked training, then the masks
# of the same boxes with the decoder left as it was.

# %%
from dataclasses import replace

from sartutor.learn.chips import SENTINEL1_DUAL, SimulatedChips
from sartutor.learn.models import load_model
from sartutor.learn.pretrain import ThreeChannels, three_statistics
from sartutor.learn.sam.evaluate import score_objects
from sartutor.learn.sam.predictor import Predictor
from sartutor.learn.simmim import SamSimMIM
from sartutor.presets import SAM_SIZES
from sartutor.sar.boxes import connected_objects
from sartutor.sim import shapes

before = load_model("sam_tiny_base")
dual = SimulatedChips(SENTINEL1_DUAL, data.NOTEBOOK_SCENES + 2 * SEED, 2, 256)
student = SamSimMIM(SAM_SIZES["tiny"], three_statistics(dual.statistics), rule, SEED)
student.image_encoder.load_state_dict(before.sam.image_encoder.state_dict())
optimizer = torch.optim.AdamW(student.parameters(), 3e-4)
batch = masking.batch_of(ThreeChannels(dual))
for step in range(2 if PRESET == "smoke" else 30):
    loss = student.loss(batch, step)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.3f}", end="\r")

# %% [markdown]
# The score is **IoU**, intersection over union: 1 when two masks are equal. Beside it stands a baseline, filling the box.

# %%
scene, labels = shapes.scene(SEED + 1, size=preset(PRESET).scene_side)
objects = connected_objects(labels > 0)[: 3 if PRESET == "smoke" else 12]
old = [score.model for score in score_objects(Predictor(before, scene), scene, labels > 0, objects)]
after = load_model("sam_tiny_base")
after.sam.image_encoder.load_state_dict(student.image_encoder.state_dict())
after = replace(after, digest=f"painted for {step + 1} steps")
scores = score_objects(Predictor(after, scene), scene, labels > 0, objects)
found = {
    "as it was": old,
    "after painting": [s.model for s in scores],
    "fill the box": [s.fill_box for s in scores],
}
for name, values in found.items():
    numbers[f"iou_{name}"] = float(np.mean(values))
    print(f"{name:16} mean IoU of {len(values)} objects: {np.mean(values):.3f}")

# %% [markdown]
# Where the second number is below the first, that is the price: the decoder reads a language that the encoder no longer quite speaks. It
# has to be trained along, or the encoder held near where it was; the phases of the avalanche notebooks are about that. One scene
# and a few steps show the question, they do not answer it. (This small model has a second way to the mask, a stem of convolutions that was not
# touched; the official model has none.)
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** In a chip, power reaches from 0.01 to 1.01. Which weight has a pixel of −6 dB at strength 2?

# %%
weight = ...

# %% tags=["solution"]
solution = np.exp(2 * (1 - (10**-0.6 - 0.01) / 1.0))
values = torch.tensor([0.01, 1.01, 10**-0.6]).view(1, 1, 1, 3)
assert np.isclose(
    solution,
    backscatter_weights(values, torch.ones(1, 1, 1, 3, dtype=torch.bool), strength=2.0)[0, 0, 0, 2],
    atol=1e-3,
)
check(
    "Exercise 1",
    weight,
    solution,
    hint="Turn −6 dB into power, scale it to n, then exp(s (1 − n)).",
    tolerance=0.02,
)

# %% [markdown]
# **Exercise 2.** The *zscore* domain takes $10^{z/10}$ of $z = (x - \mu)/\sigma$. A target is 30 dB brighter than the field around it. How many times
# larger is its number, in the VV band with $\sigma = 2.96$ dB?

# %%
times = ...

# %% tags=["solution"]
solution = 10 ** (30 / 2.96 / 10)
assert np.isclose(solution, (10**3) ** (1 / 2.96))
check(
    "Exercise 2",
    times,
    solution,
    hint="The mean cancels: 10^(30 / σ / 10). In power it would be 1000.",
    tolerance=0.2,
)

# %% [markdown]
# **Exercise 3.** Is a gain due to *where* the weights lie, or only to a loss that is 2.5 times larger? To tell, divide the weights of each chip by
# their mean over its valid pixels. Write that for `weights` (B, 1, H, W) and `valid` (bool, same shape).

# %%
fair = ...

# %% tags=["solution"]
solution = weights / (weights.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True))
assert torch.allclose(solution, WeightRule(control="unit_mean").weights(image, valid, statistics), atol=1e-3)
check("Exercise 3", fair, solution.numpy(), hint="Sum over the axes 2 and 3, keepdim=True.", tolerance=1e-3)

# %% [markdown]
# ## Summary
#
# Hide patches, paint them in, count only what was hidden: that is masked pretraining. The weight $e^{s(1-n)}$ favours dark pixels, unless one bright target
# takes all the range; and since it comes from the noisy pixel, it shifts the answer into the dark. A curve needs its baselines. The best guess at
# speckle is no speckle.

# %%
data.write_numbers("04", PRESET, chips.key, SEED, numbers)

# %% [markdown]
# **Next:** [05 · Weighted MixMAE](05_weighted_mixmae.ipynb) mixes two images in place of hiding parts of one;
# [06 · Downstream](06_downstream.ipynb) asks what the encoders are worth.
#
# ## References
#
# 1. N. Imamoglu, A. Caglayan, T. Kouyama: *A Tutorial on ALOS2 SAR Utilization: Dataset Preparation, Self-Supervised Pretraining, and Semantic
#    Segmentation*, 2026; arXiv:2603.15119.
# 2. Z. Xie et al.: *SimMIM: a simple framework for masked image modeling*, CVPR 2022; arXiv:2111.09886.
# 3. A. Caglayan, N. Imamoglu, T. Kouyama: *SAR-W-MixMAE: SAR Foundation Model Training Using Backscatter Power Weighting*, IGARSS 2025;
#    arXiv:2503.01181.
# 4. C. Oliver and S. Quegan, *Understanding Synthetic Aperture Radar Images*, SciTech, 2004 (speckle and looks).
# 5. Z. Liu et al.: *Swin Transformer: hierarchical vision transformer using shifted windows*, ICCV 2021; arXiv:2103.14030.
# 6. A. Kirillov et al.: *Segment Anything*, ICCV 2023; arXiv:2304.02643.
