"""Taskonomy (Zamir et al. 2018): the tiny split's files to arrays, and the checks of these."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mtlrepro.data.classes import TASKONOMY as CLASSES
from mtlrepro.data.geometry import Array, Pinhole
from mtlrepro.data.real.fetching import RemoteFile, download
from mtlrepro.data.real.preparing import Row, SourceSplit, hint, require_size, write_split
from mtlrepro.data.real.taskonomy.export import export as export
from mtlrepro.data.real.taskonomy.files import BASE, DOMAINS, LSB_COUNTS, MD5SUMS, TINY, WOODBINE, decode
from mtlrepro.data.real.taskonomy.views import AGAIN, Entry, find_views, has_building
from mtlrepro.data.real.verifying import verify_target

Views = dict[str, dict[str, Entry]]
"""The files of each view, by name of the view and key."""

KEYS = tuple(DOMAINS)
SPLITS = tuple(TINY)
TERMS = (
    "Taskonomy is licensed for non-commercial research only, and its files may not be passed on: read the licence in "
    "the data set's repository, StanfordVL/taskonomy, data/LICENSE."
)


def buildings(split: str, *, woodbine: bool = True) -> list[str]:
    """Names of the tiny split's buildings, sorted; with or without woodbine, on which papers differ."""
    return sorted(name for name in TINY[split] if woodbine or name != WOODBINE)


def fetch(
    folder: str | Path,
    *,
    splits: Sequence[str] = SPLITS,
    woodbine: bool = True,
    mirror: str | None = None,
    progress: bool = True,
) -> None:
    """Download the tiny split's tar files into `folder`; who calls this accepts `TERMS`.

    The list of checksums comes first, so that each archive is checked. :func:`prepare` reads the archives as they are.

    Args:
        folder: Where the files go.
        splits: Which of `train`, `val` and `test`.
        woodbine: Also that building.
        mirror: A server that has the files as `MIRROR/NAME`.
        progress: Show bars on stderr.

    Raises:
        ValueError, OSError: See :func:`mtlrepro.data.real.fetching.download`; also that an archive has no checksum.
    """
    folder = Path(folder)
    path = download(RemoteFile(MD5SUMS, f"{BASE}/{MD5SUMS}"), folder, mirror=mirror, progress=progress)
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    md5 = {Path(line[1]).name: line[0] for line in lines if len(line) == 2}
    files = []
    for split in splits:
        for building in buildings(split, woodbine=woodbine):
            for domain, _ in DOMAINS.values():
                name = f"{building}_{domain}.tar"
                if name not in md5:
                    raise ValueError(f"{path}: no checksum of {name}; remove the list and fetch it again")
                files.append(RemoteFile(name, f"{BASE}/{name}", md5=md5[name]))
    for file in files:
        download(file, folder, mirror=mirror, progress=progress)


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    every: int = 100,
    woodbine: bool = True,
    subset: bool = False,
    progress: bool = True,
) -> None:
    """Write `TARGET/{train,val,test}` from the tiny split's folders or tar files.

    Of each building, the views 0, `every`, 2 `every`, ... in the order of (point, view) are used: one in 100 is the
    sampling of Lee et al. 2021, whose order is not printed. Images are resized with a low-pass filter, all targets by
    the nearest pixel. A stopped run goes on where it was; a complete split is left as it is.

    Args:
        source: Folder with the files, in one of the layouts of :func:`mtlrepro.data.real.taskonomy.views.find_views`.
        target: Folder for the stores.
        size: (height, width), 1 to 4096 each; default: the files' own, 512 x 512. Lee et al. use 256 x 256.
        every: One view in so many; 1 for all.
        woodbine: Use that building, too.
        subset: Accept missing buildings.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: A file is damaged, or an option does not fit; found before any work where possible.
    """
    source, target = Path(source), Path(target)
    require_size(size)
    if every < 1:
        raise ValueError(f"every is {every}; accepted: 1 (all views) or more")
    required = {name: buildings(name, woodbine=woodbine) for name in SPLITS}
    present = {name: [each for each in required[name] if has_building(source, each)] for name in SPLITS}
    absent = [each for name in SPLITS for each in required[name] if each not in present[name]]
    if not any(present.values()):
        deeper = hint(source / f"{buildings('train')[0]}_rgb.tar") or hint(source / "rgb")
        raise FileNotFoundError(f"{source} holds no building of the tiny split{deeper}; {AGAIN}")
    if absent and not subset:
        raise FileNotFoundError(
            f"{source}: nothing of {', '.join(absent)}; {AGAIN}, or prepare the subset that is there (--subset)"
        )
    views: dict[str, Views] = {name: {} for name in SPLITS}
    for name in SPLITS:
        for building in tqdm(present[name], desc=f"{name}: buildings", disable=not progress):
            chosen = list(find_views(source, building).items())[::every]
            views[name] |= {f"{building}/point_{p}_view_{v}": entries for (p, v), entries in chosen}
    shape = _first_shape(views)
    _require_facing([entries["normal"] for name in SPLITS for entries in views[name].values()], shape)
    meta = {"dataset": "taskonomy", "classes": CLASSES, "every": every}
    for name, files in views.items():
        if files:
            split = SourceSplit(list(files), shape, partial(_read, files, shape), {"buildings": present[name]})
            write_split(target / name, split, meta, size=size, progress=progress)


