"""MTSGD: balance and clip the task gradients slice by slice."""

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import SliceRule, sum_of_slices

MANY = 4
"""Tasks from which on slices that a first few pairs stop are not looked at further."""


@register("mtsgd")
class MTSGD(SliceRule):
    """Multi-task SGD by gradient balance and clipping (Electronics 2022, 11(8), 1217, Eq. 3-8).

    Per slice of a shared parameter, with gradients D_i: r_i = |D_i|, e_i = D_i / r_i, s = min_i r_i,
    similarity c of the e_i, mask m = [c >= threshold], and the gradient m sum_i s e_i / T. Momentum, weight
    decay and learning rate are torch SGD's, applied to this.

    Scale: the mean; the paper sums the gradients of weighted losses. With weights of 1/T (0.5 and 0.5 in its
    tables) the factor is 1, and its learning rate carries over. With weights of 1 (1:1 in its text) the factor is
    1/T: its learning rate is times T, which also multiplies a coupled weight decay such as torch SGD's, so that its
    decay is over T. Heads receive grad L_k / T, neither balanced nor clipped, so the same holds for them.

    A task whose gradient is zero in a slice removes that slice's gradient, at every threshold and with
    `restore_norm`, since then s = 0. Without `balance` its pairs have a cosine of 0: for two tasks a threshold of at
    most 0 keeps the slice, for more the other pairs decide too. Only tasks that do not reach a parameter at all are
    left out of it.

    Slices: *channel* is one per (n, c) plane of an N x C x H x W kernel, *filter* one per n, *parameter* the
    whole tensor (the reading of Table 4's caption).

    Choices, where the paper speaks of convolution kernels alone: a vector (a bias, the scale or shift of a
    normalisation) is one slice, and so is each row of a matrix (a linear layer), at both first levels; heads, which
    have a single task, take ordinary steps, as the rule would leave them without any.

    Departures from the printed text. Eq. 3: a zero gradient has e = 0 and c = 0. Eq. 4, a product without a
    sum and over all tasks, is no similarity: the smallest cosine of a pair, or the mean. Eq. 5 prints a
    maximum, which is no mask and contradicts "-1 is no clipping": c >= threshold, up to rounding. Eq. 8
    prints s (s_1 + ... + s_n): by its text, the mask m and the g_i of Eq. 7. Eq. 1 multiplies the gradient by
    1 - rho, Eq. 8 does not: torch SGD without dampening is Eq. 8.

    Args:
        n_tasks: Number of tasks T.
        level: What a slice is.
        threshold: Least similarity of a slice that is kept, in [-1, 1]; -1 keeps all, which is balance alone.
        similarity: Over the pairs of tasks: the smallest cosine, or their mean; the same for two tasks.
        restore_norm: Not in the paper: True scales each slice that is kept to the length of the plain mean gradient
            there; `step` scales the combined gradient of all shared parameters to the length of their plain mean
            gradient. Both separate the direction from the other length of step, for two tasks never a longer
            one, that balancing and clipping imply.
        balance: Not in the paper: with False, slices that are kept have the plain mean gradient, the mask alone.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        n_tasks: int,
        level: Literal["channel", "filter", "parameter"] = "channel",
        threshold: float = 0.0,
        similarity: Literal["min", "mean"] = "min",
        restore_norm: bool | Literal["step"] = False,
        balance: bool = True,
    ) -> None:
        if level not in ("channel", "filter", "parameter"):
            raise ValueError(f"level is {level!r}; accepted: 'channel', 'filter', 'parameter'")
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold!r}; accepted: a number in [-1, 1]")
        if similarity not in ("min", "mean"):
            raise ValueError(f"similarity is {similarity!r}; accepted: 'min', 'mean'")
        if not isinstance(balance, bool):
            raise ValueError(f"balance is {balance!r}; accepted: True, False")
        if not isinstance(restore_norm, bool) and restore_norm != "step":
            raise ValueError(f"restore_norm is {restore_norm!r}; accepted: False, True, 'step'")
        if restore_norm is True and not balance:
            raise ValueError("restore_norm is True; accepted with balance=False: False, 'step'")
        super().__init__(n_tasks)
        self.level = level
        self.threshold = threshold
        self.similarity = similarity
        self.restore_norm = restore_norm
        self.balance = balance
        self._squares: list[Tensor] = []

    def slices(self, shape: torch.Size) -> tuple[int, int]:
        """Count slices and elements per slice."""
        if self.level == "parameter" or len(shape) < 2:
            count = 1
        else:
            count = shape[0] * shape[1] if self.level == "channel" and len(shape) > 2 else shape[0]
        return count, shape.numel() // max(count, 1)

    def rule(self, gradients: list[Tensor], out: Tensor) -> None:
        """Balance and clip slices [A, n, B], and add them."""
        if out.shape[1] == 1 and self._signs_must_agree(len(gradients)):
            self._least_of_one_sign(gradients, out)
        elif len(gradients) >= MANY and self.similarity == "min" and self.threshold > -1 and out.is_cpu:
            self._add_survivors(gradients, out)
        else:
            self._add_all(gradients, out)

    def _add_survivors(self, gradients: list[Tensor], out: Tensor) -> None:
        """As `_add_all`, on the slices that are left once tasks 0 and 1, 2 and 3, ... have been compared.

        T tasks have T (T - 1) / 2 pairs, and one that disagrees stops a slice; on a CPU, where asking for the number of
        slices that are left costs nothing, most pairs are then never compared.
        """
        pairs = [(k, k + 1) for k in range(0, len(gradients) - 1, 2)]
        norms, cosines = _products(gradients, pairs, out)
        left = self._kept(_inverse(norms), cosines, pairs).nonzero(as_tuple=True)
        n_left = len(left[0])
        if 2 * n_left > norms[0].numel():
            self._add_all(gradients, out)
            return
        out.zero_()
        if n_left:
            part = out.new_empty(n_left, out.shape[1], 1)
            self._add_all([gradient.transpose(1, 2)[left].unsqueeze(2) for gradient in gradients], part)
            out.transpose(1, 2)[left] = part.squeeze(2)

    def _add_all(self, gradients: list[Tensor], out: Tensor) -> None:
        """Balance and clip slices [A, n, B] of any size, and add them."""
        # Memory traffic sets the time: a gradient is read for its norm, for each pair's product and for the sum, and
        # everything else here is one number a slice, worked on in place.
        pairs = list(combinations(range(len(gradients)), 2)) if self.threshold > -1 else []
        norms, cosines = _products(gradients, pairs, out)
        inverse = _inverse(norms)
        least = norms.amin(0)
        scale = least / self.n_tasks if self.balance else torch.full_like(least, 1 / self.n_tasks)
        if pairs:
            scale.mul_(self._kept(inverse, cosines, pairs))
        coefficients = inverse.mul_(scale) if self.balance else scale.expand_as(inverse)
        first, *others = zip(gradients, coefficients.unsqueeze(2), strict=True)
        torch.mul(*first, out=out)
        for gradient, coefficient in others:
            out.addcmul_(gradient, coefficient)
        if self.restore_norm and self.balance:
            self._restore(gradients, least, out)

    def _kept(self, inverse: Tensor, cosines: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
        """Whether slices are similar enough, [A, B] bool, from 1 / norms [t, A, B] and products, overwritten."""
        factors = inverse.unbind()
        for cosine, (i, j) in zip(cosines.unbind(), pairs, strict=True):
            cosine.mul_(factors[i]).mul_(factors[j])
        similarity = cosines.amin(0) if self.similarity == "min" else cosines.mean(0)
        # Parallel gradients must pass a threshold of 1 despite rounding.
        return similarity >= self.threshold - _rounding(inverse)

    def _restore(self, gradients: list[Tensor], least: Tensor, out: Tensor) -> None:
        """Give each slice the length of the plain mean; with `step` only clear what is rounding."""
        length = _norms(out)
        # What is left of gradients that cancel is rounding, without a direction: such a slice becomes 0.
        real = length > 8 * _rounding(length) * least
        if self.restore_norm == "step":
            out *= real.unsqueeze(1)
        else:
            plain = _norms(self._mean(gradients))
            out *= torch.where(real, plain / length, 0.0).unsqueeze(1)

    def fill(self, gradients: list[Tensor], out: Tensor) -> None:
        """Balance and clip slices, and note the squared lengths of the plain mean and of the result."""
        super().fill(gradients, out)
        if self.restore_norm == "step":
            lengths = [torch.dot(g, g) for g in (self._mean(gradients).flatten(), out.flatten())]
            self._squares.append(torch.stack(lengths).double())

    def finish(self, combined: list[Tensor]) -> None:
        """Give the step the length of the plain mean; one without any slice left stays 0."""
        if self.restore_norm == "step":
            plain, length = torch.stack(self._squares).sum(0).sqrt().unbind()
            self._squares.clear()
            factor = torch.where(length > 0, plain / length, 1.0)
            for gradient in combined:
                gradient.mul_(factor)

    def _mean(self, gradients: list[Tensor]) -> Tensor:
        """Plain mean of some tasks' gradients over all T tasks."""
        first, *others = gradients
        total = first + others[0] if others else first.clone()
        for gradient in others[1:]:
            total += gradient
        return total.div_(self.n_tasks)

    def _signs_must_agree(self, count: int) -> bool:
        """Whether slices of one element are kept only where all gradients have the same sign.

        The cosine of two numbers is 1, -1, or 0 where one is 0, so the rule needs no norms there.
        """
        smallest = self.similarity == "min" or count == 2
        return smallest and self.threshold > -0.99 and self.balance and self.restore_norm is not True

    def _least_of_one_sign(self, gradients: list[Tensor], out: Tensor) -> None:
        """Take the gradient of least magnitude where all have the same sign, and 0 elsewhere."""
        low = torch.minimum(gradients[0], gradients[1], out=out)
        high = torch.maximum(gradients[0], gradients[1])
        for gradient in gradients[2:]:
            torch.minimum(low, gradient, out=low)
            torch.maximum(high, gradient, out=high)
        # The minimum where all are positive, the maximum where all are negative; elsewhere both clamps give 0.
        low.clamp_min_(0)
        low += high.clamp_max_(0)
        low *= len(gradients) / self.n_tasks


