# %% [markdown]
# # Welcome
#
# A radar satellite sends a pulse, listens to what comes back, and does so through clouds and at night. The images look odd at first.
# In these notebooks you learn to read them, and to build small *foundation models* that read them with you.
#
# **What you will do.** Draw a box around something in a radar image and see a model find its outline, within a minute. Then
# check that your machine is ready for the rest.
#
# **What you will learn.** How these notebooks work, and what a *promptable* model is.
#
# **What you need.** 5 minutes. No data, no network, no earlier knowledge.

# %% [markdown]
# A notebook is text and code in one page. Click into the grey cell below and press **Shift + Enter**: it runs, and the next
# one is chosen. The first cell of each notebook holds its settings. `PRESET` says how large things are (`smoke` is a quick proof,
# `laptop` the normal size), `SEED` makes chance repeatable, and `DATA` says whose data to use: `synthetic` is made on the spot,
# `sample` is a small real image, and a path takes your own.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF

# %% [markdown]
# ## 1 · A box, a mask
#
# We load a small model that comes with this package and a radar scene. The scene's bands are called VV and VH: two ways in which a
# radar wave can swing when it is sent and received. The scale is in decibels (dB): higher is brighter.

# %%
import time

start = time.perf_counter()
from sartutor.lab import data, plots
from sartutor.lab.checks import check
from sartutor.learn.sam.baselines import iou
from sartutor.learn.sam.evaluate import pixel_polygon
from sartutor.learn.models import load_model
from sartutor.learn.sam.predictor import Predictor
from sartutor.sar.boxes import fill_box, loose_box, tight_box

numbers = {}
example = data.sentinel1(DATA, PRESET, SEED)
scene = example.scene.read()
predictor = Predictor(load_model("sam_tiny_base"), scene)
print(example.credit)
print(f"{scene.name}: {scene.grid.height} x {scene.grid.width} pixels, bands {', '.join(scene.band_names)}")

# %% [markdown]
# Now the box. A person would draw it; here we put it around the labelled object that stands out most, a little loose, as hands do it.
# The box is the **prompt**. The model answers with a **mask**: every pixel that it takes for part of the object.

# %%
height, width = scene.grid.shape
box = (0.375 * width, 0.375 * height, 0.625 * width, 0.625 * height)
if example.label is not None:
    chosen = data.clearest_object(scene, example.label)
    box = loose_box(tight_box(chosen), scene.grid.shape)
segment = predictor.segment(pixel_polygon(box, scene.grid))
mask = scene.valid & False
mask[segment.window.toslices()] = segment.mask

for axes, title in zip(plots.panels(2), ("A box, a mask", "from near"), strict=True):
    plots.show_image(axes, scene.pixels[0], title, "VV (dB)", scene.valid)
    plots.draw_box(axes, box, label="your box")
    plots.outline(axes, mask, label="the model's mask")
plots.zoom(axes, box)
plots.legend(axes)
numbers["seconds_to_mask"] = time.perf_counter() - start
print(
    f"From the start to this mask: {numbers['seconds_to_mask']:.1f} s, of which the answer itself {segment.seconds:.2f} s."
)

# %% [markdown]
# Is it a good mask? With a label at hand we can say. The usual score is **IoU**, intersection over union:
#
# $$\mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|},$$
#
# 1 when two masks are equal, 0 when they do not touch. A number alone says little, so we put a **baseline** beside it: an answer
# that needs no model at all. Filling the whole box is one. A model that cannot beat it is useless.


# %%
def my_iou(a, b):
    return (a & b).sum() / (a | b).sum()


if example.label is not None:
    filled = fill_box(scene.grid.shape, box)  # all that the model was asked about
    truth, found = (example.label > 0) & filled, mask & filled
    assert my_iou(found, truth) == iou(found, truth)  # the package's function is the same
    numbers["iou_model"], numbers["iou_fill_box"] = float(iou(found, truth)), float(iou(filled, truth))
    print(f"IoU of the model {numbers['iou_model']:.2f}, of filling the box {numbers['iou_fill_box']:.2f}")

# %% [markdown]
# ## 2 · Your turn
#
# The map below shows the same scene. Click the small square at the left, then drag a box around something. The mask appears when you
# let go. You can move the box, delete it, undo, and export your masks. Nothing leaves your machine, and no network is needed.

# %%
from sartutor.lab.annotator import Annotator

annotator = Annotator(scene)
annotator.show()

