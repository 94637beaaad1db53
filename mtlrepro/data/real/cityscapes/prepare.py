"""Cityscapes (Cordts et al. 2016): official files or the MTAN packs to arrays, and the checks of these."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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
    TRAIN_IDS,
    decode_disparity,
    decode_labels,
    file_of,
    names_in,
)
from mtlrepro.data.real.mtan import Kind, Pack
from mtlrepro.data.real.preparing import (
    Row,
    SourceSplit,
    files_in,
    hint,
    load_json,
    number,
    require_files,
    require_size,
    write_split,
)
from mtlrepro.data.real.rasters import Raster, raster_size, read_raster
from mtlrepro.data.real.verifying import Findings, verify_target
from mtlrepro.data.stereo import CITYSCAPES_WIDTH, match_error
from mtlrepro.data.store import Store

__all__ = ["CLASSES", "TERMS", "export", "export_mtan", "fetch", "prepare", "verify"]

KEYS = ("image", "segmentation", "disparity")
AGAIN = "unpack the MTAN pack again"
OR = {
    "leftImg8bit": ", or remove the files of the other packages that have no image",
    "rightImg8bit": ", or prepare without the right views (--no-right)",
    "disparity": ", or prepare without disparity (--no-disparity)",
    "camera": ", or prepare without disparity (--no-disparity)",
}
"""What can be done about a missing package besides getting it."""


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    classes: int = 19,
    right: bool = True,
    disparity: bool = True,
    progress: bool = True,
) -> None:
    """Write `TARGET/train` and `TARGET/val` from the official files or an MTAN pack, whichever `source` holds.

    Besides the keys of a sample (image, right, segmentation, disparity) the official files give `focal` (pixels
    of the stored width) and `baseline` (metres), one number for an image. Images are resized with a low-pass
    filter, labels and disparity by the nearest pixel; disparity is multiplied by the ratio of the widths. A stopped
    run goes on where it was; a complete split is left as it is. A warning names an official split without a class
    that only label ids above 18 give, as if its files held train ids.

    Args:
        source: Folder with `leftImg8bit` and the others, or with `train/image/0.npy` and the others.
        target: Folder for the stores.
        size: (height, width), 1 to 4096 each; default: the files' own.
        classes: 19, or 7 for the category of every id (see :func:`decode_labels`); 7 of the 19 evaluated ids only
            are to be had from 19 when loading. An MTAN pack has `label_19`, `label_7` (or `label`), `label_2`.
        right: Store the right views, official files only.
        disparity: Store disparity, focal length and baseline; without, the packages `disparity` and `camera` of the
            official files are not needed.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: A file is damaged, or an option does not fit; found before any work where possible.
    """
    source, target = Path(source), Path(target)
    require_size(size)
    if (source / "leftImg8bit").is_dir():
        layout, again = "official", "unpack the packages there"
        left_out = {"rightImg8bit": right, "disparity": disparity, "camera": disparity}
        kinds = [kind for kind in PACKAGES if left_out.get(kind, True)]
        by_name = {name: _official(source, name, classes, kinds) for name in SPLITS}
    elif any((source / name / "image").is_dir() for name in SPLITS):
        if not disparity:
            raise ValueError("disparity is False; accepted with an MTAN pack, which has it: True")
        layout, again = "mtan", AGAIN
        by_name = {name: _mtan(source / name, classes) for name in SPLITS}
    else:
        raise ValueError(
            f"{source} holds neither leftImg8bit/ (official; unpack {', '.join(PACKAGES.values())} there) nor "
            f"train/image/ (an MTAN pack){hint(source / 'leftImg8bit')}"
        )
    splits = {name: split for name, split in by_name.items() if split is not None}
    if not splits:
        raise ValueError(f"{source} has no image in train or val; {again}")
    meta = {
        "dataset": "cityscapes",
        "classes": CLASSES[classes],
        "source": layout,
        "right": right and layout == "official",
        **({} if disparity else {"disparity": False}),
    }
    for name, split in splits.items():
        write_split(target / name, split, meta, size=size, progress=progress)
        if layout == "official":
            _warn_of_train_ids(Store(target / name))


def _warn_of_train_ids(store: Store) -> None:
    """Warn of labels without any class that only label ids above 18 give, as if the files held train ids."""
    names = store.meta["classes"]
    high = _above_train_ids(len(names))
    if not any(np.isin(labels, high).any() for labels in store["segmentation"]) and _labelled(store):
        warnings.warn(
            f"{store.folder}: no pixel of {names[high[0]]} to {names[high[-1]]}, as if the files of gtFine held train "
            f"ids; accepted: label ids, in labelIds.png; {_again('gtFine')} and prepare a new TARGET",
            stacklevel=3,
        )


def _labelled(store: Store) -> bool:
    """Whether some pixel has a class."""
    return any((labels >= 0).any() for labels in store["segmentation"])


def _official(source: Path, split: str, classes: int, kinds: Sequence[str]) -> SourceSplit | None:
    """Look a split of the official files up; an image with one file must have all. None if there is no file."""
    if classes not in (19, 7):
        raise ValueError(f"classes is {classes}; accepted: 19, 7")
    names = sorted(set[str]().union(*(names_in(source, kind, split) for kind in kinds)))
    if not names:
        return None
    for kind in kinds:
        remedy = f"unpack {PACKAGES[kind]} in {source}{OR.get(kind, '')}"
        require_files([file_of(source, kind, split, name) for name in names], remedy=remedy)
    shape = raster_size(file_of(source, "leftImg8bit", split, names[0]), remedy=_again("leftImg8bit"))
    return SourceSplit(names, shape, partial(_read_official, source, split, shape=shape, classes=classes, kinds=kinds))


def _again(kind: str) -> str:
    return f"unpack {PACKAGES[kind]} again"


def _read_official(
    source: Path, split: str, name: str, *, shape: tuple[int, int], classes: int, kinds: Sequence[str]
) -> Row:
    def read(kind: str, pixels: str) -> Raster:
        return read_raster(file_of(source, kind, split, name), pixels, size=shape, remedy=_again(kind))

    ids = read("gtFine", "ids")
    try:
        segmentation = decode_labels(ids, classes)
    except ValueError as error:
        raise ValueError(f"{file_of(source, 'gtFine', split, name)}: {error}; {_again('gtFine')}") from None
    row = {"image": read("leftImg8bit", "RGB"), "segmentation": segmentation}
    if "disparity" in kinds:
        focal, baseline = _camera(file_of(source, "camera", split, name))
        row["disparity"] = decode_disparity(read("disparity", "uint16"))[None]
        row |= {"focal": np.asarray(focal), "baseline": np.asarray(baseline, np.float32)}
    return {**row, "right": read("rightImg8bit", "RGB")} if "rightImg8bit" in kinds else row


def _camera(path: Path) -> tuple[float, float]:
    """Focal length in pixels and baseline in metres of one camera file."""
    content = load_json(path, remedy=_again("camera"))
    try:
        focal, baseline = number(content["intrinsic"]["fx"]), number(content["extrinsic"]["baseline"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: no numbers intrinsic.fx and extrinsic.baseline; {_again('camera')}") from None
    if not (focal > 0 and baseline > 0):
        raise ValueError(f"{path}: fx is {focal}, baseline is {baseline}; accepted: above 0; {_again('camera')}")
    return focal, baseline


def _mtan(folder: Path, classes: int) -> SourceSplit | None:
    """Look a split of an MTAN pack up; every file must be there. None if there is no file at all."""
    if classes not in CLASSES:
        raise ValueError(f"classes is {classes}; accepted: {', '.join(map(str, CLASSES))}")
    if not files_in(folder, "*/*.npy"):
        return None
    label = _label_folder(folder, classes)
    if label is None:
        others = ", ".join(str(number) for number in MTAN_LABELS if _label_folder(folder, number))
        raise ValueError(
            f"{folder} has no {' or '.join(MTAN_LABELS[classes])}; choose classes (--classes) that it has: "
            f"{others or 'none'}, or {AGAIN}"
        )
    return Pack(label, classes, {"depth": Kind((1,), 0, 1, holes=True)}, _decode_mtan, AGAIN).split(folder)


def _label_folder(folder: Path, classes: int) -> str | None:
    return next((name for name in MTAN_LABELS[classes] if (folder / name).is_dir()), None)


def _decode_mtan(arrays: Mapping[str, Raster]) -> Row:
    depth = arrays["depth"].transpose(2, 0, 1)
    p = np.rint(depth.astype(np.float64) * 65535).astype(np.uint16)
    return {"disparity": decode_disparity(p) * np.float32(depth.shape[-1] / CITYSCAPES_WIDTH)}


def verify(target: str | Path, *, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: arrays and checksums, counts, ranges, classes, disparities and the order of views.

    Whether a split is complete is reported, not required. With right views, left(x) must be closer to right(x - d) than
    to right(x + d).

    Args:
        target: The folder that :func:`prepare` made.
        progress: Show bars on stderr.

    Returns:
        One row per check: `what`, `found`, `expected`, `ok`. Nothing is changed.
    """
    findings = verify_target(Path(target), dict.fromkeys(SPLITS), keys=_keys, partial=True, progress=progress)
    for split, store in findings.intact.items():
        n, official = len(store), OFFICIAL_COUNTS[split]
        state = "complete" if n == official else "partial"
        findings.note(f"{split}: of the official split", f"{state}, {n} images", f"{official}, or a part of it")
        _verify_ids(split, store, findings)
        if "disparity" in store:
            _verify_stereo(split, store, findings)
    return findings.frame()


def _keys(meta: Mapping[str, Any]) -> list[str]:
    return [key for key in KEYS if meta.get(key, True)]


def _above_train_ids(classes: int) -> list[int]:
    """Classes that no label id below 19 gives, and so train ids read as label ids cannot give."""
    low = decode_labels(np.arange(len(TRAIN_IDS), dtype=np.uint8), classes)
    return sorted(set(range(classes)) - set(low.tolist()))


def _verify_ids(split: str, store: Store, findings: Findings) -> None:
    """Note whether there are classes that train ids read as label ids cannot give."""
    names = store.meta["classes"]
    if len(names) not in (19, 7) or not _labelled(store):
        return
    high = _above_train_ids(len(names))
    pixels = sum(int(np.isin(store["segmentation"][i], high).sum()) for i in range(len(store)))
    findings.add(
        f"{split}: pixels of {names[high[0]]} to {names[high[-1]]}",
        pixels,
        "above 0 (none: train ids in files of label ids)",
        pixels > 0,
    )


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
