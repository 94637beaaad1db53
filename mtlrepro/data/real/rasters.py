"""Image files of the real data sets: read with one clear error for each kind of damage, resized, written."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtlrepro.files import replacing

Raster = NDArray[Any]

_MODES = {"RGB": ("RGB",), "ids": ("L", "P"), "uint16": ("I;16", "I;16B")}
_WORDS = {"RGB": "8-bit RGB", "ids": "8-bit grey or palette", "uint16": "16-bit grey"}


def read_raster(
    path: Path, kind: str, *, size: tuple[int, int] | None = None, remedy: str, content: bytes | None = None
) -> Raster:
    """Read one PNG or JPEG file.

    Args:
        path: The file.
        kind: `RGB` gives uint8 `[H, W, 3]`, `ids` uint8 `[H, W]`, `uint16` uint16 `[H, W]`.
        size: (height, width) that the file must have, or None for any.
        remedy: How to get a good file; ends each message.
        content: The bytes, where they were read from an archive; `path` then only names them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or has another bit depth, number of channels or size.
    """
    with _opened(path, content, remedy) as image:
        if image.mode not in _MODES[kind]:
            raise ValueError(f"{path}: pixels of mode {image.mode}; accepted: {_WORDS[kind]}; {remedy}")
        if size is not None and (image.height, image.width) != size:
            raise ValueError(
                f"{path}: {image.height} x {image.width} pixels; accepted: {size[0]} x {size[1]} "
                f"as the other files of the set; {remedy}"
            )
        array = np.array(image)
    return array.astype(np.uint16) if kind == "uint16" else array


def read_array(
    path: Path,
    *,
    low: float,
    high: float,
    remedy: str,
    shape: tuple[int, ...] | None = None,
    unknown: float | None = None,
) -> Raster:
    """Read one `.npy` file of numbers.

    Args:
        path: The file.
        low: The least value that it may hold.
        high: The largest value that it may hold.
        remedy: How to get a good file; ends each message.
        shape: What the array must have, or None for any.
        unknown: A value outside of these that stands for unknown and becomes 0, or None if there is none.

    Raises:
        ValueError: The file is damaged, or has another shape or other values.
    """
    try:
        # A map takes no memory, whatever size the header states.
        array: Raster = np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # Any error here means that the file is corrupt.
        raise ValueError(f"{path}: not a complete array file ({error}); {remedy}") from None
    if array.dtype.kind not in "biuf" or array.ndim < 2 or not array.size:
        raise ValueError(
            f"{path}: shape {list(array.shape)} of {array.dtype}; accepted: numbers, [H, W] or [H, W, C]; {remedy}"
        )
    if shape is not None and array.shape != shape:
        raise ValueError(
            f"{path}: shape {list(array.shape)}; accepted: {list(shape)}, the size of the first image; {remedy}"
        )
    if unknown is not None:
        array = np.where(array == unknown, array.dtype.type(0), array)
    if not (array.min() >= low and array.max() <= high):  # Also true for NaN.
        raise ValueError(f"{path}: values {array.min()} to {array.max()}; accepted: {low:g} to {high:g}; {remedy}")
    return array


def raster_size(path: Path, *, remedy: str) -> tuple[int, int]:
    """Return (height, width) of an image file from its header.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged.
    """
    with _opened(path, None, remedy) as image:
        return image.height, image.width


@contextmanager
def _opened(path: Path, content: bytes | None, remedy: str) -> Iterator[Image.Image]:
    try:
        with Image.open(path if content is None else BytesIO(content)) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {remedy}") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path}: not a complete image file ({error}); {remedy}") from None


def resize_image(image: Raster, size: tuple[int, int]) -> Raster:
    """Resize uint8 `[H, W, 3]` to (height, width): bilinear, low-passed where it shrinks (Pillow's filter)."""
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def resize_nearest(array: Raster, size: tuple[int, int]) -> Raster:
    """Resize `[..., H, W]` to (height, width) by the nearest pixel, pixel centres at integers plus a half."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(size, array.shape[-2:], strict=True)
    )
    nearest: Raster = array[..., rows[:, None], columns]
    return nearest


def write_raster(path: Path, array: Raster) -> None:
    """Write uint8 `[H, W, 3]` or `[H, W]` or uint16 `[H, W]`; JPEG at quality 95 without chroma subsampling."""
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {"compress_level": 1}
    with replacing(path) as partial:
        Image.fromarray(array).save(partial, **options)


def rgb_of(image: Tensor) -> Raster:
    """Bring `[3, H, W]` in [0, 1] to uint8 `[H, W, 3]`, round(255 x)."""
    pixels: Raster = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels
