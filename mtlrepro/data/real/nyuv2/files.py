"""Files of NYU Depth v2 (Silberman et al. 2012): addresses, splits, the chain of labels, encodings of normals."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from mtlrepro.data.geometry import Array, Pinhole, from_8_bits, to_8_bits, unit
from mtlrepro.data.real.fetching import RemoteFile
from mtlrepro.data.real.preparing import hint

OFFICIAL_COUNTS = {"train": 795, "test": 654}
"""Images of each split (`splits.mat` of the data set; Silberman et al. 2012, section 6)."""

N_LABELS = 894
FORTY_TO_THIRTEEN = (
    12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5, 7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7,
    7, 7, 7, 6, 7,
)  # fmt: skip
"""Class 1..13 of each class 1..40: `labels13` of the published `class13Mapping.mat`."""

SIZE = (480, 640)
CAMERA = Pinhole(fx=518.857901, fy=519.469611, cx=325.582449, cy=253.736166)
"""The colour camera at `SIZE` (`camera_params.m` of the data set's toolbox)."""

SATURATED = 10.0
"""Raw depth of pixels beyond the sensor's reach, metres; as good as missing (`camera_params.m`, `maxDepth`)."""

MAT, SPLITS_MAT = "nyu_depth_v2_labeled.mat", "splits.mat"
FORTY_MAT, THIRTEEN_MAT = "classMapping40.mat", "class13Mapping.mat"
LADICKY_ZIP, LADICKY, EIGEN = "nyu_normals_gt.zip", "nyu_normals_gt", "normals_gt"
_META = "https://raw.githubusercontent.com/ankurhanda/nyuv2-meta-data/master"
FILES = (
    RemoteFile(
        MAT,
        "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat",
        2_972_037_809,
        "2d724b0c0ab358aa1ce5df855e5bd14a2279ab7202efe22f32a30d612dcb86aa",
    ),
    RemoteFile(
        SPLITS_MAT,
        "https://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat",
        2_626,
        "6e081404491a8bfba2f066beaa9713ef6046f9007aa5f799f2a350506a580cee",
    ),
    RemoteFile(
        THIRTEEN_MAT,
        f"{_META}/{THIRTEEN_MAT}",
        408,
        "4e79ab24c345896c19abc62476b2c3520f3e2db00f71f868c5027208af48a3de",
    ),
    RemoteFile(
        FORTY_MAT,
        f"{_META}/{FORTY_MAT}",
        10_474,
        "ff177194cce9a2163517f1e1e6f1c64c50987162f542dedddc04bbf6ebe6d851",
    ),
)
"""Official files with published sizes and checksums."""

LADICKY_FILE = RemoteFile(LADICKY_ZIP, f"https://www.inf.ethz.ch/personal/ladickyl/{LADICKY_ZIP}")
"""Normals of Ladicky et al. 2014; no checksum is published, the archive's own ones are checked."""

MTAN_PACK = "https://www.dropbox.com/sh/86nssgwm6hm3vkb/AACrnUQ4GxpdrBbLjb6n-mWNa?dl=0"
"""Where the authors of MTAN (Liu et al. 2019) keep their pack, 9 GB; no checksum is published."""

MTAN_FOLDERS = {"train": "train", "test": "val"}
"""Folder of each split in the pack, whose `val` are the official test images."""

EIGEN_ARCHIVE = "https://cs.nyu.edu/~deigen/dnl/normals_gt.tgz"
"""Normals of Eigen and Fergus 2015; reported offline since 2022."""

AGAIN = "get it again with `python data_scripts/nyuv2.py fetch FOLDER`"
_OFF_UNIT = 0.1  # 8 bits a component move a length by less than 0.01


def read_mat(path: Path, *keys: str) -> list[NDArray[Any]]:
    """Read variables of a small MATLAB file (not v7.3).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or lacks a variable.
    """
    if not path.is_file():  # loadmat has no clear error for that
        raise FileNotFoundError(f"{path}: no such file{hint(path)}; {AGAIN}")
    try:
        content = loadmat(path)
        return [content[key] for key in keys]
    except KeyError as error:
        raise ValueError(f"{path}: no variable {error}; {AGAIN}") from None
    except Exception as error:  # Any error here means that the file is corrupt.
        raise ValueError(f"{path}: not a complete MATLAB file ({error}); {AGAIN}") from None


def read_splits(path: Path, n: int) -> dict[str, list[int]]:
    """Read `splits.mat`: numbers of the images of each split, **from 1** as in the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or a number is not in 1..n or occurs twice.
    """
    train, test = (array.ravel().astype(np.int64) for array in read_mat(path, "trainNdxs", "testNdxs"))
    both = np.concatenate([train, test])
    outside = both[(both < 1) | (both > n)]
    if len(outside):
        raise ValueError(f"{path}: image {outside[0]} of {n}; accepted: 1 to {n}, as many as {MAT} has; {AGAIN}")
    numbers, counts = np.unique(both, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{path}: image {numbers[counts > 1][0]} occurs twice; accepted: once; {AGAIN}")
    return {"train": train.tolist(), "test": test.tolist()}


def read_label_chain(folder: Path) -> NDArray[np.int8]:
    """Read the two mapping files and return the class -1..12 of each label 0..894.

    Label 0 is unlabeled. `classMapping40.mat` takes labels 1..894 to 40 classes (Gupta et al. 2013),
    `class13Mapping.mat` these to 13 (Couprie et al. 2013).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or a mapping is out of range or not the published one.
    """
    (forty,) = read_mat(folder / FORTY_MAT, "mapClass")
    forty = forty.ravel().astype(np.int64)
    if forty.shape != (N_LABELS,) or forty.min() < 1 or forty.max() > len(FORTY_TO_THIRTEEN):
        raise ValueError(
            f"{folder / FORTY_MAT}: mapClass has {forty.size} classes {forty.min()} to {forty.max()}; "
            f"accepted: {N_LABELS} classes 1 to 40; {AGAIN}"
        )
    (mapping,) = read_mat(folder / THIRTEEN_MAT, "classMapping13")
    try:
        thirteen = np.asarray(mapping["labels13"][0, 0]).ravel().astype(np.int64)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{folder / THIRTEEN_MAT}: no labels13 ({error}); {AGAIN}") from None
    if tuple(thirteen.tolist()) != FORTY_TO_THIRTEEN:
        raise ValueError(f"{folder / THIRTEEN_MAT}: labels13 is not the published table; {AGAIN}")
    return np.concatenate([[-1], thirteen[forty - 1] - 1]).astype(np.int8)


# --- normals: n in camera axes x right, y down, z forward, towards the camera


def eigen_axes(vectors: Array) -> Array:
    """Take normals `[3, ...]` from Eigen's axes (right, into the scene, up) to ours: (x, z, -y) -> (x, y, z).

    Also the order of the MTAN pack, whose documentation states none: inferred from its flip, which negates the first
    channel, and checked by the signs that `verify` reports.
    """
    right, forward, up = vectors
    return np.stack([right, -up, forward])


def to_eigen_axes(normal: Array) -> Array:
    """Take normals `[3, ...]` from our axes to Eigen's, the inverse of :func:`eigen_axes`."""
    x, y, z = normal
    return np.stack([x, z, -y])


def decode_eigen(png: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Array:
    """Unit normals `[3, H, W]` from the files of Eigen and Fergus 2015; 0 where the mask is 0."""
    return np.where(mask > 0, unit(eigen_axes(from_8_bits(png)), tolerance=_OFF_UNIT), 0)


def encode_eigen(normal: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the PNG pixels `[H, W, 3]` and the mask `[H, W]` that :func:`decode_eigen` reads."""
    mask: NDArray[np.uint8] = np.where(normal.any(axis=0), np.uint8(255), np.uint8(0))
    return to_8_bits(to_eigen_axes(normal)), mask


def decode_ladicky(png: NDArray[np.uint8]) -> Array:
    """Unit normals `[3, H, W]` from the files of Ladicky et al. 2014, whose channels are (z, y, x)."""
    return unit(from_8_bits(png)[::-1], tolerance=_OFF_UNIT)


def encode_ladicky(normal: Array) -> NDArray[np.uint8]:
    """Return the PNG pixels `[H, W, 3]` that :func:`decode_ladicky` reads; a missing normal becomes grey."""
    return to_8_bits(normal[::-1])
