# %% [markdown]
# # Scaling up: the same commands on larger machines
#
# **What you will do.** Count what a training costs before you pay for it. Let two processes train what one does, pull the plug, and go on. Save memory in three ways and see what each takes in time. Map a scene
# of any size through a small window, and take a folder of your own from pretraining to a score. In the end you know what to rent, and for how long.
#
# **What you will learn.** What presets change and what they do not; why a run that was cut off ends where it would have ended anyway; what activations are; how a map without seams comes from windows; how
# far an estimate can be trusted.
#
# **What you need.** About 40 minutes, 4 of them computing. No GPU. [04](04_weighted_simmim.ipynb) explains masked pretraining, [07](07_sam_adapters.ipynb) adapters, [10](10_domain_generalization.ipynb) the
# frozen encoder that maps here. `DATA = "sample"` maps a real Sentinel-1 scene from Spain, a path maps your own.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a raster of your own, 1-3 calibrated bands

# %% [markdown]
# We bring in the tools. `sartutor.learn.costs` counts, `sartutor.learn.whole_scene` maps, `sartutor.lab.scaling` draws.

# %%
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sartutor.lab import data, plots, scaling
from sartutor.lab.checks import check
from sartutor.learn import costs
from sartutor.presets import SCALING_LESSONS, preset

numbers = {}
lesson = SCALING_LESSONS[PRESET]
work = data.runs_folder(PRESET, Path(DATA).stem) / "12-work"
shutil.rmtree(work, ignore_errors=True)
work.mkdir()
print(
    f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of PyTorch, GPU: {torch.cuda.is_available()}"
)

# %% [markdown]
# ## 1 · Three presets, one code
#
# Every training command takes `--preset smoke`, `laptop` or `paper`. *Smoke* proves within seconds that everything fits together. *Laptop* learns something in minutes. *Paper* has the sizes of the publications [1-4]. A preset
# changes sizes: the loop, the loss and the files are the same. (Where a publication differs in kind, *paper* follows it: `generalise` takes Mask2Former for a head.)
#
# How large are these runs? We count. PyTorch has a device without memory, `meta`: tensors there have a shape and no content. A model on it can be run forward and backward in no time, and every matrix
# product on the way can be counted. One multiplication and one addition are two **floating-point operations** (FLOP).

# %%
presets = ("smoke",) if PRESET == "smoke" else ("smoke", "laptop", "paper")
began = time.perf_counter()
trainings = scaling.jobs(presets)
table = scaling.preset_table(trainings)
print(f"{len(trainings)} trainings counted in {time.perf_counter() - began:.0f} s")
table

# %% [markdown]
# By hand, for one layer: a linear layer from 96 to 384 numbers costs $2 \cdot 96 \cdot 384$ FLOP for a token. Backward it costs twice as much, once for the gradient of its weights and once for that of its input. Hence the rule of thumb
# *a step is three forward passes*. Two things break it: frozen weights need no gradient of their own (adaptation), and the first layer needs none of its input.

# %%
layer = torch.nn.Linear(96, 384)
tokens = torch.zeros(1000, 96, requires_grad=True)
one = costs.counted(layer, lambda: layer(tokens), items=1000)
assert one.forward == 2 * 96 * 384
print(
    f"forward {one.forward:,.0f} FLOP a token, both ways {one.step:,.0f}: {one.step / one.forward:.1f} times"
)
for job in trainings:
    if job.preset == presets[-1]:
        ratio = job.cost.step / job.cost.forward
        print(f"{job.command:24} {job.model:24} a step is {ratio:.2f} forward passes")
numbers["adaptation_step_over_forward"] = next(
    job.cost.step / job.cost.forward for job in trainings if job.command.startswith("adapt")
)

# %% [markdown]
# ## 2 · A folder of your own
#
# All that follows works on a folder: `images/`, `masks/`, `splits.csv`, `dataset.yaml`. Here it is simulated: pairs of Sentinel-1 images with avalanche debris, heights and slope. Put your own in its place and nothing else changes.

# %%
from sartutor.sar.folder import open_dataset
from sartutor.sim.benchmark import write_benchmark

folder = write_benchmark(work / "avalanches", 40 + SEED, lesson.data, progress=False).folder
print(*sorted(path.name for path in folder.iterdir()), sep="  ")
for band in open_dataset(folder).description.bands:
    print(f"{band.name:6} in {band.units:7} from {band.range[0]:g} to {band.range[1]:g}")

