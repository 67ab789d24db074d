# %% [markdown]
# # ALOS-2: from digital numbers to backscatter
#
# **What you will do.** Open a tile of JAXA's yearly PALSAR-2 mosaic, turn its whole numbers into calibrated backscatter, compare
# two ways of averaging on sea and land, and question the mask that comes with the tile.
#
# **What you will learn.** What a digital number (DN) is, the calibration equation of ALOS-2, why the average must be taken before
# the logarithm, and why a legend is a claim that you can test.
#
# **What you need.** About 15 minutes, no earlier notebook. `DATA = "synthetic"` needs nothing; `DATA = "sample"` uses a real tile
# around Lehua and the north tip of Niihau, Hawaii (3 MB, © JAXA).

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with your own mosaic tile

# %% [markdown]
# ALOS-2 carries PALSAR-2, a radar at **L-band**: its waves are 24 cm long, four times those of Sentinel-1. They pass through
# leaves and come back from trunks, branches and the ground, which is why this mosaic is made for forests.

# %%
import numpy as np
from rasterio.windows import Window

from sartutor.lab import data, plots
from sartutor.lab.checks import check
from sartutor.presets import preset
from sartutor.sar import alos2, geotiff, radiometry, warp

numbers = {}
tile = data.mosaic_tile(DATA, PRESET, SEED)
print(tile.credit)
print(*sorted(path.name for path in tile.folder.iterdir()), sep="\n")

# %% [markdown]
# ## 1 · What is in a tile
#
# | file | holds | unit |
# |---|---|---|
# | `sl_HH`, `sl_HV` | backscatter, sent horizontal, received horizontal or vertical | digital number (16 bit) |
# | `linci` | angle between the beam and the slope's normal | degree |
# | `date` | day of the image | days since 24 May 2014, the launch |
# | `mask` | what kind of pixel it is | class |
# | `.xml` | what the numbers mean | text |
#
# A tile is one degree wide and may be mostly sea or mostly empty. We look for land, class 255, and read that part only.

# %%
mosaic = alos2.open_mosaic(tile.folder)
(mask_file,) = tile.folder.glob("*_mask_*.tif")
classes = geotiff.read_scene(mask_file, units="class").pixels[0]
rows, cols = np.nonzero(classes == 255)
margin = 64
top, left = max(rows.min() - margin, 0), max(cols.min() - margin, 0)
bottom, right = (
    min(edge + margin, size) for edge, size in zip((rows.max(), cols.max()), classes.shape, strict=True)
)
window = Window(left, top, min(right - left, 1024), min(bottom - top, 1024))
print(f"tile {mosaic.name}: {classes.shape}, {np.mean(classes > 0):.1%} with data, {len(rows):,} px of land")
print(f"we read {window.height} x {window.width} px from row {top}, column {left}")

# %% [markdown]
# ## 2 · Digital numbers
#
# A DN is an **amplitude** stored as a whole number. Not more: it has no unit until it is calibrated. Two special values are not
# amplitudes at all. JAXA writes 0 for "no data" in most years, and 1 in some. A reader who knows only one of them sees a very dark
# coast in the other years.

# %%
(hh_file,) = tile.folder.glob("*_sl_HH_*.tif")
dn = geotiff.read_scene(hh_file, units="dn").read(window).pixels[0]
kind = classes[window.toslices()]
print(f"{np.mean(dn == 0):.1%} of this part is 0, {np.mean(dn == 1):.1%} is 1")
samples = {"ocean (50)": dn[kind == 50], "land (255)": dn[kind == 255]}
plots.show_histogram(plots.panels(1)[0], samples, "digital number (HH)", "What the file stores")

# %% [markdown]
# ## 3 · From DN to gamma nought
#
# The mosaic is calibrated to $\gamma^0$: power that comes back per area *facing the radar*. JAXA also corrected it for slopes with a
# terrain model [3], so that a slope does not look brighter only because it is tilted. In decibels [1]:
#
# $$\gamma^0_{\mathrm{dB}} = 10 \log_{10} \langle \mathrm{DN}^2 \rangle + \mathrm{CF}, \qquad \mathrm{CF} = -83.0\ \mathrm{dB}.$$
#
# The angle brackets are an average, and they stand **inside** the logarithm. As a power this is simply $\mathrm{DN}^2 \cdot 10^{-8.3}$.


# %%
def dn_to_power(dn):
    return dn.astype(np.float64) ** 2 * 10 ** (-83.0 / 10)


