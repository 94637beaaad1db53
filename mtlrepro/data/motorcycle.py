"""A real stereo pair: Motorcycle of Middlebury 2014 (Scharstein et al. 2014), read from the scikit-image package.

500 x 741 pixels. The principal points of the two cameras are 31.086 pixels apart, so a point at disparity d is at
the depth f B / (d + 31.086), not f B / d. Nothing is copied: scikit-image states no licence for the pictures.
"""

from functools import cache

import numpy as np
import torch
from skimage.data import stereo_motorcycle

from mtlrepro.data.geometry import Pinhole, normals_from_depth
from mtlrepro.data.samples import Sample
from mtlrepro.data.stereo import hidden_in_right

CAMERA = Pinhole(fx=994.978, fy=994.978, cx=311.193, cy=254.877)
"""Calibration of the left camera at this size (docstring of `skimage.data.stereo_motorcycle`)."""

OFFSET = 31.086
"""Column of the right camera's principal point less that of the left one, pixels (`doffs`)."""

BASELINE = 0.193001
"""Distance of the cameras, metres."""


@cache
def pair() -> Sample:
    """The whole pair as one sample.

    Disparity is 0 where the ground truth is not finite, and depth and normals with it; normals are of planes fitted
    to the depth; occlusion is found by :func:`~mtlrepro.data.stereo.hidden_in_right`, since there is only one
    disparity map.

    Returns:
        image, right, disparity, depth, normal, occlusion. Do not write to them.
    """
    left, right, disparity = stereo_motorcycle()  # type: ignore[no-untyped-call]
    known = np.isfinite(disparity)
    disparity = np.where(known, disparity, 0).astype(np.float32)
    depth = np.where(known, CAMERA.fx * BASELINE / (disparity + OFFSET), 0).astype(np.float32)
    disparities = torch.from_numpy(disparity)[None]
    return {
        "image": torch.from_numpy(left).permute(2, 0, 1) / 255,
        "right": torch.from_numpy(right).permute(2, 0, 1) / 255,
        "disparity": disparities,
        "depth": torch.from_numpy(depth)[None],
        "normal": torch.from_numpy(normals_from_depth(depth, CAMERA)),
        "occlusion": hidden_in_right(disparities[None])[0],
    }
