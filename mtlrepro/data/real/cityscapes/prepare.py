"""Cityscapes (Cordts et al. 2016): official files or the MTAN packs to arrays, and the checks of these."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mtlrepro.data.real.cityscapes.export import export, export_mtan
from mtlrepro.data.real.cityscapes.fetch import TERMS, fetch
from mtlrepro.data.real.cityscapes.files import (
    CLASSES,
    MTAN_LABELS,
    OFFICIAL_COUNTS,
    PACKAGES,
    SPLITS,
    decode_disparity,
    decode_labels,
    file_of,
)
from mtlrepro.data.real.preparing import Row, load_json, open_splits, require_files, write_split
from mtlrepro.data.real.rasters import Raster, raster_size, read_raster, resize_image, resize_nearest
from mtlrepro.data.real.scripts import Findings, verify_target
from mtlrepro.data.stereo import CITYSCAPES_WIDTH, match_error
from mtlrepro.data.store import META, Store

__all__ = ["CLASSES", "TERMS", "export", "export_mtan", "fetch", "prepare", "verify"]


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    classes: int = 19,
    right: bool = True,
    progress: bool = True,
) -> None:
    """Write ``TARGET/train`` and ``TARGET/val`` from the official files or an MTAN pack, whichever ``source`` holds.

    Besides the keys of a sample (image, right, segmentation, disparity) the official files give ``focal`` (pixels
    of the stored width) and ``baseline`` (metres), one number for an image. Images are resized with a low-pass
    filter, labels and disparity by the nearest pixel; disparity is multiplied by the ratio of the widths. A stopped
    run goes on where it was; a complete split is left as it is.

    Args:
        source: folder with ``leftImg8bit`` and the others, or with ``train/image/0.npy`` and the others.
        target: folder for the stores.
        size: (height, width); default: the files' own.
        classes: 19, or 7 for the category of every id (see :func:`decode_labels`); 7 of the 19 evaluated ids only
            are to be had from 19 when loading. An MTAN pack has ``label_19``, ``label_7`` (or ``label``), ``label_2``.
        right: store the right views, official files only.
        progress: show bars on stderr.

    Raises:
        FileNotFoundError, ValueError: naming the file and the remedy, as far as possible before any work.
    """
    source, target = Path(source), Path(target)
    official = (source / "leftImg8bit").is_dir()
    if official:
        jobs = {split: _official(source, split, size, classes, right) for split in SPLITS}
    elif any((source / split / "image").is_dir() for split in SPLITS):
        jobs = {split: _mtan(source, split, size, classes) for split in SPLITS}
    else:
        raise ValueError(
            f"{source} holds neither leftImg8bit/ (official; unpack {', '.join(PACKAGES.values())} there) nor "
            "train/image/ (an MTAN pack)"
        )
    if not any(jobs.values()):
        raise ValueError(f"{source} has no image in train or val; {'unpack the packages there' if official else _PACK}")
    for split, job in jobs.items():
        if job is not None:
            meta = {
                "dataset": "cityscapes",
                "split": split,
                "classes": CLASSES[classes],
                "source": "official" if official else "mtan",
                "size": job.size,
                "right": right and official,
            }
            write_split(target / split, job.names, job.read, meta, progress=progress)


@dataclass(frozen=True)
class _Job:
    """One split to be read: names of its images, what reads one of them, (height, width) to store."""

    names: list[str]
    read: Callable[[str], Row]
    size: tuple[int, int]


_PACK = "unpack the MTAN pack again"


def _official(source: Path, split: str, size: tuple[int, int] | None, classes: int, right: bool) -> _Job | None:
    """Look a split up; every file must be there."""
    if classes not in (19, 7):
        raise ValueError(f"classes is {classes}; accepted: 19, 7")
    end = "_leftImg8bit.png"
    names = sorted(path.name.removesuffix(end) for path in (source / "leftImg8bit" / split).glob(f"*/*{end}"))
    if not names:
        return None
    for kind, package in PACKAGES.items():
        if kind == "rightImg8bit" and not right:
            continue
        remedy = f"unpack {package} in {source}"
        if kind == "rightImg8bit":
            remedy += ", or prepare without the right views (--no-right)"
        require_files([file_of(source, kind, split, name) for name in names], remedy=remedy)
    first = raster_size(file_of(source, "leftImg8bit", split, names[0]), remedy=_again("leftImg8bit"))
    read = partial(_read_official, source, split, shape=first, size=size or first, classes=classes, right=right)
    return _Job(names, read, size or first)


def _again(kind: str) -> str:
    return f"unpack {PACKAGES[kind]} again"


def _read_official(
    source: Path, split: str, name: str, *, shape: tuple[int, int], size: tuple[int, int], classes: int, right: bool
) -> Row:
    def read(kind: str, pixels: str) -> Raster:
        return read_raster(file_of(source, kind, split, name), pixels, size=shape, remedy=_again(kind))

    ids = read("gtFine", "ids")
    try:
        segmentation = decode_labels(ids, classes)
    except ValueError as error:
        raise ValueError(f"{file_of(source, 'gtFine', split, name)}: {error}; {_again('gtFine')}") from None
    focal, baseline = _camera(file_of(source, "camera", split, name))
    row = {
        "image": read("leftImg8bit", "RGB"),
        "segmentation": segmentation,
        "disparity": decode_disparity(read("disparity", "uint16")),
    }
    if right:
        row["right"] = read("rightImg8bit", "RGB")
    return {
        **_resized(row, size),
        "focal": np.asarray(focal * size[1] / shape[1], np.float32),
        "baseline": np.asarray(baseline, np.float32),
    }


def _camera(path: Path) -> tuple[float, float]:
    """Focal length in pixels and baseline in metres of one camera file."""
    content = load_json(path, remedy=_again("camera"))
    try:
        focal, baseline = float(content["intrinsic"]["fx"]), float(content["extrinsic"]["baseline"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: no numbers intrinsic.fx and extrinsic.baseline; {_again('camera')}") from None
    if not (0 < focal < np.inf and 0 < baseline < np.inf):
        raise ValueError(f"{path}: fx is {focal}, baseline is {baseline}; accepted: above 0; {_again('camera')}")
    return focal, baseline


def _mtan(source: Path, split: str, size: tuple[int, int] | None, classes: int) -> _Job | None:
    """Look a split up; every file must be there."""
    if classes not in CLASSES:
        raise ValueError(f"classes is {classes}; accepted: {', '.join(map(str, CLASSES))}")
    folder = source / split
    n = len(list((folder / "image").glob("*.npy")))
    if not n:
        return None
    label = next((name for name in MTAN_LABELS[classes] if (folder / name).is_dir()), None)
    if label is None:
        found = [number for number, names in MTAN_LABELS.items() if any((folder / name).is_dir() for name in names)]
        raise ValueError(
            f"{folder} has no {' or '.join(MTAN_LABELS[classes])}; choose classes (--classes) that it has: "
            f"{', '.join(map(str, found)) or 'none'}, or {_PACK}"
        )
    names = [str(i) for i in range(n)]
    for kind in ("image", label, "depth"):
        require_files([folder / kind / f"{name}.npy" for name in names], remedy=_PACK)
    first = _npy(folder / "image" / "0.npy").shape[:2]
    read = partial(_read_mtan, folder, label, shape=first, size=size or first, classes=classes)
    return _Job(names, read, size or first)


def _npy(path: Path) -> Raster:
    try:
        array: Raster = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a complete array file ({error}); {_PACK}") from None
    return array


def _read_mtan(
    folder: Path, label: str, name: str, *, shape: tuple[int, int], size: tuple[int, int], classes: int
) -> Row:
    def read(kind: str, axes: tuple[int, ...], low: float, high: float) -> Raster:
        path = folder / kind / f"{name}.npy"
        array = _npy(path)
        accepted = [*shape, *axes]
        if list(array.shape) != accepted:
            raise ValueError(f"{path}: shape {list(array.shape)}; accepted: {accepted}, as the first image")
        if not (array.min() >= low and array.max() <= high):  # also true for NaN
            raise ValueError(f"{path}: values {array.min()} to {array.max()}; accepted: {low} to {high}")
        return array

    p = np.rint(read("depth", (1,), 0, 1)[..., 0].astype(np.float64) * 65535).astype(np.uint16)
    row = {
        "image": np.rint(read("image", (3,), 0, 1) * 255).astype(np.uint8),
        "segmentation": read(label, (), -1, classes - 1).astype(np.int8),
        "disparity": decode_disparity(p) * np.float32(shape[1] / CITYSCAPES_WIDTH),
    }
    return _resized(row, size)


def _resized(row: dict[str, Raster], size: tuple[int, int]) -> dict[str, Raster]:
    """Resize the maps of one image and put the channels first."""
    ratio = np.float32(size[1] / row["disparity"].shape[1])
    resized = {
        key: resize_image(value, size).transpose(2, 0, 1) if key in ("image", "right") else resize_nearest(value, size)
        for key, value in row.items()
    }
    resized["disparity"] = (resized["disparity"] * ratio)[None]
    return resized


def verify(target: str | Path, *, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: arrays and checksums, counts, ranges, classes, disparities and the order of views.

    Whether a split is complete is told, not required. With right views, left(x) must be closer to right(x - d) than
    to right(x + d).

    Args:
        target: the folder that :func:`prepare` made.
        progress: show bars on stderr.

    Returns:
        One row per check: ``what``, ``found``, ``expected``, ``ok``. Nothing is changed.
    """
    target = Path(target)
    present = [split for split in SPLITS if (target / split / META).is_file()]
    stores = open_splits(target, present)
    class_names = next(iter(stores.values())).meta["classes"] if stores else ()
    keys = ("image", "segmentation", "disparity")
    counts: dict[str, int | None] = dict.fromkeys(present or SPLITS)
    frame = verify_target(target, counts=counts, keys=keys, class_names=class_names, progress=progress)
    findings = Findings(frame.to_dict("records"))
    for split, store in stores.items():
        n, official = len(store), OFFICIAL_COUNTS[split]
        state = "complete" if n == official else "partial"
        findings.add(f"{split}: of the official split", f"{state}, {n} images", f"{official}, or a part of it", True)
        if frame.loc[frame["what"].str.startswith(f"{split}: files"), "ok"].all():
            _verify_stereo(split, store, findings)
    return findings.frame()


def _verify_stereo(split: str, store: Store, findings: Findings) -> None:
    """Note the disparities, and the views of up to eight images."""
    some = np.linspace(0, len(store) - 1, min(len(store), 8)).astype(int)
    disparity = torch.from_numpy(store["disparity"][some])
    width = disparity.shape[-1]
    findings.add(
        f"{split}: known disparities",
        f"{(disparity > 0).float().mean():.3f} of pixels, up to {disparity.max():.2f} px, in {len(some)} images",
        f"more than none, below {width} px",
        bool((disparity > 0).any()) and float(disparity.max()) < width,
    )
    if "right" in store.names:
        left, right = (torch.from_numpy(store[key][some]).float() for key in ("image", "right"))
        error, wrong = (float(match_error(left, right, sign * disparity)) for sign in (1, -1))
        findings.add(
            f"{split}: left(x) - right(x - d)", f"{error:.1f} of 255", f"less than with + d: {wrong:.1f}", error < wrong
        )