# %% [markdown]
# ## 3 · One process, two processes
#
# On several GPUs one Python process runs for each of them. Each takes a share of every batch, computes its gradient, and all processes average their gradients before anyone takes a step. If the shares together are the batch, this is *the
# same step*:
#
# $$\nabla \frac{1}{B}\sum_{i=1}^{B} \ell_i = \frac{1}{P}\sum_{p=1}^{P} \nabla \frac{P}{B}\sum_{i \in S_p} \ell_i .$$
#
# It is the same only if nothing else depends on the number of processes: chip number $i$ must be the same chip, with the same mask, whoever computes it. The loop of this package is made so [5]. We test it. First one process, here in the notebook:

# %%
from sartutor.learn.curves import read_curve
from sartutor.learn.loop import Watch, share
from sartutor.learn.pretrain import pretrain


def train(name, **more):
    """Pretrain a small Swin on the folder and return what it came to, and its losses."""
    out = work / f"{name}.safetensors"
    options = {"backbone": "swin", "recipe": lesson.shared, "device": "cpu", "progress": False, **more}
    made = pretrain(folder, "simmim", out, **options)
    return made, read_curve(out).loss


alone, loss_alone = train("alone")
print(
    f"{alone.steps} steps of {lesson.shared.batch} chips in {alone.seconds:.1f} s, loss {loss_alone[-1]:.4f}"
)

# %% [markdown]
# Now two. `torchrun` starts them, tells each its number, and ends all when one fails. The script is what you would write for a training of your own; a command goes the same way: `torchrun --nproc-per-node 2 -m sartutor.cli pretrain ...`.

# %%
script = work / "train.py"
_ = script.write_text("""
import sys
from pathlib import Path
from sartutor.learn.distributed import is_first
from sartutor.learn.pretrain import pretrain
from sartutor.presets import SCALING_LESSONS

if __name__ == "__main__":
    folder, out, preset = sys.argv[1:]
    recipe = SCALING_LESSONS[preset].shared
    made = pretrain(Path(folder), "simmim", Path(out), backbone="swin", recipe=recipe, device="cpu", progress=False)
    if is_first():
        print(made.seconds)
""")

# %% [markdown]
# Both share the cores, so each gets half of the threads.

# %%
torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
two = work / "two.safetensors"
settings = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // 2)), "USE_LIBUV": "0"}  # for Windows
began = time.perf_counter()
done = subprocess.run(
    [*torchrun, script, folder, two, PRESET],
    capture_output=True,
    text=True,
    env={**os.environ, **settings},
)
assert done.returncode == 0, done.stderr[-2000:]
seconds_two, loss_two = float(done.stdout.split()[-1]), read_curve(two).loss
print(
    f"two processes: {seconds_two:.1f} s of training, {time.perf_counter() - began:.1f} s with the start of Python"
)

# %% [markdown]
# And a third time: the power fails in the middle. Every few steps the loop keeps weights, optimizer and the number of the step beside the checkpoint. The same command goes on from there.


# %%
def power_cut(model, step):
    raise RuntimeError(f"the power fails after step {step}")


try:
    train("cut", watch=Watch(lesson.cut, power_cut))
except RuntimeError as error:
    print(f"{error}; kept: {len(read_curve(work / 'cut.safetensors').loss)} steps")
_, loss_cut = train("cut")
apart = {
    "two processes": float(np.abs(np.divide(loss_two, loss_alone) - 1).max()),
    "cut off and resumed": float(np.abs(np.divide(loss_cut, loss_alone) - 1).max()),
}
numbers["largest_relative_difference_of_losses"] = apart
assert max(apart.values()) < 0.02
scaling.draw_curves({"one process": loss_alone, "two processes": loss_two, "cut off and resumed": loss_cut})

# %% [markdown]
# The curves lie on each other. How closely? Sums in another order round differently, a few parts in a million; where products are rounded to bfloat16, as on CPUs and GPUs that are fast with it, it is up to a few in a thousand.

# %%
for name, value in apart.items():
    print(f"{name:20} differs from one process by {value:.1e} at most")
