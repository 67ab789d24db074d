# %% [markdown]
# # Interactive segmentation: boxes on a map
#
# **What you will do.** Draw boxes on a radar image and get masks back, look inside the model at every step from box to mask,
# correct it, decide about it, export it, and train a model of your own on what you have drawn. You score masks on every labelled object
# beside two baselines, and count what prompting saves.
#
# **What you will learn.** How a promptable model is built (encoder, prompt, decoder), why the image around the box is encoded and
# not the whole scene, and where such a model fails.
#
# **What you need.** About 35 minutes; [00](00_welcome.ipynb) helps, [03](03_sentinel1_preparation.ipynb) explains the units.
# `DATA = "sample"` uses a real flood near Almoradí, Spain, with its label (1.5 MB); a path uses your own GeoTIFF.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF, or of a folder with images/ and masks/

# %% [markdown]
# We bring in the tools, load the scene, and load the model: `sam_tiny_base`, small enough for any laptop, comes with the package.

# %%
from dataclasses import replace

import numpy as np
import torch

from sartutor.errors import DataError
from sartutor.lab import data, plots
from sartutor.lab.checks import check
from sartutor.learn.sam import evaluate, inputs
from sartutor.learn.sam.baselines import iou, otsu_box
from sartutor.learn.sam.contrast import box_contrast
from sartutor.learn.models import load_model
from sartutor.learn.sam.predictor import Predictor
from sartutor.presets import preset
from sartutor.sar import boxes, warp

numbers = {}
example = data.sentinel1(DATA, PRESET, SEED)
scene = example.scene.read()
model = load_model("sam_tiny_base")
predictor = Predictor(model, scene)
print(example.credit)
print(
    f"{scene.name}: {scene.grid.height} x {scene.grid.width} px, {', '.join(scene.band_names)}, {scene.bands[0].units}"
)

# %% [markdown]
# ## 1 · The scene and its label
#
# A label is a mask that a person made. In the sample it marks open water, drawn with the help of an optical image.
# We split it into objects: connected parts of at least 50 pixels.

# %%
small = warp.overview(scene, preset(PRESET).picture_side)
truth = None if example.label is None else example.label > 0
objects = [] if truth is None else boxes.connected_objects(truth)
numbers["objects"] = len(objects)
pictures = plots.panels(2 if objects else 1)
plots.show_image(pictures[0], small.pixels[0], scene.band_names[0], "dB", small.valid)
if objects:
    plots.show_classes(
        pictures[1], example.label, {1: ("object", plots.BLUE), -1: ("not labelled", "black")}, "label"
    )
print(f"{len(objects)} objects of at least 50 px")

# %% [markdown]
# ## 2 · The idea
#
# *Segment Anything* [1] splits the work in two. An **encoder** $E$ looks at the image once; that is slow. A **decoder** $D$ takes the
# embedding and a prompt $b$, here a box, and draws the mask; that is fast:
#
# $$\hat{y} = \sigma\bigl(D(E(x), b)\bigr) > \tfrac{1}{2}.$$
#
# One embedding answers many prompts, so a click that corrects a mask is answered sooner than the box that began it. Radar objects are often only some 20 pixels wide. If
# the whole scene were squeezed into the model's input they would vanish. So $x$ is a **window around the box**, up to four
# times its size; a box elsewhere has a window, and an embedding, of its own. (`sam_tiny_base` was trained like this. The adapted models
# of sections 7 and 8 see a whole chip, which boxes near each other share.)
#
# We choose the object that stands out most and put a box around it, a few pixels loose.

# %%
height, width = scene.grid.shape
box = (0.375 * width, 0.375 * height, 0.625 * width, 0.625 * height)
if objects:
    chosen = data.clearest_object(scene, example.label)
    box = boxes.loose_box(boxes.tight_box(chosen), scene.grid.shape)
segment = predictor.segment(evaluate.pixel_polygon(box, scene.grid))
print("box in pixels:", tuple(round(v, 1) for v in box))
print(f"mask: {segment.pixels} px, score {segment.score:.2f}, {1000 * segment.seconds:.0f} ms")

