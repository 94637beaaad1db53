"""GradDrop: gradient sign dropout."""

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import SliceRule
from mtlrepro.balancers.random_state import RandomState


@register("graddrop")
class GradDrop(RandomState, SliceRule):
    """Gradient sign dropout (Chen et al., NeurIPS 2020, arXiv 2010.06808).

    Per element, with purity P = (1 + sum_k g_k / sum_k |g_k|) / 2: with probability P the positive task
    gradients are kept, otherwise the negative ones. The expectation is the plain combination. Scale: the
    mean; the paper sums: factor 1/T. Departures: acts on the shared parameters' gradients, as the CAGrad authors'
    comparison does; the paper's layer acts on activation gradients. No leak, identity as activation function f.
    Purities are resolved to 2^-16.

    Args:
        n_tasks: Number of tasks T.
        seed: Of the dropout; the stream is the balancer's own and part of `state_dict`.
    """

    draws = True

    def __init__(self, n_tasks: int, seed: int = 0) -> None:
        super().__init__(n_tasks)
        self.seed = seed

    def rule(self, gradients: list[Tensor], out: Tensor) -> None:
        """Add the gradients of one sign per element, drawn by purity."""
        first, second, *others = gradients
        total, size = torch.add(first, second, out=out), first.abs()
        size += second.abs()
        for gradient in others:
            total += gradient
            size += gradient.abs()
        margin = torch.addcmul(total, self._draw(total), size, value=-(2**-15))  # P > U is total > (2 U - 1) size
        total += size.copysign_(margin)
        total /= 2 * self.n_tasks

    def _draw(self, like: Tensor) -> Tensor:
        """Draw uniform half-integers in (-2^15, 2^15): four from a 64-bit word, four times as fast."""
        words = torch.empty(like.numel() // 4 + 1, dtype=torch.int64, device=like.device)
        words.random_(-(2**63), None, generator=self.generator(like.device))
        return words.view(torch.int16)[: like.numel()].view(like.shape).to(like.dtype).add_(0.5)
