"""Losses of dense predictions by equation: those of loss scale balancing, and those of the public benchmark.

Every loss is a quotient, `Terms`: one value and one weight per image, the batch's loss being the sum of the values
over the sum of the weights. What is unknown enters neither. Losses of LSB are means over an image's known pixels,
averaged over images with known pixels; those of the benchmark are means over all known pixels of the batch. Where
every pixel is known the two averages agree.

Equation numbers are those of the supplement to Lee, Lee and Kim, "Learning Multiple Pixelwise Tasks Based on Loss
Scale Balancing", ICCV 2021; n = wh is the number of pixels, here of known ones, and a hat marks the estimate.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlrepro.targets import TARGETS

Batch = Mapping[str, Any]
"""Samples by key, see `targets`."""
IGNORE = -1
"""Class of pixels that are unknown."""
LARGEST_FEATURE = 10.0
"""f_max of Eq. 8."""


class Terms(NamedTuple):
    """A loss as a quotient of sums, so that parts of a batch can be put together.

    Attributes:
        values: `[B]`, numerators of the images, with gradient.
        weights: `[B]`, denominators: numbers of known pixels, of known images, or of locations on known boxes.
    """

    values: Tensor
    weights: Tensor

    def mean(self, total: Tensor | None = None) -> Tensor:
        """Sum of the values over that of the weights: the batch's loss, a scalar.

        Args:
            total: Takes the place of the sum of the weights. With several processes, each of which has a part of the
                batch, the sum over all of them divided by their number makes the mean of their losses that of the
                whole batch.

        Returns:
            0, with a gradient of 0, where nothing is known.
        """
        total = self.weights.sum() if total is None else total
        return self.values.sum() / torch.where(total > 0, total, 1.0)

    def samples(self, total: Tensor | None = None) -> Tensor:
        """`[B]`, one loss per image, whose mean is `mean(total)`."""
        total = self.weights.sum() if total is None else total
        return self.values * (len(self.values) / torch.where(total > 0, total, 1.0))


def known(batch: Batch, key: str) -> Tensor:
    """Say where a target is known, bool `[B, 1, H, W]`.

    Args:
        batch: Samples; with `valid` where the target's row says `mask`, and, if some images lack a target whose row
            says `always` or `mask`, with `labelled`.
        key: Of a dense target, see `targets`.

    Raises:
        ValueError: `valid` is needed and absent.
    """
    target: Tensor = batch[key]
    rule = TARGETS[key].known
    if rule == "class":
        return (target != IGNORE)[:, None]
    if rule == "positive":
        return target > 0
    if rule == "nonzero":
        return (target != 0).any(1, keepdim=True)
    if rule == "mask" and "valid" not in batch:
        raise ValueError(f"the batch has the keys {', '.join(batch)}; accepted for {key}: with 'valid', its mask")
    mask: Tensor = batch["valid"] if rule == "mask" else torch.ones_like(target[:, :1], dtype=torch.bool)
    labelled: Tensor | None = batch.get("labelled", {}).get(key)
    if labelled is None or all(labelled.tolist()):
        return mask
    flags = labelled.pin_memory() if target.is_cuda else labelled  # so that the copy does not wait for the device
    return mask & flags.to(target.device, non_blocking=True)[:, None, None, None]


def depth_loss(estimate: Tensor, depth: Tensor, mask: Tensor, depth_range: tuple[float, float]) -> Terms:
    """Mean |log D^ - log D| with both regularisers, LSB Eqs. 2 to 4.

    r_min = mean max(d_min - D^, 0) and r_max = mean max(D^ - d_max, 0). Eq. 4 prints D for D^, which would make r_max
    a constant. The logarithm has no value at D^ <= 0: inside it D^ is at least d_min / 10, where its gradient stops
    and that of r_min, 1 / n, goes on.

    Args:
        estimate: `[B, 1, H, W]`, D^ in metres, any real number.
        depth: `[B, 1, H, W]`, D in metres.
        mask: `[B, 1, H, W]` bool, where D is known.
        depth_range: d_min and d_max in metres, of the data set.
    """
    low, high = depth_range
    ratio = log_ratio(estimate, depth, mask, low)
    return per_image(ratio.abs() + F.relu(low - estimate) + F.relu(estimate - high), mask)


def log_ratio(estimate: Tensor, depth: Tensor, mask: Tensor, low: float) -> Tensor:
    """The difference log D^ - log D of Eq. 2, with D^ of at least `low / 10`; 0 - log D^ where D is unknown."""
    return estimate.clamp(min=low / 10).log() - torch.where(mask, depth, 1.0).log()


def normal_loss(estimate: Tensor, normal: Tensor, mask: Tensor) -> Terms:
    """1 - mean n . n^ + mean | |n^| - 1 |, LSB Eqs. 5 and 6; n^ is not normalised.

    Args:
        estimate: `[B, 3, H, W]`, n^.
        normal: `[B, 3, H, W]`, unit vectors n.
        mask: `[B, 1, H, W]` bool, where n is known.
    """
    product = (estimate * normal).sum(1, keepdim=True)
    length = torch.linalg.vector_norm(estimate, dim=1, keepdim=True)  # its gradient at 0 is 0
    return per_image(1 - product + (length - 1).abs(), mask)


def segmentation_loss(features: Tensor, classes: Tensor, mask: Tensor) -> Terms:
    """Mean cross-entropy with softmax, and mean sum_c max(|F_c| - 10, 0), LSB Eqs. 7 and 8.

    Args:
        features: `[B, C, H, W]`, F^, before softmax.
        classes: `[B, H, W]` int64, -1 where unknown.
        mask: `[B, 1, H, W]` bool, where the class is known.
    """
    entropy = F.cross_entropy(features, classes, ignore_index=IGNORE, reduction="none")
    excess = F.softshrink(features, LARGEST_FEATURE).abs().sum(1)
    return per_image((entropy + excess)[:, None], mask)


def map_loss(estimate: Tensor, target: Tensor, mask: Tensor) -> Terms:
    """(1/n) |C^ - C| + |std(C^) - std(C)|, LSB Eqs. 9 and 10: curvature, reshading, edges and keypoints.

    Two readings, as the print leaves them open: the norm is L1 and sums over channels, of which curvature has two;
    the deviation is one number for an image, over all channels and known pixels, with n in its denominator.

    Args:
        estimate: `[B, C, H, W]`, C^.
        target: `[B, C, H, W]`, C.
        mask: `[B, 1, H, W]` bool, where C is known.
    """
    distance = per_image((estimate - target).abs().sum(1, keepdim=True), mask)
    spread = _deviation(estimate, mask) - _deviation(target, mask)
    return Terms(distance.values + spread.abs(), distance.weights)


def _deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of each image's known values, `[B]`; its gradient is 0 where it is 0."""
    count = (mask.sum((1, 2, 3)) * values.shape[1]).clamp(min=1).to(values.dtype)
    mean = torch.where(mask, values, 0).sum((1, 2, 3)) / count
    centred = torch.where(mask, values - mean[:, None, None, None], 0)
    norm: Tensor = torch.linalg.vector_norm(centred, dim=(1, 2, 3))
    return norm / count.sqrt()


