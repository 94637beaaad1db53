"""What a sample holds: the tensors of every data set, how they are stored, and how samples become a batch.

A sample is a ``dict[str, Tensor]``; H x W is the image size and sizes are written (height, width). Cameras look along
z with x to the right and y down. A data set lacks the keys that it does not have.

=================================  ========================  ========================================================
key                                tensor                    meaning, range; what stands for invalid
=================================  ========================  ========================================================
image, right                       ``[3, H, W]`` float32     left (or only) and right view, RGB in [0, 1]
segmentation                       ``[H, W]`` int64          class from 0; -1
depth                              ``[1, H, W]`` float32     z of the point, metres; 0
normal                             ``[3, H, W]`` float32     unit normal towards the camera; (0, 0, 0)
disparity                          ``[1, H, W]`` float32     pixels of this image's width, left(x) = right(x - d); 0
occlusion                          ``[1, H, W]`` bool        no counterpart in the right view
curvature                          ``[2, H, W]`` float32     principal curvatures k1 >= k2, 1/m, + convex; not valid
reshading, edges3d, keypoints3d    ``[1, H, W]`` float32     in [0, 1]; where not valid
edges2d, keypoints2d               ``[1, H, W]`` float32     in [0, 1], from the image, known everywhere
valid                              ``[1, H, W]`` bool        the geometry is known
boxes                              ``[n, 4]`` float32        x1, y1, x2, y2 in pixels, x2 and y2 exclusive
labels                             ``[n]`` int64             class of each box, 0..9
index                              int64                     position in the data set
=================================  ========================  ========================================================

``KEY_right`` is the same target of the right view, with right(x) = left(x + ``disparity_right``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro.data.classes import BDD100K

Sample = dict[str, Tensor]
Batch = dict[str, Any]  # a Tensor for every key except boxes and labels, which are lists of B tensors


@dataclass(frozen=True)
class Kind:
    """One kind of tensor in a sample.

    Attributes:
        shape: axes before (H, W); for boxes and labels the axes after n.
        dtype: in a sample.
        stored: in a store.
        low: smallest value.
        high: largest value.
        invalid: value where the target is unknown.
        ragged: boxes and labels, whose number differs between images.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    stored: str
    low: float
    high: float
    invalid: float = 0.0
    ragged: bool = False


_UNIT = Kind((1,), torch.float32, "float16", 0, 1)
_MASK = Kind((1,), torch.bool, "bool", 0, 1)
_POSITIVE = Kind((1,), torch.float32, "float32", 0, float(np.finfo(np.float32).max))
_IMAGE = Kind((3,), torch.float32, "uint8", 0, 1)
KINDS: dict[str, Kind] = {
    "image": _IMAGE,
    "right": _IMAGE,
    "segmentation": Kind((), torch.int64, "int8", -1, 127, invalid=-1),
    "depth": _POSITIVE,
    "normal": Kind((3,), torch.float32, "float16", -1.0001, 1.0001),  # unit but for rounding
    "disparity": _POSITIVE,
    "occlusion": _MASK,
    "curvature": Kind((2,), torch.float32, "float16", -65504, 65504),
    "reshading": _UNIT,
    "edges2d": _UNIT,
    "keypoints2d": _UNIT,
    "edges3d": _UNIT,
    "keypoints3d": _UNIT,
    "valid": _MASK,
    "boxes": Kind((4,), torch.float32, "float32", 0, float(2**24), ragged=True),
    "labels": Kind((), torch.int64, "int8", 0, len(BDD100K) - 1, ragged=True),
}
KINDS |= {f"{key}_right": kind for key, kind in list(KINDS.items()) if key not in ("image", "right")}


def twin(key: str) -> str:
    """Key of the same thing in the other view: ``image`` and ``right``, ``KEY`` and ``KEY_right``."""
    if key in ("image", "right"):
        return "right" if key == "image" else "image"
    return key.removesuffix("_right") if key.endswith("_right") else f"{key}_right"


def kind(key: str) -> Kind:
    """Look up the kind of a key.

    Raises:
        ValueError: no sample has such a key.
    """
    if key not in KINDS:
        raise ValueError(f"key is {key!r}; accepted: {', '.join(KINDS)}")
    return KINDS[key]