scene = mosaic.read(window)
power = dn_to_power(dn)
assert np.allclose(power, radiometry.alos2_dn_to_power(dn))
assert np.allclose(power[scene.valid], scene.band("HH")[scene.valid])  # the reader does the same
print(
    f"a DN of 1000 is {10 * np.log10(dn_to_power(np.array(1000))):.1f} dB, of 5000 {10 * np.log10(dn_to_power(np.array(5000))):.1f} dB"
)

# %% [markdown]
# Now the picture, in decibels.

# %%
in_db = radiometry.to_units(scene, "db")
small = warp.overview(in_db, preset(PRESET).picture_side)
for axes, name in zip(plots.panels(2), ("HH", "HV"), strict=True):
    plots.show_image(axes, small.band(name), f"{name}, gamma nought", "dB", small.valid)

# %% [markdown]
# HV is weaker than HH everywhere: only a part of the wave is turned on its way. Over smooth water almost none is, over vegetation
# much more. That makes HV the better band for telling land from sea.
#
# ## 4 · The average comes before the logarithm
#
# How bright is the sea? Average the power and then take the logarithm. Many scripts do it the other way round. Here are both, in dB.

# %%
print(f"{'':14}{'right':>9}{'wrong':>9}{'error':>9}   (dB)")
for name in ("HH", "HV"):
    for label, value in (("ocean", 50), ("land", 255)):
        values = scene.band(name)[scene.valid & (kind == value)]
        values = values[values > 0].astype(np.float64)
        right_db = 10 * np.log10(values.mean())
        wrong_db = (10 * np.log10(values)).mean()
        numbers[f"{name}_{label}"] = {"power_mean_db": right_db, "mean_of_db": wrong_db}
        print(f"{name} {label:10}{right_db:9.2f}{wrong_db:9.2f}{wrong_db - right_db:9.2f}")

# %% [markdown]
# The error depends on what is mixed. An even surface is off by the little that speckle makes; waves, ships and a few very bright
# pixels add to it, and land, a mixture of bright and dark, is off most. So no constant can mend it afterwards. Average in power.
#
# ## 5 · When and at which angle
#
# The `date` layer counts days; `linci` tells how the beam meets each slope. Slopes that face the radar have small angles and, before
# they are corrected, large echoes; what the correction leaves is visible here.

# %%
days = np.unique(scene.band("date")[scene.valid]).astype(int)
print("acquired on", ", ".join(str(mosaic.legend.date(day)) for day in days[:5]))
angle = scene.band("linci")
for label, value in (("sea", 50), ("land", 255)):
    part = angle[scene.valid & (kind == value)]
    print(f"{label}: {part.mean():.1f} degrees on average, standard deviation {part.std():.1f}")
plots.show_image(plots.panels(1)[0], angle, "local incidence angle", "degree", scene.valid, (0, 90))

# %% [markdown]
# ## 6 · A legend is a claim
#
# The mask says what each pixel is. Its words come from the tile's own XML.

# %%
names = {0: "white", 50: plots.BLUE, 100: plots.ORANGE, 150: plots.RED, 255: plots.GREEN}
print(mosaic.legend.note())
words = sorted(mosaic.legend.mask.items())
legend = {v: (word, names.get(v, "black")) for v, word in words if np.any(kind == v)}
plots.show_classes(plots.panels(1)[0], kind, legend, "mask of the tile")

# %% [markdown]
# **Shadow** is ground that the beam cannot reach. It returns nothing but noise, so it must be *darker* than the land around it, and
# it lies on slopes turned away from the radar, at large local incidence angles. **Layover** is a slope so steep that its top answers
# before its foot: several places fall into one pixel. It is usually *brighter*, though slope correction takes some of that away, and
# it lies on slopes that face the radar, at small angles. The word for value 150 is a claim; brightness and angle test it.

# %%
level, turned = {}, {}
for value in np.unique(kind[scene.valid]).tolist():
    where = scene.valid & (kind == value)
    level[value] = 10 * np.log10(scene.band("HH")[where].mean(dtype=np.float64))
    turned[value] = float(np.median(angle[where]))
    word = mosaic.legend.mask.get(value, "not in the legend")
    print(
        f"{value:>4} {word:12}{where.sum():>9,} px   HH {level[value]:7.2f} dB   angle {turned[value]:3.0f} degrees"
    )
    numbers[f"HH_class_{value}_db"], numbers[f"angle_class_{value}"] = float(level[value]), turned[value]