# %% [markdown]
# ## 3 · The same in small steps
#
# What did `segment` do? Six lines show it: cut a window, make three channels of it, encode, decode, bring the answer back to the
# window's pixels, and keep what is inside the box.

# %%
side = model.sam.size.image_size
window = inputs.prompt_window(box, scene.grid.shape, side)
piece = scene.read(window)
image, frame = inputs.model_image(piece, side)
with torch.inference_mode():
    embedding = model.sam.encode(image[None])
    logits, quality = model.sam.decode(embedding, torch.tensor([frame.box(box, window)]))
probability = frame.back(logits[0, :1].sigmoid())[0].numpy()
mask = (probability > 0.5) & segment.inside
print(f"window {window.height} x {window.width} px -> model input {side} x {side}")
print("embedding:", *(tuple(part.shape) for part in embedding))
assert (
    np.mean(mask == segment.mask) > 0.99
)  # the cache keeps embeddings in half precision: a border pixel may flip

# %% [markdown]
# The decoder of this small model does not start from nothing. In every channel it gets a **first guess**: how far the value $v$ of a pixel lies from the
# threshold $t_b$ that best splits the box's histogram in two (Otsu's [3]), in standard deviations $\sigma_b$ of the box,
#
# $$c_b(v) = \pm\,\frac{v - t_b}{\sigma_b},$$
#
# cut to [−2, 2] and 0 outside of the box, with the sign that makes the *border* of the box negative. There is nothing to learn in it, and it works for bright and for dark objects.
# The network learns when to follow it and when not: speckle, neighbours and fuzzy edges fool a threshold.
#
# First the model's input, then the guess in its first channel, a probability for every pixel, and the mask, beside the label where there
# is one.

# %%
pictures = plots.panels(4, columns=2)
local = np.subtract(box, (window.col_off, window.row_off) * 2)
guess = box_contrast(image[None], torch.tensor([frame.box(box, window)]))[0]
plots.show_color(pictures[0], image.numpy().transpose(1, 2, 0), "what the encoder sees")
plots.draw_box(pictures[0], frame.box(box, window))
plots.show_image(
    pictures[1], frame.back(guess)[0].numpy(), "first guess", "standard deviations", limits=(-2, 2)
)
plots.draw_box(pictures[1], local)
plots.show_image(pictures[2], probability, "what the decoder says", "probability", limits=(0, 1))
plots.draw_box(pictures[2], local)
plots.show_image(pictures[3], piece.pixels[0], "mask and label", "dB", piece.valid)
plots.outline(pictures[3], mask, plots.ORANGE, "model")
if objects:
    plots.outline(pictures[3], truth[window.toslices()], plots.BLUE, "label")
plots.draw_box(pictures[3], local, plots.GREEN, "box")
plots.zoom(pictures[3], local)
plots.legend(pictures[3])

# %% [markdown]
# Our decoder answered for the whole window; only what lies inside your box is kept. That is a rule of this package: a box is a
# promise that the object is inside. So `segment` has the decoder draw the box and its surroundings alone, pixel by pixel the same, and is
# quicker for it.
#
# ## 4 · Your turn: draw
#
# Click the square at the left of the map (or click on the map once and press **b**), drag a box around one object, let go. Then:
#
# - **Correct.** Move the *threshold*: the mask follows at once, because the decoder's probabilities are kept and nobody has to ask it again.
#   Choose *+ point* or *− point* and click where something is missing or too much. Move a corner with the edit tool.
# - **Decide.** *Accept* (**a**) or *reject* (**r**); the next open object is chosen. *Undo* (**z**) has no end, not even when you close the
#   notebook.
# - **Look.** The page *Picture* shows other bands, the change between two dates and the terrain, stretches them, and swipes one over
#   another. The line below the map reads every band under the mouse, in its units.
# - **Without a mouse.** **k** puts a box on the map that arrow keys move; the page *Keys* lists all keys.
#
# Every step is written to a file in the folder `annotations` before the map shows it. Kill the kernel, run the cell again: it is all there.

# %%
from sartutor.lab.annotator import Annotator

annotator = Annotator(scene)
annotator.show()