def encode(key: str, array: np.ndarray | Tensor, row: int = 0) -> np.ndarray:
    """Convert ``[B, ...]`` from a sample's or the stored type to the stored one, after checking type and range.

    Images become 8 bits, round(255 x); normals, curvature and the maps in [0, 1] become float16, which moves a
    direction by at most 0.03 degrees.

    Args:
        key: key of a sample.
        array: values of B samples, or of n boxes.
        row: number of the first one, for messages.

    Raises:
        ValueError: a wrong type or number of channels, a value out of range or not finite; names key, row and value.
    """
    spec = kind(key)
    values = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    axes = values.shape[1:] if spec.ragged else values.shape[1:-2]
    if axes != spec.shape or values.ndim != 1 + len(spec.shape) + 2 * (not spec.ragged):
        inner = ["n" if spec.ragged else "B", *map(str, spec.shape), *([] if spec.ragged else ["H", "W"])]
        raise ValueError(f"{key} has shape {list(values.shape)}; accepted: [{', '.join(inner)}]")
    images = key in ("image", "right")
    accepted = {torch.bool: "b", torch.int64: "iu", torch.float32: "f"}[spec.dtype]
    if values.dtype.kind not in accepted and not (images and values.dtype == np.uint8):
        raise ValueError(f"{key} is {values.dtype}; accepted: {str(spec.dtype).removeprefix('torch.')}, {spec.stored}")
    if images and values.dtype == np.uint8:
        return values
    if values.dtype.kind != "b" and values.size:
        low, high = values.min(), values.max()
        if not (low >= spec.low and high <= spec.high):  # also true for NaN
            good = (values >= spec.low) & (values <= spec.high)
            first = np.argwhere(~good)[0]
            raise ValueError(
                f"{key}, row {row + first[0]}, element {first[1:].tolist()}: found {values[tuple(first)].item()}; "
                f"accepted: {spec.low:g} to {spec.high:g}"
            )
    if images:
        return np.rint(values * np.float32(255)).astype(np.uint8)
    return values.astype(spec.stored, copy=False)


def decode(key: str, stored: Tensor) -> Tensor:
    """Convert stored values, of any shape and on any device, to a sample's type; the inverse of ``encode``."""
    values = stored.to(kind(key).dtype)
    return values / 255 if key in ("image", "right") else values


def blank(key: str, size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Make one target that is unknown everywhere: the invalid value, or no boxes."""
    spec = kind(key)
    shape = (0, *spec.shape) if spec.ragged else (*spec.shape, *size)
    return torch.full(shape, spec.invalid, dtype=spec.dtype, device=device)


def collate(samples: Sequence[Mapping[str, Tensor]], keys: Iterable[str] | None = None) -> Batch:
    """Make a batch of samples.

    Dense maps and ``index`` are stacked to ``[B, ...]``; a map that a sample lacks is filled with its invalid value.
    Boxes and labels become lists of B tensors, empty where a sample lacks them, and ``detected``, ``[B]`` bool, says
    which samples have them.

    Args:
        samples: B samples, one or more, of one image size.
        keys: keys of the batch; default: all that occur in the samples.

    Raises:
        ValueError: no samples, or images of several sizes.
    """
    if not samples:
        raise ValueError("samples is empty; accepted: one or more")
    sizes = {(sample["image"].shape[-2], sample["image"].shape[-1]) for sample in samples}
    if len(sizes) > 1:
        raise ValueError(f"images have the sizes {sorted(sizes)}; accepted: one size in a batch")
    size = sizes.pop()
    names = dict.fromkeys(keys) if keys is not None else dict.fromkeys(key for sample in samples for key in sample)
    batch: Batch = {}
    for key in names:
        if key == "index":
            continue
        values = [sample[key] if key in sample else blank(key, size, sample["image"].device) for sample in samples]
        batch[key] = values if KINDS[key].ragged else torch.stack(values)
    if "boxes" in names:
        batch["detected"] = torch.tensor(["boxes" in sample for sample in samples], device=samples[0]["image"].device)
    if all("index" in sample for sample in samples):
        batch["index"] = torch.stack([sample["index"] for sample in samples])
    return batch


def check(sample: Mapping[str, Tensor]) -> None:
    """Check one sample against the table above: keys, types, shapes, ranges, unit normals, ordered curvatures, boxes.

    Raises:
        ValueError: names the key, what was found and what is accepted.
    """
    if "image" not in sample:
        raise ValueError(f"the sample has the keys {', '.join(sample)}; accepted: image and others")
    height, width = sample["image"].shape[-2:]
    for key, value in sample.items():
        if key == "index":
            continue
        spec = kind(key)
        if value.dtype != spec.dtype:
            raise ValueError(f"{key} is {value.dtype}; accepted: {spec.dtype}")
        if not spec.ragged and value.shape[-2:] != (height, width):
            raise ValueError(f"{key} has the size {list(value.shape[-2:])}; accepted: [{height}, {width}], the image's")
        encode(key, value if spec.ragged else value[None])
        base = key.removesuffix("_right")
        if base == "normal":
            length = value.norm(dim=0)
            _require(key, (length == 0) | ((length - 1).abs() < 2e-3), length, "length 0 or 1")
        elif base == "curvature":
            _require(key, value[0] >= value[1], value[0] - value[1], "k1 >= k2")
        elif base == "boxes":
            low, high = value[:, :2], value[:, 2:]
            ordered = ((low < high) & (high <= value.new_tensor([width, height]))).all(1)
            _require(key, ordered, value, f"0 <= x1 < x2 <= {width}, 0 <= y1 < y2 <= {height}")
            labels = key.replace("boxes", "labels")
            if len(sample[labels]) != len(value):
                raise ValueError(f"{labels} has {len(sample[labels])} elements; accepted: {len(value)}, one for a box")


def _require(key: str, good: Tensor, values: Tensor, accepted: str) -> None:
    if not good.all():
        where = (~good).nonzero()[0].tolist()
        raise ValueError(f"{key} at {where} is {values[tuple(where)].tolist()}; accepted: {accepted}")
