"""Files of Cityscapes (Cordts et al. 2016): names, encodings and label tables.

From the data set's own README and `helpers/labels.py`: `disparity` files hold p = 256 d + 1 as 16-bit grey,
0 = unknown, with d in pixels of the file's width; `labelIds` files hold ids 0 to 33, of which 19 are evaluated.
The MTAN packs (Liu et al. 2019) call p / 65535 depth (inferred from published value ranges; no document says so), with
d in pixels of a width of 2048, and state neither camera nor right view.
"""

from pathlib import Path

import numpy as np

from mtlrepro.data import classes as names_of
from mtlrepro.data.real.preparing import files_in
from mtlrepro.data.real.rasters import Raster

SPLITS = ("train", "val")
OFFICIAL_COUNTS = {"train": 2975, "val": 500}
"""Finely annotated images of each split (Cordts et al. 2016, table 1)."""

TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""Train id of each evaluated label id (cityscapesScripts, `helpers/labels.py`)."""

CATEGORIES = {
    7: 0, 8: 0, 9: 0, 10: 0, 11: 1, 12: 1, 13: 1, 14: 1, 15: 1, 16: 1, 17: 2, 18: 2, 19: 2, 20: 2, 21: 3, 22: 3, 23: 4,
    24: 5, 25: 5, 26: 6, 27: 6, 28: 6, 29: 6, 30: 6, 31: 6, 32: 6, 33: 6,
}  # fmt: skip
"""Category id, less one, of each label id that is not void, evaluated or not (same source)."""

CLASSES = {19: names_of.CITYSCAPES, 7: names_of.CITYSCAPES_7, 2: ("background", "foreground")}
"""Class names by number of classes; 2 only in the MTAN packs."""

PACKAGES = {
    "leftImg8bit": "leftImg8bit_trainvaltest.zip",
    "rightImg8bit": "rightImg8bit_trainvaltest.zip",
    "gtFine": "gtFine_trainvaltest.zip",
    "disparity": "disparity_trainvaltest.zip",
    "camera": "camera_trainvaltest.zip",
}
_ENDS = {"gtFine": "gtFine_labelIds.png", "camera": "camera.json"}
MTAN_LABELS = {19: ("label_19",), 7: ("label_7", "label"), 2: ("label_2",)}

_OTHER = 127
"""Mark of label ids that do not exist."""


def decode_disparity(p: Raster) -> Raster:
    """Disparity in pixels of the file's width from uint16 p: (p - 1) / 256 where p > 0, else 0 = unknown."""
    return np.where(p > 0, (p.astype(np.float32) - 1) / 256, 0).astype(np.float32)


def encode_disparity(disparity: Raster) -> Raster:
    """The uint16 values whose decoding is nearest to `disparity` (pixels, 0 = unknown): off by at most 1/512.

    A known disparity below 1/512 becomes p = 1, which decodes to 0.

    Raises:
        ValueError: A disparity is negative, not finite, or above 65534 / 256 = 255.99 pixels.
    """
    if disparity.size and not (disparity.min() >= 0 and disparity.max() <= 65534 / 256):
        raise ValueError(
            f"disparity is from {disparity.min()} to {disparity.max()}; accepted: 0 to {65534 / 256} pixels, "
            "all that 16 bits hold"
        )
    return np.where(disparity > 0, np.rint(disparity.astype(np.float64) * 256) + 1, 0).astype(np.uint16)


def _table(classes: int) -> Raster:
    """Class of each of the 256 values that a `labelIds` file can hold; _OTHER for ids that do not exist."""
    table = np.full(256, _OTHER, np.int8)
    table[:34] = -1
    for label, value in (TRAIN_IDS if classes == 19 else CATEGORIES).items():
        table[label] = value
    return table


def decode_labels(ids: Raster, classes: int = 19) -> Raster:
    """Classes, int8 with -1 = none, from label ids.

    Args:
        ids: Label ids 0 to 33, uint8.
        classes: 19: the evaluated ids in train-id order, all others -1. 7: the category of every id, so that
            parking is flat and a guard rail construction; only void is -1.

    Raises:
        ValueError: An id is above 33.
    """
    labels = _table(classes)[ids]
    if (labels == _OTHER).any():
        raise ValueError(f"label id {int(ids[labels == _OTHER][0])}; accepted: 0 to 33")
    return labels


def encode_labels(segmentation: Raster) -> Raster:
    """Label ids, uint8, from 19-class train ids; -1 becomes 0, unlabeled.

    Raises:
        ValueError: A class is not -1 to 18.
    """
    low, high = int(segmentation.min()), int(segmentation.max())
    if low < -1 or high > 18:
        raise ValueError(f"segmentation has classes {low} to {high}; accepted: -1 to 18, the 19 train ids")
    return np.array([*TRAIN_IDS, 0], np.uint8)[segmentation]  # -1 takes the last entry


def file_of(root: Path, kind: str, split: str, name: str) -> Path:
    """Path of one official file, such as `root/disparity/val/lindau/lindau_000000_000019_disparity.png`."""
    return root / kind / split / name.split("_")[0] / f"{name}_{_end(kind)}"


def names_in(root: Path, kind: str, split: str) -> set[str]:
    """Names of the images that have an official file of this kind."""
    return {path.name.removesuffix(f"_{_end(kind)}") for path in files_in(root / kind / split, f"*/*_{_end(kind)}")}


def _end(kind: str) -> str:
    return _ENDS.get(kind, f"{kind}.png")
