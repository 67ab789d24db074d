# %% [markdown]
# # ALOS-2: from digital numbers to backscatter
#
# ALOS-2 is a Japanese radar satellite. Once a year its agency, JAXA, joins its images to a map of all land: a **mosaic**, cut into
# **tiles** of one degree.
#
# **What you will do.** Open a tile of that mosaic, turn its whole numbers into **backscatter** (the power that the ground sends back),
# compare two ways of averaging on sea and land, and question the mask that comes with the tile. Then go back to single images,
# flatten mountains, and weigh classes.
#
# **What you will learn.** What a digital number (DN) is, the calibration equations of ALOS-2, why the average must be taken before
# the logarithm, why a legend is a claim that you can test, and what slopes and rare classes do to a data set.
#
# **What you need.** About 30 minutes, no earlier notebook. `DATA = "synthetic"` needs nothing; `DATA = "sample"` uses a real tile
# around Lehua and the north tip of Niihau, Hawaii (3 MB, © JAXA). `PRESET` says how large things are; `laptop` is the normal size.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with your own mosaic tile

# %% [markdown]
# ALOS-2 carries PALSAR-2, a radar at **L-band**: its waves are 24 cm long, four times those of Sentinel-1. They pass through
# leaves and come back from trunks, branches and the ground, which is why this mosaic is made for forests [2].

# %%
import numpy as np
from affine import Affine
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
# | `sl_HH`, `sl_HV` | backscatter; the wave swings horizontally when sent, horizontally (HH) or vertically (HV) when received | digital number (16 bit) |
# | `linci` | local incidence angle: between the beam and the line that stands upright on the slope | degree |
# | `date` | day of the image | days since 24 May 2014, the launch |
# | `mask` | what kind of pixel it is | class |
# | `.xml` | what the numbers mean | text |
#
# A tile may be mostly sea or mostly empty. We look for land, class 255, and read that part only.

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
# A **digital number** (DN) is an **amplitude**, the square root of a power, stored as a whole number. Not more: it has no unit until it
# is calibrated. Two special values are not amplitudes at all. JAXA writes 0 for "no data" in most years, and 1 in some. A reader who knows only one of them sees a very dark
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
# The mosaic is calibrated to $\gamma^0$, *gamma nought*: power that comes back per area *facing the radar*. JAXA also corrected it for slopes
# with a terrain model [5], so that a slope does not look brighter only because it is tilted. The unit is the **decibel** (dB), ten times
# the logarithm of a power: ten more is ten times the power [1].
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
# Now the picture, in decibels. The sea is dark, land is bright, and white is where the tile has no data.

# %%
in_db = radiometry.to_units(scene, "db")
small = warp.overview(in_db, preset(PRESET).picture_side)
for axes, name in zip(plots.panels(2), ("HH", "HV"), strict=True):
    plots.show_image(axes, small.band(name), f"{name}, gamma nought", "dB", small.valid)

# %% [markdown]
# HV is weaker than HH on average: only a part of the wave is turned on its way. Over smooth water almost none is, over vegetation
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
# The error depends on what is mixed. Part of it is **speckle**, the grain of every radar image: echoes within a pixel add up or cancel by
# chance, and **looks**, independent views averaged into one, calm it. With $L$ looks it makes the mean of decibels too low by
# $\tfrac{10}{\ln 10}(\ln L - \psi(L))$, everywhere alike ($\psi$ is the digamma function; [01](01_sar_basics.ipynb), section 3). The rest is
# **heterogeneity**: waves, ships, and on land a mixture of bright and dark. Which is which? We take all the sea and all the land of the
# tile, and the looks of the sea.

# %%
from sartutor.sar import speckle, speckle_law

whole = geotiff.read_scene(hh_file, units="dn").pixels[0]
sea_looks = speckle.estimate_looks(scene.band("HH"), scene.valid & (kind == 50))
by_speckle = float(speckle_law.log_bias_db(sea_looks))
print(f"{sea_looks:.1f} looks: speckle alone makes {by_speckle:.2f} dB")
for label, value in (("ocean", 50), ("land", 255)):
    values = dn_to_power(whole[(classes == value) & (whole > 1)])
    found = [10 * np.log10(values.mean()), 10 * np.log10(np.median(values)), np.mean(10 * np.log10(values))]
    numbers[f"HH_{label}_whole_tile"] = dict(
        zip(("mean", "median", "mean_of_db"), map(float, found), strict=True)
    )
    print(f"{label:6} mean {found[0]:.2f}, median {found[1]:.2f}, mean of dB {found[2]:.2f};", end=" ")
    off = found[2] - found[0]
    print(f"error {off:.2f} dB, of which {off - by_speckle:z.2f} dB is heterogeneity")

