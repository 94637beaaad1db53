"""NYU Depth v2 (Silberman et al. 2012): official files or the MTAN pack to arrays, and the checks of these."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mtlrepro.data.classes import NYUV2 as CLASSES
from mtlrepro.data.geometry import Pinhole, unit
from mtlrepro.data.real.fetching import download, unpack
from mtlrepro.data.real.levin import fill
from mtlrepro.data.real.mtan import Kind, Pack
from mtlrepro.data.real.nyuv2 import official
from mtlrepro.data.real.nyuv2.export import export as export
from mtlrepro.data.real.nyuv2.export import export_mtan as export_mtan
from mtlrepro.data.real.nyuv2.files import (
    AGAIN,
    CAMERA,
    FILES,
    LADICKY,
    LADICKY_FILE,
    MAT,
    MTAN_FOLDERS,
    MTAN_PACK,
    OFFICIAL_COUNTS,
    SIZE,
    eigen_axes,
)
from mtlrepro.data.real.preparing import Row, SourceSplit, hint, require_size, write_split
from mtlrepro.data.real.rasters import Raster
from mtlrepro.data.real.verifying import Findings, verify_target
from mtlrepro.data.store import Store

KEYS = ("image", "segmentation", "depth", "normal")
DEPTHS = ("raw", "filled")
NORMALS = ("depth", "ladicky", "eigen")
TERMS = (
    "NYU Depth v2 is published for research without a licence text: cite Silberman, Hoiem, Kohli and Fergus, "
    "ECCV 2012 (and Ladicky, Zeisl and Pollefeys, ECCV 2014, for their normals), and do not pass the files on."
)


def fetch(folder: str | Path, *, ladicky: bool = False, mirror: str | None = None, progress: bool = True) -> None:
    """Download the official files into `folder`, 3 GB; who calls this accepts `TERMS`.

    Args:
        folder: Where the files go.
        ladicky: Also get and unpack the normals of Ladicky et al. 2014.
        mirror: A server that has the files as `MIRROR/NAME`.
        progress: Show bars on stderr.

    Raises:
        ValueError, OSError: See :func:`mtlrepro.data.real.fetching.download`.
    """
    folder = Path(folder)
    for file in FILES:
        download(file, folder, mirror=mirror, progress=progress)
    if ladicky and not (folder / LADICKY).exists():
        archive = download(LADICKY_FILE, folder, mirror=mirror, progress=progress)
        unpack(archive, folder / LADICKY, progress=progress)


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    depth: str = "raw",
    normals: str | None = None,
    progress: bool = True,
) -> None:
    """Write `TARGET/train` and `TARGET/test` from the official files or the MTAN pack, whichever `source` holds.

    Images are resized with a low-pass filter, all targets by the nearest pixel, so that no hole is blended in.
    A stopped run goes on where it was; a complete split is left as it is.

    Args:
        source: Folder with the four official files, or with `train/image/0.npy` and the others.
        target: Folder for the stores.
        size: (height, width), 1 to 4096 each; default: the files' own, 480 x 640 (MTAN: 288 x 384).
        depth: `raw` leaves the holes of the sensor, where depth is 0; `filled` fills those of depth and of
            normals by colorization (:func:`mtlrepro.data.real.levin.fill`), at the files' own size.
        normals: Of the official files only. `depth` (default): planes fitted to the raw depth. `ladicky`:
            `SOURCE/nyu_normals_gt`, dense. `eigen`: `SOURCE/normals_gt/{normals,masks}`.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: A file is damaged, or an option does not fit; found before any work where possible.
    """
    source, target = Path(source), Path(target)
    require_size(size)
    if depth not in DEPTHS:
        raise ValueError(f"depth is {depth!r}; accepted: {', '.join(DEPTHS)}")
    with _open(source, normals) as splits:
        for name, split in splits.items():
            camera = CAMERA.resized(SIZE, size or split.shape).meta()
            meta = {"dataset": "nyuv2", "classes": CLASSES, "depth": depth, "camera": camera}
            if depth == "filled":
                split = replace(split, read=partial(_filled, split))
            write_split(target / name, split, meta, size=size, progress=progress)


def _open(source: Path, normals: str | None) -> AbstractContextManager[dict[str, SourceSplit]]:
    """Open whichever files the folder holds."""
    if (source / MAT).is_file():
        normals = "depth" if normals is None else normals
        if normals not in NORMALS:
            raise ValueError(f"normals is {normals!r}; accepted: {', '.join(NORMALS)}")
        return official.open_splits(source, normals)
    if (source / "train" / "image").is_dir():
        if normals is not None:
            raise ValueError(f"normals is {normals!r}; accepted: nothing, the MTAN pack has its own")
        meta = {"source": "mtan", "normals": "mtan"}
        splits = {name: replace(PACK.split(source / folder), meta=meta) for name, folder in MTAN_FOLDERS.items()}
        return nullcontext(splits)
    raise FileNotFoundError(
        f"{source} holds neither {MAT} (official; {AGAIN}) nor train/image/ (the MTAN pack, from {MTAN_PACK})"
        f"{hint(source / MAT) or hint(source / 'train' / 'image')}"
    )


def _decode_mtan(arrays: Mapping[str, Raster]) -> Row:
    return {
        "depth": arrays["depth"].transpose(2, 0, 1).astype(np.float32),
        "normal": unit(eigen_axes(arrays["normal"].transpose(2, 0, 1))),
    }


PACK = Pack(
    label="label",
    n_classes=len(CLASSES),
    kinds={"depth": Kind((1,), 0, float(np.finfo(np.float32).max), holes=True), "normal": Kind((3,), -1.01, 1.01)},
    decode=_decode_mtan,
    remedy=f"unpack the MTAN pack again ({MTAN_PACK})",
)


def _filled(split: SourceSplit, name: str) -> Row:
    """Read one image and fill the holes of its depth and normals."""
    row = split.read(name)
    image, depth, normal = row["image"], row["depth"], row["normal"]
    return {
        **row,
        "depth": fill(depth, depth[0] > 0, image),
        "normal": unit(fill(normal, np.linalg.norm(normal, axis=0) > 0, image)),
    }


def verify(target: str | Path, *, subset: bool = False, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: counts, arrays and checksums, ranges, classes, signs of the normals.

    Args:
        target: The folder that :func:`prepare` made.
        subset: Any number of images will do, for a part of the data set or exported scenes.
        progress: Show bars on stderr.

    Returns:
        One row per check: `what`, `found`, `expected`, `ok`. Nothing is changed.
    """
    findings = verify_target(
        Path(target),
        dict.fromkeys(OFFICIAL_COUNTS) if subset else OFFICIAL_COUNTS,
        keys=lambda meta: KEYS,
        rays=lambda meta, height, width: Pinhole.of(meta).rays(height, width),
        progress=progress,
    )
    for split, store in findings.intact.items():
        _check_floor(findings, split, store)
    return findings.frame()


def _check_floor(findings: Findings, split: str, store: Store) -> None:
    """Note whether floors point up, against y, in up to 64 images."""
    some = np.unique(np.linspace(0, len(store) - 1, 64).astype(int))
    normal, floor = store["normal"][some], store["segmentation"][some] == CLASSES.index("floor")
    upward = np.moveaxis(normal.astype(np.float32), 1, -1)[floor & normal.any(axis=1), 1]
    if len(upward):
        findings.add(f"{split}: mean n_y of floors", f"{upward.mean():.3f}", "below 0 (up)", bool(upward.mean() < 0))
