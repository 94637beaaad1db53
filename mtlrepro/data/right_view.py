"""Targets of the right view of a stereo pair, derived from those of the left one."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mtlrepro.data.samples import Batch
from mtlrepro.targets import TARGETS


def right_view(batch: Batch, keys: Iterable[str], sky: int | None = None) -> Batch:
    """Derive maps of the right view by moving those of the left view along their disparity, nearest points in front.

    Between neighbours of a row whose disparities differ by less than a pixel the surface is seen for a plane, on
    which disparity is linear in x: there `disparity_right` is exact. Depth is that of z d = f B, other maps are
    those of the nearer neighbour, at most half a pixel away. Pixels of the right view that no known pixel of the
    left one reaches are invalid: what the left view does not see or where its disparity is unknown. No loop over
    pixels; the same values on every run and device.

    Args:
        batch: `disparity` and the left view's maps, `[B, ...]`.
        keys: Targets to derive: `KEY_right`, which must be `derivable`, with KEY in the batch.
        sky: Class of `segmentation` that is infinitely far: where its disparity is unknown it is 0.

    Returns:
        A tensor for each key.
    """
    disparity: Tensor = batch["disparity"][:, 0]
    far = torch.zeros_like(disparity, dtype=torch.bool)
    if sky is not None and "segmentation" in batch:
        far = (batch["segmentation"] == sky) & (disparity == 0)
    source, moved = _move(disparity, far)
    unseen = source < 0
    column = source.clamp(min=0)
    result: Batch = {}
    for key in keys:
        base = key.removesuffix("_right")
        values: Tensor = batch[base]
        if base == "disparity":
            result[key] = moved[:, None]
            continue
        maps = values if values.ndim == 4 else values[:, None]
        seen = maps.gather(3, column[:, None].expand(-1, maps.shape[1], -1, -1))
        if base == "depth":
            before = disparity.gather(2, column)[:, None]
            seen = torch.where(moved[:, None] > 0, seen * before / moved[:, None], seen)
        seen = seen.masked_fill(unseen[:, None], TARGETS[key].invalid)
        result[key] = seen if values.ndim == 4 else seen[:, 0]
    return result


def derivable(key: str) -> bool:
    """Say whether `right_view` can derive a key: maps of the right view, except what only the scene tells."""
    return key.endswith("_right") and not TARGETS[key].ragged and not TARGETS[key].unmatched


def _move(disparity: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Left column that each pixel of the right view shows (-1: none), and its disparity (0: none), `[B, H, W]`."""
    width = disparity.shape[-1]
    columns = torch.arange(width, device=disparity.device)
    known = (disparity > 0) | far
    d0, d1 = disparity[..., :-1], disparity[..., 1:]
    joined = known[..., :-1] & known[..., 1:] & (far[..., :-1] == far[..., 1:]) & ((d0 - d1).abs() < 1)
    start, end = columns[:-1] - d0, columns[1:] - d1
    nearest = torch.full((*disparity.shape[:-1], width + 1), -1.0, device=disparity.device)
    candidates = []
    # The plane between two neighbours spans less than two pixels of the right view: at most two centres.
    for step in (0, 1):
        centre = start.ceil() + step
        share = (centre - start) / (end - start).clamp(min=1e-6)
        hit = joined & (centre <= end) & (centre >= 0) & (centre < width)
        # Column `width` collects what hits no pixel centre, and is cut off at the end.
        column = torch.where(hit, centre, width).long()
        value = d0 + share.clamp(0, 1) * (d1 - d0)
        nearest.scatter_reduce_(2, column, value, "amax")
        candidates.append((column, value, columns[:-1] + (share >= 0.5)))
    # Two passes, as the scatter knows values but not their origin: the first finds the largest disparity that lands
    # in each column, the second which left column it came from (the rightmost, where two are equal).
    source = torch.full_like(nearest, -1, dtype=torch.int64)
    for column, value, origin in candidates:
        winner = value == nearest.gather(2, column)
        source.scatter_reduce_(2, column, torch.where(winner, origin, -1), "amax")
    return source[..., :width], nearest[..., :width].clamp(min=0)
