"""MCLGS: curriculum learning on gradient similarity, alone and before CAGrad."""

from typing import Any, Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import Balancer, Step, register
from mtlrepro.balancers.cagrad import CAGrad
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.gradients import Row, accumulate, average, combine, leaves, task_gradients


def similarity_weights(gramian: Tensor, p: float | Tensor) -> Tensor:
    """W_k = sum_{j != k} (1 + tanh(p s_kj)) / (N (N - 1)) with s the cosines of N task gradients.

    Args:
        gramian: [N, N]. A zero gradient has cosine 0 with all others.
        p: Strength of the curriculum, at least 0; 0 gives 1/N each.

    Returns:
        [N] float64, each in (0, 2/N); for N = 1 it is 1.
    """
    n = len(gramian)
    if n == 1:
        return torch.ones_like(gramian[0], dtype=torch.float64)
    norms = gramian.double().diagonal().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    pairs = 1 + torch.tanh(p * gramian * inverse * inverse[:, None])
    return pairs.fill_diagonal_(0.0).sum(1) / (n * (n - 1))


class _Curriculum(Balancer):
    """The schedule p(t) = max(a_0 - t Delta a, 0)."""

    a0: float
    delta_a: float
    step: Literal["epoch", "iteration"]

    def _set_curriculum(self, a0: float, delta_a: float, step: Literal["epoch", "iteration"]) -> None:
        if not a0 >= 0:
            raise ValueError(f"a0 is {a0!r}; accepted: a number of at least 0")
        if not delta_a >= 0:
            raise ValueError(f"delta_a is {delta_a!r}; accepted: a number of at least 0")
        if step not in ("epoch", "iteration"):
            raise ValueError(f"step is {step!r}; accepted: 'epoch', 'iteration'")
        self.a0, self.delta_a, self.step = a0, delta_a, step
        self._epoch: Tensor
        self.register_buffer("_epoch", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def p(self) -> float:
        """Strength of the curriculum now; t counts completed epochs or iterations from 0."""
        t = self.epochs if self.step == "epoch" else self.steps
        return max(self.a0 - t * self.delta_a, 0.0)

    def _strength(self) -> Tensor:
        """Compute p on the device, so that it also changes between replays of a CUDA graph."""
        t = self._epoch if self.step == "epoch" else self._count
        return (self.a0 - t.double() * self.delta_a).clamp_min(0)

    def _end_epoch(self, losses: Tensor) -> None:
        self._epoch += 1

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the counters, on the device too."""
        super().set_extra_state(state)
        self._epoch.fill_(self.epochs)


@register("mclgs")
class MCLGS(_Curriculum, GramianWeighting):
    """Curriculum learning on gradient similarity (BMVC 2022, paper 705; the poster's rule).

    s_ij is the cosine of two tasks' gradients over the shared parameters, p(t) = max(a_0 - t Delta a, 0),
    w_ij = 1 + tanh(s_ij p(t)), and the step 1/(N (N - 1)) sum_{i<j} w_ij (g_i + g_j) = sum_k W_k g_k with
    W_k = sum_{j != k} w_kj / (N (N - 1)), for shared parameters and heads alike. Once p(t) = 0 it is the
    mean, at the cost of one backward pass. Scale: not the mean: N >= 2 equal gradients g give (1 + tanh p) g.
    Factor to the poster's rule: 1. For N = 2 it only gates the length of the step. Departures: none from the
    rule; a_0, Delta a, the unit of t and the batch as the unit of s are choices, the paper's text was not
    available (the poster speaks of samples).

    Args:
        n_tasks: Number of tasks N.
        a0: p at the start, at least 0. 40 is nearly a binary gate.
        delta_a: Decrease of p per step of the schedule, at least 0.
        step: What t counts.
        granularity: `sample` gives each sample its own weights: losses are then [B] values per task, and a
            step costs B x N backward passes; it returns no weights.
        at: See `GramianWeighting`; with `sample`, only `parameters`.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        n_tasks: int,
        a0: float = 40.0,
        delta_a: float = 0.4,
        step: Literal["epoch", "iteration"] = "epoch",
        granularity: Literal["batch", "sample"] = "batch",
        at: Literal["parameters", "representation"] = "parameters",
    ) -> None:
        if granularity not in ("batch", "sample"):
            raise ValueError(f"granularity is {granularity!r}; accepted: 'batch', 'sample'")
        if granularity == "sample" and at != "parameters":
            raise ValueError(f"at is {at!r}; accepted with granularity='sample': 'parameters'")
        super().__init__(n_tasks, at)
        self._set_curriculum(a0, delta_a, step)
        self.per_sample = granularity == "sample"

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [n, n] to W [n]."""
        return similarity_weights(gramian, self._strength())

    def head_weights(self, gramian: Tensor, coefficients: Tensor) -> Tensor:
        """W, as for the shared parameters."""
        return coefficients

    def _step(self, step: Step) -> Tensor | None:
        if self.p == 0:
            weights = step.values.new_full((len(step.losses),), 1 / self.n_tasks)
            self._weighted_backward(step, weights)
            return step.spread(weights)
        if self.per_sample:
            self._step_per_sample(step)
            return None
        return super()._step(step)

    def _step_per_sample(self, step: Step) -> None:
        sizes = {len(loss) for loss in step.losses}
        if len(sizes) > 1:
            raise ValueError(f"losses have {sorted(sizes)} samples; accepted: the same number for every task")
        known = {id(p) for p in step.shared}
        parameters = step.shared + [p for p in leaves(step.losses) if id(p) not in known]
        total: Row = [None] * len(parameters)
        size = sizes.pop()
        for b in range(size):
            starts = [torch.zeros_like(start) for start in step.starts()]
            for start, full in zip(starts, step.starts(), strict=True):
                start[b] = full[b]
            rows = task_gradients(step.losses, parameters, starts, retain_graph=b < size - 1)
            products, valid = self._inner_products(step, [row[: len(step.shared)] for row in rows])
            gradient = combine(rows, self._solve(step, products, valid)[0])
            total = [g if t is None else t if g is None else t + g for t, g in zip(total, gradient, strict=True)]
        self.gramian = None
        accumulate(parameters, average(total))


@register("cagrad+mclgs")
class CAGradMCLGS(_Curriculum, CAGrad):
    """CAGrad on gradients that MCLGS has scaled: a reconstruction, the poster does not say how.

    Task k's gradient is scaled by N W_k (see `MCLGS`), then CAGrad is applied to the scaled set; head k
    receives W_k grad L_k. Reduces to CAGrad once p(t) = 0. Scale: N >= 2 equal gradients give (1 + tanh p)
    times CAGrad's result.

    Args:
        n_tasks: Number of tasks N.
        a0: See `MCLGS`.
        delta_a: See `MCLGS`.
        step: See `MCLGS`.
        c: See `CAGrad`.
        rescale: See `CAGrad`.
        at: See `GramianWeighting`.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        n_tasks: int,
        a0: float = 40.0,
        delta_a: float = 0.4,
        step: Literal["epoch", "iteration"] = "epoch",
        c: float = 0.4,
        rescale: bool = True,
        at: Literal["parameters", "representation"] = "parameters",
    ) -> None:
        super().__init__(n_tasks, c, rescale, at)
        self._set_curriculum(a0, delta_a, step)

    def coefficients(self, gramian: Tensor, precision: torch.dtype) -> Tensor:
        """Map the Gramian [n, n] to the coefficients [n] of the unscaled gradients."""
        scale = len(gramian) * similarity_weights(gramian, self._strength())
        return super().coefficients(gramian * scale * scale[:, None], precision) * scale

    def head_weights(self, gramian: Tensor, coefficients: Tensor) -> Tensor:
        """W of `MCLGS`."""
        return similarity_weights(gramian, self._strength())
