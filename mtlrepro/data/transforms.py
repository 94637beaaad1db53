"""Train-time transforms of whole batches: mirror, crop and zoom, each sample with its own, all targets together.

The parameters of a sample depend on (seed, epoch, index) alone, so neither the order of the samples nor the number of
workers changes them. torchvision's v2 transforms, which the tests compare with, draw one set of parameters for a batch
from the global generator; here every sample of a batch has its own and all work is done by a few kernels on the
batch's device. Images are blended from four pixels; targets take the value of the pixel in which a centre lies, so
nothing invalid is blended into what is valid. Colour transforms of torchvision can be applied to `batch["image"]`.

**Zoom.** A window of 1/s of the size is enlarged by s, as in the crops of the MTAN benchmarks. What is shown is read
as a world s times smaller, the distance of the two cameras included, through a lens of s times the focal length f:
pixels lie s times further from the axis, depth is z / s, disparity (s f) (B / s) / (z / s) = s d, curvature s k;
directions, and so normals, stay, and reshading with a lamp of 1/s^2 of the power. Edges and keypoints are enlarged
with the picture, not computed anew.

**Mirror.** x becomes W - x and the x of normals changes sign. The mirror image of a stereo pair is the pair of the
swapped views: a network that expects the left view first sees the mirrored right view there, with the targets of the
right view. Targets of the right view that are not stored are derived, see `right_view`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from mtlrepro.data.right_view import derivable, right_view
from mtlrepro.data.samples import Batch, twin
from mtlrepro.targets import TARGETS

LARGEST_ZOOM = 16
"""Largest zoom factor: it leaves one pixel of the smallest scenes."""
VISIBLE = 0.25
"""Share of a box's area that must remain in the window; other boxes are dropped."""


