"""MaxGNR: weights that maximise every task's gradient-to-noise ratio."""

from typing import Any, Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import Step, register
from mtlrepro.balancers.gradient_balancing import GradientBalancer
from mtlrepro.balancers.gradients import Row, accumulate, at_least_float32, combine, gramian
from mtlrepro.noise import gnr_weights


@register("maxgnr")
class MaxGNR(GradientBalancer):
    """Maximise each task's gradient-to-noise ratio (Fan et al., ACCV 2022, arXiv 2302.09352): reconstruction.

    The appendix gives the noise of momentum, sqrt((1 - gamma)/(1 + gamma)) (Eq. 8), and weights as the
    general form of any combination (Eq. 5); the definition of the ratio, its maximisation and the estimators
    are ours. Signal a_k^2 = EMA <g_t, m_{t-1}> and noise s_k^2 = EMA |g_t - m_{t-1}|^2 / (1 + v_{t-1}), with the
    momentum m_t = gamma m_{t-1} + (1 - gamma) g_t divided by 1 - gamma^t and v_t = (1 - gamma)(1 + gamma^t) /
    ((1 + gamma)(1 - gamma^t)) its share of one gradient's noise power; 1/(1 + v) tends to (1 + gamma)/2.
    Weights are `mtlrepro.noise.gnr_weights`, clipped to [0.1, 10] of their mean, and equal until every task
    has been seen 1/(1 - gamma) times. The combined gradient is 1/T sum_k w_k g_k with sum w = T, heads get
    w_k grad L_k / T.
    Scale: the mean; a sum with weights of sum T is T times as long.
    Memory: T gradients of state besides the T of a step.

    Args:
        n_tasks: Number of tasks T.
        gamma: Decay of the momenta, in (0, 1).
        scalarisation: How "each task" is made one aim: the smallest ratio, or the product.
        itgn: Inter-task gradient noise of task i: the other tasks' noise (narrow), or their gradients
            (broad).
        own_noise: Count task i's own noise in its ratio too.
        refresh: Estimate at every `refresh`-th step; the steps between cost one backward pass. The momenta,
            averages and start-up then count refreshes.
        averaging: Decay of the averages (EMA) of signal and noise, in [0, 1).

    Raises:
        ValueError: An option is out of range, or the reading is the product of two tasks without own noise, which
            does not depend on the weights.
    """

    def __init__(
        self,
        n_tasks: int,
        gamma: float = 0.9,
        scalarisation: Literal["maxmin", "product"] = "maxmin",
        itgn: Literal["narrow", "broad"] = "narrow",
        own_noise: bool = False,
        refresh: int = 1,
        averaging: float = 0.99,
    ) -> None:
        super().__init__(n_tasks)
        if not 0 < gamma < 1:
            raise ValueError(f"gamma is {gamma!r}; accepted: a number in (0, 1)")
        ones = torch.ones(n_tasks)
        gnr_weights(ones, ones, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)  # refuses what it cannot
        if not isinstance(refresh, int) or refresh < 1:
            raise ValueError(f"refresh is {refresh!r}; accepted: an integer of at least 1")
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging is {averaging!r}; accepted: a number in [0, 1)")
        self.gamma = gamma
        self.scalarisation: Literal["maxmin", "product"] = scalarisation
        self.itgn: Literal["narrow", "broad"] = itgn
        self.own_noise = own_noise
        self.refresh = refresh
        self.capturable = refresh == 1
        self.averaging = averaging
        self._momentum: list[list[Tensor]] = [[] for _ in range(n_tasks)]
        self._weights: Tensor
        self._seen: Tensor
        self._signal: Tensor
        self._noise: Tensor
        self.register_buffer("_weights", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))
        for name in ("_seen", "_signal", "_noise"):
            self.register_buffer(name, torch.zeros(n_tasks, dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """[T] float64, w_k / T, sum 1."""
        return self._weights.clone()

    @property
    def signal(self) -> Tensor:
        """Estimate of |E g_k|^2, [T] float64; can be negative; NaN before a task's second refresh."""
        return self._signal / self._averaged()

    @property
    def noise(self) -> Tensor:
        """Estimate of E|g_k - E g_k|^2, [T] float64; NaN before a task's second refresh."""
        return self._noise / self._averaged()

    def _averaged(self) -> Tensor:
        """Share [T] of the averages that is not their start at 0; 0 before a task's second refresh."""
        return 1 - self.averaging ** (self._seen - 1).clamp_min(0)

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, see `Balancer.observed`.

        Returns:
            `weights`, `signal` and `noise`, [T] each; signal and noise as they stand after the step, of absent tasks
            too.
        """
        return super().observed() | {"signal": self.signal, "noise": self.noise}

    def _step(self, step: Step) -> Tensor | None:
        if self.steps % self.refresh == 0:
            return super()._step(step)
        weights = step.present(self._weights)
        self._weighted_backward(step, weights)
        return step.spread(weights)

    def _merge(self, step: Step, rows: list[Row]) -> tuple[Tensor, Tensor]:
        self._observe(step, rows)
        weights = step.present(self._weights)
        accumulate(step.shared, combine(rows, weights))
        return step.spread(weights), weights

    def _observe(self, step: Step, rows: list[Row]) -> None:
        """Update momenta, estimates and weights from one step's gradients; a bad step changes nothing."""
        scale = None if step.scale is None else step.scale.double()
        self._follow(step.shared)
        products = []
        for k, row in zip(step.tasks, rows, strict=True):
            kept = self._momentum[k] or [torch.zeros_like(p) for p in step.shared]
            # A model may have been moved or cast since; momenta are never coarser than float32.
            self._momentum[k] = [
                m.to(p.device, torch.promote_types(p.dtype, torch.float32))
                for m, p in zip(kept, step.shared, strict=True)
            ]
            momentum: Row = list(self._momentum[k])
            inner = gramian([[None if g is None else at_least_float32(g) for g in row], momentum])
            products.append(torch.stack([inner[0, 0], inner[0, 1], inner[1, 1]]))
        gg, gm, mm = torch.stack(products).unbind(1)
        if scale is not None:
            gg, gm = gg / scale.square(), gm / scale
        valid = self._judge(step, gg)
        gg, gm, mm = step.spread(gg), step.spread(gm), step.spread(mm)

        # The momentum starts at 0. Divided by 1 - gamma^t it is an unbiased mean of t gradients, and its noise is the
        # share v of one gradient's. It holds no part of g_t, so <g_t, m> has the mean |E g|^2, and |g_t - m|^2 =
        # gg - 2 gm + mm has the mean (1 + v) times the noise of one gradient.
        decay = self.gamma**self._seen
        bias = 1 - decay
        v = (1 - self.gamma) * (1 + decay) / ((1 + self.gamma) * bias)
        gm, mm = gm / bias, mm / bias.square()
        fresh = ~step.values.isnan() & valid
        again = fresh & (self._seen > 0)  # a task's first gradient has no momentum to be compared with
        for average, sample in (
            (self._signal, gm),
            (self._noise, (gg - 2 * gm + mm).clamp_min(0) / (1 + v)),
        ):
            average.copy_(torch.where(again, average.lerp(sample, 1 - self.averaging), average))
        self._seen += fresh
        for k, row in zip(step.tasks, rows, strict=True):
            for m, g in zip(self._momentum[k], row, strict=True):
                if g is not None:
                    g = at_least_float32(g)
                    g = g if scale is None else g / scale.to(g.dtype)
                    # A bad step moves the momentum towards itself, which changes nothing and asks no device.
                    m.lerp_(g if step.certain else torch.where(valid, g, m), 1 - self.gamma)
        self._weights.copy_(self._clipped())

    def _follow(self, shared: list[Tensor]) -> None:
        """Start anew where the shared parameters are no longer those of the momenta, such as after unfreezing some."""
        shapes = [parameter.shape for parameter in shared]
        if any(momentum and [m.shape for m in momentum] != shapes for momentum in self._momentum):
            self._warn("shared", "shared: other parameters than in earlier steps; MaxGNR's estimates start anew")
            self._momentum = [[] for _ in range(self.n_tasks)]
            for sums in (self._seen, self._signal, self._noise):
                sums.zero_()

    def _clipped(self) -> Tensor:
        noise = self.noise
        # An estimate of |E g|^2 can be negative or vanish; weights need it positive, and small against the noise.
        signal = torch.maximum(self.signal, 1e-6 * (self.signal.abs() + noise))
        w = gnr_weights(signal, noise, scalarisation=self.scalarisation, itgn=self.itgn, own_noise=self.own_noise)
        w = w.clamp(0.1, 10.0)
        ready = (self._seen > 1 / (1 - self.gamma)).all() & w.isfinite().all()
        return torch.where(ready, w / w.sum(), 1 / self.n_tasks)

    def get_extra_state(self) -> dict[str, Any]:
        """Add the momenta, one list of tensors per task."""
        return {**super().get_extra_state(), "momentum": self._momentum}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the momenta."""
        super().set_extra_state(state)
        self._momentum = [[m.clone() for m in momentum] for momentum in state["momentum"]]
