"""NYU Depth v2 (Silberman et al. 2012): official files or the MTAN pack to arrays, and the checks of these."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mtlrepro.data.classes import NYUV2 as CLASSES
from mtlrepro.data.geometry import Pinhole, unit
from mtlrepro.data.real.fetching import fetch as fetch_files
from mtlrepro.data.real.fetching import unpack
from mtlrepro.data.real.levin import fill
from mtlrepro.data.real.nyuv2 import mtan, official
from mtlrepro.data.real.nyuv2.export import export as export
from mtlrepro.data.real.nyuv2.export import export_mtan as export_mtan
from mtlrepro.data.real.nyuv2.files import (
    AGAIN,
    CAMERA,
    FILES,
    LADICKY,
    LADICKY_FILE,
    MAT,
    MTAN_PACK,
    OFFICIAL_COUNTS,
    SIZE,
    SPLITS,
    Part,
)
from mtlrepro.data.real.preparing import Row, write_split
from mtlrepro.data.real.rasters import resize_image, resize_nearest
from mtlrepro.data.real.scripts import Findings, verify_target
from mtlrepro.data.store import Store

KEYS = ("image", "segmentation", "depth", "normal")
DEPTHS = ("raw", "filled")
NORMALS = ("depth", "ladicky", "eigen")
TERMS = (
    "NYU Depth v2 is published for research without a licence text: cite Silberman, Hoiem, Kohli and Fergus, "
    "ECCV 2012 (and Ladicky, Zeisl and Pollefeys, ECCV 2014, for their normals), and do not pass the files on."
)


def fetch(folder: str | Path, *, ladicky: bool = False, mirror: str | None = None, progress: bool = True) -> None:
    """Download the official files into ``folder``, 3 GB; who calls this accepts `TERMS`.

    Args:
        folder: where the files go.
        ladicky: also get and unpack the normals of Ladicky et al. 2014.
        mirror: a server that has the files as ``MIRROR/NAME``.
        progress: show bars on stderr.

    Raises:
        ValueError, OSError: see :func:`mtlrepro.data.real.fetching.download`.
    """
    folder = Path(folder)
    fetch_files(FILES, folder, mirror=mirror, progress=progress)
    if ladicky and not (folder / LADICKY).exists():
        (archive,) = fetch_files([LADICKY_FILE], folder, mirror=mirror, progress=progress)
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
    """Write ``TARGET/train`` and ``TARGET/test`` from the official files or the MTAN pack, whichever ``source`` holds.

    Images are resized with a low-pass filter, all targets by the nearest pixel, so that no hole is blended in.
    A stopped run goes on where it was; a complete split is left as it is.

    Args:
        source: folder with the four official files, or with ``train/image/0.npy`` and the others.
        target: folder for the stores.
        size: (height, width); default: the files' own, 480 x 640 (MTAN: 288 x 384).
        depth: ``raw`` leaves the holes of the sensor, where depth is 0; ``filled`` fills those of depth and of
            normals by colorization (:func:`mtlrepro.data.real.levin.fill`), at the files' own size.
        normals: of the official files only. ``depth`` (default): planes fitted to the raw depth. ``ladicky``:
            ``SOURCE/nyu_normals_gt``, dense. ``eigen``: ``SOURCE/normals_gt/{normals,masks}``.
        progress: show bars on stderr.

    Raises:
        FileNotFoundError, ValueError: naming the file and the remedy, as far as possible before any work.
    """
    source, target = Path(source), Path(target)
    opened: AbstractContextManager[dict[str, Part]]
    if depth not in DEPTHS:
        raise ValueError(f"depth is {depth!r}; accepted: {', '.join(DEPTHS)}")
    if (source / MAT).is_file():
        normals = "depth" if normals is None else normals
        if normals not in NORMALS:
            raise ValueError(f"normals is {normals!r}; accepted: {', '.join(NORMALS)}")
        stored, opened = "official", official.opened(source, normals)
    elif (source / "train" / "image").is_dir():
        if normals is not None:
            raise ValueError(f"normals is {normals!r}; accepted: nothing, the MTAN pack has its own")
        stored, opened = "mtan", nullcontext(mtan.parts(source))
    else:
        raise FileNotFoundError(
            f"{source} holds neither {MAT} (official; {AGAIN}) nor train/image/ (the MTAN pack, from {MTAN_PACK})"
        )
    with opened as parts:
        for split, part in parts.items():
            stored_size = size or part.shape
            meta = {
                "dataset": "nyuv2",
                "split": split,
                "classes": CLASSES,
                "source": stored,
                "size": stored_size,
                "depth": depth,
                "normals": normals or stored,
                "camera": CAMERA.resized(SIZE, stored_size).meta(),
            }
            read = partial(_row, part, size=stored_size, depth=depth)
            write_split(target / split, part.names, read, meta, progress=progress)


def _row(part: Part, name: str, *, size: tuple[int, int], depth: str) -> Row:
    """Read one image, fill where asked, resize, and put channels first."""
    row = part.read(name)
    if depth == "filled":
        row["depth"] = fill(row["depth"], row["depth"] > 0, row["image"])
        row["normal"] = unit(fill(row["normal"], np.linalg.norm(row["normal"], axis=0) > 0, row["image"]))
    return {
        "image": resize_image(row["image"], size).transpose(2, 0, 1),
        "segmentation": resize_nearest(row["segmentation"], size),
        "depth": resize_nearest(row["depth"], size)[None],
        "normal": np.stack([resize_nearest(component, size) for component in row["normal"]]),
    }


def verify(target: str | Path, *, subset: bool = False, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: counts, arrays and checksums, ranges, classes, signs of the normals.

    Args:
        target: the folder that :func:`prepare` made.
        subset: any number of images will do, for a part of the data set or exported scenes.
        progress: show bars on stderr.

    Returns:
        One row per check: ``what``, ``found``, ``expected``, ``ok``. Nothing is changed.
    """
    target = Path(target)
    frame = verify_target(
        target,
        counts=dict.fromkeys(SPLITS) if subset else OFFICIAL_COUNTS,
        keys=KEYS,
        class_names=CLASSES,
        rays=lambda meta, height, width: Pinhole.of(meta).rays(height, width),
        progress=progress,
    )
    findings = Findings(frame.to_dict("records"))
    for split in SPLITS:
        if frame.loc[frame["what"] == f"{split}: files and checksums", "ok"].any():
            _check_floor(findings, split, Store(target / split))
    return findings.frame()


def _check_floor(findings: Findings, split: str, store: Store) -> None:
    """Note whether floors point up, against y, in up to 64 images."""
    some = np.unique(np.linspace(0, len(store) - 1, 64).astype(int))
    normal, floor = store["normal"][some], store["segmentation"][some] == CLASSES.index("floor")
    upward = np.moveaxis(normal.astype(np.float32), 1, -1)[floor & normal.any(axis=1), 1]
    if len(upward):
        findings.add(f"{split}: mean n_y of floors", f"{upward.mean():.3f}", "below 0 (up)", bool(upward.mean() < 0))
