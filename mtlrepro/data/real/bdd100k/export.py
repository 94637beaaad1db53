"""Samples written as BDD100K files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtlrepro.data.real.bdd100k.files import CATEGORIES, CLASSES, IMAGES, SPLITS, detection_files, image_file, mask_file
from mtlrepro.data.real.preparing import Samples, write_json
from mtlrepro.data.real.rasters import rgb_of, write_raster


def export(
    folder: str | Path, samples: Samples, split: str = "train", *, tasks: Sequence[str] = ("detection",)
) -> None:
    """Write samples in the official layout: JPEG images, the labels of 2020, masks.

    An image goes to each image set whose tasks it has targets for: `100k` for detection and drivable area, `10k`
    for segmentation. JPEG at quality 95 is the only loss: boxes keep their fractions. `segmentation` of a sample
    is the mask of whichever of the two dense tasks is named.

    Args:
        folder: Gets `bdd100k/images` and `bdd100k/labels`.
        samples: Image, and where they have them boxes with labels, and segmentation.
        split: `train` or `val`.
        tasks: `detection`, and `segmentation` or `drivable`.

    Raises:
        ValueError: The split or a task is another, or a class is none of the mask's.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    dense = dense_task(tasks)
    root = Path(folder) / "bdd100k"
    frames = []
    for index in range(len(samples)):
        sample, name = samples[index], f"{index:08x}-00000000"
        sets = set()
        if "detection" in tasks and "boxes" in sample:
            sets.add(IMAGES["detection"])
            boxes = zip(sample["boxes"].tolist(), sample["labels"].tolist(), strict=True)
            frames.append({"name": f"{name}.jpg", "labels": [_label(i, *box) for i, box in enumerate(boxes)]})
        if dense is not None and "segmentation" in sample:
            sets.add(IMAGES[dense])
            mask = sample["segmentation"].numpy()
            if mask.min() < -1 or mask.max() >= len(CLASSES[dense]):
                raise ValueError(
                    f"sample {index}: segmentation has classes {mask.min()} to {mask.max()}; "
                    f"accepted: -1 to {len(CLASSES[dense]) - 1} for {dense}"
                )
            write_raster(mask_file(root, dense, split, name), np.where(mask < 0, 255, mask).astype(np.uint8))
        for images in sets:
            write_raster(image_file(root, images, split, name), rgb_of(sample["image"]))
    if "detection" in tasks:
        write_json(detection_files(root, split)[0], frames)


def dense_task(tasks: Sequence[str]) -> str | None:
    """The one of `segmentation` and `drivable` that is among the tasks, if any.

    Raises:
        ValueError: There is no task, an unknown one, or both of these.
    """
    dense = [task for task in tasks if task in CLASSES]
    if not tasks or not set(tasks) <= IMAGES.keys() or len(dense) > 1:
        raise ValueError(f"tasks is {', '.join(tasks)}; accepted: detection, and one of segmentation and drivable")
    return dense[0] if dense else None


def _label(number: int, box: list[float], category: int) -> dict[str, object]:
    x1, y1, x2, y2 = box
    return {
        "id": str(number),
        "category": CATEGORIES[category],
        "attributes": {"occluded": False, "truncated": False, "trafficLightColor": "NA"},
        "box2d": {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1},
    }
