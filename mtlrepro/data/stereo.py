"""Disparity of rectified pairs: what a network is asked to predict of it, warping, and occlusion.

Disparity d is in pixels of the image that it belongs to, 0 where it is unknown, with left(x) = right(x - d).
"""

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F

CITYSCAPES_WIDTH = 2048


class DepthTarget(StrEnum):
    """What stands for depth in a data set that has disparity; all are 0 where it is unknown.

    Attributes:
        DISPARITY_PX: d, pixels of the image's own width.
        DISPARITY_RAW01: p / 65535 with p = 256 d (2048 / width) + 1, in [0, 1]: the values of the MTAN packs of
            Cityscapes, whose loaders call them depth (formula inferred from published value ranges).
        INVERSE_DEPTH: d / (f B), 1/m.
        DEPTH_M: f B / d, metres.
    """

    DISPARITY_PX = "disparity_px"
    DISPARITY_RAW01 = "disparity_raw01"
    INVERSE_DEPTH = "inverse_depth"
    DEPTH_M = "depth_m"


def depth_target(
    disparity: Tensor,
    kind: DepthTarget | str = DepthTarget.DISPARITY_PX,
    *,
    focal: Tensor | float | None = None,
    baseline: Tensor | float | None = None,
    width: int | None = None,
) -> Tensor:
    """Convert disparity to the target that a network is trained on; 0 stays 0.

    Args:
        disparity: ``[..., H, W]``, pixels, 0 = unknown.
        kind: which target.
        focal: focal length f in pixels at the disparity's scale, a number or ``[B]`` for ``[B, 1, H, W]``; needed
            for ``inverse_depth`` and ``depth_m``.
        baseline: distance B of the cameras in metres, a number or ``[B]``; needed likewise.
        width: width in pixels of the whole image at the disparity's scale (a crop keeps it); needed for
            ``disparity_raw01``.

    Returns:
        ``[..., H, W]``, of the disparity's type.

    Raises:
        ValueError: for an unknown kind, or if what it needs is not given.
    """
    try:
        kind = DepthTarget(kind)
    except ValueError:
        raise ValueError(f"kind is {kind!r}; accepted: {', '.join(DepthTarget)}") from None
    known = disparity > 0
    if kind is DepthTarget.DISPARITY_PX:
        return torch.where(known, disparity, 0)
    if kind is DepthTarget.DISPARITY_RAW01:
        if width is None:
            raise ValueError(f"width is None; {kind} needs the width of the whole image in pixels")
        return torch.where(known, (disparity * (256 * CITYSCAPES_WIDTH / width) + 1) / 65535, 0)
    if focal is None or baseline is None:
        raise ValueError(f"focal is {focal}, baseline is {baseline}; {kind} needs both, in pixels and metres")
    scale = _per_image(focal, disparity) * _per_image(baseline, disparity)
    safe = torch.where(known, disparity, 1)
    return torch.where(known, safe / scale if kind is DepthTarget.INVERSE_DEPTH else scale / safe, 0)


def _per_image(value: Tensor | float, disparity: Tensor) -> Tensor:
    tensor = torch.as_tensor(value, dtype=disparity.dtype, device=disparity.device)
    return tensor.reshape(-1, *[1] * (disparity.ndim - 1)) if tensor.ndim else tensor


def warp_right(right: Tensor, disparity: Tensor) -> Tensor:
    """Resample the right view at x - d, linearly along the row.

    Args:
        right: ``[B, C, H, W]``.
        disparity: ``[B, 1, H, W]``, pixels.

    Returns:
        ``[B, C, H, W]``, 0 where x - d is outside of the right view.
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
    """Mean |left(x) - right(x - d)| over channels and the pixels whose d is known and whose x - d is inside.

    Args:
        image: left view ``[B, C, H, W]``.
        right: right view ``[B, C, H, W]``.
        disparity: ``[B, 1, H, W]`` pixels, 0 = unknown; negative values look to the other side.

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
    wins; a pixel is hidden if the winner's disparity is larger than its own by more than ``tolerance``, or if it
    falls outside of the view. A left-right check would need the right view's own disparity. What hides behind a
    surface that the left view does not see is not found.

    Args:
        disparity: ``[B, 1, H, W]``, pixels, 0 = unknown.
        tolerance: pixels; a slanted surface maps neighbours to one column.

    Returns:
        ``[B, 1, H, W]`` bool; True also where the disparity is unknown, since no counterpart is known.
    """
    width = disparity.shape[-1]
    known = disparity > 0
    target = (torch.arange(width, device=disparity.device) - disparity).round().long()
    inside = known & (target >= 0)
    column = target.clamp(0, width - 1)
    nearest = torch.zeros_like(disparity).scatter_reduce(-1, column, torch.where(inside, disparity, 0), "amax")
    return ~inside | (nearest.gather(-1, column) > disparity + tolerance)
