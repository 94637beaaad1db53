"""The table of all targets: what a sample can hold, how it is stored, where it is known and how it is drawn.

A sample is a `dict[str, Tensor]`; H x W is the size of its image, and sizes are written (height, width). Cameras look
along z with x to the right and y down. A sample lacks the keys that its data set does not have.

=================================  ========================  ========================================================
key                                tensor                    meaning, range; what stands for unknown
=================================  ========================  ========================================================
image, right                       `[3, H, W]` float32       left (or only) and right view, RGB in [0, 1]
segmentation                       `[H, W]` int64            class from 0; -1
depth                              `[1, H, W]` float32       z of the point, metres; 0
normal                             `[3, H, W]` float32       unit normal towards the camera; (0, 0, 0)
disparity                          `[1, H, W]` float32       pixels of this image's width, left(x) = right(x - d); 0
occlusion                          `[1, H, W]` bool          no counterpart in the right view
curvature                          `[2, H, W]` float32       principal curvatures k1, k2, 1/m, + convex; not valid
reshading, edges3d, keypoints3d    `[1, H, W]` float32       in [0, 1]; where not valid
edges2d, keypoints2d               `[1, H, W]` float32       in [0, 1], from the image, known everywhere
valid                              `[1, H, W]` bool          the geometry is known
boxes                              `[n, 4]` float32          x1, y1, x2, y2 in pixels, x2 and y2 exclusive
labels                             `[n]` int64               class of each box, 0..9
index                              int64                     position in the data set
=================================  ========================  ========================================================

Curvatures of rooms are ordered by value, k1 >= k2; those of Taskonomy's files by magnitude, as they are.
`KEY_right` is the same target of the right view, with right(x) = left(x + `disparity_right`).
"""

from dataclasses import dataclass
from typing import Literal

import torch

Known = Literal["always", "class", "positive", "nonzero", "mask"]
"""Which pixels of a target are known: all; those whose class is not -1; those above 0; those whose vector is not 0; or
those that the sample's `valid` says."""


@dataclass(frozen=True)
class Display:
    """How maps of one kind are drawn, targets and predictions alike.

    Attributes:
        title: Title of the panel.
        unit: Unit of the values; empty if they have none.
        colours: Name of a colour map of matplotlib; empty for maps that are colours themselves.
        low: Value at the lower end of the colour map.
        high: Value at its upper end; None: the map's own, without its largest 2 %.
    """

    title: str
    unit: str = ""
    colours: str = ""
    low: float = 0.0
    high: float | None = None


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        shape: Axes before (H, W); for boxes and labels the axes after n.
        dtype: Type in a sample.
        stored: Type on disk, as NumPy names it.
        low: Smallest value.
        high: Largest value.
        known: Where it is known.
        display: How it is drawn.
        invalid: Value where it is unknown.
        zoom: Power of the zoom factor by which its values change in an enlarged image: 1, 0 or -1.
        mirrored: Whether its first component changes sign in the mirror image.
        unmatched: Whether it says which pixels have no counterpart in the other view. A crop adds to these the pixels
            whose counterpart it cuts off, and the target of one view does not tell that of the other.
        ragged: Whether it is a list of boxes or of their labels, whose length differs between images.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    stored: str
    low: float
    high: float
    known: Known
    display: Display
    invalid: float = 0.0
    zoom: int = 0
    mirrored: bool = False
    unmatched: bool = False
    ragged: bool = False

    @property
    def picture(self) -> bool:
        """Whether it is an image that a camera took: 8 bits on disk, blended where it is enlarged."""
        return self.stored == "uint8"


def _picture(title: str) -> Target:
    return Target((3,), torch.float32, "uint8", 0, 1, "always", Display(title))


def _distance(display: Display, zoom: int) -> Target:
    return Target((1,), torch.float32, "float32", 0, torch.finfo(torch.float32).max, "positive", display, zoom=zoom)


def _map(known: Known, title: str, colours: str, high: float) -> Target:
    return Target((1,), torch.float32, "float16", 0, 1, known, Display(title, "", colours, high=high))


def _flags(title: str, *, unmatched: bool = False) -> Target:
    display = Display(title, "", "gray", high=1.0)
    return Target((1,), torch.bool, "bool", 0, 1, "always", display, unmatched=unmatched)


_CLASSES = Display("classes", colours="tab20")
_BOXES = Display("boxes")
TARGETS: dict[str, Target] = {
    "image": _picture("image"),
    "right": _picture("right view"),
    "segmentation": Target((), torch.int64, "int8", -1, 127, "class", _CLASSES, invalid=-1),
    "depth": _distance(Display("depth", "m", "viridis"), zoom=-1),
    # The bounds leave room for the rounding of unit vectors.
    "normal": Target((3,), torch.float32, "float16", -1.0001, 1.0001, "nonzero", Display("normals"), mirrored=True),
    "disparity": _distance(Display("disparity", "px", "viridis"), zoom=1),
    "occlusion": _flags("occlusion", unmatched=True),
    "curvature": Target(
        (2,),
        torch.float32,
        "float16",
        -65504,
        65504,
        "mask",
        Display("curvature k1", "1/m", "RdBu_r", -10.0, 10.0),
        zoom=1,
    ),
    "reshading": _map("mask", "reshading", "gray", 1.0),
    "edges2d": _map("always", "edges, 2-D", "magma", 0.5),
    "keypoints2d": _map("always", "keypoints, 2-D", "magma", 0.05),
    "edges3d": _map("mask", "edges, 3-D", "magma", 0.5),
    "keypoints3d": _map("mask", "keypoints, 3-D", "magma", 0.3),
    "valid": _flags("geometry known"),
    "boxes": Target((4,), torch.float32, "float32", 0, float(2**24), "always", _BOXES, ragged=True),
    # Ten categories, those of BDD100K.
    "labels": Target((), torch.int64, "int8", 0, 9, "always", _BOXES, ragged=True),
}
"""Rows by key; every key but the two pictures also comes as `KEY_right`.

:meta hide-value:
"""
TARGETS |= {f"{key}_right": target for key, target in list(TARGETS.items()) if not target.picture}