numbers["seconds"] = {"one process": alone.seconds, "two processes": seconds_two}
print(
    f"one process {alone.seconds:.1f} s, two {seconds_two:.1f} s: {alone.seconds / seconds_two:.2f} times as fast"
)
try:
    share(7, 0, 2)
except Exception as error:
    print(error)

# %% [markdown]
# Whatever the clock says this once (other programs disturb it), two processes on the same cores have nothing to gain: PyTorch used all cores before, and now they talk to each other as well. On GPUs it is different, since each process has a chip of its own. Then what counts is how the time of a step compares with
# the time of exchanging the gradients, 4 bytes for every trained parameter. Adapters have few of them; that is one more reason to like them.
#
# On a cluster with SLURM the same command stands in a script, here two nodes of four GPUs. If the time limit ends the job, submit it again: it goes on.
#
# ```bash
# #!/bin/bash
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=32 --time=24:00:00 --requeue
# FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint="$FIRST:29500" \
#   -m sartutor.cli pretrain FOLDER --method mixmae --preset paper --out mixmae.safetensors
# ```
#
# All these processes hold all weights. The largest mixture of experts of [4] has 1.3 billion, with gradients and AdamW's means 21 GB: one large GPU still holds that, a smaller one does not. Most of it are experts, and those can be **spread**:
# `sartutor.learn.moe.spread`, given to the `ModelParallelStrategy` of Fabric, leaves each process an equal share of every expert, which is put together where it computes and taken apart again. Two processes with halves learn what one with the whole learns; a test of this package holds
# that. The commands do not spread by themselves, for what is put together has to be sent first: worth it only where memory is short.
#
# ## 4 · Where memory goes, and what it costs to save it
#
# A model in training holds its weights, a gradient for each, and two running means of AdamW: 16 bytes for a parameter in float32. That is the small part. The backward pass needs what the forward pass computed, the **activations**, for every image of the
# batch. Three ways to keep less:
#
# - **bfloat16**: products are rounded to 16 bits. Half the bytes for what is rounded (softmax and norms are not), and on GPUs several times the speed. On a CPU without such instructions it is slower.
# - **checkpointing**: keep only what enters each block, and compute the block again when the backward pass arrives. About a third more computing.
# - **kept embeddings**: where an encoder is frozen, encode each image once and keep the result. Nothing is kept for a backward pass, and the second look costs next to nothing.
#
# The first two, on the image encoder of the small Segment Anything:

# %%
from sartutor.learn.models import load_model
from sartutor.learn.sam.encoder import ImageEncoder
from sartutor.presets import SAM_SIZES

encoder = ImageEncoder(SAM_SIZES["tiny"])
image = torch.randn(1, 3, 256, 256)
kept, seconds = {}, {}
for name, half, checkpointing in (
    ("float32", False, False),
    ("bfloat16", True, False),
    ("float32, checkpointing", False, True),
    ("bfloat16, checkpointing", True, True),
):
    encoder.checkpointing = checkpointing
    times = []
    for _ in range(1 + lesson.repeats):  # the first one warms up
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out, size = costs.kept_bytes(lambda: encoder(image))
        out.float().mean().backward()
        times.append(time.perf_counter() - began)
    kept[name], seconds[name] = size / 1e6, min(times[1:])
numbers["kept_mb"], numbers["step_seconds"] = dict(kept), dict(seconds)
scaling.draw_memory(kept, seconds)

# %% [markdown]
# And the third. The cache knows an embedding by the digests of the image and of the weights, so that neither can be mistaken.

# %%
import hashlib

from sartutor.learn.embeddings import EmbeddingCache, embedding_key

model, cache, looks = load_model("sam_tiny_base"), EmbeddingCache(), []
key = embedding_key(hashlib.sha256(image.numpy().tobytes()).hexdigest(), model.digest)
for _ in range(2):
    began = time.perf_counter()
    with torch.inference_mode():
        embedding = cache.get(key, lambda: model.sam.encode(image))
    looks.append(time.perf_counter() - began)
numbers["embedding_seconds"] = looks
size = sum(part.numel() for part in embedding) * 2 / 1e6
print(f"first look {1000 * looks[0]:.1f} ms, second {1000 * looks[1]:.2f} ms; {size:.2f} MB kept an image")

# %% [markdown]
# At the size of the papers it decides what you can train on. Counted without a GPU: ViT-B at 1024 pixels, one image.

