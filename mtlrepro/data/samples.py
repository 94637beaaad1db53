"""Samples and batches: their types, how they are stored, and which key belongs to the other view.

The keys of a sample and what stands under each of them is the table of `targets`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro.targets import TARGETS, Target

Sample = dict[str, Tensor]
Batch = dict[str, Any]
"""A tensor for every key except boxes and labels, which are lists of B tensors, and `labelled`, which says by key which
images have the target, `[B]` bool on the CPU."""


def twin(key: str) -> str:
    """Key of the same target in the other view: `image` and `right`, `KEY` and `KEY_right`."""
    if key in ("image", "right"):
        return "right" if key == "image" else "image"
    return key.removesuffix("_right") if key.endswith("_right") else f"{key}_right"


def is_ragged(name: str) -> bool:
    """Say whether an array holds boxes or labels, whose number differs between images."""
    return name in TARGETS and TARGETS[name].ragged


def target_of(key: str) -> Target:
    """Look up the row of a key.

    Raises:
        ValueError: No sample has such a key.
    """
    if key not in TARGETS:
        raise ValueError(f"key is {key!r}; accepted: {', '.join(TARGETS)}")
    return TARGETS[key]


def encode(key: str, array: np.ndarray | Tensor, first: int = 0) -> np.ndarray:
    """Convert `[B, ...]` from a sample's type or the stored type to the stored one, after checking type and range.

    Images become 8 bits, round(255 x); normals, curvature and the maps in [0, 1] become float16, which moves a
    direction by at most 0.03 degrees.

    Args:
        key: Key of a sample.
        array: Values of B samples, or of n boxes.
        first: Number of the first sample or box, for messages.

    Raises:
        ValueError: A wrong type or number of channels, a value out of range or not finite; names key, row and value.
    """
    target = target_of(key)
    values = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    _check_shape(key, target, values)
    accepted = {torch.bool: "b", torch.int64: "iu", torch.float32: "f"}[target.dtype]
    already_8_bits = target.picture and values.dtype == np.uint8
    if values.dtype.kind not in accepted and not already_8_bits:
        name = str(target.dtype).removeprefix("torch.")
        raise ValueError(f"{key} is {values.dtype}; accepted: {name}, {target.stored}")
    if already_8_bits:
        return values
    if values.dtype.kind != "b" and values.size:
        _check_range(key, target, values, first)
    if target.picture:
        return np.rint(values * np.float32(255)).astype(np.uint8)
    return values.astype(target.stored, copy=False)


def decode(key: str, stored: Tensor) -> Tensor:
    """Convert stored values, of any shape and on any device, to a sample's type; the inverse of `encode`."""
    target = target_of(key)
    values = stored.to(target.dtype)
    return values / 255 if target.picture else values


def _check_shape(key: str, target: Target, values: np.ndarray) -> None:
    axes = values.shape[1:] if target.ragged else values.shape[1:-2]
    if axes != target.shape or values.ndim != 1 + len(target.shape) + 2 * (not target.ragged):
        inner = ["n" if target.ragged else "B", *map(str, target.shape), *([] if target.ragged else ["H", "W"])]
        raise ValueError(f"{key} has shape {list(values.shape)}; accepted: [{', '.join(inner)}]")


def _check_range(key: str, target: Target, values: np.ndarray, first: int) -> None:
    low, high = values.min(), values.max()
    if low >= target.low and high <= target.high:  # also false for NaN
        return
    index = np.argwhere(~((values >= target.low) & (values <= target.high)))[0]
    raise ValueError(
        f"{key}, row {first + index[0]}, element {index[1:].tolist()}: found {values[tuple(index)].item()}; "
        f"accepted: {target.low:g} to {target.high:g}"
    )