# %% [markdown]
# No constant can mend a wrong average afterwards: speckle's share could be added back, the mixture's cannot. Average in power. (In
# the real tile the sea's error is larger in the first table than here, because that table took only the sea around the islands.)
#
# ## 5 · When and at which angle
#
# The `date` layer counts days; `linci` tells how the beam meets each slope. In the picture, slopes that face the radar are dark (small
# angles), slopes that turn away are bright, and the flat sea has one grey. Before they are corrected, slopes that face the radar also
# have the strongest echoes.

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
for value in np.unique(kind[scene.valid]).astype(int).tolist():
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
# ## 7 · Scenes: levels and looks
#
# A mosaic is the end of a long way. **Scenes**, single images, come earlier on it, and their names say where: level **1.1** holds complex
# numbers, a wave's amplitude and phase, sorted by distance from the radar; **1.5** and **2.1** hold amplitudes on a map, 1.5 as if
# there were no mountains (they lie off their place), 2.1 put right with a terrain model.
# `open_alos2` reads all three, in JAXA's CEOS format and as GeoTIFF. The name alone tells a lot:

# %%
from sartutor.sar import alos2_products

said = alos2_products.parse_alos2_name("IMG-HH-ALOS2458503210-221119-UBSR2.1GUD_12032_7680.tif")
direction = {"A": "ascending", "D": "descending"}[said.orbit_direction]
print(
    f"{said.polarisation}, {said.date:%d %B %Y}, mode {said.mode}, looking {said.look}, level {said.level}, {direction}"
)

# %% [markdown]
# At level 1.1 the power is $I^2 + Q^2$, with the real part $I$ and the imaginary part $Q$ of the complex number, and the constant is 32 dB
# lower. The result is $\sigma^0$, *sigma nought*: power per area *on flat ground*, not per area facing the radar.
#
# $$\sigma^0_{\mathrm{dB}} = 10 \log_{10} \langle I^2 + Q^2 \rangle + \mathrm{CF} - 32.0 .$$
#
# Most scenes of level 1.1 are not free (JAXA opens those of its wide ScanSAR mode), so we simulate one: an even field of −10 dB and a wood of −7 dB, seen by a sensor like ALOS-2. Then
# we **detect** it: take the power, average blocks of 4 x 4 (16 looks at most), and only then the logarithm.

# %%
from sartutor.sar.scene import Band, Grid, Scene
from sartutor.sim import sensor

rng = np.random.default_rng(SEED)
truth_db = np.where(np.arange(256) < 128, -10.0, -7.0) * np.ones((1, 256, 1))
radar = sensor.SENSORS["alos2"].only("HH")
z = sensor.slc(rng, 10 ** (truth_db / 10), radar) * 10 ** ((83.0 + 32.0) / 20)
plain = Grid(Affine.identity(), None, 256, 256)
level11 = Scene(
    z.astype(np.complex64), (Band("HH", "complex"),), plain, np.ones((256, 256), bool), "simulated L1.1"
)
detected = alos2_products.detect(level11, looks=(4, 4))
blocks = (np.abs(z[0]).astype(np.float64) ** 2).reshape(64, 4, 64, 4).mean((1, 3)) * 10 ** (
    (-83.0 - 32.0) / 10
)
assert np.allclose(blocks, detected.band("HH"), rtol=1e-3)
field, wood = detected.band("HH")[:, :30], detected.band("HH")[:, 34:]
numbers["field_db"], numbers["wood_db"] = (float(10 * np.log10(part.mean())) for part in (field, wood))
numbers["looks_of_4x4"] = float(speckle.enl(field))
print(f"field {numbers['field_db']:.2f} dB, wood {numbers['wood_db']:.2f} dB")
print(f"16 pixels a block, but {numbers['looks_of_4x4']:.1f} looks: neighbouring pixels share echoes")

# %% [markdown]
# ## 8 · Slopes, and why a mosaic is flattened only once
#
# A slope that faces the radar puts more ground into one pixel and looks brighter, with the same wood on it. **Terrain flattening** [3] counts
# that ground with a terrain model and divides by it. It starts from $\beta^0$, *beta nought*, power per area $A_\beta$ *of the radar's own
# image*, in which nothing is known of the terrain:
#
# $$\gamma^0_T = \beta^0\, \frac{A_\beta}{A_\gamma},$$
#
# where $A_\gamma$ is the area, seen along the beam, of all pieces of ground that fall into a pixel. The older **cosine correction** knows how
# one piece is tilted, but not how many share a pixel. To compare them we lay an even wood, $\gamma^0 = -8$ dB, over mountains and add speckle. The
# brightness is made by the same law that flattening inverts: so this shows what each method *can* do, not how exact terrain
# models are.