# %%
big = ImageEncoder(SAM_SIZES["vit_b" if PRESET != "smoke" else "tiny"]).to(costs.META)
chip = torch.empty(1, 3, big.img_size, big.img_size, device=costs.META)
for checkpointing in (False, True):
    big.checkpointing = checkpointing
    found = costs.counted(big, lambda: big(chip))
    numbers[f"image_gb_checkpointing_{checkpointing}"] = found.kept / 1e9
    print(
        f"checkpointing {checkpointing!s:5}: {found.kept / 1e9:.2f} GB of activations an image in float32, "
        f"{found.step / 1e12:.2f} TFLOP a step"
    )

# %% [markdown]
# ## 5 · A whole scene through a small window
#
# A model sees 128 x 128 pixels; a scene of Sentinel-1 has some 25,000 x 17,000. Its two bands take 3.4 GB, the probabilities of seven classes 12 GB: more than one likes to hold, and far more than a model takes. Three ideas solve this:
#
# 1. **Windows on one lattice.** They begin every $128 - o$ pixels, $o$ being the overlap. Where two of them overlap, their probabilities are averaged with weights that fall to the border of a window, where the model has seen least of what is around.
# 2. **Blocks.** The map is made in blocks. A block reads its pixels and as much around them as its windows need, and nothing else of the scene.
# 3. **Laziness.** `dask` [6] notes what is to be done and does it when asked, a few blocks at a time.
#
# The lattice belongs to the scene and not to the blocks. So a map made in many blocks must equal the map made in one. That is a claim one can test.
#
# First a mapper. As in [10](10_domain_generalization.ipynb), a small head learns land cover on a frozen encoder, here from a folder of simulated Sentinel-1 scenes.

# %%
from sartutor.sar.folder import BandRule, DatasetWriter, Description, Entry
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.landcover import Domain, landcover_scene

domain = Domain("plains", "VV+VH", None, "sentinel1", "C")
rules = tuple(BandRule(name=name, units="power") for name in ("VV", "VH"))
labels = {name: (code,) for code, name in enumerate(LAND_COVERS)}
writer = DatasetWriter(work / "land", Description(bands=rules, labels=labels))
entries = []
for number in range(lesson.head.train + lesson.head.val):
    scene, label = landcover_scene(35_000 + 100 * SEED + number, domain, lesson.side)
    writer.write(str(number), scene, label)
    entries.append(Entry(str(number), "train" if number < lesson.head.train else "val", str(number)))
land = writer.finish(entries)
print(
    f"{len(entries)} scenes of {lesson.side} x {lesson.side} px, classes: {', '.join(land.description.classes)}"
)

# %% [markdown]
# The head takes the place of the generalist's own, and the result is a checkpoint that the command `sartutor map` takes. (For folders of your own the command `sartutor generalise` does these steps, and asks the mapper on a second folder.)

# %%
from sartutor.learn.checkpoints import save_tensors
from sartutor.learn.generalisation import KeptMaps, train_head
from sartutor.learn.generalists import load_generalist
from sartutor.learn.own_domains import OwnDomain

known = load_generalist("generalist_dense")
eye = known.model.encoder
kept_maps = [KeptMaps(eye, OwnDomain(land, split, 128, known.scales)) for split in ("train", "val")]
head, score = train_head(eye, *kept_maps, lesson.head, SEED, work / "head.safetensors", device="cpu")
known.model.head = head
mapper = work / "mapper.safetensors"
save_tensors(mapper, known.model.state_dict(), {**known.about, "channels": lesson.head.channels})
numbers["head_val_miou"] = score
print(f"mIoU on the scenes of validation {score:.3f}, from {len(kept_maps[0])} chips")

# %% [markdown]
# Now a scene that it has not seen, in a file, with an edge without data such as every satellite's swath has.

# %%
from dataclasses import replace

from sartutor.sar.geotiff import open_scene, write_scene

path, truth = work / "scene.tif", None
if DATA == "synthetic":
    big_scene, truth = landcover_scene(36_000 + SEED, domain, lesson.whole)
    rows, cols = np.indices(truth.shape)
    big_scene = replace(big_scene, valid=cols + 0.3 * rows < 1.05 * lesson.whole)
    write_scene(big_scene, path)