def cross_entropy(logits: Tensor, classes: Tensor, mask: Tensor) -> Terms:
    """Mean cross-entropy over the known pixels of a batch, as the public benchmark has it (Liu et al., CVPR 2019).

    Args:
        logits: `[B, C, H, W]`.
        classes: `[B, H, W]` int64, -1 where unknown.
        mask: `[B, 1, H, W]` bool, where the class is known.
    """
    entropy = F.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="none")
    return pooled(entropy[:, None], mask)


def absolute_error(estimate: Tensor, target: Tensor, mask: Tensor) -> Terms:
    """Mean |estimate - target| over the known pixels of a batch: the benchmark's depth loss, and our disparity loss.

    MTSGD's article (Electronics 2022) does not state its disparity loss; an L1 loss is our assumption.

    Args:
        estimate: `[B, 1, H, W]`.
        target: `[B, 1, H, W]`, in the unit of the estimate.
        mask: `[B, 1, H, W]` bool, where the target is known.
    """
    return pooled((estimate - target).abs(), mask)


def cosine_loss(estimate: Tensor, normal: Tensor, mask: Tensor) -> Terms:
    """1 - mean cosine over the known pixels of a batch, as in the public benchmark; |n^| does not matter.

    Args:
        estimate: `[B, 3, H, W]`; at 0 the cosine and its gradient are 0, near it the gradient grows as 1 / |n^|.
        normal: `[B, 3, H, W]`, unit vectors.
        mask: `[B, 1, H, W]` bool, where the normal is known.
    """
    product = (estimate * normal).sum(1, keepdim=True)
    length = torch.linalg.vector_norm(estimate, dim=1, keepdim=True)
    return pooled(1 - product / torch.where(length > 0, length, torch.inf), mask)


def per_image(values: Tensor, mask: Tensor) -> Terms:
    """Mean of an image's known values; images without any count neither above nor below.

    Args:
        values: `[B, 1, H, W]`; finite also where unknown.
        mask: `[B, 1, H, W]` bool.
    """
    sums, counts = pooled(values, mask)
    return Terms(sums / counts.clamp(min=1), (counts > 0).to(sums.dtype))


def pooled(values: Tensor, mask: Tensor) -> Terms:
    """Sum and number of an image's known values; arguments as for `per_image`."""
    return Terms(torch.where(mask, values, 0).sum((1, 2, 3)), mask.sum((1, 2, 3)).to(values.dtype))
