"""Pinhole cameras and surface normals from depth, in camera axes x right, y down, z forward."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pinhole:
    """A camera; all in pixels, with the centre of the first pixel at (0, 0).

    Attributes:
        fx: focal length across.
        fy: focal length down.
        cx: column of the principal point.
        cy: row of the principal point.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Self:
        """Read the camera that a store's metadata holds under ``camera``."""
        return cls(**meta["camera"])

    def meta(self) -> dict[str, float]:
        """Return what :meth:`of` reads."""
        return asdict(self)

    def resized(self, old: tuple[int, int], new: tuple[int, int]) -> Self:
        """Return the camera of the image resized from ``old`` to ``new`` (height, width)."""
        down, across = new[0] / old[0], new[1] / old[1]
        cx, cy = (self.cx + 0.5) * across - 0.5, (self.cy + 0.5) * down - 0.5
        return type(self)(self.fx * across, self.fy * down, cx, cy)

    def rays(self, height: int, width: int) -> Array:
        """Return the viewing rays ``[3, H, W]`` with z = 1."""
        x = (np.arange(width) - self.cx) / self.fx
        y = (np.arange(height) - self.cy) / self.fy
        grid = np.broadcast_arrays(x, y[:, None], np.ones((1, 1)))
        return np.stack(grid).astype(np.float32)


def unit(vectors: NDArray[np.floating], *, tolerance: float = np.inf) -> Array:
    """Bring vectors ``[3, ...]`` to length 1; those of length 0, or off 1 by more than ``tolerance``, become 0."""
    length = np.linalg.norm(vectors, axis=0)
    good = (length > 0) & (np.abs(length - 1) <= tolerance)
    return np.where(good, vectors / np.where(good, length, 1), 0).astype(np.float32)


def from_8_bits(pixels: NDArray[np.uint8]) -> Array:
    """Read pixels ``[H, W, 3]`` as components ``[3, H, W]`` in [-1, 1]: v / 127.5 - 1."""
    return np.moveaxis(pixels, -1, 0).astype(np.float32) / np.float32(127.5) - 1


def to_8_bits(vectors: Array) -> NDArray[np.uint8]:
    """Round components ``[3, H, W]`` in [-1, 1] to the pixels that :func:`from_8_bits` reads, off by at most 1/255."""
    pixels: NDArray[np.uint8] = np.moveaxis(np.rint((vectors + 1) * 127.5), 0, -1).astype(np.uint8)
    return pixels


def normals_from_depth(depth: Array, camera: Pinhole, *, radius: int = 2, step: float = 0.05) -> Array:
    """Fit a plane around each pixel and return its normal, towards the camera.

    On the plane m . X = 1 the point at depth z on ray r has 1 / z = m . r, so inverse depth is linear in the image and
    m comes from least squares over the window, exactly so for a plane; the normal is -m / |m|. (Inverse depth is also
    what a structured-light sensor measures with constant noise.)

    Args:
        depth: ``[H, W]`` metres, 0 = invalid.
        camera: of this image.
        radius: the window has 2 radius + 1 pixels a side.
        step: pixels whose inverse depth is off the centre's by more than this share per pixel of distance belong
            to another surface and are left out.

    Returns:
        ``[3, H, W]`` unit normals; 0 where the depth is invalid or fewer than a third of the window's pixels,
        or only pixels in one line, are left.
    """
    height, width = depth.shape
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0).astype(np.float64)
    padded = np.pad(inverse, radius)
    moments = np.zeros((3, 3, height, width))
    products = np.zeros((3, height, width))
    offsets = range(-radius, radius + 1)
    for dy, dx in product(offsets, offsets):
        other = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        allowed = step * max(abs(dy), abs(dx), 1) * inverse
        use = (other > 0) & (inverse > 0) & (np.abs(other - inverse) <= allowed)
        basis = np.array([dx, dy, 1.0])
        moments += np.outer(basis, basis)[:, :, None, None] * use
        products += basis[:, None, None] * (other * use)
    matrices = moments.transpose(2, 3, 0, 1)
    good = (moments[2, 2] >= len(offsets) ** 2 / 3) & (np.linalg.det(matrices) > 0.5)  # whole numbers: 0 or >= 1
    right = products.transpose(1, 2, 0)
    solved = np.linalg.solve(np.where(good[..., None, None], matrices, np.eye(3)), right[..., None])
    a, b, c = solved[..., 0, 0] * camera.fx, solved[..., 1, 0] * camera.fy, solved[..., 2, 0]
    x, y, _ = camera.rays(height, width)
    return unit(-np.where(good, np.stack([a, b, c - a * x - b * y]), 0))