def _first_shape(views: Mapping[str, Views]) -> tuple[int, int]:
    """(height, width) of the first image."""
    first = next(entries["image"] for split in views.values() for entries in split.values())
    height, width = first.read("RGB", None).shape[:2]
    return height, width


def _read(views: Views, shape: tuple[int, int], name: str) -> Row:
    entries = views[name]
    rasters = {key: entries[key].read(kind, shape) for key, (_, kind) in DOMAINS.items()}
    try:
        return decode(rasters)
    except ValueError as error:
        raise ValueError(f"{entries['segmentation'].path}, {name}: {error}; {AGAIN}") from None


# --- checks


def nominal_rays(height: int, width: int) -> Array:
    """Viewing rays `[3, H, W]` for a field of view of 60 degrees across; the files' own differ from view to view."""
    focal = width / 2 / np.tan(np.pi / 6)
    return Pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2).rays(height, width)


def _require_facing(normals: list[Entry], shape: tuple[int, int]) -> None:
    """Refuse files whose normals point away from the camera, in up to 16 views."""
    rays = nominal_rays(*shape)
    some = np.unique(np.linspace(0, len(normals) - 1, 16).astype(int))
    kind = DOMAINS["normal"][1]
    vectors = [normals[i].read(kind, shape).astype(np.float32) / 127.5 - 1 for i in some]
    mean = float(np.mean([(np.moveaxis(vector, -1, 0) * rays).sum(axis=0).mean() for vector in vectors]))
    if mean >= 0:
        raise ValueError(
            f"{normals[0].path} and others: normals point away from the camera (mean n . ray is {mean:.3f}); "
            "accepted: x right, y down, z forward, towards the camera"
        )


def verify(target: str | Path, *, subset: bool = False, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: buildings, arrays and checksums, ranges, classes, signs of the normals.

    Args:
        target: The folder that :func:`prepare` made.
        subset: Any buildings will do, for a part of the data set or exported scenes.
        progress: Show bars on stderr.

    Returns:
        One row per check: `what`, `found`, `expected`, `ok`. Nothing is changed.
    """
    findings = verify_target(
        Path(target),
        dict.fromkeys(SPLITS),
        keys=lambda meta: KEYS,
        rays=lambda meta, height, width: nominal_rays(height, width),
        partial=subset,
        progress=progress,
    )
    for split, store in findings.intact.items():
        present = store.meta["buildings"]
        absent = sorted(set(buildings(split, woodbine=False)) - set(present))
        found = f"{len(present)}, without {', '.join(absent) or 'none of the tiny split'}"
        findings.add(f"{split}: buildings", found, "any" if subset else "all of the tiny split", subset or not absent)
        if split in LSB_COUNTS and store.meta["every"] == 100:
            findings.note(f"{split}: of Lee et al. 2021", len(store), f"{LSB_COUNTS[split]}, if they took these")
    return findings.frame()
