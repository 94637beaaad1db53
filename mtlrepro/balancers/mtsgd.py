"""MTSGD: balance and clip the task gradients slice by slice."""

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import SliceRule, blocks


@register("mtsgd")
class MTSGD(SliceRule):
    """Multi-task SGD by gradient balance and clipping (Electronics 2022, 11(8), 1217, Eq. 3-8).

    Per slice of a shared parameter, with gradients D_i: r_i = |D_i|, e_i = D_i / r_i, s = min_i r_i,
    similarity c of the e_i, mask m = [c >= threshold], and the gradient m sum_i s e_i / T. Momentum, weight
    decay and learning rate are torch SGD's, applied to this. Scale: the mean; the paper sums: factor 1/T, so
    its learning rate is times T.
    Slices: *channel* is one per (n, c) plane of an N x C x H x W kernel, *filter* one per n, *parameter* the
    whole tensor (the reading of Table 4's caption). Rows of a matrix and whole vectors are slices at both
    first levels.

    Departures from the printed text. Eq. 3: a zero gradient has e = 0 and c = 0. Eq. 4, a product without a
    sum and over all tasks, is no similarity: the smallest cosine of a pair, or the mean. Eq. 5 prints a
    maximum, which is no mask and contradicts "-1 is no clipping": c >= threshold, up to rounding. Eq. 8
    prints s (s_1 + ... + s_n): by its text, the mask m and the g_i of Eq. 7. Eq. 1 multiplies the gradient by
    1 - rho, Eq. 8 does not: torch SGD without dampening is Eq. 8. Tasks that do not reach a parameter are
    left out of it; heads take ordinary steps.

    Args:
        n_tasks: Number of tasks T.
        level: What a slice is.
        threshold: Least similarity of a slice that is kept, in [-1, 1]; -1 keeps all.
        similarity: Over the pairs of tasks: the smallest cosine, or their mean; the same for two tasks.
        restore_norm: Not in the paper: scale each slice that is kept to the length of the plain mean gradient
            there, which separates the direction from the shorter step that balancing implies.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        n_tasks: int,
        level: Literal["channel", "filter", "parameter"] = "channel",
        threshold: float = 0.0,
        similarity: Literal["min", "mean"] = "min",
        restore_norm: bool = False,
    ) -> None:
        if level not in ("channel", "filter", "parameter"):
            raise ValueError(f"level is {level!r}; accepted: 'channel', 'filter', 'parameter'")
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold!r}; accepted: a number in [-1, 1]")
        if similarity not in ("min", "mean"):
            raise ValueError(f"similarity is {similarity!r}; accepted: 'min', 'mean'")
        super().__init__(n_tasks)
        self.level = level
        self.threshold = threshold
        self.similarity = similarity
        self.restore_norm = restore_norm

    def rule(self, gradients: list[Tensor]) -> Tensor:
        """Balanced and clipped sum of one parameter's gradients."""
        shape = gradients[0].shape
        result = torch.empty(shape, dtype=gradients[0].dtype, device=gradients[0].device)
        count, size = self._slices(shape)
        for out, *slices in blocks([tensor.reshape(count, size) for tensor in (result, *gradients)]):
            self._balance(slices, out)
        return result

    def _balance(self, slices: list[Tensor], out: Tensor) -> None:
        """Write the balanced and clipped sum of [S, n] slices to ``out``."""
        norms = torch.stack([_sum(g, g) for g in slices]).sqrt()
        inverse = norms.clamp_min(torch.finfo(norms.dtype).tiny).reciprocal()
        products = torch.stack([_sum(a, b) for a, b in combinations(slices, 2)])
        cosines = products * torch.stack([a * b for a, b in combinations(inverse.unbind(), 2)])
        similarity = cosines.amin(0) if self.similarity == "min" else cosines.mean(0)
        rounding = 8 * torch.finfo(norms.dtype).eps
        least = norms.amin(0) * (similarity >= self.threshold - rounding)
        first, *others = zip(slices, (least * inverse).unbind(), strict=True)
        torch.mul(*first, out=out)
        for gradient, coefficient in others:
            out += gradient * coefficient
        if self.restore_norm:
            plain = slices[0] + slices[1]
            for gradient in slices[2:]:
                plain += gradient
            length = _sum(out, out).sqrt()
            real = length > 64 * torch.finfo(length.dtype).eps * least
            out *= torch.where(real, _sum(plain, plain).sqrt() / length, 0.0)

    def _slices(self, shape: torch.Size) -> tuple[int, int]:
        """Count slices and elements per slice."""
        if self.level == "parameter" or len(shape) < 2:
            count = 1
        else:
            count = shape[0] * shape[1] if self.level == "channel" and len(shape) > 2 else shape[0]
        return count, shape.numel() // max(count, 1)


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """Take inner products per slice, [S, n] x [S, n] -> [S, 1]; a matrix product is the fastest sum."""
    products = a * b
    return products if a.shape[1] == 1 else products @ a.new_ones(a.shape[1], 1)
