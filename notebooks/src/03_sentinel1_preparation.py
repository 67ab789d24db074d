# %% [markdown]
# # Sentinel-1: from a GeoTIFF to what a model sees
#
# Sentinel-1 is the European Union's radar satellite: it sends a wave and records the **backscatter**, the power that the ground sends back.
#
# **What you will do.** Open a Sentinel-1 image, find out what its numbers mean, average it correctly, and follow one box from the ground
# to the pixels that a network receives. Then lay two dates over each other, add the terrain, and make prompts, tiles and an
# honest split: everything that the avalanche notebooks start from.
#
# **What you will learn.** The difference between power and decibels, and why it decides how you may average; what a no-data mask
# is for; why both dates must share a track; what slopes do to the beam; why neighbours must not be split.
#
# **What you need.** About 40 minutes. You have never seen radar data? Then you are in the right place.
# `DATA = "synthetic"` needs nothing; `DATA = "sample"` uses a real flood near Almoradí, Spain [2] (1.5 MB). `PRESET` says how large things
# are; `laptop` is the normal size.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF with VV and VH

# %% [markdown]
# We bring in the tools: `sartutor.sar` reads and converts radar data, `sartutor.lab` draws and checks.

# %%
import numpy as np
from skimage.filters import threshold_otsu

from sartutor.errors import DataError
from sartutor.lab import data, explorers, plots
from sartutor.lab.checks import check
from sartutor.presets import preset
from sartutor.sar import footprint, geotiff, grd, radiometry, terrain, visibility, warp

numbers = {}

# %% [markdown]
# ## 1 · Open the file and ask what is in it
#
# A GeoTIFF is a grid of numbers with a place on the Earth. It often does *not* say what the numbers are. Sentinel-1 images that
# were prepared by somebody travel as **power** (0.001 to 1, say) or as **decibels** (−30 to 0), and often nothing in the file tells
# which. (The agency's own product holds other numbers; section 2 ends with them.) The reader looks at the values and says what it concluded; you can overrule it with `units=...`. The **CRS**, coordinate reference system, says what the
# coordinates mean: `EPSG:4326` is degrees, `EPSG:32632` metres.

# %%
example = data.sentinel1(DATA, PRESET, SEED)
scene = example.scene.read()
print(example.credit)
for band in scene.bands:
    print(f"{band.name}: units {band.units}, quantity {band.quantity}")
print(f"{scene.grid.height} x {scene.grid.width} pixels, CRS {scene.grid.crs}")
print(*scene.notes, sep="\n")

# %% [markdown]
# **VV** means: sent with vertical polarisation, received with vertical. **VH**: sent vertical, received horizontal. A smooth surface
# such as calm water mirrors the beam away from the sensor and looks dark in both. Leaves and branches turn part of the wave, so
# vegetation is comparatively bright in VH. (The synthetic image is no landscape: it shows drawn shapes on patchy ground.)

# %%
for axes, name in zip(plots.panels(2), ("VV", "VH"), strict=True):
    plots.show_image(axes, scene.band(name), f"{name}, as stored", "dB", scene.valid)

# %% [markdown]
# ## 2 · Decibels and power
#
# A decibel is a logarithm of a power ratio:
#
# $$P_{\mathrm{dB}} = 10 \log_{10} P, \qquad P = 10^{P_{\mathrm{dB}}/10}.$$
#
# Ten decibels more is ten times the power; three decibels more is about twice. Backscatter covers a factor of a thousand and more from calm
# water to a city, so people look at dB. Two lines of Python do the conversion. The package has the same two functions, and we
# check that they agree.


# %%
def to_power(db):
    return 10 ** (db / 10)


def to_db(power):
    return 10 * np.log10(power)


db = scene.band("VV")[scene.valid].astype(np.float64)
assert np.allclose(to_power(db), radiometry.db_to_power(db))
assert np.allclose(to_db(to_power(db)), db)
for level in (-20, -10, -7, 0):
    print(f"{level:>4} dB = {to_power(level):.3f} in power")