@dataclass(frozen=True)
class Augmentation:
    """Random mirror, crop and zoom.

    Attributes:
        flip: Probability of a mirror image, in [0, 1].
        scales: Zoom factors, each from 1 to 16, one drawn uniformly; (1, 1.2, 1.5) in the MTAN benchmarks.
        crop: (height, width) of the result in pixels; default: the size of the images.

    Raises:
        ValueError: An attribute is out of range.
    """

    flip: float = 0.5
    scales: tuple[float, ...] = (1.0,)
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip!r}; accepted: a probability in [0, 1]")
        if not self.scales or not all(1 <= scale <= LARGEST_ZOOM for scale in self.scales):
            raise ValueError(f"scales is {self.scales!r}; accepted: one or more numbers from 1 to {LARGEST_ZOOM}")
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ValueError(f"crop is {self.crop!r}; accepted: (height, width) of at least 1 pixel")

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size (height, width) of the result for images of this size.

        Raises:
            ValueError: The images are smaller than `crop`.
        """
        crop = self.crop or size
        if crop[0] > size[0] or crop[1] > size[1]:
            raise ValueError(f"crop is {crop}; accepted for these images: up to {size}")
        return crop

    def draw(self, n: int, size: tuple[int, int], *, seed: int, epoch: int) -> Tensor:
        """Draw the parameters of all samples of an epoch; row i is that of sample i, whatever `n` is.

        Args:
            n: Number of samples.
            size: (height, width) of the images.
            seed: At least 0.
            epoch: At least 0.

        Returns:
            `[n, 4]` float32 on the CPU: zoom factor s, top and left of the window in pixels, mirror (0 or 1). The
            window has 1/s of the result's size and lies inside the image at whole pixels.
        """
        u = np.random.default_rng(np.random.SeedSequence([seed, epoch, _DRAWS])).random((n, 4))
        scale = np.asarray(self.scales, dtype=np.float64)[(u[:, 0] * len(self.scales)).astype(np.int64)]
        room = np.asarray(size) - np.asarray(self.output_size(size)) / scale[:, None]
        corner = np.floor(u[:, 1:3] * (np.floor(room) + 1))
        return torch.from_numpy(np.column_stack([scale, corner, u[:, 3] < self.flip]).astype(np.float32))

    def reads(self, keys: Iterable[str]) -> list[str]:
        """Keys that the transforms of these keys may make use of: of both views for mirror images of stereo pairs."""
        keys = list(keys)
        if "right" in keys and self.flip:
            keys += ["disparity", *map(twin, keys)]
        return self._with_disparity(keys)

    def check(self, available: Iterable[str], keys: Iterable[str]) -> None:
        """Check that a mirror image of a stereo pair can have all keys.

        Args:
            available: Keys of the batches before the transforms.
            keys: Keys of the result.

        Raises:
            ValueError: The target of the right view is neither stored nor can it be derived.
        """
        available, keys = set(available), list(keys)
        if not self.flip or "right" not in keys:
            return
        for key in map(twin, keys):
            if key not in available and not ("disparity" in available and derivable(key)):
                raise ValueError(
                    f"{key} is not stored, and the mirror image of a stereo pair needs it; accepted: flip=0, other keys"
                )

    def maps(self, batch: Batch, parameters: Tensor, keys: Sequence[str], sky: int | None = None) -> Batch:
        """Transform images and maps.

        Args:
            batch: B samples, `[B, ...]`; with `right` among the keys also the twins of the keys (`KEY_right`)
                or `disparity`, from which they are derived.
            parameters: `[B, 4]`, the samples' rows of `draw`, on the batch's device.
            keys: Keys of the result; boxes and labels are left out.
            sky: Class that is infinitely far, for `right_view`.

        Raises:
            ValueError: See `check`.
        """
        height, width = batch["image"].shape[-2:]
        size = self.output_size((height, width))
        scale, mirrored = (parameters[:, column].view(-1, 1, 1, 1) for column in (0, 3))
        maps = [key for key in keys if not TARGETS[key].ragged]
        self.check(batch, keys)
        names = self._with_disparity(maps)
        source = self._views(batch, names, mirrored > 0, sky) if "right" in maps and self.flip else batch
        window = _Window(parameters, (height, width), size) if self.crop or self.scales != (1.0,) else None

        def transform(key: str) -> Tensor:
            values: Tensor = source[key]
            target = TARGETS[key]
            dense = values if values.ndim == 4 else values[:, None]
            if window is not None:
                blend = target.picture and self.scales != (1.0,)
                dense = window.bilinear(dense) if blend else window.nearest(dense)
            elif self.flip:
                dense = torch.where(mirrored > 0, v2.horizontal_flip(dense), dense)
            if target.zoom:
                dense = dense * scale if target.zoom > 0 else dense / scale
            if target.mirrored:
                dense = torch.cat([torch.where(mirrored > 0, -dense[:, :1], dense[:, :1]), dense[:, 1:]], 1)
            if target.unmatched and window is not None:
                disparity = transform(key.replace("occlusion", "disparity"))
                dense = dense | _leaves(disparity, 1 if key.endswith("_right") else -1)
            return dense if values.ndim == 4 else dense[:, 0]

        return {key: transform(key) for key in maps}

    def boxes(self, batch: Batch, parameters: Tensor, size: tuple[int, int], keys: Sequence[str]) -> Batch:
        """Transform boxes and labels: clipped to the window, dropped with less than `VISIBLE` of their area in it.

        Args:
            batch: Lists of B tensors on the CPU.
            parameters: `[B, 4]`, the samples' rows of `draw`, on the CPU.
            size: (height, width) of the images before.
            keys: Keys of the result; only boxes and labels are looked at.

        Raises:
            ValueError: See `check`.
        """
        self.check(batch, keys)
        height, width = self.output_size(size)
        result: Batch = {}
        for key in keys:
            if not key.startswith("boxes"):
                continue
            boxes, labels = batch[key], batch[_labels(key)]
            if "right" in keys and self.flip:
                other = twin(key)
                swap = (parameters[:, 3] > 0).tolist()
                boxes = [batch[other if s else key][i] for i, s in enumerate(swap)]
                labels = [batch[_labels(other if s else key)][i] for i, s in enumerate(swap)]
            owner = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(b) for b in boxes]))
            scale, top, left, mirrored = parameters[owner].unbind(1)
            x1, y1, x2, y2 = torch.cat(boxes).unbind(1)
            x1, x2 = ((x - left) * scale for x in (x1, x2))
            y1, y2 = ((y - top) * scale for y in (y1, y2))
            x1, x2 = torch.where(mirrored > 0, width - x2, x1), torch.where(mirrored > 0, width - x1, x2)
            clipped = torch.stack([x1.clamp(min=0), y1.clamp(min=0), x2.clamp(max=width), y2.clamp(max=height)], 1)
            sides = (clipped[:, 2:] - clipped[:, :2]).clamp(min=0)
            kept = sides.prod(1) >= VISIBLE * (x2 - x1) * (y2 - y1)
            counts = torch.bincount(owner[kept], minlength=len(boxes)).tolist()
            result[key] = list(torch.split(clipped[kept], counts))
            result[_labels(key)] = list(torch.split(torch.cat(labels)[kept], counts))
        return result

    def __call__(self, batch: Batch, parameters: Tensor, sky: int | None = None) -> Batch:
        """Transform a whole batch on the CPU, with the order of its keys."""
        keys = [key for key in batch if key in TARGETS]
        done = self.maps(batch, parameters, keys, sky)
        done |= self.boxes(batch, parameters, (batch["image"].shape[-2], batch["image"].shape[-1]), keys)
        return {key: done.get(key, value) for key, value in batch.items()}

    def _with_disparity(self, keys: list[str]) -> list[str]:
        """Add the disparity from which a crop finds what has lost its counterpart."""
        crops = self.crop is not None or self.scales != (1.0,)
        needed = [key.replace("occlusion", "disparity") for key in keys if crops and TARGETS[key].unmatched]
        return list(dict.fromkeys([*keys, *needed]))

    def _views(self, batch: Batch, keys: list[str], mirrored: Tensor, sky: int | None) -> Batch:
        """Swap the views of mirrored pairs."""
        absent = [key for key in map(twin, keys) if key not in batch]
        twins = batch if not absent else batch | right_view(batch, absent, sky)
        return {
            key: torch.where(mirrored if twins[key].ndim == 4 else mirrored[:, 0], twins[twin(key)], twins[key])
            for key in keys
        }


_DRAWS = 1
"""Last word of the seed of `draw`; the loaders' order of samples has another, so that the two do not depend."""


