"""MCLGS: curriculum learning on gradient similarity, alone and before CAGrad."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import Step, register
from mtlrepro.balancers.cagrad import CAGrad
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.gradients import Row, accumulate, average, combine, leaves, task_gradients


def similarity_weights(gramian: Tensor, p: float | Tensor) -> Tensor:
    """W_k = sum_{j != k} (1 + tanh(p s_kj)) / (N (N - 1)) with s the cosines of N task gradients.

    Args:
        gramian: [N, N]. A zero gradient has cosine 0 with all others.
        p: Strength of the curriculum, at least 0; 0 gives 1/N each.

    Returns:
        [N] float64, each from 0 to 2/N, which for p s far from 0 are reached by rounding; for N = 1 it is 1.
    """
    n = len(gramian)
    if n == 1:
        return torch.ones_like(gramian[0], dtype=torch.float64)
    norms = gramian.double().diagonal().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    pairs = 1 + torch.tanh(p * gramian * inverse * inverse[:, None])
    return pairs.fill_diagonal_(0.0).sum(1) / (n * (n - 1))


def decrease(a0: float, end: int) -> float:
    """Delta a of the curriculum p(t) = max(a_0 - t Delta a, 0) that ends at t = `end`.

    Args:
        a0: p at the start, at least 0.
        end: At least 1.

    Returns:
        a_0 / `end`, rounded up where rounding would leave p(`end`) above 0: p is positive before `end`, and exactly 0
        from there on.
    """
    delta_a = a0 / end
    while a0 - end * delta_a > 0:
        delta_a = math.nextafter(delta_a, math.inf)
    return delta_a


class _Curriculum(GramianWeighting):
    """The schedule p(t) = max(a_0 - t Delta a, 0), and the weights of a batch's single samples."""

    a0: float
    delta_a: float
    step: Literal["epoch", "iteration"]

    def _set_curriculum(
        self,
        a0: float,
        delta_a: float,
        step: Literal["epoch", "iteration"],
        granularity: Literal["batch", "sample"],
    ) -> None:
        if not a0 >= 0:
            raise ValueError(f"a0 is {a0!r}; accepted: a number of at least 0")
        if not delta_a >= 0:
            raise ValueError(f"delta_a is {delta_a!r}; accepted: a number of at least 0")
        if step not in ("epoch", "iteration"):
            raise ValueError(f"step is {step!r}; accepted: 'epoch', 'iteration'")
        if granularity not in ("batch", "sample"):
            raise ValueError(f"granularity is {granularity!r}; accepted: 'batch', 'sample'")
        if granularity == "sample" and self.at != "parameters":
            raise ValueError(f"at is {self.at!r}; accepted with granularity='sample': 'parameters'")
        self.a0, self.delta_a, self.step = a0, delta_a, step
        self.per_sample = granularity == "sample"
        self._epoch: Tensor
        self.register_buffer("_epoch", torch.zeros((), dtype=torch.int64), persistent=False)
        self._used: Tensor | None = None  # p of the last step

    @property
    def p(self) -> float:
        """Strength of the curriculum now; t counts completed epochs or iterations from 0."""
        t = self.epochs if self.step == "epoch" else self.steps
        return max(self.a0 - t * self.delta_a, 0.0)

    def _strength(self) -> Tensor:
        """Compute p on the device, so that it also changes between replays of a CUDA graph."""
        t = self._epoch if self.step == "epoch" else self._count
        return (self.a0 - t.double() * self.delta_a).clamp_min(0)

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, see `Balancer.observed`.

        Returns:
            The names of `GramianWeighting.observed`, and `p`, the strength of the curriculum in the step, a scalar.
            While single samples are weighted, `weights` and `length` are NaN.
        """
        result = super().observed()
        return result | {"p": torch.full_like(result["length"], torch.nan) if self._used is None else self._used}

    def _end_epoch(self, losses: Tensor) -> None:
        self._epoch += 1

    def _waits_for_epochs(self) -> bool:
        return self.step == "epoch" and self.delta_a > 0 and self.p > 0

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the counters, on the device too."""
        super().set_extra_state(state)
        self._epoch.fill_(self.epochs)

    def _samples(self, step: Step, parameters: list[Tensor]) -> Iterator[tuple[list[Row], Tensor]]:
        """Yield each sample's part of the task gradients, t rows over all parameters, and its W [t]."""
        sizes = {len(loss) for loss in step.losses}
        if len(sizes) > 1:
            raise ValueError(f"losses have {sorted(sizes)} samples; accepted: the same number for every task")
        size = sizes.pop()
        for b in range(size):
            starts = [torch.zeros_like(start) for start in step.starts()]
            for start, full in zip(starts, step.starts(), strict=True):
                start[b] = full[b]
            rows = task_gradients(step.losses, parameters, starts, retain_graph=b < size - 1)
            if b == 0:
                self._look_at_reach(step, rows)
            products, valid = self._inner_products(step, [row[: len(step.shared)] for row in rows])
            part = torch.where(valid, 1.0, torch.nan)  # NaN in a bad step, for a GradScaler to see
            yield rows, similarity_weights(products, self._strength()) * part

    def _part(self, step: Step) -> float:
        """Factor by which a mean over the present tasks becomes one over all tasks."""
        return len(step.tasks) / self.n_tasks


def _all_parameters(step: Step) -> list[Tensor]:
    """List the shared parameters, then those of the heads."""
    known = {id(p) for p in step.shared}
    return step.shared + [p for p in leaves(step.losses) if id(p) not in known]


def _sum(a: Row, b: Row) -> Row:
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]


