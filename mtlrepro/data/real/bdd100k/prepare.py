"""BDD100K (Yu et al. 2020): official files to arrays, and the checks of these.

Detection and drivable area are labelled on the 100K images, segmentation on the 10K images, which are no part of them:
images are paired by file name, and a sample can lack a target.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mtlrepro.data.real.bdd100k.export import dense_task, export
from mtlrepro.data.real.bdd100k.fetch import TERMS, fetch
from mtlrepro.data.real.bdd100k.files import (
    ARCHIVES,
    CATEGORIES,
    CLASSES,
    IMAGES,
    OFFICIAL_COUNTS,
    SPLITS,
    Boxes,
    decode_mask,
    detection_files,
    image_file,
    mask_file,
    read_detections,
)
from mtlrepro.data.real.preparing import Row, SourceSplit, files_in, hint, require_files, require_size, write_split
from mtlrepro.data.real.rasters import Raster, raster_size, read_raster
from mtlrepro.data.real.verifying import Findings, verify_target
from mtlrepro.data.store import Store

__all__ = ["IMAGES", "TERMS", "export", "fetch", "prepare", "verify"]


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    tasks: Sequence[str] = ("detection", "drivable"),
    progress: bool = True,
) -> None:
    """Write `TARGET/train` and `TARGET/val` from the official files.

    A split holds each image that has a target of `tasks`: a frame in the detection file (with or without objects),
    or a mask. `has_detection` and `has_segmentation` say which; `segmentation` is that of the dense task. An
    image of the training split that the other image set has in its validation or test split is left out. What is left
    out is reported on stderr and in `meta.json`. A stopped run goes on where it was; a complete split is left as it is.

    Args:
        source: The folder `bdd100k` with `images` and `labels`, or the one that holds it.
        target: Folder for the stores.
        size: (height, width), 1 to 4096 each; default: the files' own, 720 x 1280, which takes 2.8 MB an image.
        tasks: `detection`, and `segmentation` or `drivable`.
        progress: Show bars and what is left out on stderr.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: A file is damaged, or an option does not fit; found before any work where possible.
    """
    source, target = Path(source), Path(target)
    require_size(size)
    dense = dense_task(tasks)
    root = source / "bdd100k" if (source / "bdd100k").is_dir() else source
    for images in sorted({IMAGES[task] for task in tasks}):
        if not (root / "images" / images).is_dir():
            folder = root / "images" / images
            raise FileNotFoundError(f"{folder}: no such folder{hint(folder)}; {_unpack(images)}")
    splits = {name: split for name in SPLITS if (split := _look_up(root, name, tasks)) is not None}
    if not splits:
        raise FileNotFoundError(f"{root / 'images'} has no image in train or val; unpack the images there")
    meta: dict[str, object] = {"dataset": "bdd100k", "tasks": list(tasks)}
    if dense is not None:
        meta["classes"] = CLASSES[dense]
    if "detection" in tasks:
        meta["box_classes"] = CATEGORIES
    for name, split in splits.items():
        if progress:
            left_out = ", ".join(f"{count} {reason}" for reason, count in split.meta["left_out"].items() if count)
            tqdm.write(f"{name}: left out: {left_out or 'nothing'}", file=sys.stderr)
        write_split(target / name, split, meta, size=size, progress=progress)


def _unpack(what: str) -> str:
    return f"unpack {ARCHIVES[what]} (`fetch` says where to get it)"


@dataclass(frozen=True)
class _Files:
    """Where the images and targets of one split are.

    Attributes:
        root: Folder with `images` and `labels`.
        split: Name of the split.
        available: Names of the images of each image set.
        detections: Boxes by image name, None without the task.
        dense: `segmentation`, `drivable` or None.
        masked: Names of the images with a mask.
        shape: (height, width) of the images.
    """

    root: Path
    split: str
    available: Mapping[str, set[str]]
    detections: Mapping[str, Boxes] | None
    dense: str | None
    masked: set[str]
    shape: tuple[int, int]

    def read(self, name: str) -> Row:
        """Read one image and the targets that it has."""
        images = next(images for images, names in self.available.items() if name in names)
        path = image_file(self.root, images, self.split, name)
        row = {"image": read_raster(path, "RGB", size=self.shape, remedy=_unpack(images))}
        if self.dense is not None:
            labelled = name in self.masked
            row["segmentation"] = self._mask(name, self.dense) if labelled else np.full(self.shape, -1, np.int8)
            row["has_segmentation"] = np.asarray(labelled)
        if self.detections is not None:
            nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int8)
            row["boxes"], row["labels"] = self.detections.get(name, nothing)
            row["has_detection"] = np.asarray(name in self.detections)
        return row

    def _mask(self, name: str, dense: str) -> Raster:
        path = mask_file(self.root, dense, self.split, name)
        mask = read_raster(path, "ids", size=self.shape, remedy=_unpack(dense))
        try:
            return decode_mask(mask, dense)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; {_unpack(dense)}") from None


def _look_up(root: Path, split: str, tasks: Sequence[str]) -> SourceSplit | None:
    """Find the images and labels of a split; None if it has neither."""
    # In this order, an image of both sets is read from 100k.
    sets: list[str] = [images for images in ("100k", "10k") if images in {IMAGES[task] for task in tasks}]
    available = {images: _stems(root, images, split) for images in sets}
    if not any(available.values()):
        _require_no_labels(root, split, tasks)
        return None
    images, names = next((images, names) for images, names in available.items() if names)
    shape = raster_size(image_file(root, images, split, min(names)), remedy=_unpack(images))
    dense, detections, masked, left_out = dense_task(tasks), None, set[str](), Counter[str]()
    if "detection" in tasks:
        detections, left_out = _detections(root, split, shape, available["100k"])
    if dense is not None:
        masks, images_of = _masked(root, split, dense), available[IMAGES[dense]]
        masked = masks & images_of
        left_out["masks without an image"] = len(masks - images_of)  # the release of 2020 has such
    labelled = masked | set(detections or ())
    held_out: set[str] = set()
    if split == "train":
        held_out = labelled & set().union(
            *(_stems(root, images, other) for images in sets for other in ("val", "test"))
        )
    if labelled == held_out:
        raise ValueError(f"{root}: no image of {split} has a target of {', '.join(tasks)}; unpack images and labels")
    left_out["images without a target"] = len(set().union(*available.values()) - labelled)
    left_out["training images that another set holds out"] = len(held_out)
    files = _Files(root, split, available, detections, dense, masked, shape)
    meta = {"left_out": dict(sorted(left_out.items()))}
    return SourceSplit(sorted(labelled - held_out), shape, files.read, meta)


def _require_no_labels(root: Path, split: str, tasks: Sequence[str]) -> None:
    """Refuse labels of a split without any image, which would be left out."""
    for task in tasks:
        for path in detection_files(root, split) if task == "detection" else [mask_file(root, task, split, "").parent]:
            if path.exists():
                folder = image_file(root, IMAGES[task], split, "").parent
                raise FileNotFoundError(
                    f"{path} is there, and no image in {folder}; {_unpack(IMAGES[task])}, or remove the labels"
                )


def _stems(root: Path, images: str, split: str) -> set[str]:
    return {path.stem for path in files_in(image_file(root, images, split, "").parent, "*.jpg")}


def _detections(
    root: Path, split: str, shape: tuple[int, int], images: set[str]
) -> tuple[dict[str, Boxes], Counter[str]]:
    """Boxes by image name, of 2020 or else of 2018; each frame must have its image."""
    new, old = detection_files(root, split)
    path = new if new.is_file() or not old.is_file() else old
    detections, left_out = read_detections(path, shape, remedy=_unpack("detection"))
    require_files(
        [image_file(root, "100k", split, name) for name in sorted(detections.keys() - images)],
        remedy=f"{path.name} has a frame of that name; {_unpack('100k')}",
    )
    return detections, left_out


def _masked(root: Path, split: str, dense: str) -> set[str]:
    """Names of the masks of a split, with or without an image."""
    folder = mask_file(root, dense, split, "").parent
    masked = {path.stem for path in files_in(folder, "*.png")}
    if not masked:
        raise FileNotFoundError(f"{folder}: no masks{hint(folder)}; {_unpack(dense)}")
    return masked


def verify(target: str | Path, *, progress: bool = True) -> pd.DataFrame:
    """Check a prepared folder: arrays and checksums, counts, classes, and that boxes are inside of their images.

    Whether a split is complete is reported, not required.

    Args:
        target: The folder that :func:`prepare` made.
        progress: Show bars on stderr.

    Returns:
        One row per check: `what`, `found`, `expected`, `ok`. Nothing is changed.
    """
    findings = verify_target(Path(target), dict.fromkeys(SPLITS), keys=_keys, partial=True, progress=progress)
    for split, store in findings.intact.items():
        for task in store.meta["tasks"]:
            has = store["has_detection" if task == "detection" else "has_segmentation"]
            official = OFFICIAL_COUNTS[IMAGES[task]][split]
            state = "complete" if has.sum() == official else "partial"
            expected = f"{official}, or a part of it"
            findings.add(f"{split}: images with {task}", f"{state}, {has.sum()} images", expected, bool(has.any()))
        for reason, count in store.meta["left_out"].items():
            findings.note(f"{split}: left out, {reason}", count)
        if "boxes" in store.names:
            _verify_boxes(split, store, findings)
    return findings.frame()


def _keys(meta: Mapping[str, Any]) -> list[str]:
    """Arrays that a store must have."""
    segmentation = ["segmentation", "has_segmentation"] if "classes" in meta else []
    detection = ["boxes", "labels", "box_offsets", "has_detection"] if "box_classes" in meta else []
    return ["image", *segmentation, *detection]


def _verify_boxes(split: str, store: Store, findings: Findings) -> None:
    """Note the boxes: inside of their images, of known categories, only where there are labels."""
    boxes, labels, offsets = (np.asarray(store[name]) for name in ("boxes", "labels", "box_offsets"))
    height, width = store["image"].shape[-2:]
    low, high = boxes[:, :2], boxes[:, 2:]
    wrong = int((~((low >= 0) & (low < high) & (high <= [width, height])).all(1)).sum())
    findings.add(f"{split}: boxes outside of their image", wrong, f"0 of {len(boxes)}", wrong == 0)
    categories = store.meta["box_classes"]
    strange = int(((labels < 0) | (labels >= len(categories))).sum())
    findings.add(f"{split}: boxes of other categories", strange, 0, strange == 0)
    unlabelled = int(np.diff(offsets)[~store["has_detection"]].sum())
    findings.add(f"{split}: boxes where there are no labels", unlabelled, 0, unlabelled == 0)
    numbers = np.bincount(labels[(labels >= 0) & (labels < len(categories))], minlength=len(categories))
    for name, number in zip(categories, numbers.tolist(), strict=True):
        findings.note(f"{split}: boxes of {name}", number)