# %% [markdown]
# The map is a front for plain Python. `annotator.draw` does what your mouse does, and `annotator.session` holds the objects. If you have
# drawn nothing yet, the next cell draws the box from above.

# %%
from rasterio.crs import CRS

from sartutor.sar import footprint

degrees = None if scene.grid.crs is None else CRS.from_epsg(4326)
if not annotator.session.objects:
    corners = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])])
    annotator.draw(footprint.ground(corners, scene.grid, degrees))
for one in annotator.session.objects:
    area = "unknown" if one.area_m2 is None else f"{one.area_m2:,.0f} m2"
    print(f"object {one.id}, {one.status}: {one.pixels} px, area {area}, score {one.score:.2f}")

# %% [markdown]
# ## 5 · Export
#
# Three files come out: a GeoTIFF on the grid of the scene (0 outside, 1 inside, 255 no data), a GeoPackage with the outlines, and, where
# the scene says where it lies, GeoJSON in degrees for the web. We read the first two back and check them.

# %%
import geopandas
import rasterio

paths = annotator.export(data.runs_folder(PRESET, example.key) / "11-masks")
with rasterio.open(paths[0]) as file:
    written = file.read(1)
    assert (file.crs, file.transform) == (scene.grid.crs, scene.grid.transform)
outlines = geopandas.read_file(paths[1], layer="masks")
assert np.array_equal(written == 255, ~scene.valid)
print(*(path.name for path in paths))
print(f"{np.sum(written == 1):,} px in {len(outlines)} objects; values {np.unique(written).tolist()}")

# %% [markdown]
# The same from a terminal, without a map:
#
# ```bash
# sartutor segment SCENE.tif --box WEST SOUTH EAST NORTH --out mask.tif --vector out.gpkg --json
# ```
#
# ## 6 · How good is it?
#
# Every object gets its box, ten pixels loose on a 512-pixel scene as in the avalanche study [2]. Mask and label are compared inside the
# object's own box. Two baselines stand beside the model:
#
# - **fill the box**: no model at all;
# - **Otsu in the box**: the threshold that best splits the box's histogram in two [3]; the side of the box's border is background.
#
# For the chosen object we compute all three ourselves, and compare with the package's `score_objects`.

# %%
if objects:
    values = np.asarray(scene.pixels[0], np.float32)
    guesses = {"model": scene.valid & False, "fill the box": boxes.fill_box(scene.grid.shape, box)}
    guesses["model"][segment.window.toslices()] = segment.mask
    guesses["Otsu in the box"] = otsu_box(values, scene.valid, box)
    own = boxes.fill_box(scene.grid.shape, boxes.tight_box(chosen)) & scene.valid
    by_hand = {name: iou(guess & own, truth & own) for name, guess in guesses.items()}
    (score,) = evaluate.score_objects(predictor, scene, truth, [chosen])
    assert np.allclose(list(by_hand.values()), (score.model, score.fill_box, score.otsu_box))
    print(*(f"{name}: IoU {value:.2f}" for name, value in by_hand.items()), sep="\n")

# %% [markdown]
# One object proves nothing. Here are all of them. Each dot is an object, each bar a mean.

# %%
scores = evaluate.score_objects(predictor, scene, truth, objects)
if scores:
    table = {
        "model": np.array([s.model for s in scores]),
        "fill the box": np.array([s.fill_box for s in scores]),
        "Otsu in the box": np.array([s.otsu_box for s in scores]),
    }
    numbers["mean_iou"] = {name: float(values.mean()) for name, values in table.items()}
    plots.show_scores(plots.panels(1)[0], table, f"{len(scores)} objects")
    print(*(f"{name:16} mean IoU {values.mean():.3f}" for name, values in table.items()), sep="\n")

# %% [markdown]
# And three of them to look at: the best, the middle and the worst by the model's IoU.

