"""Files of Taskonomy (Zamir et al. 2018): addresses, the tiny split, and the encoding of each domain."""

from collections.abc import Mapping

import numpy as np

from mtlrepro.data.classes import TASKONOMY as CLASSES
from mtlrepro.data.geometry import Array, from_8_bits, to_8_bits, unit
from mtlrepro.data.real.rasters import Raster

BASE = "https://datasets.epfl.ch/taskonomy"
MD5SUMS = "md5sum.txt"

TINY = {
    "train": (
        "hanson", "merom", "klickitat", "onaga", "leonardo", "marstons", "newfields", "pinesdale", "lakeville",
        "cosmos", "benevolence", "pomaria", "tolstoy", "shelbyville", "allensville", "wainscott", "beechwood",
        "coffeen", "stockman", "hiteman", "woodbine", "lindenwood", "forkland", "mifflinburg", "ranchester",
    ),
    "val": ("wiconisco", "corozal", "collierville", "markleeville", "darden"),
    "test": ("ihlen", "muleshoe", "uvalda", "noxapater", "mcdade"),
}  # fmt: skip
"""Buildings of the tiny split (`splits_taskonomy.zip` of the data set)."""

WOODBINE = "woodbine"
"""Listed in the tiny split, but left out by the authors' later tools (`omnidata-tools`)."""

LSB_COUNTS = {"train": 2762, "test": 548}
"""Images of the protocol of Lee et al. 2021, one frame in 100 (supplement, section 1)."""

DOMAINS: Mapping[str, tuple[str, str]] = {
    "image": ("rgb", "RGB"),
    "depth": ("depth_zbuffer", "uint16"),
    "normal": ("normal", "RGB"),
    "segmentation": ("segment_semantic", "ids"),
    "curvature": ("principal_curvature", "RGB"),
    "reshading": ("reshading", "RGB"),
    "edges2d": ("edge_texture", "uint16"),
    "edges3d": ("edge_occlusion", "uint16"),
    "keypoints2d": ("keypoints2d", "uint16"),
    "keypoints3d": ("keypoints3d", "uint16"),
    "valid": ("mask_valid", "ids"),
}
"""Domain, and kind of pixels, behind each key of a sample."""

DEPTH_UNIT = 512.0
DEPTH_LIMIT = 64500
NO_DEPTH = 65535
CURVATURE_LIMIT = 1 / 0.03
_FLAT = 127.0
_OFF_UNIT = 0.1  # 8 bits a component move a length by less than 0.01


def file_name(domain: str, point: int, view: int) -> str:
    """Name of a file; the semantic domain drops its underscore there."""
    label = "segmentsemantic" if domain == "segment_semantic" else domain
    return f"point_{point}_view_{view}_domain_{label}.png"


def decode(rasters: Mapping[str, Raster]) -> dict[str, Raster]:
    """Decode the eleven rasters of one view, by key; image stays uint8 `[H, W, 3]`.

    * depth: v / 512 m; unknown from 64,500 on (the file's value for unknown is 65,535).
    * normal: v / 127.5 - 1 in our axes; grey is unknown.
    * segmentation: v - 1, so that 0 (uncertain) becomes -1, 1 (background) 0, 2..17 the sixteen kinds of objects.
    * curvature: (v / 127 - 1) / 0.03 m in the first two channels, in the files' order, by magnitude; (0, 0, 0) is
      unknown.
    * reshading: v / 255 of the first channel; 16-bit maps: v / 65,535.
    * valid: the mask is set, and depth and curvature are known.

    Sources: the data set's sample README and `create_curvature_images.py` of its authors' annotator.

    Raises:
        ValueError: A class is above 17.
    """
    ids = rasters["segmentation"]
    if ids.max() > len(CLASSES):
        raise ValueError(f"class {ids.max()}; accepted: 0 to {len(CLASSES)}")
    bent = rasters["curvature"].any(axis=-1)
    curvature = (np.moveaxis(rasters["curvature"][..., :2], -1, 0) / np.float32(_FLAT) - 1) * np.float32(
        CURVATURE_LIMIT
    )
    seen = rasters["depth"] < DEPTH_LIMIT
    sixteen = {
        key: rasters[key].astype(np.float32)[None] / np.float32(65535)
        for key in ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
    }
    return {
        "image": rasters["image"],
        "depth": np.where(seen, rasters["depth"] / np.float32(DEPTH_UNIT), 0).astype(np.float32)[None],
        "normal": unit(from_8_bits(rasters["normal"]), tolerance=_OFF_UNIT),
        "segmentation": ids.astype(np.int8) - np.int8(1),
        "curvature": np.where(bent, curvature, 0).astype(np.float32),
        "reshading": rasters["reshading"][None, :, :, 0].astype(np.float32) / 255,
        "valid": ((rasters["valid"] > 0) & seen & bent)[None],
        **sixteen,
    }


def encode(maps: Mapping[str, Array]) -> dict[str, Raster]:
    """Encode the maps of one sample, by key; image as uint8 `[H, W, 3]`. The inverse of :func:`decode`.

    Rounding moves depth by up to 1/1024 m, components of normals by 1/255, curvature by 0.131 / m, reshading by 1/510
    and 16-bit maps by 1/131070. Curvature beyond 33 / m is cut.

    Raises:
        ValueError: A depth is 125.97 m or more.
    """
    depth, valid = maps["depth"][0], maps["valid"][0]
    if depth.max() >= (DEPTH_LIMIT - 0.5) / DEPTH_UNIT:
        raise ValueError(f"depth is up to {depth.max()} m; accepted: below {DEPTH_LIMIT / DEPTH_UNIT:.2f} m")
    curvature = np.zeros((*depth.shape, 3), np.uint8)
    levels = np.rint((np.moveaxis(maps["curvature"], 0, -1) / CURVATURE_LIMIT + 1) * _FLAT).clip(1, 2 * _FLAT)
    curvature[..., :2] = np.where(valid[..., None], levels, 0)
    grey = np.rint(maps["reshading"][0] * 255).astype(np.uint8)
    sixteen = {
        key: np.rint(maps[key][0].astype(np.float64) * 65535).astype(np.uint16)
        for key in ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
    }
    return {
        "image": maps["image"],
        "depth": np.where(depth > 0, np.rint(depth * DEPTH_UNIT), NO_DEPTH).astype(np.uint16),
        "normal": to_8_bits(maps["normal"]),
        "segmentation": (maps["segmentation"] + 1).astype(np.uint8),
        "curvature": curvature,
        "reshading": np.repeat(grey[..., None], 3, axis=-1),
        "valid": np.where(valid, np.uint8(255), np.uint8(0)),
        **sixteen,
    }
