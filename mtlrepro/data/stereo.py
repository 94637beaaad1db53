"""Disparity of rectified pairs: its form in the MTAN packs, warping, and occlusion.

Disparity d is in pixels of the image that it belongs to, 0 where it is unknown, with left(x) = right(x - d).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CITYSCAPES_WIDTH = 2048
"""Width of Cityscapes' images in pixels, at which its disparity files count."""


def to_mtan(disparity: Tensor, width: int) -> Tensor:
    """Convert disparity to what the MTAN packs of Cityscapes hold and their loaders call depth.

    It is p / 65535 with the 16-bit pixel p = 256 d (2048 / width) + 1; the formula is inferred from published ranges.

    Args:
        disparity: Disparity d in pixels, 0 = unknown.
        width: Width in pixels of the whole image at the disparity's scale; a crop keeps it.

    Returns:
        Values of the same shape, 0 where unknown.
    """
    return torch.where(disparity > 0, (disparity * (256 * CITYSCAPES_WIDTH / width) + 1) / 65535, 0)


def warp_right(right: Tensor, disparity: Tensor) -> Tensor:
    """Resample the right view at x - d, linearly along the row.

    Args:
        right: `[B, C, H, W]`.
        disparity: `[B, 1, H, W]`, pixels.

    Returns:
        `[B, C, H, W]`, 0 where x - d is outside of the right view.
    """
    height, width = right.shape[-2:]
    columns = torch.arange(width, dtype=disparity.dtype, device=disparity.device) - disparity[:, 0]
    rows = torch.arange(height, dtype=disparity.dtype, device=disparity.device)[:, None].expand_as(columns)
    # Pixel centres: column c is at (2 c + 1) / width - 1 in grid_sample's coordinates.
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    warped = F.grid_sample(right, grid, mode="bilinear", padding_mode="border", align_corners=False)
    inside = (columns >= 0) & (columns <= width - 1)
    return warped * inside[:, None]


def match_error(image: Tensor, right: Tensor, disparity: Tensor) -> Tensor:
    """Mean |left(x) - right(x - d)| over channels and over the pixels whose d is known and whose x - d is inside.

    Args:
        image: Left view `[B, C, H, W]`.
        right: Right view `[B, C, H, W]`.
        disparity: `[B, 1, H, W]` pixels, 0 = unknown; negative values look to the other side.

    Returns:
        A number; NaN where no pixel counts.
    """
    columns = torch.arange(image.shape[-1], device=image.device) - disparity
    counts = (disparity != 0) & (columns >= 0) & (columns <= image.shape[-1] - 1)
    error = (image - warp_right(right, disparity)).abs().mean(1, keepdim=True)
    return error[counts].mean()


def hidden_in_right(disparity: Tensor, tolerance: float = 1.0) -> Tensor:
    """Find the pixels of the left view without a counterpart in the right view, from the left disparity alone.

    Each pixel is moved to the right view's nearest column, x - d, where the largest disparity (the nearest point)
    wins; a pixel is hidden if the winner's disparity is larger than its own by more than `tolerance`, or if it
    falls outside of the view. A left-right check would need the right view's own disparity. What hides behind a
    surface that the left view does not see is not found.

    Args:
        disparity: `[B, 1, H, W]`, pixels, 0 = unknown.
        tolerance: Pixels; a slanted surface maps neighbours to one column.

    Returns:
        `[B, 1, H, W]` bool; True also where the disparity is unknown, since no counterpart is known.
    """
    width = disparity.shape[-1]
    known = disparity > 0
    target = (torch.arange(width, device=disparity.device) - disparity).round().long()
    inside = known & (target >= 0)
    column = target.clamp(0, width - 1)
    nearest = torch.zeros_like(disparity).scatter_reduce(-1, column, torch.where(inside, disparity, 0), "amax")
    return ~inside | (nearest.gather(-1, column) > disparity + tolerance)