class _Window:
    """Windows of B images, each enlarged to the same size: where every pixel of the result lies in its image."""

    def __init__(self, parameters: Tensor, size: tuple[int, int], output: tuple[int, int]) -> None:
        scale, top, left, mirrored = (column[:, None] for column in parameters.unbind(1))
        rows, columns = (torch.arange(n, device=parameters.device, dtype=torch.float32) + 0.5 for n in output)
        columns = torch.where(mirrored > 0, output[1] - columns, columns)
        self._rows = top + rows / scale
        self._columns = left + columns / scale
        self._size = size
        self._output = output

    def nearest(self, maps: Tensor) -> Tensor:
        """Take the pixel in which each centre lies: `[B, C, H, W]` to the result's size; no value is blended."""
        return self._take(maps, self._pixels)

    def bilinear(self, images: Tensor) -> Tensor:
        """Blend the four nearest pixel centres."""
        (upper_left, upper_right, lower_left, lower_right), u, v = self._neighbours
        upper = torch.lerp(self._take(images, upper_left), self._take(images, upper_right), u)
        return torch.lerp(upper, torch.lerp(self._take(images, lower_left), self._take(images, lower_right), u), v)

    @cached_property
    def _pixels(self) -> Tensor:
        return self._flat(self._rows.floor().long(), self._columns.floor().long())

    @cached_property
    def _neighbours(self) -> tuple[list[Tensor], Tensor, Tensor]:
        y0, y1, v = _between(self._rows, self._size[0])
        x0, x1, u = _between(self._columns, self._size[1])
        return [self._flat(y, x) for y in (y0, y1) for x in (x0, x1)], u[:, None, None, :], v[:, None, :, None]

    def _flat(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (rows[:, :, None] * self._size[1] + columns[:, None, :]).flatten(1)[:, None]

    def _take(self, maps: Tensor, where: Tensor) -> Tensor:
        values = maps.flatten(2).gather(2, where.expand(-1, maps.shape[1], -1))
        return values.reshape(*maps.shape[:2], *self._output)


def _between(at: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels whose centres lie before and after a position on an axis of n pixels, and the weight of the second."""
    index = (at - 0.5).clamp(0, n - 1)
    first = index.floor()
    return first.long(), (first.long() + 1).clamp(max=n - 1), index - first


def _leaves(disparity: Tensor, side: int) -> Tensor:
    """Pixels whose counterpart in the other view lies outside of it; `side` is its direction."""
    width = disparity.shape[-1]
    x = torch.arange(width, device=disparity.device) + 0.5 + side * disparity
    return (x < 0) | (x > width)


def _labels(boxes: str) -> str:
    return boxes.replace("boxes", "labels")
