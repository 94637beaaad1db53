"""Reading the MTAN pack of NYU Depth v2 (Liu et al. 2019): ``{train,val}/{image,label,depth,normal}/0.npy`` ..."""

from functools import partial
from pathlib import Path

import numpy as np

from mtlrepro.data.classes import NYUV2 as CLASSES
from mtlrepro.data.geometry import unit
from mtlrepro.data.real.nyuv2.files import MTAN_PACK, Part, eigen_axes
from mtlrepro.data.real.preparing import require_files
from mtlrepro.data.real.rasters import Raster

FOLDERS = {"train": "train", "test": "val"}
"""Folder of each split: the pack's ``val`` are the official test images."""

AGAIN = f"unpack the MTAN pack again ({MTAN_PACK})"
_KINDS = ("image", "label", "depth", "normal")


def parts(source: Path) -> dict[str, Part]:
    """Give the two splits.

    Raises:
        FileNotFoundError, ValueError: naming the file and the remedy.
    """
    found = {}
    for split, folder in FOLDERS.items():
        n = max(len(list((source / folder / kind).glob("*.npy"))) for kind in _KINDS)
        paths = [source / folder / kind / f"{i}.npy" for i in range(max(n, 1)) for kind in _KINDS]
        require_files(paths, remedy=AGAIN)
        shape = _npy(source / folder / "image" / "0.npy").shape[:2]
        found[split] = Part([str(i) for i in range(n)], shape, partial(_read, source / folder, shape))
    return found


def _npy(path: Path) -> Raster:
    try:
        array: Raster = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a complete array file ({error}); {AGAIN}") from None
    return array


def _read(folder: Path, shape: tuple[int, int], name: str) -> dict[str, Raster]:
    def read(kind: str, axes: tuple[int, ...], low: float, high: float) -> Raster:
        path = folder / kind / f"{name}.npy"
        array = _npy(path)
        if array.shape != (*shape, *axes):
            raise ValueError(
                f"{path}: shape {list(array.shape)}; accepted: {[*shape, *axes]}, the size of the first image; {AGAIN}"
            )
        if not (array.min() >= low and array.max() <= high):  # also true for NaN
            raise ValueError(f"{path}: values {array.min()} to {array.max()}; accepted: {low:g} to {high:g}; {AGAIN}")
        return array

    label = read("label", (), -1, len(CLASSES) - 1)
    if (label != np.rint(label)).any():
        raise ValueError(f"{folder / 'label' / name}.npy: classes that are no whole numbers; {AGAIN}")
    return {
        "image": np.rint(read("image", (3,), 0, 1) * 255).astype(np.uint8),
        "segmentation": label.astype(np.int8),
        "depth": read("depth", (1,), 0, float(np.finfo(np.float32).max))[..., 0].astype(np.float32),
        "normal": unit(eigen_axes(np.moveaxis(read("normal", (3,), -1.01, 1.01), -1, 0))),
    }