@register("mclgs")
class MCLGS(_Curriculum):
    """Curriculum learning on gradient similarity (BMVC 2022, paper 705; the poster's rule).

    s_ij is the cosine of two tasks' gradients over the shared parameters, p(t) = max(a_0 - t Delta a, 0),
    w_ij = 1 + tanh(s_ij p(t)), and the step 1/(N (N - 1)) sum_{i<j} w_ij (g_i + g_j) = sum_k W_k g_k with
    W_k = sum_{j != k} w_kj / (N (N - 1)), for shared parameters and heads alike. Once p(t) = 0 it is the
    mean, at the cost of one backward pass, and `gramian` is None. Scale: not the mean: N >= 2 equal gradients g
    give (1 + tanh p) g. Factor to the poster's rule: 1. For N = 2 it only gates the length of the step.
    Departures: none from the rule; a_0, Delta a, the unit of t and the batch as the unit of s are choices, the
    paper's text was not available (the poster speaks of samples). Weights become 1 only if the curriculum ends
    within the run: with the default Delta a after 100 epochs. `RunConfig` takes the `length` of the curriculum,
    a share of the run, in its place. Controls: `replay` with the gate or the weights of a run, `warmup`.

    Args:
        n_tasks: Number of tasks N.
        a0: p at the start, at least 0. 40 is nearly a binary gate.
        delta_a: Decrease of p per step of the schedule, at least 0; see `decrease`.
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
        super().__init__(n_tasks, at)
        self._set_curriculum(a0, delta_a, step, granularity)

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [n, n] to W [n]."""
        return similarity_weights(gramian, self._strength())

    def head_weights(self, gramian: Tensor, coefficients: Tensor) -> Tensor:
        """W, as for the shared parameters."""
        return coefficients

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, see `Balancer.observed`.

        Returns:
            The names of `GramianWeighting.observed`, and `p`, the strength of the curriculum in the step, a scalar.
            Once p is 0 there is no Gramian, and `length` is 1. While single samples are weighted, all but p are NaN.
        """
        result = super().observed()
        if self.gramian is None and self._applied is not None:
            result["length"] = torch.ones_like(result["length"])
        return result

    def _step(self, step: Step) -> Tensor | None:
        self._used = self._strength()
        if self.p == 0:
            self.gramian = None
            weights = step.values.new_full((len(step.losses),), 1 / self.n_tasks)
            self._weighted_backward(step, weights)
            return step.spread(weights)
        if self.per_sample:
            self._step_per_sample(step)
            return None
        return super()._step(step)

    def _step_per_sample(self, step: Step) -> None:
        parameters = _all_parameters(step)
        total: Row = [None] * len(parameters)
        for rows, weights in self._samples(step, parameters):
            total = _sum(total, combine(rows, weights * self._part(step)))
        self.gramian = None
        accumulate(parameters, average(total))


@register("cagrad+mclgs")
class CAGradMCLGS(_Curriculum, CAGrad):
    """CAGrad on gradients that MCLGS has scaled: a reconstruction, the poster does not say how.

    Task k's gradient is scaled by N W_k (see `MCLGS`), then CAGrad is applied to the scaled set; head k
    receives W_k grad L_k. With `granularity="sample"` each sample's part of task k's gradient is scaled by N times
    its own W_k, and CAGrad is applied once, to the sums over the batch. Reduces to CAGrad once p(t) = 0. Scale:
    N >= 2 equal gradients give (1 + tanh p) times CAGrad's result.

    Args:
        n_tasks: Number of tasks N.
        a0: See `MCLGS`.
        delta_a: See `MCLGS`.
        step: See `MCLGS`.
        c: See `CAGrad`.
        rescale: See `CAGrad`.
        at: See `GramianWeighting`; with `sample`, only `parameters`.
        granularity: See `MCLGS`. While p(t) > 0, `gramian` is then that of the scaled gradients.

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
        granularity: Literal["batch", "sample"] = "batch",
    ) -> None:
        super().__init__(n_tasks, c, rescale, at)
        self._set_curriculum(a0, delta_a, step, granularity)

    def coefficients(self, gramian: Tensor, precision: torch.dtype) -> Tensor:
        """Map the Gramian [n, n] to the coefficients [n] of the unscaled gradients."""
        scale = len(gramian) * similarity_weights(gramian, self._strength())
        return super().coefficients(gramian * scale * scale[:, None], precision) * scale

    def head_weights(self, gramian: Tensor, coefficients: Tensor) -> Tensor:
        """W of `MCLGS`."""
        return similarity_weights(gramian, self._strength())

    def _step(self, step: Step) -> Tensor | None:
        self._used = self._strength()
        if self.per_sample and self.p > 0:
            self._step_per_sample(step)
            return None
        return super()._step(step)

    def _step_per_sample(self, step: Step) -> None:
        parameters, t, shared = _all_parameters(step), len(step.tasks), len(step.shared)
        scaled: list[Row] = [[None] * len(parameters) for _ in step.tasks]
        for rows, weights in self._samples(step, parameters):
            scaled = [
                _sum(total, combine([row], t * weights[k : k + 1]))
                for k, (total, row) in enumerate(zip(scaled, rows, strict=True))
            ]
        scaled = [average(row) for row in scaled]
        products, _ = self._inner_products(step, [row[:shared] for row in scaled])
        part = self._part(step)
        accumulate(
            step.shared,
            combine([row[:shared] for row in scaled], super().coefficients(products, self.precision) * part),
        )
        heads = combine([row[shared:] for row in scaled], torch.full_like(products[0], part / t))
        accumulate(parameters[shared:], heads)
