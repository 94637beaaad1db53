"""Two overlapping handwritten digits in one image, after MultiMNIST, from scikit-learn's 1,797 scans."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

SIDE = 8
SHIFT = 4
SPLITS = {"train": slice(0, 1297), "test": slice(1297, 1797)}


@dataclass(frozen=True)
class TwoDigits:
    """Images and targets of three tasks.

    Attributes:
        images: `[N, 1, 12, 12]` in [0, 1], the pixelwise maximum of both scans.
        targets: `left` and `right`, classes 0 to 9, int64 `[N]`; `sum`, the sum of the two digits
            standardised as if both were uniform on 0..9, `(left + right - 9) / sqrt(16.5)`, `[N]`.
    """

    images: Tensor
    targets: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str | torch.device, dtype: torch.dtype) -> "TwoDigits":
        """Copy on `device`, with images and real-valued targets in `dtype`."""
        targets = {
            name: target.to(device, dtype if target.is_floating_point() else target.dtype)
            for name, target in self.targets.items()
        }
        return TwoDigits(self.images.to(device, dtype), targets)

    def __getitem__(self, index: Tensor | slice) -> "TwoDigits":
        return TwoDigits(self.images[index], {name: target[index] for name, target in self.targets.items()})


@cache
def _scans() -> tuple[np.ndarray, np.ndarray]:
    scans, classes = load_digits(return_X_y=True)
    return scans.reshape(-1, SIDE, SIDE) / 16.0, classes


def two_digits(n: int = 1024, split: str = "train", seed: int = 0) -> TwoDigits:
    """Compose `n` images of two digits each, reproducibly for `(n, split, seed)`.

    The left digit fills rows and columns 0 to 7 of a 12 x 12 canvas, the right one rows and columns 4 to 11;
    where they overlap the brighter pixel wins (Sabour et al. 2017 and Sener and Koltun 2018 compose MNIST
    the same way at 28 pixels a digit). The two splits draw from different scans, so no scan is in both.

    Args:
        n: Number of images, at least 1; each is a pair drawn uniformly, with replacement.
        split: `train` (the first 1,297 scans) or `test` (the last 500).
        seed: Seed of the pairs, at least 0.

    Raises:
        ValueError: An argument is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    if n < 1:
        raise ValueError(f"n is {n}; accepted: 1 or more images")
    if seed < 0:
        raise ValueError(f"seed is {seed}; accepted: 0 or more")
    scans, classes = (part[SPLITS[split]] for part in _scans())
    rng = np.random.default_rng(np.random.SeedSequence([seed, list(SPLITS).index(split)]))
    left, right = rng.integers(len(scans), size=(2, n))
    canvas = np.zeros((n, SIDE + SHIFT, SIDE + SHIFT))
    canvas[:, :SIDE, :SIDE] = scans[left]
    canvas[:, SHIFT:, SHIFT:] = np.maximum(canvas[:, SHIFT:, SHIFT:], scans[right])
    total = classes[left] + classes[right]
    targets = {
        "left": torch.from_numpy(classes[left]).long(),
        "right": torch.from_numpy(classes[right]).long(),
        "sum": torch.from_numpy((total - 9) / np.sqrt(16.5)).float(),
    }
    return TwoDigits(torch.from_numpy(canvas).float()[:, None], targets)
