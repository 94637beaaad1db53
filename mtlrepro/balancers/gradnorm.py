"""GradNorm: task weights that equalise the rates of training."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlrepro.balancers.base import Step, register
from mtlrepro.balancers.gradient_balancing import GradientBalancer
from mtlrepro.balancers.gradients import Row, accumulate, combine, gramian


@register("gradnorm")
class GradNorm(GradientBalancer):
    """Gradient normalisation (Chen et al., ICML 2018, PMLR 80, arXiv 1711.02257, Section 3 and Algorithm 1).

    G_k = w_k |grad_W L_k|, r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0)); the weights descend L_grad = sum_k
    |G_k - mean(G) r_k^alpha| (Eq. 2) with the target (Eq. 1) held constant, so dL_grad/dw_k = sign(G_k -
    target) |grad_W L_k|, and are scaled to sum T after each update. `weight` is a parameter: give
    `balancer.parameters()` to the optimizer, without weight decay; its gradient is written by `backward`.
    The combined gradient is 1/T sum_k w_k g_k, heads get w_k grad L_k / T. Scale: the mean; the paper sums:
    factor 1/T. Departures: w is kept at or above 1e-4 before it is scaled, so that a long update cannot make
    it negative; L_k(0) is the first loss seen, clamped at 1e-30.

    Args:
        n_tasks: Number of tasks T.
        alpha: Strength of the pull to a common rate, at least 0; the paper's 1.5 on NYUv2 (Section 5.4).
        layer: W: the weight of the last shared layer (the last of `shared` with two or more dimensions), as
            in the paper, or all shared parameters.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(self, n_tasks: int, alpha: float = 1.5, layer: Literal["last", "all"] = "last") -> None:
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha!r}; accepted: a number of at least 0")
        if layer not in ("last", "all"):
            raise ValueError(f"layer is {layer!r}; accepted: 'last', 'all'")
        super().__init__(n_tasks)
        self.alpha = alpha
        self.layer = layer
        self.weight = nn.Parameter(torch.ones(n_tasks, dtype=torch.float64))
        self._initial: Tensor
        self.register_buffer("_initial", torch.full((n_tasks,), torch.nan, dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """[T] float64, w_k / T, sum 1."""
        weight = self.weight.detach().clamp_min(1e-4)
        return weight / weight.sum()

    def _merge(self, step: Step, rows: list[Row]) -> tuple[Tensor, Tensor]:
        layer = [row if self.layer == "all" else self._last(step, row) for row in rows]
        products = torch.stack([gramian([part])[0, 0].to(step.values.device) for part in layer])
        if step.scale is not None:
            products = products / step.scale.double().square()
        valid = self._judge(step, products)
        self.weight.copy_(self.weights * self.n_tasks)

        first = self._initial.isnan() & valid
        self._initial.copy_(torch.where(first, step.values, self._initial))
        here = ~step.values.isnan()
        length = step.spread(products.sqrt())
        norm = self.weight * length
        rate = step.values / self._initial.clamp_min(1e-30)
        target = norm.sum() / here.sum() * (rate / rate.nanmean()) ** self.alpha
        gradient = torch.where(here, (norm - target).sign() * length, 0.0)
        if step.scale is not None:
            gradient = gradient * step.scale
        self.weight.grad = gradient if self.weight.grad is None else self.weight.grad + gradient

        everyone = self.weights.unbind()
        weights = torch.stack([everyone[k] for k in step.tasks])
        accumulate(step.shared, combine(rows, weights))
        return step.spread(weights), weights

    def _last(self, step: Step, row: Row) -> Row:
        matrices = [i for i, p in enumerate(step.shared) if p.ndim > 1]
        return [row[matrices[-1] if matrices else -1]]