def _products(gradients: list[Tensor], pairs: list[tuple[int, int]], scratch: Tensor) -> tuple[Tensor, Tensor]:
    """Take norms [t, A, B] of t gradients [A, n, B], and products [p, A, B] of p pairs of them, slice by slice.

    `scratch`, [A, n, B], is written over, so that a block needs no further memory.
    """
    count, (rows, _, columns) = len(gradients), gradients[0].shape
    result = gradients[0].new_empty(count + len(pairs), rows, columns)
    for each, (i, j) in zip(result.unbind(), [*((k, k) for k in range(count)), *pairs], strict=True):
        torch.mul(gradients[i], gradients[j], out=scratch)
        sum_of_slices(scratch, out=each)
    return result[:count].sqrt_(), result[count:]


def _norms(slices: Tensor) -> Tensor:
    """Take the norms [A, B] of slices [A, n, B]."""
    return _products([slices], [], torch.empty_like(slices))[0][0]


def _inverse(norms: Tensor) -> Tensor:
    """Take 1 / norm; a zero gradient has e = 0, not NaN."""
    return norms.clamp_min(torch.finfo(norms.dtype).tiny).reciprocal_()


def _rounding(tensor: Tensor) -> float:
    return 8 * torch.finfo(tensor.dtype).eps
