"""GradDrop: gradient sign dropout."""

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import SliceRule
from mtlrepro.balancers.random_state import RandomState


@register("graddrop")
class GradDrop(RandomState, SliceRule):
    """Gradient sign dropout (Chen et al., NeurIPS 2020, arXiv 2010.06808, Eq. 1 and Algorithm 1).

    Per element, with purity P = (1 + sum_k g_k / sum_k |g_k|) / 2: with probability P the positive task
    gradients are kept, otherwise the negative ones. The expectation is the plain combination. Scale: the
    mean; the paper
    sums: factor 1/T. Departures: acts on the shared parameters' gradients, as the CAGrad authors' comparison
        does;
    the paper's layer acts on activation gradients. No leak, identity as activation function f.

    Args:
        n_tasks: Number of tasks T.
        seed: Of the dropout; the stream is the balancer's own and part of ``state_dict``.
    """

    def __init__(self, n_tasks: int, seed: int = 0) -> None:
        super().__init__(n_tasks)
        self.seed = seed

    def rule(self, gradients: list[Tensor]) -> Tensor:
        """Sum of the gradients of one sign per element, drawn by purity."""
        total, size = gradients[0] + gradients[1], gradients[0].abs() + gradients[1].abs()
        for gradient in gradients[2:]:
            total += gradient
            size += gradient.abs()
        positive = (size + total) / 2
        draw = torch.rand(
            total.shape, generator=self.generator(total.device), device=total.device, dtype=total.dtype
        )
        return torch.where(draw * size < positive, positive, positive - size)
