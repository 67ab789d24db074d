"""Small folders of drawn objects, for tests of evaluation."""

import numpy as np
import yaml
from rasters import HERE, UTM, write

from sartutor.sar.folder import open_dataset

BRIGHTER_DB = 8.0


def disc(shape, row, col, radius):
    """A disc on a canvas (rows, columns)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - row) ** 2 + (x - col) ** 2 <= radius**2


def pair(mask, seed=0, looks=8):
    """Two speckled dates in dB of ground in bright and dark squares; what `mask` marks is brighter on date 1."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(mask.shape) // 6
    ground = np.where((rows + cols) % 2, -8.0, -20.0)
    speckle = 10 * np.log10(rng.gamma(looks, 1 / looks, (2, *mask.shape)))
    return (ground + speckle + np.stack([0 * mask, BRIGHTER_DB * mask])).astype(np.float32)


def write_folder(folder, images, bands=("VV0", "VV1"), units="db", labels=None, place=(HERE, UTM), **rules):
    """Write {id: (pixels (bands, rows, columns), mask)}; an id begins with its split. Returns the opened folder."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    units = [units] * len(bands) if isinstance(units, str) else units
    described = [{"name": name, "units": unit} for name, unit in zip(bands, units, strict=True)]
    labels = labels or {"background": [0], "object": [1, 255]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"bands": described, "labels": labels, **rules}))
    rows = [f"{id},{id.split('-')[0]},{id}" for id in images]
    (folder / "splits.csv").write_text("\n".join(["id,split,block", *rows]) + "\n")
    for id, (pixels, mask) in images.items():
        write(folder / "images" / f"{id}.tif", pixels, *place)
        write(folder / "masks" / f"{id}.tif", np.asarray(mask, np.uint8), *place)
    return open_dataset(folder)