# %%
from scipy.special import polygamma

from sartutor.sar import flattening, terrain

dem = data.height_model("synthetic", PRESET, SEED).scene.read()
view = terrain.View.of_pass("ascending", incidence_deg=36.0).on_grid(dem.grid)
metres = terrain.spacing_m(dem.grid)
area = flattening.area_ratio(terrain.heights(dem), metres, view)
theta = np.radians(view.incidence_deg)
grain = sensor.speckle(rng, dem.grid.shape, 16, 0.0)
sigma0 = 10 ** (-8 / 10) * area * np.sin(theta) * grain
raw = Scene(sigma0[None], (Band("HH", "power", "sigma0"),), dem.grid, dem.valid, "wood on mountains")
flat = flattening.flatten_terrain(raw, dem, view)
angle = terrain.local_incidence(terrain.dem_gradient(dem), view)
legacy = flattening.cosine_correction(sigma0 / np.cos(theta), angle, view.incidence_deg)
shown = {"not corrected": sigma0 / np.cos(theta), "cosine correction": legacy, "flattened": flat.band("HH")}
for axes, (name, gamma0) in zip(plots.panels(3), shown.items(), strict=True):
    decibels = radiometry.power_to_db(np.where(flat.valid, gamma0, np.nan))
    plots.show_image(axes, decibels, name, "dB", flat.valid & np.isfinite(decibels), (-18, 4))
    spread = float(np.nanstd(decibels[flat.valid]))
    numbers[f"spread_db_{name}"] = spread
    print(f"{name:18} standard deviation {spread:.2f} dB")
print(
    f"{'speckle alone':18} standard deviation {10 / np.log(10) * np.sqrt(polygamma(1, 16)):.2f} dB (16 looks)"
)

# %% [markdown]
# The wood is everywhere the same, so a perfect picture is an even grey. The cosine correction still shows the mountains; after
# flattening little more than speckle is left.
#
# JAXA's mosaics have been through a slope correction already. Doing it twice makes bright slopes dark. The package knows the product and refuses:

# %%
from sartutor.errors import DataError

try:
    flattening.flatten_terrain(scene, dem, view)
except DataError as error:
    print("Refused:", error)

# %% [markdown]
# ## 9 · Labels, and the weight of a rare class
#
# The ALOS-2 study of this tutorial [4] learns land cover from JAXA's 10 m map of twelve classes. This package lays it over the radar grid without ever averaging classes
# (the nearest one counts, or the most frequent one where radar pixels are larger). Nine classes are left, very uneven ones, presumably because the four forests become one. Training makes a number small, the **loss**.
# A loss that counts every pixel alike would learn the most frequent class and forget the rarest. The study weighs each of its $C$ classes
# by its share $f_c$ of the pixels:
#
# $$w_c = \frac{1 - f_c}{C - 1}.$$
#
# Its released code lists the weights alone, without the names of the classes; the law and the shares below are inferred from them, and so is the merging.

# %%
from sartutor.sar import class_statistics

released = np.array([0.11347487, 0.10774269, 0.10684644, 0.11319541, 0.06752731, 0.12183155, 0.12457897, 0.12064208, 0.12416070])  # fmt: skip
shares = 1 - (len(released) - 1) * released
assert np.isclose(shares.sum(), 1, atol=1e-4)
again = class_statistics.class_weights(np.round(shares * 1e8).astype(np.int64))
assert np.allclose(again, released, atol=1e-6)
numbers["largest_share"], numbers["smallest_share"] = float(shares.max()), float(shares.min())
print("shares in %:", *(f"{100 * share:.1f}" for share in shares))
print(f"the most frequent class has {shares.max() / shares.min():.0f} times the pixels of the rarest,")
print(f"but the rarest weighs only {released.max() / released.min():.1f} times as much")

# %% [markdown]
# ## Where it fails
#
# - **One calibration factor does not fit all.** −83.0 dB holds for level 1.5/2.1 products, where it gives $\sigma^0$, and for mosaics, where it gives $\gamma^0$. At level 1.1 (complex)
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
    f"the whole sea at once gives {(everything.mean() / everything.std()) ** 2:.2f}; where sea is uneven, that is less"
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
# 4. The ALOS-2 tutorial of SAR-W-SimMIM, arXiv:2603.15119; its code lists the class weights.
# 5. M. Shimada, *Ortho-rectification and slope correction of SAR data using DEM and its accuracy evaluation*, IEEE JSTARS 3(4), 2010;
#    doi:10.1109/JSTARS.2010.2072984.
