"""Samples written as NYU Depth v2 files: the official layout and the layout of the MTAN pack."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from mtlrepro.data.classes import NYUV2 as CLASSES
from mtlrepro.data.real import mtan
from mtlrepro.data.real.levin import fill
from mtlrepro.data.real.nyuv2.files import (
    EIGEN,
    FORTY_MAT,
    FORTY_TO_THIRTEEN,
    LADICKY,
    MAT,
    MTAN_FOLDERS,
    N_LABELS,
    SATURATED,
    SPLITS_MAT,
    THIRTEEN_MAT,
    encode_eigen,
    encode_ladicky,
    read_label_chain,
    to_eigen_axes,
)
from mtlrepro.data.real.preparing import Samples
from mtlrepro.data.real.rasters import rgb_of, write_raster
from mtlrepro.data.samples import Sample
from mtlrepro.files import replacing

SCENE = "export_0001"


def export(folder: str | Path, train: Samples, test: Samples) -> None:
    """Write samples in the official layout: the v7.3 `.mat`, splits, label mappings, Ladicky's and Eigen's normals.

    Images are rounded to 8 bits and the components of normals to 1/255; depth and classes are exact. The 40 classes are
    dealt to the 894 labels in turn, as the published assignment is not ours to ship. Images of the two splits are
    mixed, as in the data set.

    Args:
        folder: Where the files go; made where missing.
        train: Samples with image, segmentation (13 classes), depth and normal, all of one size.
        test: The same.

    Raises:
        ValueError: Sizes differ, or a depth is 10 m or more, which the sensor does not reach.
    """
    root = Path(folder)
    n = len(train) + len(test)
    order = np.random.default_rng(0).permutation(n)
    numbers = {"train": np.sort(order[: len(train)]) + 1, "test": np.sort(order[len(train) :]) + 1}
    root.mkdir(parents=True, exist_ok=True)
    _write_mappings(root)
    labels_of = _labels(read_label_chain(root))
    with replacing(root / SPLITS_MAT) as partial:
        savemat(str(partial), {f"{split}Ndxs": rows[:, None].astype(np.uint16) for split, rows in numbers.items()})
    with replacing(root / MAT) as partial:
        with h5py.File(partial, "w", userblock_size=512) as mat:
            height, width = train[0]["depth"].shape[1:]
            for name, dtype, axes in (
                ("images", "uint8", (3,)),
                ("depths", "float32", ()),
                ("rawDepths", "float32", ()),
                ("labels", "uint16", ()),
                ("instances", "uint8", ()),
            ):
                shape = (*axes, width, height)
                mat.create_dataset(name, (n, *shape), dtype, chunks=(1, *shape), compression=1)
                mat[name].attrs["MATLAB_class"] = np.bytes_({"float32": "single"}.get(dtype, dtype))
            for split, samples in (("train", train), ("test", test)):
                for index, number in enumerate(numbers[split].tolist()):
                    _write_image(mat, root, split, number, samples[index], labels_of)
            _write_cells(mat, "names", [f"label {label}" for label in range(1, N_LABELS + 1)])
            _write_cells(mat, "scenes", [SCENE] * n)
        with partial.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def _write_mappings(root: Path) -> None:
    forty = (np.arange(N_LABELS) % len(FORTY_TO_THIRTEEN) + 1).astype(np.uint8)[None]
    with replacing(root / FORTY_MAT) as partial:
        savemat(str(partial), {"mapClass": forty})
    names = np.array([CLASSES], dtype=object)
    thirteen = {"labels13": np.array([FORTY_TO_THIRTEEN], np.uint8), "classNames": names}
    with replacing(root / THIRTEEN_MAT) as partial:
        savemat(str(partial), {"classMapping13": thirteen})


def _labels(chain: NDArray[np.int8]) -> NDArray[np.uint16]:
    """Three labels for each class, `[3, 14]`; the last column is unlabeled, 0."""
    some = [np.flatnonzero(chain == number)[[0, 1, -1]] for number in range(len(CLASSES))]
    return np.column_stack([*some, np.zeros(3)]).astype(np.uint16)


def _write_image(
    mat: h5py.File, root: Path, split: str, number: int, sample: Sample, labels_of: NDArray[np.uint16]
) -> None:
    """Write one sample as image `number`, counted from 1."""
    image, depth, normal = rgb_of(sample["image"]), sample["depth"][0].numpy(), sample["normal"].numpy()
    if (*image.shape[1::-1],) != mat["labels"].shape[1:]:
        raise ValueError(f"image {number} of {split} is {image.shape[:2]}; accepted: one size for all images")
    if depth.max() >= SATURATED:
        raise ValueError(f"image {number} of {split}: depth is up to {depth.max()} m; accepted: below {SATURATED:g} m")
    values = {
        "images": image,
        "rawDepths": depth,
        "depths": fill(depth, depth > 0, image),
        "labels": labels_of[number % len(labels_of)][sample["segmentation"].numpy()],
    }
    for name, value in values.items():
        mat[name][number - 1] = value.T
    write_raster(root / LADICKY / split / f"{number:05}.png", encode_ladicky(normal))
    png, mask = encode_eigen(normal)
    write_raster(root / EIGEN / "normals" / f"{number - 1:04}.png", png)
    write_raster(root / EIGEN / "masks" / f"{number - 1:04}.png", mask)


def _write_cells(mat: h5py.File, name: str, texts: list[str]) -> None:
    """Write a cell array of texts: a column of references into `#refs#`."""
    references = mat.require_group("#refs#")
    cells = mat.create_dataset(name, (1, len(texts)), h5py.ref_dtype)
    cells.attrs["MATLAB_class"] = np.bytes_("cell")
    for index, text in enumerate(texts):
        characters = np.array([[ord(character)] for character in text], np.uint16)
        entry = references.create_dataset(f"{name}{index}", data=characters)
        entry.attrs["MATLAB_class"] = np.bytes_("char")
        cells[0, index] = entry.ref


def export_mtan(folder: str | Path, train: Samples, test: Samples) -> None:
    """Write samples in the layout of the MTAN pack: `{train,val}/{image,label,depth,normal}/0.npy` and so on.

    Args:
        folder: What stands for the unpacked pack; the test images go to `val`.
        train: Samples with image, segmentation (13 classes), depth and normal.
        test: The same.
    """
    for split, samples in (("train", train), ("test", test)):
        for index in range(len(samples)):
            sample = samples[index]
            arrays = {
                "image": sample["image"].permute(1, 2, 0).numpy(),
                "label": sample["segmentation"].numpy().astype(np.float32),
                "depth": sample["depth"].permute(1, 2, 0).numpy(),
                "normal": np.moveaxis(to_eigen_axes(sample["normal"].numpy()), 0, -1),
            }
            mtan.write(Path(folder) / MTAN_FOLDERS[split], index, arrays)