else:
    example = data.sentinel1(DATA, PRESET, SEED)
    print(example.credit)
    path = Path(DATA) if Path(DATA).is_file() else path
    if not path.is_file():
        write_scene(example.scene.read(), path)
scene = open_scene(path)
print(f"{scene.name}: {scene.grid.height} x {scene.grid.width} px, {', '.join(scene.band_names)}")

# %% [markdown]
# `class_map` returns at once: nothing has been computed. What it returns knows its shape and its blocks.

# %%
from sartutor.learn.whole_scene import class_map, generalist_answer

own = load_generalist(mapper)
answer = generalist_answer(own, torch.device("cpu"))
block = max(128, max(scene.grid.shape) // 4)
lazy = class_map(scene, answer, 128, block=block)
lazy

# %% [markdown]
# Compute it, in blocks and in one piece, and compare.

# %%
began = time.perf_counter()
blocks = lazy.compute()
per_megapixel = (time.perf_counter() - began) / (blocks.size / 1e6)
whole = class_map(scene, answer, 128, block=max(scene.grid.shape)).compute()
numbers["pixels_that_differ"] = int((blocks != whole).sum())
numbers["seconds_per_megapixel"] = per_megapixel
print(
    f"{lazy.npartitions} blocks against one: {numbers['pixels_that_differ']} of {whole.size:,} pixels differ"
)
print(f"{per_megapixel:.1f} s for a million pixels")
assert numbers["pixels_that_differ"] < 1e-4 * whole.size
assert np.array_equal(blocks == 255, ~scene.read().valid)

# %% [markdown]
# How much of the scene does one block read? A scene that counts what is read of it tells. `dask` works on as many blocks at once as it has threads: multiply. The rest of memory goes to the windows of one batch and the result.


# %%
class Counting:
    """A scene that notes how many pixels were read at once."""

    def __init__(self, scene):
        self.scene, self.grid, self.bands, self.name, self.most = (
            scene,
            scene.grid,
            scene.bands,
            scene.name,
            0,
        )

    def read(self, window=None):
        piece = self.scene.read(window)
        self.most = max(self.most, piece.valid.size)
        return piece


counting = Counting(scene)
class_map(counting, answer, 128, block=block).compute(scheduler="synchronous")
share_read = counting.most / blocks.size
numbers["largest_share_read"] = share_read
print(f"blocks of {block} px: at most {counting.most:,} px a block, {share_read:.0%} of this scene")
print(f"of a scene of 25,000 x 17,000 px it would be {counting.most / (25_000 * 17_000):.2%}")

# %% [markdown]
# The command does the same, with its own blocks, and writes each row of blocks as it is done. The GeoTIFF lies on the grid of the scene. On a GPU the same line uses it; under a `dask.distributed.Client` the blocks go to its workers.


# %%
import contextlib
import io
import json

import rasterio

from sartutor import cli


def command(*words):
    """Run `sartutor ...` here, without starting Python again, and read what `--json` prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli.main([*map(str, words), "--json"])
    assert code == 0
    return json.loads(said.getvalue())


# %% [markdown]
# We map the scene with it and read the file back.

# %%
report = command("map", path, "--model", mapper, "--out", work / "map.tif")
with rasterio.open(work / "map.tif") as file:
    written = file.read(1)
    assert (file.crs, file.transform, file.nodata) == (scene.grid.crs, scene.grid.transform, 255)
assert np.mean(written == whole) > 0.9999
valid_px = sum(report["pixels"].values())
for name, count in report["pixels"].items():
    print(f"{name:12} {count / valid_px:6.1%}")

# %% [markdown]
# Look at it. Seams between windows are where overlap is zero; blocks leave none in either.

# %%
from sartutor.lab.downstream import name_classes, show_labels
from sartutor.sar.radiometry import to_units
from sartutor.sar.warp import overview

view = overview(scene, preset(PRESET).picture_side)
view = view if view.bands[0].units == "db" else to_units(view, "db")
hard = class_map(scene, answer, 128, overlap=0).compute()
pictures = plots.panels(3)
plots.show_image(pictures[0], view.pixels[0], scene.band_names[0], "dB", view.valid)
for axes, codes, title in ((pictures[1], hard, "without overlap"), (pictures[2], whole, "overlap of 32 px")):
    show_labels(
        axes, torch.from_numpy(np.where(codes == 255, -1, codes).astype(np.int64)), own.classes, title
    )
name_classes(pictures[2], own.classes)

# %% [markdown]
# Eyes are easily convinced. So count: how often does the class change from one row to the next where windows begin, compared with other rows at the border of the model's patches? Without seams the two are alike.

# %%
from sartutor.sar.tiles import tile_grid

rates = {}
for overlap in (0, 16, 32, 64):
    codes = class_map(scene, answer, 128, overlap=overlap).compute()
    starts = [int(tile.window.row_off) for tile in tile_grid(scene.grid.shape, 128, overlap) if tile.col == 0]
    at, beside = scaling.seam_rates(codes, starts[:-1], 8)
    right = {} if truth is None else {"pixels right": float((codes == truth)[codes != 255].mean())}
    rates[overlap] = {"changes at seams": at, "elsewhere": beside, "ratio": at / beside, **right}
numbers["seams"] = rates
pd.DataFrame(rates).T.rename_axis("overlap (px)").round(3)

# %% [markdown]
# A whole scene on this machine, by the time measured above. It is an **estimate**: reading a compressed file and a busy machine add to it.

# %%
scene_hours = per_megapixel * 25_000 * 17_000 / 1e6 / 3600
numbers["estimated_hours_of_a_scene"] = scene_hours
print(f"25,000 x 17,000 px: about {scene_hours:.1f} h on this machine (estimate)")

# %% [markdown]
# ## 6 · Your own folder, from end to end
#
# Three commands lead from images to a score. Here with the preset *smoke* or little more, to see that they fit together: the encoder is pretrained without labels, Segment Anything adapted from it, and both the adapted model and the one that comes with the package
# are asked about the test images.
#
# ```bash
# sartutor pretrain FOLDER --method simmim --preset smoke --out encoder.safetensors --json
# sartutor adapt FOLDER --init encoder.safetensors --preset smoke --out mine.safetensors --json
# sartutor evaluate FOLDER --model mine.safetensors --split test --prompt box --json
# ```

# %%
sizes = ("--preset", lesson.commands, "--seed", SEED)
made = command("pretrain", folder, "--method", "simmim", "--out", work / "encoder.safetensors", *sizes)
adapted = command(
    "adapt", folder, "--init", work / "encoder.safetensors", "--out", work / "mine.safetensors", *sizes
)
steps = {"pretrain": made["steps"], "adapt, three phases": sum(adapted["steps"])}
print(f"pretraining: loss {made['loss']:.3f}, predicting the mean gives {made['baseline']:.3f}")
print("steps:", steps)
rows = {}
for name, model in (
    ("own encoder, adapted", work / "mine.safetensors"),
    ("sam_tiny_avalanche", "sam_tiny_avalanche"),
):
    report = command("evaluate", folder, "--model", model, "--split", "test", "--prompt", "box")
    rows[name] = {
        "objects": report["objects"]["n"],
        "IoU": report["objects"]["iou"],
        "F1": report["objects"]["f1"],
    }
rows["fill the box"] = {
    "objects": report["objects"]["n"],
    "IoU": report["baselines"]["fill_box"]["objects"]["iou"],
}
numbers["end_to_end"] = rows
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# After a handful of steps your own model is no better than no model, and that is what a smoke test should say. What to change for the real thing: `--preset paper`, a folder with enough different places in it, and where you have several GPUs `torchrun --nproc-per-node 8 -m sartutor.cli` in
# place of `sartutor` for pretraining. (The publication adapts with 5 images a step, which one process or five can share; `evaluate` runs in one.)
#
# ## 7 · What to rent, and for how long
#
# The count of section 1, times steps, times batch, is the work of what was counted: the encoders, and what their pretraining adds. Not counted are the decoder of masks in adaptation, which is small, and the head of continued pretraining, light in `sartutor mixture`; Mask2Former, the head of [4], multiplies more often than a ViT-S itself. A GPU's maker states its **peak**; a training reaches a part of it, the **utilisation** $u$, for memory has to keep up, data have to be read, and small layers do not fill a large chip:
#
# $$t = \frac{\text{FLOP of an image} \cdot \text{batch} \cdot \text{steps}}{u \cdot \text{peak} \cdot \text{GPUs}}.$$
#
# Before we believe it for machines we do not have, we try it on the one we have. Its peak is what a large matrix product reaches; the utilisation is measured on *one* training, and then used to predict two others.

# %%
size = 512 if PRESET == "smoke" else 2048
a = torch.randn(size, size)
a @ a
began = time.perf_counter()
for _ in range(3):
    a @ a
peak = 3 * 2 * size**3 / (time.perf_counter() - began)
where = "smoke" if PRESET == "smoke" else "laptop"
measured = {}
for method, backbone in (("simmim", "vit"), ("simmim", "swin"), ("mixmae", "swin")):
    model = costs.pretraining_model(method, backbone, where, 2)
    side, bands = model.size.image_size, len(model.statistics.names)
    batch = {
        "image": torch.randn(8, bands, side, side),
        "valid": torch.ones(8, 1, side, side, dtype=torch.bool),
    }
    times = []
    for step in range(1 + lesson.repeats):
        began = time.perf_counter()
        model.loss(batch, step).backward()
        times.append(time.perf_counter() - began)
    operations = 8 * costs.pretraining_cost(method, backbone, where, 2).step
    measured[f"{method} {backbone}"] = (operations, min(times[1:]))
print(f"a matrix product reaches {peak / 1e9:.0f} GFLOP/s here")

# %% [markdown]
# Predicted and measured:

# %%
first, *others = measured
operations, took = measured[first]
utilisation = operations / took / peak
numbers["peak_gflops"], numbers["utilisation"] = peak / 1e9, {first: utilisation}
print(f"{first:13} {took:.3f} s a step: utilisation {utilisation:.0%}")
for name in others:
    operations, took = measured[name]
    guess = 3600 * costs.hours(operations, peak, utilisation)
    numbers["utilisation"][name] = operations / took / peak
    numbers[f"measured_over_predicted {name}"] = took / guess
    print(f"{name:13} predicted {guess:.3f} s, measured {took:.3f} s: {took / guess:.1f} times as long")

# %% [markdown]
# That is how far such an estimate goes: not to the percent, but to within a small factor. Swin's windows and many small layers use this machine worse than a few large products. Keep that factor in mind for what follows.
#
# **All of it is estimated.** Peaks are those that makers state for dense bfloat16 products; 20 to 40 % of it is assumed to be used; memory counts weights, optimizer and three quarters of float32's activations (compare section 4), checkpointing off. Phase 1 of adaptation is counted to its last step,
# though it usually stops early. Of the mixture's experts one computes for a token. A red dot means that a step's images do not fit on so many GPUs, or cannot be shared evenly by them. The price is yours to enter.

# %%
scaling.rent_explorer([job for job in trainings if job.preset == presets[-1]])

# %% [markdown]
# As a table, for one H100 and all of the range. *Images a second* is what disks and readers must deliver at the upper end; where that is thousands, they decide and not the GPU.

# %%
gpu = scaling.GPUS["H100 SXM, 80 GB"]
rows = []
for job in trainings:
    if job.preset == presets[-1]:
        slow, fast = (costs.hours(job.operations, gpu.peak, share) for share in scaling.UTILISATION)
        rate = job.steps * job.batch / (3600 * fast)
        image_gb = (costs.memory_bytes(job.cost, 1) - costs.memory_bytes(job.cost, 0)) / 1e9
        needed = scaling.devices_needed(job.cost, job.batch, gpu.memory)
        rows.append(
            (
                job.command,
                job.model,
                fast,
                slow,
                rate,
                costs.memory_bytes(job.cost, 0) / 1e9,
                image_gb,
                needed,
            )
        )
columns = ["command", "model", "hours from", "to", "images a second"]
columns += ["GB without images", "GB an image", "GPUs for the batch"]
rented = pd.DataFrame(rows, columns=columns).set_index(["command", "model"])
numbers["hours_h100"] = {f"{command}, {model}": [fast, slow] for command, model, fast, slow, *_ in rows}
rented.map(lambda value: "none" if pd.isna(value) else f"{value:.2g}")

# %% [markdown]
# ## Where it fails
#
# **What no overlap mends.** A map without seams is not a right map. A model knows what it has been trained on. The embedded generalist has seen 167 domains, Sentinel-1 among them with VV or with VH but never with the pair; a part of its labels was wrong, and its chips were
# simulated one by one. The head above learned this very domain, this pair of bands and such windows from right labels. Which of these makes the difference is not tested here. Both map the same scene:

# %%
if truth is not None:
    foreign = generalist_answer(load_generalist("generalist_dense"), torch.device("cpu"))
    for name, ask in (("head trained on such windows", answer), ("embedded generalist", foreign)):
        codes = class_map(scene, ask, 128).compute()
        right = float((codes == truth)[codes != 255].mean())
        numbers[f"right {name}"] = right
        print(f"{name:36} {right:.1%} of the pixels right")

# %% [markdown]
# **More processes, other results.** The loop divides the batch; it does not grow it. If you double the batch because you have twice the GPUs, it is another training: the learning rate has to follow, and large batches stop helping at some point. **Memory that is not in
# the count.** Libraries keep buffers, and the first step often needs most. Leave a fifth free. **The slow part is elsewhere.** If images come from a network disk, no GPU helps: look at whether the bar slows down when the machine is idle. **Time is not all you pay.** Storage goes on
# costing while nothing computes.
#
# ## Exercises
#
# **Exercise 1.** A scene has 10,000 x 10,000 pixels. Windows of 128 pixels overlap by 32. How many windows begin in one row, if the last one is shifted inward to end with the scene?

# %%
windows_in_a_row = ...

# %% tags=["solution"]
solution = int(np.ceil((10_000 - 128) / (128 - 32))) + 1
assert solution == sum(tile.row == 0 for tile in tile_grid((128, 10_000), 128, 32))
check("Exercise 1", windows_in_a_row, solution, hint="The first begins at 0, the others follow every 96 px.")

# %% [markdown]
# **Exercise 2.** A training needs $10^{21}$ FLOP. A GPU has a peak of $10^{15}$ FLOP/s, a quarter of which is used. How many hours take eight of them?

# %%
hours_on_eight = ...

# %% tags=["solution"]
solution = 1e21 / (1e15 * 0.25 * 8) / 3600
assert np.isclose(solution, costs.hours(1e21, 1e15, 0.25, 8))
check("Exercise 2", hours_on_eight, solution, hint="Divide by 3600 at the end.", tolerance=0.5)

# %% [markdown]
# **Exercise 3.** A model has 100 million parameters, of which 10 million are trained. How many GB do weights, gradients and AdamW's means take in float32, without activations?

# %%
gigabytes = ...

# %% tags=["solution"]
solution = (10e6 * 16 + 90e6 * 4) / 1e9
assert np.isclose(solution, costs.memory_bytes(costs.Cost(100_000_000, 10_000_000, 0, 0, 0), 0) / 1e9)
check(
    "Exercise 3",
    gigabytes,
    solution,
    hint="16 bytes for what is trained, 4 for what is not.",
    tolerance=0.005,
)

# %% [markdown]
# ## Summary
#
# A preset changes sizes, and with them the result; a launcher changes the number of processes and, but for rounding, nothing else. What a training costs can be counted before it runs; how long it takes can be estimated to within a small factor, and the factor can be measured. Memory is traded for time. A scene of any size goes through a
# small window, if windows lie on a lattice of the scene and overlap.

# %%
data.write_numbers("12", PRESET, Path(DATA).stem, SEED, numbers)

# %% [markdown]
# **Next:** your own data. [00](00_welcome.ipynb) lists all notebooks; `sartutor --help` lists all commands.
#
# ## References
#
# 1. SAR-W-SimMIM, 2026; arXiv:2603.15119 (Swin-B at 256 pixels).
# 2. SAR-W-MixMAE, 2025; arXiv:2503.01181 (MixMAE on Swin-B).
# 3. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519, 2026; arXiv:2601.01213 (ViT-B with adapters).
# 4. Z. Ye, Z. Gong, N. Liao et al.: *CrossEarth-SAR*, 2026; arXiv:2603.12008 (mixture of experts).
# 5. S. Li et al., *PyTorch Distributed: experiences on accelerating data parallel training*, VLDB 2020; arXiv:2006.15704 (averaged gradients).
# 6. M. Rocklin, *Dask: parallel computation with blocked algorithms and task scheduling*, SciPy 2015.
# 7. T. Chen et al., *Training deep nets with sublinear memory cost*, 2016; arXiv:1604.06174 (checkpointing).