# %% [markdown]
# ## 3 · Is this machine ready?
#
# One line per check. Whatever is not *ok* names its cure. The same report comes from `sartutor doctor` in a terminal.

# %%
from sartutor.lab import doctor

report = doctor.examine()
for line in report:
    print(f"{line.state:5}{line.name:9}{line.value}", f"\n      -> {line.cure}" if line.cure else "")
numbers["checks_failed"] = sum(line.state == "fail" for line in report)

# %% [markdown]
# ## Where it fails
#
# A promptable model always answers, even when nothing is there. We ask it about a square in which nothing is labelled. It reports a *score*, its own
# guess of the IoU. Treat that score as an opinion, not as a measurement.

# %%
squares = [
    (col * width / 8, row * height / 8, (col + 1) * width / 8, (row + 1) * height / 8)
    for row in range(8)
    for col in range(8)
]
square = squares[0]
if example.label is not None:
    square = min(squares, key=lambda each: (example.label[fill_box(scene.grid.shape, each)] != 0).sum())
empty = predictor.segment(pixel_polygon(square, scene.grid))
numbers["score_on_object"], numbers["score_on_nothing"] = segment.score, empty.score
print(f"around the object: {segment.pixels:6,} px, score {segment.score:.2f}")
print(f"in the square:     {empty.pixels:6,} px, score {empty.score:.2f}")

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** Two masks have 100 pixels each and share 50. What is their IoU?

# %%
answer = ...

# %% tags=["solution"]
solution = 50 / (100 + 100 - 50)
assert round(solution, 2) == 0.33
check(
    "Exercise 1",
    answer,
    solution,
    hint="Pixels that both masks have count once in the union.",
    tolerance=0.01,
)

# %% [markdown]
# **Exercise 2.** Which share of the pixels inside the box did the model take for the object? Use `mask` and
# `fill_box(scene.grid.shape, box)`.

# %%
share = ...

# %% tags=["solution"]
solution = mask.sum() / fill_box(scene.grid.shape, box).sum()
assert 0 <= solution <= 1
check("Exercise 2", share, solution, hint="Count the pixels of both with .sum().", tolerance=1e-3)

# %% [markdown]
# ## Summary
#
# A promptable model turns a box into a mask. A score means something beside a baseline. Settings stand in the first cell, and every
# notebook writes its own numbers to a file.

# %%
data.write_numbers("00", PRESET, example.key, SEED, numbers)

# %% [markdown]
# **Next**
#
# | notebook | what it is about | minutes |
# |---|---|---|
# | [01 · SAR basics](01_sar_basics.ipynb) | echoes, speckle, looks, filters, and how mountains fold | 35 |
# | [02 · ALOS-2](02_alos2_preparation.ipynb) | digital numbers, complex scenes, mountains and rare classes | 30 |
# | [03 · Sentinel-1](03_sentinel1_preparation.ipynb) | decibels, averages, two dates, terrain, prompts, splits | 40 |
# | [04 · Weighted SimMIM](04_weighted_simmim.ipynb) | learning without labels: hide, paint in, weigh by backscatter | 40 |
# | [05 · Weighted MixMAE](05_weighted_mixmae.ipynb) | two chips in one: mix, keep apart, unmix, weigh two bands | 35 |
# | [06 · Downstream](06_downstream.ipynb) | land cover, labels, floods: what an encoder is worth | 45 |
# | [07 · SAM adapters](07_sam_adapters.ipynb) | SAM taken apart, an adapter built and trained on avalanche debris | 45 |
# | [08 · A second encoder](08_sam_second_encoder.ipynb) | VH and slope, aligned through a frozen decoder | 40 |
# | [09 · Fusion](09_sam_fusion.ipynb) | a gate between two encoders, the comparison, a gallery of failures | 45 |
# | [10 · Domain generalisation](10_domain_generalization.ipynb) | gaps between radars, a mixture of experts, who computes what | 40 |
# | [11 · Interactive segmentation](11_interactive_segmentation.ipynb) | boxes on a map, masks, and how good they are | 35 |
# | [12 · Scaling up](12_scaling_up.ipynb) | what a training costs, several processes, whole scenes, what to rent | 40 |
#
# ## References
#
# 1. A. Kirillov et al., *Segment Anything*, ICCV 2023; arXiv:2304.02643.
# 2. ESA, *Sentinel-1 user guide*; A. Moreira et al., *A tutorial on synthetic aperture radar*, IEEE Geoscience and Remote
#    Sensing Magazine 1(1), 2013: the gentlest way into radar.
