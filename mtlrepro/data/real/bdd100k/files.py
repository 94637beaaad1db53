"""Files of BDD100K (Yu et al. 2020): names, categories and the Scalabel JSON of its detection labels.

From the data set's own `doc/source/format.rst`, `bdd100k/configs/det.toml` and scalabel's `transforms.py`: a box
includes its last column and row (width x2 - x1 + 1); masks hold train ids, 255 = unknown; drivable area is 0 direct,
1 alternative, 2 background.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtlrepro.data import classes as names_of
from mtlrepro.data.real.preparing import load_json, number
from mtlrepro.data.real.rasters import Raster

SPLITS = ("train", "val")
OFFICIAL_COUNTS = {"100k": {"train": 70000, "val": 10000}, "10k": {"train": 7000, "val": 1000}}
"""Images of each split of the two image sets (Yu et al. 2020; `doc/source/download.rst`)."""

CATEGORIES = names_of.BDD100K
OLD_NAMES = {
    "person": "pedestrian",
    "bike": "bicycle",
    "motor": "motorcycle",
    "van": "car",
    "caravan": "car",
}
"""Names of the labels of 2018 that were changed in 2020."""

IGNORED = ("other person", "other vehicle", "trailer")
"""Categories that the official evaluation ignores."""

CLASSES = {"segmentation": names_of.CITYSCAPES, "drivable": ("direct", "alternative", "background")}
MASKS = {"segmentation": "sem_seg", "drivable": "drivable"}
IMAGES = {"detection": "100k", "segmentation": "10k", "drivable": "100k"}
"""The image set that each task's labels belong to."""

ARCHIVES = {
    "100k": "bdd100k_images_100k.zip",
    "10k": "bdd100k_images_10k.zip",
    "detection": "bdd100k_det_20_labels_trainval.zip",
    "segmentation": "bdd100k_sem_seg_labels_trainval.zip",
    "drivable": "bdd100k_drivable_labels_trainval.zip",
}
"""The archive of each image set and of each task's labels."""

Boxes = tuple[Raster, Raster]


def image_file(root: Path, images: str, split: str, name: str) -> Path:
    """Path of one image, such as `root/images/100k/val/NAME.jpg`."""
    return root / "images" / images / split / f"{name}.jpg"


def mask_file(root: Path, task: str, split: str, name: str) -> Path:
    """Path of one mask, such as `root/labels/sem_seg/masks/val/NAME.png`."""
    return root / "labels" / MASKS[task] / "masks" / split / f"{name}.png"


def detection_files(root: Path, split: str) -> tuple[Path, Path]:
    """Where the detection labels of 2020 and those of 2018 are."""
    labels = root / "labels"
    return labels / "det_20" / f"det_{split}.json", labels / f"bdd100k_labels_images_{split}.json"


def decode_mask(mask: Raster, task: str) -> Raster:
    """Classes, int8 with -1 = unknown, from a mask.

    Args:
        mask: Train ids, uint8; 255 is unknown.
        task: `segmentation` (classes 0 to 18) or `drivable` (0 to 2).

    Raises:
        ValueError: The mask holds another value.
    """
    n = len(CLASSES[task])
    wrong = (mask >= n) & (mask != 255)
    if wrong.any():
        raise ValueError(f"class {int(mask[wrong][0])}; accepted: 0 to {n - 1}, and 255 for unknown")
    return np.where(mask == 255, -1, mask).astype(np.int8)


def read_detections(path: Path, size: tuple[int, int], *, remedy: str) -> tuple[dict[str, Boxes], Counter[str]]:
    """Read the boxes of a Scalabel file.

    Names of 2018 become those of 2020. Labels of ignored categories, crowds, and labels that are no boxes (lanes,
    areas) are left out and counted. A box may pass the border of its image by one pixel, a rounding of the
    annotation tool, and is cut there.

    Args:
        path: The file, a list of frames or an object with `frames`.
        size: (height, width) of the images.
        remedy: How to get a good file; ends each message.

    Returns:
        Boxes float32 `[n, 4]` (x1, y1, x2, y2 in pixels, x2 and y2 exclusive) and categories int8 `[n]` by the
        image's name without suffix, for each frame, also those without a box; and how many labels were left out, by
        reason.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The file is damaged or of another format, a category does not exist, or a box is outside of its
            image.
    """
    content = load_json(path, remedy=remedy)
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list):
        raise ValueError(f"{path}: no list of frames; accepted: Scalabel's format; {remedy}")
    boxes: dict[str, Boxes] = {}
    left_out: Counter[str] = Counter()
    for position, frame in enumerate(frames):
        try:
            name = Path(frame["name"]).stem
            if name in boxes:
                raise ValueError("occurs twice")
            boxes[name] = _boxes(frame.get("labels") or [], size, left_out)
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{path}: frame {position} is not in Scalabel's format; {remedy}") from None
        except ValueError as error:
            raise ValueError(f"{path}: frame {frame['name']}: {error}; {remedy}") from None
    return boxes, left_out


def _boxes(labels: Sequence[Mapping[str, Any]], size: tuple[int, int], left_out: Counter[str]) -> Boxes:
    height, width = size
    boxes, categories = [], []
    for label in labels:
        category, box = label["category"], label.get("box2d")
        category = OLD_NAMES.get(category, category)
        if box is None:
            left_out["no box"] += 1
        elif category in IGNORED:
            left_out[category] += 1
        elif (label.get("attributes") or {}).get("crowd"):
            left_out["crowd"] += 1
        elif category not in CATEGORIES:
            raise ValueError(f"category {category!r}; accepted: {', '.join((*CATEGORIES, *OLD_NAMES, *IGNORED))}")
        else:
            x1, y1, x2, y2 = number(box["x1"]), number(box["y1"]), number(box["x2"]) + 1, number(box["y2"]) + 1
            cut = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
            inside = min(x1, y1) >= -1 and x2 <= width + 1 and y2 <= height + 1
            if not (inside and cut[0] < cut[2] and cut[1] < cut[3]):
                raise ValueError(
                    f"{category} has the box x {box['x1']} to {box['x2']}, y {box['y1']} to {box['y2']}; accepted: "
                    f"inside of the image, 0 to {width - 1} and 0 to {height - 1}"
                )
            boxes.append(cut)
            categories.append(CATEGORIES.index(category))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(categories, np.int8)
