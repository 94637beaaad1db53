"""Samples with disparity written as Cityscapes files: the official layout and the layout of the MTAN packs."""

from pathlib import Path

import numpy as np
import torch

from mtlrepro.data.classes import SEVEN
from mtlrepro.data.real import mtan
from mtlrepro.data.real.cityscapes.files import SPLITS, encode_disparity, encode_labels, file_of
from mtlrepro.data.real.preparing import Samples, write_json
from mtlrepro.data.real.rasters import rgb_of, write_raster
from mtlrepro.data.stereo import to_mtan

CITY = "export"


def export(folder: str | Path, samples: Samples, split: str = "train", *, focal: float, baseline: float) -> None:
    """Write samples in the official layout: PNG files of 8 and 16 bits and a camera file for each image.

    Images are rounded to 8 bits and disparity to 1/256 pixel; one below 1/512 is read again as 0, unknown. Samples
    without segmentation become unlabeled; without right views, no `rightImg8bit` is written.

    Args:
        folder: What stands for the unpacked packages.
        samples: Image, disparity, and where they have them segmentation (19 classes) and right.
        split: `train` or `val`.
        focal: Focal length in pixels of the images' width.
        baseline: Distance of the cameras in metres.

    Raises:
        ValueError: The split is another, a class is above 18, or 16 bits do not hold a disparity.
    """
    root = Path(folder)
    _require_split(split)
    for index in range(len(samples)):
        sample, name = samples[index], f"{CITY}_{index:06}_000000"
        disparity = sample["disparity"][0].numpy()
        blank = torch.full(disparity.shape, -1)
        write_raster(file_of(root, "leftImg8bit", split, name), rgb_of(sample["image"]))
        write_raster(file_of(root, "gtFine", split, name), encode_labels(sample.get("segmentation", blank).numpy()))
        write_raster(file_of(root, "disparity", split, name), encode_disparity(disparity))
        if "right" in sample:
            write_raster(file_of(root, "rightImg8bit", split, name), rgb_of(sample["right"]))
        height, width = disparity.shape
        camera = {
            "extrinsic": {"baseline": baseline, "pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "yaw": 0.0, "z": 0.0},
            "intrinsic": {"fx": focal, "fy": focal, "u0": width / 2, "v0": height / 2},
        }
        write_json(file_of(root, "camera", split, name), camera)


def export_mtan(folder: str | Path, samples: Samples, split: str = "train") -> None:
    """Write samples in the layout of the MTAN packs: `SPLIT/{image,label_19,label_7,depth}/0.npy` and so on.

    `depth` is p / 65535 with p the whole number that the official disparity file of 2048 pixels width would hold.

    Args:
        folder: What stands for the unpacked pack.
        samples: Image, segmentation (19 classes) and disparity.
        split: `train` or `val`.

    Raises:
        ValueError: The split is another, or a disparity is above 1/8 of the width, more than 16 bits hold.
    """
    _require_split(split)
    to_seven = np.array([*SEVEN, -1], np.float32)
    for index in range(len(samples)):
        sample = samples[index]
        disparity, segmentation = sample["disparity"], sample["segmentation"].numpy()
        raw = to_mtan(disparity, disparity.shape[-1])
        if raw.max() > 1:
            raise ValueError(
                f"sample {index}: disparity is up to {disparity.max()} pixels; accepted: up to 1/8 of the width "
                f"{disparity.shape[-1]}, all that 16 bits hold at a width of 2048"
            )
        arrays = {
            "image": sample["image"].permute(1, 2, 0).numpy(),
            "label_19": segmentation.astype(np.float32),
            "label_7": to_seven[segmentation],
            "depth": ((raw * 65535).round() / 65535).permute(1, 2, 0).numpy(),
        }
        mtan.write(Path(folder) / split, index, arrays)


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
