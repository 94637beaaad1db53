"""Reading the official files of NYU Depth v2: the v7.3 `.mat`, splits, label mappings and files of normals."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mtlrepro.data.geometry import normals_from_depth
from mtlrepro.data.real.nyuv2.files import (
    AGAIN,
    CAMERA,
    EIGEN,
    EIGEN_ARCHIVE,
    LADICKY,
    MAT,
    N_LABELS,
    SATURATED,
    SIZE,
    SPLITS_MAT,
    decode_eigen,
    decode_ladicky,
    read_label_chain,
    read_splits,
)
from mtlrepro.data.real.preparing import Row, SourceSplit, files_in, require_files
from mtlrepro.data.real.rasters import Raster, read_raster

Files = Mapping[int, tuple[Path, ...]]


@contextmanager
def open_splits(source: Path, normals: str) -> Iterator[dict[str, SourceSplit]]:
    """Open the files and give the two splits; all that can be checked without reading images is checked here.

    Args:
        source: The folder.
        normals: `depth`, `ladicky` or `eigen`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or holds something else.
    """
    classes = read_label_chain(source)
    with _open(source / MAT) as (file, n, shape):
        splits = {}
        for split, numbers in read_splits(source / SPLITS_MAT, n).items():
            files = _normal_files(source, normals, split, numbers)
            read = partial(_read, _Mat(source / MAT, file, shape, classes), files, normals)
            names = [f"{number:04}" for number in numbers]
            splits[split] = SourceSplit(names, shape, read, {"source": "official", "normals": normals})
        yield splits


@dataclass(frozen=True)
class _Mat:
    """The open `.mat` file and what else an image needs."""

    path: Path
    file: h5py.File
    shape: tuple[int, int]
    classes: NDArray[np.int8]

    def image(self, name: str, index: int) -> Raster:
        """Read one variable of one image, with MATLAB's axes reversed: `[H, W, ...]`."""
        try:
            array: Raster = self.file[name][index].T
        except OSError as error:
            raise ValueError(f"{self.path}: {name} of image {index + 1} cannot be read ({error}); {AGAIN}") from None
        return array


@contextmanager
def _open(path: Path) -> Iterator[tuple[h5py.File, int, tuple[int, int]]]:
    """Open the `.mat` file and give the number of images and their (height, width)."""
    try:
        # Without a lock, which another process or a network drive may refuse: the file is only read.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ValueError(f"{path}: not a complete v7.3 .mat file ({error}); remove it and {AGAIN}") from None
    with file:
        expected = {"images": "uint8", "rawDepths": "float32", "labels": "uint16"}
        for name, dtype in expected.items():
            if name not in file:
                raise ValueError(f"{path}: no variable {name}; {AGAIN}")
            if file[name].dtype != dtype:
                raise ValueError(f"{path}: {name} is {file[name].dtype}; accepted: {dtype}; {AGAIN}")
        n, channels, width, height = file["images"].shape
        for name in ("rawDepths", "labels"):
            if (channels, *file[name].shape) != (3, n, width, height):
                raise ValueError(
                    f"{path}: {name} is {list(file[name].shape)}, images {list(file['images'].shape)}; "
                    f"accepted: one size, [N, W, H] and [N, 3, W, H]; {AGAIN}"
                )
        yield file, n, (height, width)


def _normal_files(source: Path, normals: str, split: str, numbers: list[int]) -> Files:
    """Find the files of each image's normals; names of Ladicky's count from 1, of Eigen's from 0."""
    if normals == "ladicky":
        folder = next((f for f in (source / LADICKY, source / LADICKY / LADICKY) if (f / split).is_dir()), None)
        if folder is None:
            raise FileNotFoundError(f"{source / LADICKY / split}: no such folder; add --ladicky to fetch to get it")
        by_number = {
            int("".join(filter(str.isdigit, path.stem))): (path,) for path in files_in(folder / split, "*.png")
        }
        absent = set(numbers) - set(by_number)
        if absent:
            raise FileNotFoundError(
                f"{folder / split}: no file of image {min(absent)} and {len(absent) - 1} more; add --ladicky to fetch"
            )
        return by_number
    if normals == "eigen":
        folder = source / EIGEN if (source / EIGEN).is_dir() else source
        names = {number: f"{number - 1:04}.png" for number in numbers}
        files = {number: (folder / "normals" / name, folder / "masks" / name) for number, name in names.items()}
        require_files(
            [path for pair in files.values() for path in pair],
            remedy=f"unpack {EIGEN_ARCHIVE} in {source}, or choose other normals",
        )
        return files
    return dict.fromkeys(numbers, ())


def _read(mat: _Mat, files: Files, normals: str, name: str) -> Row:
    number = int(name)
    labels = mat.image("labels", number - 1)
    if labels.max() > N_LABELS:
        raise ValueError(f"{mat.path}: label {labels.max()} in image {number}; accepted: 0 to {N_LABELS}; {AGAIN}")
    raw = mat.image("rawDepths", number - 1)
    if not (np.isfinite(raw).all() and raw.min() >= 0):
        raise ValueError(f"{mat.path}: depth {raw.min()} in image {number}; accepted: 0 or more metres; {AGAIN}")
    raw = np.where(raw < SATURATED, raw, np.float32(0))
    remedy = "unpack the archive of the normals again"
    if normals == "depth":
        normal = normals_from_depth(raw, CAMERA.resized(SIZE, mat.shape))
    elif normals == "ladicky":
        normal = decode_ladicky(read_raster(files[number][0], "RGB", size=mat.shape, remedy=remedy))
    else:
        png, mask = files[number]
        normal = decode_eigen(
            read_raster(png, "RGB", size=mat.shape, remedy=remedy),
            read_raster(mask, "ids", size=mat.shape, remedy=remedy),
        )
    image = mat.image("images", number - 1)
    return {"image": image, "segmentation": mat.classes[labels], "depth": raw[None], "normal": normal}
