"""Pinhole cameras and surface normals from depth, in camera axes x right, y down, z forward."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

STEEPEST = 5.0
"""Tangent of the largest angle between a surface's normal and the view (79 degrees) for which pixels are related."""

NOISE = 0.003
"""Step of inverse depth that Kinect cannot tell from none, 1 / m (one unit of its disparity: 1 / 351.3)."""

_WINDOW = 7 / 518.857901


@dataclass(frozen=True)
class Pinhole:
    """A camera; all in pixels, with the centre of the first pixel at (0, 0).

    Attributes:
        fx: Focal length across.
        fy: Focal length down.
        cx: Column of the principal point.
        cy: Row of the principal point.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Self:
        """Read the camera that a store's metadata holds under `camera`."""
        return cls(**meta["camera"])

    def meta(self) -> dict[str, float]:
        """Return what :meth:`of` reads."""
        return asdict(self)

    def resized(self, old: tuple[int, int], new: tuple[int, int]) -> Self:
        """Return the camera of the image resized from `old` to `new` (height, width)."""
        down, across = new[0] / old[0], new[1] / old[1]
        cx, cy = (self.cx + 0.5) * across - 0.5, (self.cy + 0.5) * down - 0.5
        return type(self)(self.fx * across, self.fy * down, cx, cy)

    def rays(self, height: int, width: int) -> Array:
        """Return the viewing rays `[3, H, W]` with z = 1."""
        x = (np.arange(width) - self.cx) / self.fx
        y = (np.arange(height) - self.cy) / self.fy
        grid = np.broadcast_arrays(x, y[:, None], np.ones((1, 1)))
        return np.stack(grid).astype(np.float32)


def unit(vectors: NDArray[np.floating], *, tolerance: float = np.inf) -> Array:
    """Bring vectors `[3, ...]` to length 1; those of length 0, or off 1 by more than `tolerance`, become 0."""
    length = np.linalg.norm(vectors, axis=0)
    good = (length > 0) & (np.abs(length - 1) <= tolerance)
    return np.where(good, vectors / np.where(good, length, 1), 0).astype(np.float32)


def from_8_bits(pixels: NDArray[np.uint8]) -> Array:
    """Read pixels `[H, W, 3]` as components `[3, H, W]` in [-1, 1]: v / 127.5 - 1."""
    return np.moveaxis(pixels, -1, 0).astype(np.float32) / np.float32(127.5) - 1


def to_8_bits(vectors: Array) -> NDArray[np.uint8]:
    """Round components `[3, H, W]` in [-1, 1] to the pixels that :func:`from_8_bits` reads, off by at most 1/255."""
    pixels: NDArray[np.uint8] = np.moveaxis(np.rint((vectors + 1) * 127.5), 0, -1).astype(np.uint8)
    return pixels


def normals_from_depth(depth: Array, camera: Pinhole, *, radius: int | None = None) -> Array:
    """Fit a plane around each pixel and return its normal, towards the camera.

    On the plane m . X = 1 the point at depth z on ray r has 1 / z = m . r, so inverse depth is linear in the image and
    m comes from least squares over the window, exactly so for a plane; the normal is -m / |m|. (Inverse depth is also
    what a structured-light sensor measures with constant noise.) Pixels that no plane of the pixel steeper than
    `STEEPEST` reaches, but for `NOISE`, belong to another surface and are left out.

    Args:
        depth: `[H, W]` metres, 0 = invalid.
        camera: Camera of this image.
        radius: The window has 2 radius + 1 pixels a side; default: 7 at Kinect's 640 x 480, in proportion to `fx`,
            and at least 1.

    Returns:
        `[3, H, W]` unit normals; 0 where the depth is invalid, or fewer than a third of the window's pixels,
        or only pixels in one line, are left.
    """
    height, width = depth.shape
    radius = max(1, round(camera.fx * _WINDOW)) if radius is None else radius
    known = depth > 0
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    padded = np.pad(inverse, radius)
    # Sums over the window of 1, x, y, x^2, x y, y^2 and of d, d x, d y; d is inverse depth less the centre's.
    sums = np.zeros((9, height, width), np.float32)
    offsets = range(-radius, radius + 1)
    for dy, dx in product(offsets, offsets):
        other = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        difference = other - inverse
        allowed = inverse * np.float32(STEEPEST * np.hypot(dx / camera.fx, dy / camera.fy)) + np.float32(NOISE)
        use = ((np.abs(difference) <= allowed) & (other > 0)).astype(np.float32)
        difference *= use
        for total, factor in zip(sums[:6], (1, dx, dy, dx * dx, dx * dy, dy * dy), strict=True):
            if factor:
                total += np.float32(factor) * use
        for total, factor in zip(sums[6:], (1, dx, dy), strict=True):
            if factor:
                total += np.float32(factor) * difference
    n, x, y, xx, xy, yy, d, dx_, dy_ = sums.astype(np.float64)
    # Cramer's rule; the first column of cofactors belongs to c, the others to a and b in d = a x + b y + c.
    minors = (xx * yy - xy * xy, xy * y - x * yy, x * xy - xx * y)
    determinant = n * minors[0] + x * minors[1] + y * minors[2]
    good = known & (n >= len(offsets) ** 2 / 3) & (determinant > 0.5)  # whole numbers: 0 or at least 1
    scale = np.where(good, determinant, 1)
    c = (d * minors[0] + dx_ * minors[1] + dy_ * minors[2]) / scale
    a = (d * minors[1] + dx_ * (n * yy - y * y) + dy_ * (x * y - n * xy)) / scale
    b = (d * minors[2] + dx_ * (x * y - n * xy) + dy_ * (n * xx - x * x)) / scale
    ray_x, ray_y, _ = camera.rays(height, width)
    across, down = a * camera.fx, b * camera.fy
    m = np.stack([across, down, c + inverse - across * ray_x - down * ray_y])
    return unit(-np.where(good, m, 0))