if 150 in level and 255 in level:
    numbers["class_150_minus_land_db"] = float(level[150] - level[255])
    fits = "the radar: layover" if turned[150] < turned[255] else "away from it: shadow"
    print(f"150 lies {level[150] - level[255]:+.2f} dB from land, on slopes that face {fits}")
    print(f"the legend says {mosaic.legend.mask.get(150)}")

# %% [markdown]
# In the real sample legend and physics disagree: the pixels called shadow lie on slopes that face the radar, and are no darker than
# land. Both fit layover. We show both and trust neither silently. In the synthetic tile the word is right, because we drew it so. For
# training, leave such pixels out.

# %% [markdown]
# ## Where it fails
#
# - **One calibration factor does not fit all.** −83.0 dB holds for level 1.5/2.1 products and mosaics. At level 1.1 (complex)
#   32 dB are subtracted in addition, and JAXA revises factors: look at your product's page. A wrong factor shifts every value and no
#   picture shows it.
# - **A mosaic is a patchwork.** Neighbouring strips come from different days; a border of dates can look like an edge in the land.
# - **Few pixels, bold claims.** The mean of a class of some hundred pixels depends on a few very bright ones: compare mean and median
#   before you believe it.

# %%
few = min(level, key=lambda value: np.sum(kind == value))
values = scene.band("HH")[scene.valid & (kind == few)].astype(np.float64)
numbers["smallest_class_median_db"] = float(10 * np.log10(np.median(values)))
print(
    f"class {int(few)}: mean {level[few]:.2f} dB, median {numbers['smallest_class_median_db']:.2f} dB, {len(values)} px"
)

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** Which gamma nought, in dB, has a pixel with DN 2000?

# %%
answer_db = ...

# %% tags=["solution"]
solution = 10 * np.log10(2000.0**2) - 83.0
assert np.isclose(solution, radiometry.power_to_db(radiometry.alos2_dn_to_power(2000)), atol=0.01)
check("Exercise 1", answer_db, solution, hint="DN is an amplitude: square it first.", tolerance=0.01)

# %% [markdown]
# **Exercise 2.** An old script prints $10 \log_{10}(\mathrm{DN}) - 83$, without the square. For DN 2000, by how many dB is it off
# (script minus truth)?

# %%
off_db = ...

# %% tags=["solution"]
solution = (10 * np.log10(2000) - 83) - (10 * np.log10(2000**2) - 83)
assert np.isclose(solution, -10 * np.log10(2000))
check(
    "Exercise 2", off_db, solution, hint="The logarithm of a square is twice the logarithm.", tolerance=0.01
)

# %% [markdown]
# **Exercise 3.** Estimate the number of looks of the sea. Speckle alone gives $(\mu/\sigma)^2$ of the HH **power** where the sea is
# even. The whole sea is not: `blocks` holds its 8 x 8 pixel blocks, one a row. Take the ratio in every block, then the median.

# %%
sea = scene.valid & (kind == 50)
height, width = (side // 8 * 8 for side in sea.shape)
cut = [layer[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 64)
       for layer in (scene.band("HH").astype(np.float64), sea)]  # fmt: skip
blocks = cut[0][cut[1].all(1)]
looks = ...

# %% tags=["solution"]
solution = np.median((blocks.mean(1) / blocks.std(1)) ** 2)
everything = scene.band("HH")[sea].astype(np.float64)
print(
    f"the whole sea at once would give {(everything.mean() / everything.std()) ** 2:.2f}: its few bright pixels rule sigma"
)
assert solution > 1
check(
    "Exercise 3",
    looks,
    solution,
    hint="blocks.mean(1), blocks.std(1), np.median; power, not dB.",
    tolerance=0.01,
)

# %% [markdown]
# ## Summary
#
# DN is an amplitude without a unit; square it, scale it by −83 dB, average, and only then take the logarithm. Know both no-data values.
# Test a legend before you train on it.

# %%
data.write_numbers("02", PRESET, tile.key, SEED, numbers)

# %% [markdown]
# **Next:** [03 · Sentinel-1](03_sentinel1_preparation.ipynb) does the same for C-band and leads to what a network sees.
#
# ## References
#
# 1. JAXA EORC, *Global PALSAR-2 mosaic and forest map: data description*; calibration: Shimada et al., *PALSAR radiometric and
#    geometric calibration*, IEEE TGRS 47(12), 2009, and JAXA's ALOS-2 calibration results. Data © JAXA.
# 2. Shimada et al., *New global forest/non-forest maps from ALOS PALSAR data*, Remote Sensing of Environment 155, 2014.
# 3. D. Small, *Flattening gamma: radiometric terrain correction for SAR imagery*, IEEE TGRS 49(8), 2011.