# %% [markdown]
# Converting twice is a classic mistake: dB of dB looks like an image and means nothing. A `Scene` knows its units and refuses.

# %%
power_scene = radiometry.to_units(scene, "power")
try:
    radiometry.to_units(power_scene, "power")
except DataError as error:
    print("Refused:", error)

# %% [markdown]
# The space agency's own product, **GRD** (*ground range detected*: power taken, phase gone, pixels evenly spaced on the ground), holds neither. It holds whole numbers $\mathrm{DN}$ and two tables: $A$ turns the numbers into
# backscatter, here $\sigma^0$ (*sigma nought*, power per area of level ground), and $\eta$ is the power of the receiver's own noise in units of $\mathrm{DN}^2$, which is in every number and must come off:
#
# $$\sigma^0 = \frac{\mathrm{DN}^2 - \eta}{A^2}.$$
#
# Over dark ground the difference is often **negative**, because noise and echo are both grainy. That is right, and it has to stay so until
# the last average is taken. Here is ground of −28 dB under noise of −25 dB.

# %%
rng = np.random.default_rng(SEED)
table, ground, hiss = 474.0, to_power(-28.0), to_power(-25.0)
dn = np.round(table * np.sqrt((ground + hiss) * rng.gamma(4.4, 1 / 4.4, 100_000)))
eta = hiss * table**2
sigma0 = (dn**2 - eta) / table**2
assert np.allclose(sigma0, grd.denoise(dn, eta, table), atol=1e-7)
print(f"{(sigma0 < 0).mean():.0%} of the values are negative")
print(f"mean of all values:               {to_db(sigma0.mean()):.1f} dB, as it should be")
print(f"mean with negatives cut to zero:  {to_db(np.maximum(sigma0, 0).mean()):.1f} dB")
print(f"mean with the noise left in:      {to_db((dn**2 / table**2).mean()):.1f} dB")

# %% [markdown]
# `sar.safe.open_safe` reads such a product with its tables, and `terrain_correct` lays it on a map.
#
# ## 3 · Average in power, never in dB
#
# Every radar image is grainy. The grain is **speckle**: within one pixel many echoes add up or cancel by chance [3]. Averaging
# neighbours calms it. But an average of dB is *not* the dB of the average. Because the logarithm bends, it always lies lower:
#
# $$\overline{10\log_{10}P} \;\le\; 10\log_{10}\overline{P}.$$
#
# Let us shrink the image eight times, once in power (right) and once in dB (wrong).


