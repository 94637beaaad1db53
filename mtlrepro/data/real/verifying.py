"""The checks of a prepared folder that all real data sets share."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mtlrepro.data.store import META, Store

RANGES: Mapping[str, tuple[float, float]] = {
    "depth": (0, 200),
    "disparity": (0, 10_000),
    "curvature": (-1000, 1000),
    "reshading": (0, 1),
    "edges2d": (0, 1),
    "edges3d": (0, 1),
    "keypoints2d": (0, 1),
    "keypoints3d": (0, 1),
}
UNIT = 2e-3
"""How far the length of a stored normal may be from 1."""

Meta = Mapping[str, Any]
Rays = Callable[[Meta, int, int], np.ndarray]


@dataclass
class Findings:
    """What a verification looked at.

    Attributes:
        rows: One row per check.
        intact: The stores, by split, whose files are as they were written; only in these are values worth a look.
    """

    rows: list[dict[Hashable, Any]] = field(default_factory=list)
    intact: dict[str, Store] = field(default_factory=dict)

    def add(self, what: str, found: object, expected: object, ok: bool) -> None:
        """Note one check."""
        self.rows.append({"what": what, "found": str(found), "expected": str(expected), "ok": ok})

    def note(self, what: str, found: object, expected: object = "any") -> None:
        """Note a value that is reported and cannot be wrong."""
        self.add(what, found, expected, True)

    def frame(self) -> pd.DataFrame:
        """Return the rows with the columns `what`, `found`, `expected` and `ok`."""
        return pd.DataFrame(self.rows, columns=["what", "found", "expected", "ok"])


def verify_target(
    target: Path,
    counts: Mapping[str, int | None],
    *,
    keys: Callable[[Meta], Sequence[str]],
    rays: Rays | None = None,
    partial: bool = False,
    progress: bool = True,
) -> Findings:
    """Check the splits of a prepared folder: counts, arrays, checksums, ranges, classes, normals.

    Args:
        target: The folder that holds one store per split.
        counts: Number of images of each split, None where any number will do.
        keys: Arrays that a store must have, from its metadata.
        rays: Viewing rays `[3, H, W]` from a store's metadata, height and width; the sign of normals is tested
            against them.
        partial: Accept absent splits, but not that all are absent.
        progress: Show a bar on stderr.

    Returns:
        The findings so far. Nothing is changed.

    Raises:
        ValueError: `target` is no folder.
    """
    if not target.is_dir():
        raise ValueError(f"target is {target}, which is no folder; accepted: a folder that `prepare` made")
    present = {split: count for split, count in counts.items() if (target / split / META).is_file()}
    findings = Findings()
    for split, count in (present if partial and present else counts).items():
        if split not in present:
            findings.add(f"{split}: store", "missing", "a complete store; run `prepare` again", False)
            continue
        try:
            store = Store(target / split)
        except ValueError as error:
            findings.add(f"{split}: store", error, "a complete store", False)
            continue
        problems = store.verify()
        findings.add(f"{split}: files and checksums", "; ".join(problems) or "as written", "as written", not problems)
        n, expected = len(store), "1 or more" if count is None else count
        findings.add(f"{split}: images", n, expected, n > 0 if count is None else n == count)
        required = keys(store.meta)
        findings.add(f"{split}: maps", ", ".join(store.names), ", ".join(required), set(required) <= set(store.names))
        if not problems:
            findings.intact[split] = store
            _check_values(findings, split, store, rays, progress)
    return findings


def _check_values(findings: Findings, split: str, store: Store, rays: Rays | None, progress: bool) -> None:
    for name in tqdm(store.names, desc=f"{split}: values", disable=not progress):
        if name in RANGES:
            _check_range(findings, split, store, name)
        elif name == "segmentation" and "classes" in store.meta:
            _check_classes(findings, split, store)
        elif name == "normal" and rays is not None:
            _check_normals(findings, split, store, rays)


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Go through a memory-mapped array a few images at a time."""
    for start in range(0, len(array), 16):
        yield np.asarray(array[start : start + 16])


def _check_range(findings: Findings, split: str, store: Store, name: str) -> None:
    low, high = np.inf, -np.inf
    for piece in _pieces(store[name]):
        low, high = np.minimum(low, piece.min()), np.maximum(high, piece.max())  # Both keep NaN.
    lowest, highest = RANGES[name]
    ok = bool(lowest <= low and high <= highest)
    findings.add(f"{split}: {name} range", f"{low:.4g} to {high:.4g}", f"{lowest:g} to {highest:g}", ok)


def _check_classes(findings: Findings, split: str, store: Store) -> None:
    class_names = store.meta["classes"]
    counts = np.zeros(256, np.int64)
    for piece in _pieces(store["segmentation"]):
        counts += np.bincount(piece.astype(np.uint8).ravel(), minlength=256)
    labelled, ignored = counts[: len(class_names)], counts[255]
    others = int(counts.sum() - labelled.sum() - ignored)
    findings.add(f"{split}: segmentation values", f"{others} others", f"-1 to {len(class_names) - 1}", others == 0)
    findings.add(f"{split}: labelled pixels", f"{labelled.sum() / counts.sum():.4f}", "above 0", bool(labelled.any()))
    for name, count in zip(class_names, labelled.tolist(), strict=True):
        findings.note(f"{split}: class {name}", f"{count / max(labelled.sum(), 1):.4f} of labelled")


def _check_normals(findings: Findings, split: str, store: Store, rays: Rays) -> None:
    """Test lengths, and each axis' sign: seen from inside a room, surfaces face us in x, in y and in z."""
    directions = rays(store.meta, *store["normal"].shape[-2:])
    facing, known, bent = np.zeros(3), 0, 0
    for piece in _pieces(store["normal"]):
        normal = piece.astype(np.float32)
        length = np.linalg.norm(normal, axis=1)
        known += int(np.count_nonzero(length))
        bent += int(np.count_nonzero(np.abs(length - 1)[length > 0] > UNIT))
        facing += (normal * directions).sum(axis=(0, 2, 3), dtype=np.float64)
    findings.add(f"{split}: normals not of length 1", bent, 0, bent == 0)
    for axis, value in zip("xyz", (facing / max(known, 1)).tolist(), strict=True):
        findings.add(f"{split}: mean n_{axis} ray_{axis}", f"{value:.4f}", "below 0 (facing the camera)", value < 0)
