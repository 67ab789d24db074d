"""The command line: what a reader types. Bad input ends with exit code 2 and one line on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sartutor import __version__
from sartutor.errors import SarTutorError

if TYPE_CHECKING:
    from sartutor.catalog import Item
    from sartutor.learn.adapt import Adapted

BAD_INPUT = 2
INTERRUPTED = 130

UsageError = cast(type[Exception], typer.BadParameter.__base__)
"""The base of all complaints about arguments; typer does not export it under its own name."""

app = typer.Typer(
    name="sartutor",
    help="Hands-on foundation models for synthetic aperture radar.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
PresetOption = Annotated[str, typer.Option(help="smoke, laptop or paper.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ScaleOption = Annotated[
    list[str] | None,
    typer.Option(
        help="near encodes the surroundings of a box, chip the model's size in pixels; give both to use both. Else "
        "chip, or what an adapted --init saw."
    ),
]
EmptyShareOption = Annotated[
    float, typer.Option(help="Share of samples from images without an object, where there are any.")
]
PromptsOption = Annotated[
    str,
    typer.Option(help="What to learn from: loose boxes, tight ones, or points: also clicks on objects."),
]
OutsideOption = Annotated[
    str, typer.Option(help="What lies outside of a box: free, does not count; or background, as published.")
]
CheckpointingFlag = Annotated[
    bool, typer.Option(help="Compute activations twice instead of keeping them: less memory, more time.")
]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def lab(
    browser: Annotated[bool, typer.Option(help="Open a browser window where there is one.")] = True,
    port: Annotated[int | None, typer.Option(min=1024, max=65535, help="Port to listen on.")] = None,
) -> None:
    """Start JupyterLab on this machine, with the first notebook open."""
    from sartutor.lab.launch import launch

    launch(port, browser)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine; every line that is not ok names the cure. Exit code 1 when a check fails."""
    from sartutor.lab import doctor as clinic

    checks = clinic.examine()
    report = clinic.as_json(checks)
    if as_json:
        _print_json(report)
    else:
        clinic.show(checks)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="Name in the catalogue.", show_default=False)] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take a local file or folder instead of downloading.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the catalogue.")] = False,
    stac: Annotated[
        str | None,
        typer.Option(
            metavar="COLLECTION", help="List scenes of the Planetary Computer: sentinel-1-rtc, say."
        ),
    ] = None,
    asf: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", help="List Sentinel-1 scenes of the Alaska Satellite Facility: GRD_HD, say."
        ),
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(metavar="W S E N", help="Box in degrees that scenes must touch.")
    ] = None,
    dates: Annotated[
        str | None, typer.Option(metavar="A/B", help="First and last day, 2023-01-01/2023-01-31.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most scenes to list.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Get data or a model into the cache: from the mirror (SARTUTOR_MIRROR), else from its publisher, and checked."""
    from sartutor import catalog

    if list_all:
        return _print_catalogue(as_json)
    if stac is not None or asf is not None:
        return _print_found(stac, asf, bbox, dates, limit, as_json)
    if name is None:
        raise typer.BadParameter("name an item of the catalogue, or see them all with --list")
    bars = sys.stderr.isatty()
    paths = catalog.fetch(name, bars) if source is None else catalog.register(name, source, bars)
    _print_item(catalog.item(name), paths, as_json)


@app.command()
def mirror(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write DIR/ITEM/FILE.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names in the catalogue.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a mirror for machines without a network: carry DIR there and set SARTUTOR_MIRROR=DIR."""
    from sartutor import catalog

    paths = catalog.mirror(folder, names, sys.stderr.isatty())
    if as_json:
        return _print_json({"mirror": str(folder.absolute()), "files": [str(path) for path in paths]})
    typer.echo("\n".join(str(path) for path in paths))
    typer.echo(f"On the other machine: SARTUTOR_MIRROR={folder}")


@app.command()
def convert(
    name: Annotated[
        str,
        typer.Argument(
            help="avalcd, bigearthnet-v1, bigearthnet-v2, crossearth-sar-benchmarks, sen12-flood, sen1floods11."
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The unpacked original; it is only read.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: images/, masks/, splits.csv, dataset.yaml.")],
    test: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="Hold out for testing; repeat it.")
    ] = None,
    val: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="Use for validation; repeat it.")
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Where images and labels are, for crossearth-sar-benchmarks."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a published data set as a folder of your own data, split by place; it goes on where it was stopped.

    Tested on folders made in the published layouts, not on the originals; look at what `sartutor check` says of FOLDER.
    """
    from sartutor.sar import published

    bar = sys.stderr.isatty()
    made = published.convert(name, source, out, test=test or (), val=val or (), layout=layout, progress=bar)
    counts = {split: len(made.ids(split)) for split in made.splits}
    if as_json:
        return _print_json({"folder": str(made.folder), "images": counts})
    typer.echo(_counted(made.folder, counts))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of your own data.")],
    as_json: JsonFlag = False,
) -> None:
    """Read a folder of your own data once, as all commands read it, and say what is wrong or strange."""
    from sartutor.sar.folder import open_dataset

    data = open_dataset(folder)
    doubts = data.check(sys.stderr.isatty())
    counts = {split: len(data.ids(split)) for split in data.splits}
    if as_json:
        return _print_json({"folder": str(data.folder), "images": counts, "doubts": doubts})
    typer.echo(_counted(data.folder, counts))
    for doubt in doubts or ["nothing strange found"]:
        typer.echo(doubt)


def _counted(folder: Path, counts: dict[str, int]) -> str:
    """A folder and how many images each split of it has."""
    return f"{folder}: " + ", ".join(f"{count} images for {split}" for split, count in counts.items())


def _box(text: str) -> tuple[float, float, float, float]:
    """Four numbers from one argument."""
    try:
        west, south, east, north = (float(word) for word in text.split())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not four numbers: west south east north") from error
    return west, south, east, north


def _with_boxes_joined(arguments: list[str]) -> list[str]:
    """Make `--box W S E N` (and `--bbox`) one argument, since typer repeats options of one value only."""
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        is_box = word in ("--box", "--bbox")
        taken = list(takewhile(lambda part: not part.startswith("--"), rest[:4])) if is_box else []
        joined.append(f"{word}={' '.join(taken)}" if is_box else word)
        del rest[: len(taken)]
    return joined


@app.command()
def segment(
    scenes: Annotated[
        list[Path], typer.Argument(metavar="SCENE.tif...", help="Raster files: the bands of one scene.")
    ],
    boxes: Annotated[
        list[str],
        typer.Option("--box", metavar="W S E N", help="A box around one object; repeat it for more boxes."),
    ],
    out: Annotated[Path, typer.Option(help="Mask to write: GeoTIFF on the scene's grid, 0, 1, 255 no data.")],
    box_crs: Annotated[
        str | None, typer.Option(help="Coordinates of the boxes, EPSG:4326 say; the scene's own by default.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="sam_tiny_base, sam_tiny_avalanche, vit_b, or the path of a checkpoint.")
    ] = "sam_tiny_base",
    vector: Annotated[Path | None, typer.Option(help="Outlines to write as GeoPackage.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Mark the objects inside boxes on a radar scene of your own."""
    from sartutor.lab.segment import SegmentJob, segment_file

    job = SegmentJob(scenes, [_box(text) for text in boxes], box_crs, model, out, vector)
    report = segment_file(job, sys.stderr.isatty())
    if as_json:
        return _print_json(report)
    for note in report["notes"]:
        typer.echo(note, err=True)
    for number, found in enumerate(report["objects"], 1):
        area = "" if found["area_m2"] is None else f", {found['area_m2']:,.0f} m2"
        typer.echo(f"box {number}: {found['pixels']} px{area}, score {found['score']:.2f}")
    typer.echo(f"{report['mask']} written in {report['seconds']:.1f} s")


@app.command("map")
def map_scene(
    scenes: Annotated[
        list[Path], typer.Argument(metavar="SCENE.tif...", help="Raster files: the bands of one scene.")
    ],
    out: Annotated[
        Path, typer.Option(help="Map to write: GeoTIFF on the scene's grid, classes from 0, 255 no data.")
    ],
    model: Annotated[
        str, typer.Option(help="generalist_dense, generalist_moe, or the path of such a checkpoint.")
    ] = "generalist_moe",
    overlap: Annotated[int, typer.Option(min=0, help="Pixels that neighbouring windows share.")] = 32,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Map the land cover of a whole scene, however large, window by window."""
    from sartutor.learn.whole_scene import map_files

    report = map_files(scenes, model, out, overlap, device, sys.stderr.isatty())
    if as_json:
        return _print_json(report)
    for note in report["notes"]:
        typer.echo(note, err=True)
    for name, pixels in report["pixels"].items():
        typer.echo(f"{name:<12}{pixels:>14,} px")
    typer.echo(f"{report['map']} written in {report['seconds']:.1f} s")


@app.command()
def pretrain(
    folder: Annotated[Path, typer.Argument(help="A folder of your own data; its training split is used.")],
    method: Annotated[str, typer.Option(help="simmim or mixmae.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: NAME.safetensors.")],
    backbone: Annotated[
        str | None, typer.Option(help="sam, vit or swin; sam for simmim and swin for mixmae by default.")
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option(
            help="primary or secondary encoder, for its bands; by default all bands, for sam the primary ones."
        ),
    ] = None,
    preset: PresetOption = "laptop",
    weighting: Annotated[
        str, typer.Option(help="Weights from backscatter: per_channel, shared_avg or none.")
    ] = "per_channel",
    domain: Annotated[
        str, typer.Option(help="What weights are taken from: physical, zscore or clipped.")
    ] = "physical",
    strength: Annotated[float, typer.Option(help="s in the weights exp(s (1 - n)).")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, chips and masks.")] = 0,
    device: DeviceOption = "auto",
    init: Annotated[Path | None, typer.Option(help="Checkpoint of the same kind to start from.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Pretrain an encoder on images without labels; it goes on where it was stopped."""
    from sartutor.learn import pretrain as pretraining
    from sartutor.learn.checkpoints import refuse_complete
    from sartutor.learn.distributed import is_first
    from sartutor.learn.weighting import WeightRule

    rule = WeightRule(weighting, domain, strength)  # type: ignore[arg-type]
    settings = {
        "backbone": backbone,
        "branch": branch,
        "size": preset,
        "rule": rule,
        "seed": seed,
        "device": device,
    }
    bar = sys.stderr.isatty()
    refuse_complete(out)
    made = pretraining.pretrain(folder, method, out, **settings, init=init, progress=bar)  # type: ignore[arg-type]
    if not is_first():
        return
    if as_json:
        return _print_json({**vars(made), "out": str(made.out)})
    typer.echo(f"{made.out} written after {made.steps} steps in {made.seconds:.1f} s")
    typer.echo(f"loss {made.loss:.4f}; predicting the mean would give {made.baseline:.4f}")


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder of your own data, with masks of objects.")],
    model: Annotated[
        str, typer.Option(help="sam_tiny_base, sam_tiny_avalanche, vit_b, or the path of a checkpoint.")
    ] = "sam_tiny_base",
    split: Annotated[str, typer.Option(help="Which images: a split of the folder's splits.csv.")] = "test",
    prompt: Annotated[
        str, typer.Option(help="box (loose), jitter (as in training) or full (the whole image).")
    ] = "box",
    phase: Annotated[
        int | None,
        typer.Option(
            help="Ask an adapted model as after phase 1, 2 or 3; else 3, or 1 where that did better."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Report to write: NAME.json.")] = None,
    least_pixels: Annotated[int, typer.Option(min=1, help="Smaller parts of a mask are no objects.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the boxes of --prompt jitter.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Score a prompted model or a rival on labelled images, beside filling the box and Otsu's threshold in it."""
    from sartutor.learn.evaluate import as_table
    from sartutor.learn.evaluate import evaluate as score

    bar = sys.stderr.isatty()
    found = score(folder, model, split, prompt, report, seed, least_pixels, device, phase, bar)
    if as_json:
        return _print_json(found)
    typer.echo(as_table(found))
    if report is not None:
        typer.echo(f"{report} written")


@app.command()
def adapt(
    folder: Annotated[Path, typer.Argument(help="A folder of your own data with splits train and val.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: NAME.safetensors.")],
    preset: PresetOption = "laptop",
    init: Annotated[
        str | None,
        typer.Option(help="Start from this model, encoder of `pretrain`, or adapted model: a name or path."),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option(
            metavar="1,2,3",
            help="1 first encoder, 2 second encoder, 3 fusion; by default all that there are bands for.",
        ),
    ] = None,
    alignment: Annotated[
        str, typer.Option(help="What phase 2 learns from: supervised (masks) or embedding (no masks).")
    ] = "supervised",
    fusion: Annotated[
        str, typer.Option(help="gate, average (half and half) or first (without the second).")
    ] = "gate",
    loss: Annotated[str, typer.Option(help="dice, bce or focal.")] = "dice",
    scale: ScaleOption = None,
    prompts: PromptsOption = "loose",
    empty_share: EmptyShareOption = 0.0,
    outside: OutsideOption = "free",
    tuning: Annotated[
        str, typer.Option(help="What an encoder learns: adapters, or lora: low-rank updates of its weights.")
    ] = "adapters",
    activation: Annotated[str, typer.Option(help="gelu or relu, in the adapters.")] = "gelu",
    encoders: Annotated[
        str, typer.Option(help="pair: one for every three bands; stacked: one for all, in one long phase 1.")
    ] = "pair",
    seed: Annotated[int, typer.Option(min=0, help="Of weights and samples.")] = 0,
    device: DeviceOption = "auto",
    checkpointing: CheckpointingFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Adapt Segment Anything to the objects in a folder; it goes on where it was stopped."""
    from sartutor.learn import adapt as adapting
    from sartutor.learn.checkpoints import refuse_complete
    from sartutor.learn.distributed import is_first
    from sartutor.sar.folder import open_dataset

    choices: dict[str, Any] = {"fusion": fusion, "alignment": alignment, "loss": loss, "prompts": prompts}
    choices |= {"tuning": tuning, "activation": activation, "encoders": encoders}
    choices |= {"empty_share": empty_share, "outside": outside}
    method = adapting.Method(**choices, scales=tuple(scale or ()))  # type: ignore[arg-type]
    wanted = None if phases is None else _numbers(phases)
    settings: dict[str, Any] = {"size": preset, "init": init, "phases": wanted, "method": method}
    settings |= {"seed": seed, "device": device, "checkpointing": checkpointing}
    refuse_complete(out)
    doubts = open_dataset(folder).check_headers()
    if is_first():
        for doubt in doubts:
            typer.echo(f"warning: {doubt}", err=True)
    made = adapting.adapt(folder, out, **settings, progress=sys.stderr.isatty())
    if is_first():
        _print_adapted(made, as_json)


@app.command()
def rival(
    folder: Annotated[Path, typer.Argument(help="A folder of your own data with splits train and val.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: NAME.safetensors.")],
    network: Annotated[
        str, typer.Option(help="unet, segformer, or box_unet, which is told the boxes.")
    ] = "unet",
    preset: PresetOption = "laptop",
    seed: Annotated[int, typer.Option(min=0, help="Of weights and samples.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train a network to compare with, by `evaluate`, on the samples of `adapt`; it goes on where it was stopped."""
    from sartutor.learn.checkpoints import check_place, refuse_complete
    from sartutor.learn.curves import read_curve
    from sartutor.learn.distributed import is_first
    from sartutor.learn.rivals import preset_recipe, train_rival
    from sartutor.sar.folder import open_dataset

    refuse_complete(out)
    check_place(out)
    recipe, bar = preset_recipe(preset), sys.stderr.isatty()
    train_rival(network, open_dataset(folder), recipe, out, seed, device, progress=bar)
    if not is_first():
        return
    best = 1 - min(loss for _, loss in read_curve(out).validation)
    if as_json:
        return _print_json({"out": str(out), "network": network, "steps": recipe.steps, "val_iou": best})
    typer.echo(f"{out} written, IoU on validation {best:.3f}")


@app.command()
def mixture(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders with the same classes, a radar each, say."),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: NAME.safetensors.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="What experts are copies of: generalist_dense, the path of a pretrained vit, or of DINOv2's .pth (for "
            "images of 512 px and more)."
        ),
    ] = "generalist_dense",
    experts: Annotated[int, typer.Option(help="Experts in place of each feed-forward layer.")] = 6,
    chosen: Annotated[int, typer.Option(help="Experts that compute for a token.")] = 1,
    balance: Annotated[float, typer.Option(min=0, help="Weight of the balance loss.")] = 0.005,
    capacity: Annotated[
        float | None,
        typer.Option(help="Most tokens of an expert in training, as a multiple of an even share."),
    ] = None,
    preset: PresetOption = "laptop",
    seed: Annotated[int, typer.Option(min=0, help="Of the router's weights and the order of chips.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Pretrain a mixture of experts by segmentation of many folders, to be frozen; it goes on where it was stopped."""
    from sartutor.learn.checkpoints import refuse_complete
    from sartutor.learn.distributed import is_first
    from sartutor.learn.moe import Mixture
    from sartutor.learn.own_mixture import pretrain_mixture

    refuse_complete(out)
    layers = Mixture(experts, chosen, balance, capacity=capacity)
    settings = {"encoder": encoder, "mixture": layers, "size": preset, "seed": seed, "device": device}
    made = pretrain_mixture(folders, out, **settings, progress=sys.stderr.isatty())  # type: ignore[arg-type]
    if not is_first():
        return
    if as_json:
        return _print_json({**vars(made), "out": str(made.out)})
    for folder, score in made.validation.items():
        typer.echo(f"{folder}: mIoU on validation {score:.3f}")
    typer.echo(f"{made.out} written in {made.seconds:.0f} s")


@app.command()
def generalise(
    source: Annotated[Path, typer.Argument(help="A folder of your own data with splits train and val.")],
    targets: Annotated[
        list[Path], typer.Argument(metavar="TARGET...", help="Folders with the same classes, to be asked on.")
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: NAME.safetensors.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="generalist_dense, generalist_moe, or the path of such a checkpoint, a pretrained vit, DINOv2's .pth."
        ),
    ] = "generalist_moe",
    head: Annotated[
        str | None,
        typer.Option(help="light or mask2former; else light, and mask2former with --preset paper."),
    ] = None,
    tuning: Annotated[
        str, typer.Option(help="What the encoder learns: nothing (frozen), or lora: low-rank updates.")
    ] = "frozen",
    preset: PresetOption = "laptop",
    report: Annotated[Path | None, typer.Option(help="Report to write: NAME.json.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and the order of chips.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Learn the land cover of a folder and ask on others, taken by other radars; it goes on where it was stopped."""
    from sartutor.learn import generalise as generalising
    from sartutor.learn.checkpoints import refuse_complete
    from sartutor.learn.distributed import is_first

    refuse_complete(out)
    choices = generalising.Choices(encoder, head, tuning, preset, seed, device)
    found = generalising.generalise(source, targets, out, choices, report, sys.stderr.isatty())
    if not is_first():
        return
    if as_json:
        return _print_json(found)
    typer.echo(generalising.as_table(found))
    typer.echo(f"{out} written in {found['seconds']:.0f} s")


def _numbers(text: str) -> list[int]:
    """Whole numbers between commas."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not numbers with commas between them: 1,2,3") from error


def _print_catalogue(as_json: bool) -> None:
    from sartutor import catalog
    from sartutor.catalog.disk import human

    entries = catalog.items().values()
    if as_json:
        return _print_json({one.name: {**one.model_dump(), "here": catalog.is_here(one)} for one in entries})
    for one in entries:
        size = human(one.bytes) if one.files else ""
        here = "here" if catalog.is_here(one) else ""
        typer.echo(f"{one.name:<26}{one.status:<12}{one.access:<14}{size:>9}  {here:<6}{one.title}")


def _print_found(
    stac: str | None, asf: str | None, bbox: str | None, dates: str | None, limit: int, as_json: bool
) -> None:
    """The scenes that a search finds, as a table or with their addresses as JSON."""
    from sartutor.catalog import search
    from sartutor.catalog.disk import human

    if bbox is None:
        raise typer.BadParameter("name the place with --bbox W S E N")
    if stac is not None:
        found = search.search_stac(stac, _box(bbox), dates, limit)
    else:
        found = search.search_asf(str(asf), _box(bbox), dates, limit)
    if as_json:
        return _print_json({"found": [{**vars(one), "date": one.date and str(one.date)} for one in found]})
    for one in found:
        track = "" if one.relative_orbit is None else str(one.relative_orbit)
        size = human(one.bytes) if one.bytes else ""
        facts = (
            f"{one.date or ''!s:<12}{one.orbit_pass or '':<12}{track:>4}  {' '.join(one.polarisations):<8}"
        )
        typer.echo(f"{facts}{size:>9}  {one.id}")
    typer.echo(
        "Columns: date, pass, relative orbit, polarisations, size, name; --json adds the files' addresses.",
        err=True,
    )


def _print_item(entry: Item, paths: dict[str, Path], as_json: bool) -> None:
    if as_json:
        facts = entry.model_dump(include={"name", "status", "licence", "citation", "credit"})
        return _print_json({**facts, "files": {name: str(path) for name, path in paths.items()}})
    typer.echo("\n".join(str(path) for path in paths.values()))
    typer.echo(f"credit: {entry.credit}; licence: {entry.licence}", err=True)


def _print_adapted(made: Adapted, as_json: bool) -> None:
    if as_json:
        return _print_json({**asdict(made), "out": str(made.out)})
    for phase, steps, found in zip(made.ran, made.steps, made.val_iou, strict=True):
        typer.echo(f"phase {phase}: {steps} steps, IoU of validation boxes {found:.3f}")
    if made.phase < 3 in made.ran:
        typer.echo("it answers as phase 1, which did better than phase 3; `evaluate --phase` asks another")
    if (trial := made.parts_trial) is not None:
        seen = "in parts too" if trial.better else "as wholes alone"
        ious = f"{trial.iou_whole:.3f} as wholes, {trial.iou_in_parts:.3f} in parts too"
        typer.echo(f"large boxes are seen {seen}: IoU in {trial.images} images of validation {ious}")
    typer.echo(f"{made.out} written in {made.seconds:.0f} s")


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _complain(sentence: str) -> int:
    """One line on standard error; returns the exit code for bad input."""
    print(f"sartutor: {' '.join(sentence.split())}", file=sys.stderr)
    return BAD_INPUT


def _usage(error: Exception) -> str:
    message = getattr(error, "format_message", error.__str__)().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see `{context.command_path if context else 'sartutor'} --help`."


def _system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = "free some space or choose another disk" if full else "check the path and its permissions"
    return f"{where}{error.strerror or error}; {cure}."


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (a check failed), 2 (bad input), 130 (interrupted)."""
    try:
        words = _with_boxes_joined(sys.argv[1:] if arguments is None else arguments)
        code = app(words, prog_name="sartutor", standalone_mode=False)
    except UsageError as error:
        return _complain(_usage(error))
    except SarTutorError as error:
        return _complain(str(error))
    except UnicodeEncodeError as error:
        return _complain(f"{error.object!a} holds a name that is no text in UTF-8; rename the file.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(_system(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("sartutor: interrupted.", file=sys.stderr)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