# %%
def block_mean(values, size):
    rows, cols = (n // size * size for n in values.shape)
    return values[:rows, :cols].reshape(rows // size, size, cols // size, size).mean((1, 3))


filled = np.where(scene.valid, power_scene.band("VV"), np.nan).astype(np.float64)
right = to_db(block_mean(filled, 8))
wrong = block_mean(to_db(filled), 8)
error = wrong - right
numbers["mean_error_of_db_average"] = float(np.nanmean(error))
print(f"averaging in dB makes this image {-np.nanmean(error):.2f} dB too dark on average,")
print(f"and {-np.nanmin(error):.1f} dB too dark in the worst block")

# %% [markdown]
# Seen side by side, with the same grey scale for the first two:

# %%
pictures = plots.panels(3)
limits = (np.nanpercentile(right, 2), np.nanpercentile(right, 98))
plots.show_image(pictures[0], right, "averaged in power (right)", limits=limits)
plots.show_image(pictures[1], wrong, "averaged in dB (wrong)", limits=limits)
plots.show_image(pictures[2], error, "wrong minus right")

# %% [markdown]
# In the third picture black is the largest error. It lies where bright and dark pixels meet, which is where a model that finds
# outlines needs to be right. That is why every
# resize, warp and overview in this package goes through power. `warp.resize` is our `block_mean` for any size and for images with
# gaps. Where there are no gaps the two agree:

# %%
small = warp.resize(scene, tuple(n // 8 for n in scene.grid.shape))
same = np.isfinite(right[: small.grid.height, : small.grid.width])
if all(n % 8 == 0 for n in scene.grid.shape):
    assert np.allclose(small.band("VV")[same], right[same], atol=1e-3)  # dB
    print("package and own average agree")
print(small.grid.shape, "pixels of", scene.grid.shape)

# %% [markdown]
# ## 4 · No data is not a number
#
# Images have edges, and some pixels hold nothing. A scene carries a mask, `valid`. What is not valid takes part in no average and no
# statistic. To see why, we cut a hole and average with and without the mask.

# %%
known = scene.valid.copy()
known[: known.shape[0] // 3, : known.shape[1] // 3] = False
values = power_scene.band("VV")
with_zeros = to_db(np.where(known, values, 0).mean())
with_mask = to_db(values[known].mean())
numbers["mean_db_zeros_for_no_data"] = float(with_zeros)
numbers["mean_db_masked"] = float(with_mask)
print(f"invalid pixels counted as zero: {with_zeros:.2f} dB")
print(f"invalid pixels left out:        {with_mask:.2f} dB")

# %% [markdown]
# ## 5 · Two bands, three channels
#
# Networks that were first trained on photographs take exactly three channels between 0 and 1. Two radar bands $a$, $b$ become
# $(a,\; b,\; \tfrac{a+b}{2})$. Before that, each band is stretched to [0, 1]:
#
# $$r(x; l, h) = \mathrm{clip}\!\left(\frac{x-l}{h-l},\, 0,\, 1\right).$$
#
# The avalanche study [1] uses fixed ranges in dB: VV from −23 to −3 and VH from −27 to −7. Fixed ranges keep an absolute meaning: the
# same grey is the same backscatter in every image. The **promptable model** of this tutorial (you draw a box, it draws the outline of what
# is in it) stretches what it looks at to its own 1st to 99th percentile instead, so that it sees contrast in any scene. Here are
# both. VV is shown as red, VH as green, their mean as blue: so pink is strong in VV, green is strong in VH, for their range.


# %%
def stretch(values, low, high):
    return np.clip((values - low) / (high - low), 0, 1)


def composite(vv, vh):
    return np.stack([vv, vh, (vv + vh) / 2], axis=-1)


vv, vh = scene.band("VV"), scene.band("VH")
fixed = composite(stretch(vv, -23, -3), stretch(vh, -27, -7))
own = [np.percentile(band[scene.valid], (1, 99)) for band in (vv, vh)]
adapted = composite(stretch(vv, *own[0]), stretch(vh, *own[1]))
for axes, rgb, title in zip(
    plots.panels(2), (fixed, adapted), ("fixed ranges", "own percentiles"), strict=True
):
    plots.show_color(axes, np.where(scene.valid[..., None], rgb, 1), title)

# %% [markdown]
# ## 6 · From a box on the ground to the model's input
#
# You draw a box on a map: west, south, east, north, in degrees or metres. The model wants pixels. Its corners go through the grid's
# transform; where map and image use different coordinate systems the *edges* are divided into many points first, because a
# straight edge on a map may be bent in the image.

# %%
height, width = scene.grid.shape
corners = [(0.35 * width, 0.60 * height), (0.60 * width, 0.35 * height)]
ground = [scene.grid.transform * corner for corner in corners]
(west, east), (south, north) = map(sorted, zip(*ground, strict=True))
polygon = footprint.box_polygon(west, south, east, north)
ring = footprint.outline(polygon, scene.grid.crs, scene.grid)
box = footprint.pixel_box(ring)
unit, digits = ("degree", 4) if scene.grid.crs.is_geographic else ("m", 0)
names = ("west", "south", "east", "north")
sides = (f"{name} {value:.{digits}f}" for name, value in zip(names, (west, south, east, north), strict=True))
print("on the ground:", ", ".join(sides), f"({unit})")
print("in pixels (x0, y0, x1, y1):", np.round(box, 2))
back = footprint.ground(ring, scene.grid, scene.grid.crs)
assert polygon.symmetric_difference(back).area < 1e-6 * polygon.area  # there and back again

# %% [markdown]
# Around the box the model reads a **window** with context, resamples it in power to its own input size, stretches it in dB, and
# stacks three channels. `model_image` does all of it. Its third channel is our average of the first two. The blue box is the same
# piece of ground in both pictures.

# %%
from sartutor.learn.sam.inputs import model_image, prompt_window

SIDE = 256  # input size of the small model, in pixels
window = prompt_window(box, scene.grid.shape, SIDE)
image, frame = model_image(scene.read(window), SIDE)
channels = image.numpy().transpose(1, 2, 0)
rows, cols = frame.inner
seen = channels[:rows, :cols]
assert np.allclose(seen, composite(seen[..., 0], seen[..., 1]), atol=1e-6)
assert 0 <= channels.min() <= channels.max() <= 1

pictures = plots.panels(2)
plots.show_color(pictures[0], fixed, "scene and box")
plots.draw_box(pictures[0], box, label="box")
plots.show_color(pictures[1], channels, f"what the model sees ({SIDE} x {SIDE})")
plots.draw_box(pictures[1], frame.box(box, window))

# %% [markdown]
# ## 7 · Two dates of one place
#
# Snow avalanches, floods and landslides show up as *change*. So two images are laid on one grid: **0**, the reference, and **1**, the
# activity. They must come from the same track of the satellite: from another side a mountain shows another face, and the difference
# would be geometry, not change. `pair` checks the track and refuses what does not fit.
#
# No small pair with avalanches may be passed on freely, so this one is simulated (`sartutor.sim`): mountains, two passes, speckle that is new at
# every pass, debris on the second date, and things that are easily mistaken for it. We take it apart into two images and
# put it together again, as you would with two files.

# %%
from dataclasses import replace

from sartutor.sar import pairs, speckle
from sartutor.sim.avalanche import avalanche_scene

world, debris = avalanche_scene(SEED, size=preset(PRESET).scene_side)


def one_date(scene, digit):
    image = scene.select((f"VV{digit}", f"VH{digit}"))
    return replace(image, bands=tuple(replace(band, name=band.name[:2]) for band in image.bands))


before, after = one_date(world, 0), one_date(world, 1)
track = pairs.Acquisition(relative_orbit=117, mode="IW", look="right", orbit_pass="ascending")
both = radiometry.to_units(pairs.pair(before, after, acquisitions=(track, track)), "db")
print(*both.band_names, "on one grid;", both.notes[-1])
try:
    pairs.pair(before, after, acquisitions=(track, replace(track, relative_orbit=44)))
except DataError as error:
    print("Refused:", error)

# %% [markdown]
# A colour picture of change: the reference in red and blue, the activity in green. What became brighter is green, what became
# darker is purple, what stayed is grey. Outlined in orange is the debris that the simulator put there. Single pixels change by many dB
# through speckle alone (middle). Averaged over 7 x 7 pixels first, in power, the larger pieces of debris come out of the grain (right). Look for bright spots
# there that are *not* debris.

# %%
vv0, vv1 = (stretch(both.band(name), -23, -3) for name in ("VV0", "VV1"))
change = np.stack([vv0, vv1, vv0], -1)
pictures = plots.panels(3)
plots.show_color(pictures[0], np.where(both.valid[..., None], change, 1), "before (purple), after (green)")
plots.outline(pictures[0], debris > 0, plots.ORANGE, "debris")
plots.legend(pictures[0])
difference = both.band("VV1") - both.band("VV0")
plots.show_image(pictures[1], difference, "VV, after minus before", "dB", both.valid, (-8, 8))
smooth = [to_db(speckle.boxcar(to_power(both.band(name)), 7, both.valid)) for name in ("VV0", "VV1")]
plots.show_image(pictures[2], smooth[1] - smooth[0], "averaged first", "dB", both.valid, (-4, 4))
on, off = (debris > 0) & both.valid, (debris == 0) & both.valid
powers = [to_power(both.band(name).astype(np.float64)) for name in ("VV0", "VV1")]


def change_db(where):
    """The change of the mean power."""
    return float(to_db(powers[1][where].mean() / powers[0][where].mean()))


numbers["change_in_debris_db"] = change_db(on) if on.any() else 0.0
print(
    f"{debris.max()} avalanches; the mean power changes by {numbers['change_in_debris_db']:+.1f} dB on debris,"
)
print(f"{change_db(off):+z.1f} dB elsewhere, where single pixels vary by {difference[off].std():.1f} dB")

# %% [markdown]
# ## 8 · Terrain
#
# Where can an avalanche run, and what does the beam do to the slope? A **terrain model**, a map of heights $h$, answers both. The slope
# is the steepest rise,
#
# $$\alpha = \arctan\sqrt{\left(\tfrac{\partial h}{\partial x}\right)^2 + \left(\tfrac{\partial h}{\partial y}\right)^2},$$
#
# with $x$ and $y$ **in metres**. In a raster in degrees one pixel is not as wide as it is tall, and a careless script finds every slope
# vertical. With `DATA = "sample"` we use a real Alpine model, otherwise the simulated one.


# %%
def slope(elevation, metres):
    down, right = np.gradient(elevation, metres)
    return np.degrees(np.arctan(np.hypot(down, right)))


dem = data.height_model(DATA, PRESET, SEED)
relief = dem.scene.read()
elevation = np.where(relief.valid, relief.pixels[0], np.nan).astype(np.float64)
steep = terrain.terrain_layers(relief)
side_m = relief.grid.transform.a
inner = np.isfinite(slope(elevation, side_m)) & steep.valid
assert np.allclose(slope(elevation, side_m)[inner], steep.band("slope")[inner], atol=0.5)
print(dem.credit)
print(
    f"heights {np.nanmin(elevation):.0f} to {np.nanmax(elevation):.0f} m, median slope {np.median(steep.band('slope')[steep.valid]):.0f} degrees"
)
numbers["median_slope_degree"] = float(np.median(steep.band("slope")[steep.valid]))

# %% [markdown]
# The same mountain, as the radar meets it: the **local incidence angle** between the beam and the line that stands upright on the slope, and
# what cannot be measured. **Layover** is ground that shares its pixel with other ground, because a slope towards the radar is too steep: that slope, and what it falls on; **shadow** is ground
# that the beam does not reach. On an *ascending* pass the satellite flies north and, as it looks to the right, sees east; on a *descending* one it flies south and sees west: slopes that are
# dark (facing the radar) in one picture are bright in the other, and the blind sides change places.

# %%
numbers["hidden"] = {}
pictures = plots.panels(3)
plots.show_image(pictures[0], steep.band("slope"), "slope", "degree", steep.valid, (0, 60))
for axes, orbit in zip(pictures[1:], ("ascending", "descending"), strict=True):
    view = terrain.View.of_pass(orbit, incidence_deg=39.0).on_grid(relief.grid)
    angle = terrain.local_incidence(terrain.dem_gradient(relief), view)
    metres = terrain.spacing_m(relief.grid)
    folded = visibility.layover(elevation, metres, view)
    hidden = visibility.shadow(elevation, metres, view)
    plots.show_image(axes, angle, f"{orbit}: incidence", "degree", steep.valid, (0, 90))
    plots.outline(axes, folded & steep.valid, plots.RED, "layover")
    plots.outline(axes, hidden & steep.valid, plots.BLUE, "shadow")
    plots.legend(axes)
    numbers["hidden"][orbit] = float(np.mean((folded | hidden)[steep.valid]))
    print(f"{orbit}: {np.mean(folded[steep.valid]):.1%} layover, {np.mean(hidden[steep.valid]):.1%} shadow")

# %% [markdown]
# ## 9 · Six bands for two encoders
#
# An **encoder** is the part of a network that turns an image into features. The avalanche study [1] gives one encoder (VV before, VV
# after, height) and a second one (VH before, VH after, slope). Each band is brought to [0, 1] by a fixed range, then the mean of the training data is taken off and the result divided by its standard
# deviation. These constants belong to *that* product. They have a name in the package, and what is normalised already is refused.

# %%
from sartutor.sar.normalisation import NORMALISATIONS, normalise

first = normalise(world.select(("VV0", "VV1", "DEM")), "avalanche-vv")
second = normalise(world.select(("VH0", "VH1", "slope")), "avalanche-vh")
channel = NORMALISATIONS["avalanche-vv"].channels["VV0"]
by_hand = (stretch(world.band("VV0"), -23, -3) - channel.mean) / channel.std
assert np.allclose(first.band("VV0")[world.valid], by_hand[world.valid], atol=1e-5)
for name, scene_of in (("first encoder", first), ("second encoder", second)):
    spread = [f"{band.name} {layer[scene_of.valid].mean():+.2f} ± {layer[scene_of.valid].std():.2f}"
              for band, layer in zip(scene_of.bands, scene_of.pixels, strict=True)]  # fmt: skip
    print(f"{name}: {', '.join(spread)}")
try:
    normalise(first, "avalanche-vv")
except DataError as error:
    print("Refused:", error)

# %% [markdown]
# A perfect match would read +0.00 ± 1.00. Ours are other mountains than the study's, so they differ; a network that was trained
# with these constants must still get these constants.
#
# ## 10 · Prompts from masks
#
# A **prompt** is what you tell a promptable model, here a box; a **label** is the right answer, here a mask of the debris. Where do boxes
# for training come from, if nobody drew any? From the label: one box around every object, then loosened at random, because people draw
# loosely, and merged where they overlap [1]. Move the first slider: looser boxes merge into fewer. The second one draws anew.

# %%
from scipy import ndimage

from sartutor.sar import boxes


def tight_boxes(mask):
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    return [
        (float(c.start), float(r.start), float(c.stop), float(r.stop)) for r, c in ndimage.find_objects(parts)
    ]


label = debris > 0
assert sorted(tight_boxes(label)) == sorted(boxes.object_boxes(label))
numbers["objects_and_boxes"] = [len(boxes.object_boxes(label)), len(boxes.evaluation_boxes(label))]
print("objects and merged evaluation boxes:", *numbers["objects_and_boxes"])
explorers.jitter_explorer(label)

# %% [markdown]
# A box answers only for what is in it: in training, the right answer outside the box is "nothing".
#
# ## 11 · Tiles, and a split that is honest
#
# Networks take images in pieces, **tiles**. A network learns from some of them (*train*), is tuned on others (*val*), and is examined on the rest
# (*test*). If neighbouring tiles land in training and in test, it is examined on what it has seen: the ground changes slowly over
# hundreds of metres, and speckle filters reach over tile borders. So whole **blocks** go to one split, and a **guard
# band** between different splits belongs to nobody.

# %%
from sartutor.sar import splits, tiles

side = preset(PRESET).scene_side // 16
shape = (16 * side, 16 * side)
owner = splits.block_split(shape, block=4 * side, guard=side // 2, seed=SEED)
splits.check_disjoint(owner, reach=side // 2)
grid = tiles.tile_grid(shape, side, overlap=side // 4)
colors = {
    i: (name, color)
    for i, (name, color) in enumerate(
        zip(splits.SHARES, (plots.BLUE, plots.GREEN, plots.ORANGE), strict=True)
    )
}
plots.show_classes(plots.panels(1)[0], owner, {**colors, -1: ("nobody", "0.8")}, "who owns which pixel")
for name in splits.SHARES:
    print(f"{name:6}{len(splits.tiles_of_split(grid, owner, name)):>5} tiles of {side} px")

# %% [markdown]
# ## 12 · Is the simulated world like the real one?
#
# Some notebooks that follow learn on simulated land cover. What is learned there means something only if the levels are right. So here
# are simulated water and land, and with `DATA = "sample"` those of the real flood beside them: medians in dB. The level of water in VV
# was set from this very image, so its agreement proves nothing; the other three rows are a test.

# %%
from sartutor.sim.landcover import Domain, landcover_scene
from sartutor.sim.layout import WATER

real = scene.valid & (example.label >= 0) if DATA == "sample" and example.label is not None else None
for name in ("VV", "VH"):
    domain = Domain("plains", name, None, "sentinel1", "C")
    worlds = [landcover_scene(SEED + k, domain) for k in range(4)]
    water = np.concatenate([world.pixels[0][classes == WATER] for world, classes in worlds])
    land = np.concatenate([world.pixels[0][classes != WATER] for world, classes in worlds])
    level = {"water": 10 * np.log10(np.median(water)), "land": 10 * np.log10(np.median(land))}
    numbers[f"simulated_{name}_db"] = {kind: float(value) for kind, value in level.items()}
    for kind, sign in (("water", 1), ("land", 0)):
        beside = (
            ""
            if real is None
            else f", real {np.median(scene.band(name)[real & (example.label == sign)]):6.1f} dB"
        )
        print(f"{name} {kind:5} simulated {level[kind]:6.1f} dB{beside}")

# %% [markdown]
# A decibel or two is the difference between one field and the next; the land of the sample that is not under water is bright, perhaps because it is wet. Most levels of
# the simulation are **assumed**: open tables by land cover, band and angle are rare. `sartutor/sim/backscatter.py` lists every level with
# its source, or with the word. Two more things are simpler than nature: the receiver's noise is not subtracted, and trees and houses
# have one height.

# %% [markdown]
# ## 13 · Write the prepared image, read it back
#
# The file written here states its units, band names and no-data, so that nobody has to guess again.

# %%
folder = data.runs_folder(PRESET, example.key)
path = folder / "03-prepared.tif"
geotiff.write_scene(power_scene, path)
again = geotiff.read_scene(path)
assert [band.units for band in again.bands] == ["power"] * len(again.bands)
assert np.array_equal(again.valid, power_scene.valid)
assert np.array_equal(again.pixels[:, again.valid], power_scene.pixels[:, power_scene.valid])
print(path.name, "holds", ", ".join(f"{b.name} in {b.units}" for b in again.bands), "and reads back exactly")

# %% [markdown]
# ## Where it fails
#
# - **Units by guess.** Plausibility is no proof. Amplitude scaled to 0–1 looks like power. If you know the units, say them.
#   Worse, a terrain model that does not state metres is read as digital numbers; the reader prints so, and you should read that.
# - **A fixed range** clips a calm lake at −25 dB to black and a city at +5 dB to white. A per-window stretch loses the absolute level.
# - **One threshold is not enough.** Wind roughens water; roads, sand and radar shadow can be as dark as a lake. Where a label exists we
#   can try many thresholds in VV and keep the best: it has seen the answer and still makes mistakes. The score is **IoU**,
#   intersection over union: 1 when two masks are equal, 0 when they are disjoint. Beside it stands Otsu's threshold [4], which has
#   not seen the answer: it splits the histogram into two groups that vary least. The *object* is all water in the sample, flood or not (drawn with the help of optical images, so
#   some of it is not dark), and the drawn shapes in the synthetic image.

# %%
if example.label is not None:
    judged = scene.valid & (example.label >= 0)
    truth, values = example.label[judged] > 0, vv[judged]
    plots.show_histogram(
        plots.panels(1)[0], {"object": values[truth], "rest": values[~truth]}, "VV (dB)", "VV by label"
    )

    def iou(mask):
        return np.sum(mask & truth) / np.sum(mask | truth)

    cuts = np.percentile(values, np.arange(1, 100))
    side = np.sign(np.median(values[truth]) - np.median(values[~truth]))
    scores = [iou(side * values > side * cut) for cut in cuts]
    otsu = threshold_otsu(values)
    numbers["iou_best_threshold"], numbers["iou_otsu"] = (
        float(max(scores)),
        float(iou(side * values > side * otsu)),
    )
    print(f"best threshold {cuts[np.argmax(scores)]:.1f} dB: IoU {numbers['iou_best_threshold']:.2f}")
    print(f"Otsu's threshold {otsu:.1f} dB: IoU {numbers['iou_otsu']:.2f}")
    print(
        f"the object covers {truth.mean():.1%}; to call everything object would have IoU {truth.mean():.2f}"
    )

# %% [markdown]
# Where the object is rare, as in the synthetic image, Otsu's two groups are two kinds of ground, and the object is lost among them.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** How many times stronger is an echo of −8 dB than one of −18 dB?

# %%
times = ...

# %% tags=["solution"]
solution = to_power(-8) / to_power(-18)
assert np.isclose(solution, 10)
check("Exercise 1", times, solution, hint="Turn both into power, then divide.", tolerance=0.01)

# %% [markdown]
# **Exercise 2.** The *equivalent number of looks* of an even patch is $(\mu/\sigma)^2$ of its **power**. Cut the image into blocks of
# 8 x 8 pixels, one a row of `blocks`, take the ratio in each, and then the median. It is a rough number: uneven blocks lower it, and
# neighbouring pixels that resemble each other raise it.

# %%
tall, wide = height // 8 * 8, width // 8 * 8
cut = power_scene.band("VV")[:tall, :wide].astype(np.float64).reshape(tall // 8, 8, wide // 8, 8)
blocks = cut.swapaxes(1, 2).reshape(-1, 64)
blocks = blocks[np.isfinite(blocks).all(1) & (blocks > 0).all(1)]
looks = ...

# %% tags=["solution"]
solution = np.median((blocks.mean(1) / blocks.std(1)) ** 2)
assert solution > 1
check("Exercise 2", looks, solution, hint="blocks.mean(1), blocks.std(1), np.median.", tolerance=0.01)

# %% [markdown]
# **Exercise 3.** The ratio VV / VH tells surfaces from vegetation. What is it in dB, given `vv` and `vh` in dB?

# %%
ratio_db = ...

# %% tags=["solution"]
solution = vv - vh
assert np.allclose(solution, to_db(to_power(vv) / to_power(vh)), atol=1e-3, equal_nan=True)
check(
    "Exercise 3", ratio_db, solution, hint="A logarithm turns a quotient into a difference.", tolerance=1e-3
)

# %% [markdown]
# ## Summary
#
# Know the units; average in power; keep no-data out; stretch to [0, 1]; remember that a box is a shape on the ground. Compare dates of
# one track only, mark what the terrain hides, and split by blocks. The
# numbers of this notebook go to a file, so that runs can be compared.

# %%
data.write_numbers("03", PRESET, example.key, SEED, numbers)

# %% [markdown]
# **Next:** [11 · Interactive segmentation](11_interactive_segmentation.ipynb) gives such windows to a promptable model.
# [02 · ALOS-2](02_alos2_preparation.ipynb) prepares a longer wavelength.
#
# ## References
#
# 1. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519,
#    2026; doi:10.3390/rs18030519; arXiv:2601.01213.
# 2. Bonafilia et al., *Sen1Floods11: a georeferenced dataset to train and test deep learning flood algorithms for Sentinel-1*,
#    CVPR Workshops, 2020 (the sample; contains modified Copernicus Sentinel data).
# 3. C. Oliver and S. Quegan, *Understanding Synthetic Aperture Radar Images*, SciTech, 2004 (speckle and looks).
# 4. N. Otsu, *A threshold selection method from gray-level histograms*, IEEE Trans. Systems, Man, and Cybernetics 9(1), 1979.