# %%
if scores:
    order = np.argsort(table["model"])[::-1]
    picks = {"best": order[0], "middle": order[len(order) // 2], "worst": order[-1]}
    for axes, (name, index) in zip(plots.panels(3), picks.items(), strict=True):
        one = predictor.segment(evaluate.pixel_polygon(scores[index].box, scene.grid))
        part = scene.read(one.window)
        plots.show_image(axes, part.pixels[0], f"{name}: IoU {table['model'][index]:.2f}", "dB", part.valid)
        local = np.subtract(scores[index].box, (one.window.col_off, one.window.row_off) * 2)
        plots.draw_box(axes, local, plots.GREEN, "box")
        plots.zoom(axes, local)
        plots.outline(axes, one.mask, plots.ORANGE, "model")
        plots.outline(axes, truth[one.window.toslices()], plots.BLUE, "label")
        plots.legend(axes)

# %% [markdown]
# ## 7 · Annotate, adapt, annotate better
#
# What you accept can teach. The export *folder to train with* cuts the scene into chips, draws by lot which chips are for training, validation
# and test, leaves out a strip between them, marks accepted objects with 1 and what is open or rejected as *ignore*. `sartutor adapt` takes such a folder as it
# is ([07](07_sam_adapters.ipynb) shows what adaptation does).
#
# To see the loop without an hour of clicking, we take the place of a careful annotator: every labelled object gets a box; where the mask
# overlaps less than half with the label, the outline is drawn by hand, that is, taken from the label.

# %%
from sartutor.lab.annotator.annotation import annotate
from sartutor.lab.annotator.imports import from_mask
from sartutor.lab.annotator.training import write_training
from sartutor.sar.footprint import pixel_window


def careful(part):
    """One object as a careful annotator leaves it."""
    box = boxes.loose_box(boxes.tight_box(part), scene.grid.shape)
    one = annotate(predictor.segment(evaluate.pixel_polygon(box, scene.grid)), scene.grid, status="accepted")
    if iou(one.mask, part[one.window.toslices()]) >= 0.5:
        return one
    window = pixel_window(box, scene.grid)
    return replace(from_mask(part[window.toslices()], window, scene.grid, "manual"), status="accepted")


# %% [markdown]
# All objects, accepted, become chips with masks. The table says which chip is for what.

# %%
drawn = [careful(part) for part in objects]
folder = None
try:
    folder = write_training(scene, drawn, data.runs_folder(PRESET, example.key) / "11-training")
except DataError as error:
    print(error)
else:
    by_hand = sum(one.kind == "manual" for one in drawn)
    print(f"{len(drawn)} objects accepted, {by_hand} of them outlined by hand")
    print((folder / "splits.csv").read_text())

# %% [markdown]
# Now a short adaptation (phase 1 alone, for there is one encoder), and the objects of the chips kept for testing, asked by both models. They
# are few, one or two: the cell shows the way, and proves nothing; besides, the two do not see the same surroundings (section 2). What adaptation is worth over hundreds of objects stands in
# [09](09_sam_fusion.ipynb) and on the card of `sam_tiny_avalanche`.

# %%
from sartutor.learn.adapt import adapt
from sartutor.learn.evaluate import questions, sam_answer, score_images
from sartutor.learn.scores import summary
from sartutor.presets import LOOP_RECIPES
from sartutor.sar.folder import open_dataset

if folder is not None:
    made = adapt(folder, folder.with_name("11-own.safetensors"), recipe=LOOP_RECIPES[PRESET], seed=SEED)
    test = open_dataset(folder)
    for name in ("sam_tiny_base", str(made.out)):
        asked = questions(test, "test", "box", SEED)
        found = summary(score_images(sam_answer(load_model(name), test), asked))["objects"]
        numbers.setdefault("loop_iou", {})[name if name == "sam_tiny_base" else "own"] = found["iou"]
        print(
            f"{'your own model' if '/' in name else name:16} IoU {found['iou']:.2f} of {found['n']} objects"
        )
    print(f"Annotator(scene, {str(made.out)!r}) draws with it.")

# %% [markdown]
# ## 8 · What does prompting save?
#
# The avalanche study [2] reports 60.28 % less time than outlining by hand. Time needs people. To measure yourself, put these two lines into a
# cell: they ask for the same objects both ways, in turn, drawn by lot, take the time, go on where you stopped, and end with a table of pairs.
#
# ```python
# from sartutor.lab.annotator.timed import TimedStudy
# TimedStudy(scene, objects[:10], "my-study.csv").show()
# ```
#
# Clicks can be counted without people. A
# simulated annotator does both on scenes that no model has seen: by hand, with as few corners as reach the same IoU; by prompting, with a box
# (two clicks), clicks into the largest errors where the mask is not usable (IoU below 0.5), and an outline by hand where these do not help.

# %%
from sartutor.learn.effort import effort_table, measure
from sartutor.presets import EFFORT_SIZES

live = replace(EFFORT_SIZES[PRESET], scenes=2 if PRESET == "smoke" else 6)
clicks = effort_table(measure(load_model("sam_tiny_avalanche"), [41], live, "points", progress=False))
numbers["clicks_saved_live"] = float(clicks.loc["all", "saved"])
clicks.round(2)

# %% [markdown]
# These were a few scenes. The same, recorded over five seeds:

# %%
from sartutor.learn.effort_records import efforts

recorded = effort_table(efforts("points-0.5"))
for usable in (0.5, 0.7):
    saved = effort_table(efforts(f"points-{usable}")).loc["all", ["saved", "±"]]
    print(f"usable from IoU {usable}: {saved.iloc[0]:+.2f} +- {saved.iloc[1]:.2f} of the clicks saved")
recorded.round(2)

# %% [markdown]
# `box` is the mean IoU of the box alone, `by_hand` and `prompted` are median clicks, `saved` is the share of all clicks, with half the width of its
# 95 % interval over scenes. A box costs two clicks whatever the object; an outline costs more the larger and the more ragged the object is. So prompting
# saves most where objects are large. Ask for better masks, and what is saved shrinks: mending costs clicks too. The simulated hand is an ideal
# one, which knows the truth and needs the fewest corners.
#
# ## 9 · Several people
#
# Two people never draw the same. Their session files can be compared (how many objects both found, how alike their masks are, and
# $\kappa$, agreement beyond chance, pixel by pixel), listed where they differ, and merged; conflicts stay open for somebody to decide. On the map the page *Files* does
# it with the buttons *Compare* and *Merge*, and takes your objects to an image of another date with *Carry over*. Here the second person draws looser boxes and misses one object.

# %%
from sartutor.lab.annotator import Session
from sartutor.lab.annotator.merging import agreement, conflicts, read_work


def session_of(name, parts, times):
    """The session file of somebody who draws boxes so many times as loose."""
    path = data.runs_folder(PRESET, example.key) / f"11-{name}.sqlite"
    path.unlink(missing_ok=True)
    session = Session.open(scene, path, annotator=name)
    for part in parts:
        box = boxes.tight_box(part)
        for _ in range(times):
            box = boxes.loose_box(box, scene.grid.shape)
        session.add(annotate(predictor.segment(evaluate.pixel_polygon(box, scene.grid)), scene.grid))
    session.close()
    return path


# %% [markdown]
# Two files, two people:

# %%
differing = None
if len(objects) >= 2:
    by_size = sorted(objects, key=np.count_nonzero, reverse=True)[:20]
    work = read_work(scene, [session_of("first", by_size, 1), session_of("second", by_size[:-1], 3)])
    alike = agreement(scene, work)
    print(f"{alike.objects} objects of both, {alike.alone} of one alone")
    print(f"mean IoU {alike.iou:.2f}, kappa {alike.kappa:.2f}")
    differing = conflicts(work)
differing

# %% [markdown]
# ## Where it fails
#
# **Small objects.** A pixel at the border weighs more when there are few inside. **Mixed objects.** Labelled water is not always dark:
# wind and reeds brighten it, and brightness alone cannot tell. **Loose boxes.** The wider the box, the more there
# is inside that might be meant. The last one we can measure: the same objects, with ever looser boxes. Here the whole mask is compared with the one object, not
# only inside its own box as in section 6, so everything marked beside it counts against the model.

# %%
some = objects[:: max(1, len(objects) // 12)]
pushes = (0, 5, 10, 20, 40)  # pixels on every side
means = []
for push in pushes if some else ():
    found = []
    for part in some:
        x0, y0, x1, y1 = boxes.tight_box(part)
        loose = (max(x0 - push, 0), max(y0 - push, 0), min(x1 + push, width), min(y1 + push, height))
        one = predictor.segment(evaluate.pixel_polygon(loose, scene.grid))
        found.append(iou(one.mask, part[one.window.toslices()]))
    means.append(float(np.mean(found)))
    print(f"box {push:>2} px loose on every side: mean IoU {means[-1]:.2f} of {len(some)} objects")
numbers["mean_iou_by_looseness_px"] = dict(zip(map(str, pushes), means, strict=False))

# %% [markdown]
# And size: does the model do better on larger objects?

# %%
if scores:
    sizes = [s.pixels for s in scores]
    axes = plots.panels(1)[0]
    axes.semilogx(sizes, table["model"], "o", color=plots.BLUE, alpha=0.6)
    axes.set_xticks(ticks := [50, 200, 1000, 5000, 20000], ticks)
    axes.minorticks_off()
    axes.set(
        xlabel="size of the object (px)", ylabel="IoU of the model", ylim=(-0.02, 1.02), title="IoU by size"
    )
    rank = float(np.corrcoef(np.argsort(np.argsort(sizes)), np.argsort(np.argsort(table["model"])))[0, 1])
    print(f"rank correlation of size and IoU: {rank:+.2f}")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** Write a function that returns the IoU of two boolean masks. The check tries it on the pair below.

# %%
one_mask, other_mask = np.eye(8, dtype=bool), np.tri(8, dtype=bool)


def your_iou(a, b):
    return ...


# %% tags=["solution"]
def solution_iou(a, b):
    return (a & b).sum() / (a | b).sum()


assert solution_iou(one_mask, other_mask) == iou(one_mask, other_mask)
found = your_iou(one_mask, other_mask)
check(
    "Exercise 1",
    found,
    solution_iou(one_mask, other_mask),
    hint="& is the intersection, | the union; count with .sum().",
)

# %% [markdown]
# **Exercise 2.** `segment.probability` holds the decoder's answer in and around the box, `segment.inside` the pixels of the box. How many
# pixels does the mask have if you ask for a probability above 0.8 instead of 0.5?

# %%
count = ...

# %% tags=["solution"]
solution = np.sum(segment.inside & (segment.probability > 0.8))
strict = predictor.segment(evaluate.pixel_polygon(box, scene.grid), threshold=0.8)
assert solution == strict.pixels
check("Exercise 2", count, solution, hint="Combine two conditions with &, then count with .sum().")

# %% [markdown]
# **Exercise 3.** The box below is half outside the scene. What does the predictor say about it? Its answer has a `note`.

# %%
x_half = width / 10
half_outside = evaluate.pixel_polygon((-x_half, 0.4 * height, x_half, 0.6 * height), scene.grid)
note = ...

# %% tags=["solution"]
solution = predictor.segment(half_outside).note
assert "clipped" in solution
check("Exercise 3", note, solution, hint="predictor.segment(half_outside) gives a segment; look at its note.")

# %% [markdown]
# ## Summary
#
# A promptable model is an encoder that looks once and a decoder that answers often. The window decides the resolution, the box decides
# what is meant. A mean IoU means something beside its baselines and over many objects, and the worst object teaches most.

# %%
data.write_numbers("11", PRESET, example.key, SEED, numbers)

# %% [markdown]
# **Next:** run this notebook with `DATA = "sample"`, then with an image of your own. [03](03_sentinel1_preparation.ipynb) shows how to
# prepare it. [12 · Scaling up](12_scaling_up.ipynb) takes all of this to larger machines.
#
# ## References
#
# 1. A. Kirillov et al., *Segment Anything*, ICCV 2023; arXiv:2304.02643.
# 2. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519,
#    2026; doi:10.3390/rs18030519; arXiv:2601.01213.
# 3. N. Otsu, *A threshold selection method from gray-level histograms*, IEEE Trans. Systems, Man, and Cybernetics 9(1), 1979.
# 4. Bonafilia et al., *Sen1Floods11*, CVPR Workshops, 2020 (the sample; contains modified Copernicus Sentinel data).
