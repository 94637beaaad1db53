"""Loss weighting: weights from losses alone, one backward pass, the cost of plain training."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtlrepro.balancers.base import Balancer, Step, register


class LossWeighting(Balancer):
    """Base of the methods whose gradient is sum_k w_k grad L_k, for shared parameters and heads alike."""

    @abstractmethod
    def task_weights(self, losses: Tensor) -> Tensor:
        """Weights of this step.

        Args:
            losses: [T] float64, detached, NaN for an absent task.

        Returns:
            [T] float64; the entries of absent tasks are ignored.
        """

    def _step(self, step: Step) -> Tensor:
        everyone = self.task_weights(step.values).unbind()
        weights = torch.stack([everyone[k] for k in step.tasks])
        self._weighted_backward(step, weights)
        return step.spread(weights)


@register("equal")
class Equal(LossWeighting):
    """Equal weighting: the mean of the losses, w_k = 1/T.

    Scale: papers that sum the losses take steps T times as long at the same learning rate.
    """

    @property
    def weights(self) -> Tensor:
        """[T] float64, 1/T each."""
        return torch.full((self.n_tasks,), 1 / self.n_tasks, dtype=torch.float64, device=self._first_bad.device)

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return 1/T each."""
        return self.weights


@register("fixed")
class Fixed(LossWeighting):
    """Fixed weights, the comparison of LSB's Figure S-6: sum_k w_k L_k with w given.

    Scale: the mean, weights are scaled to sum 1; equal ones give ``equal``.

    Args:
        n_tasks: Number of tasks T.
        weights: T positive numbers; equal if not given.

    Raises:
        ValueError: ``weights`` is out of range.
    """

    def __init__(self, n_tasks: int, weights: list[float] | None = None) -> None:
        super().__init__(n_tasks)
        self._weights: Tensor
        self.register_buffer("_weights", shares("weights", weights, n_tasks))

    @property
    def weights(self) -> Tensor:
        """[T] float64, sum 1."""
        return self._weights.clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights."""
        return self._weights


def shares(name: str, values: list[float] | None, n_tasks: int) -> Tensor:
    """Scale T positive numbers to sum 1; None stands for equal ones.

    Raises:
        ValueError: they are not T positive numbers; names the argument.
    """
    numbers = torch.tensor([1.0] * n_tasks if values is None else list(values), dtype=torch.float64)
    if numbers.shape != (n_tasks,) or not bool((numbers.isfinite() & (numbers > 0)).all()):
        raise ValueError(f"{name} is {values!r}; accepted: {n_tasks} positive numbers")
    return numbers / numbers.sum()


@register("uncertainty")
class Uncertainty(LossWeighting):
    """Uncertainty weighting (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115, Eq. 7).

    Minimises sum_k L_k / (2 sigma_k^2) + log sigma_k over the network and over s_k = log sigma_k^2.
    Weights w_k = 1 / (2 exp s_k). Starts at s_k = log(T/2), where w_k = 1/T: the mean. Factor to the paper:
    1. The paper's form for classification, L / sigma^2 (Eq. 10), is not used: all tasks have the same form, as
    in the MTAN code. ``log_variance`` is a parameter: give ``balancer.parameters()`` to the optimizer, without
    weight decay. Its gradient, 1/2 - w_k L_k, is written by ``backward``; an absent task's is zero.
    """

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        start = torch.tensor(n_tasks / 2, dtype=torch.float64).log()
        self.log_variance = nn.Parameter(start.repeat(n_tasks))

    @property
    def weights(self) -> Tensor:
        """[T] float64, 1 / (2 exp s_k)."""
        return 0.5 * (-self.log_variance.detach()).exp()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return 1 / (2 exp s_k)."""
        return self.weights

    def _step(self, step: Step) -> Tensor:
        weights = super()._step(step)
        gradient = torch.where(step.values.isnan(), 0.0, 0.5 - weights * step.values)
        if step.scale is not None:
            gradient = gradient * step.scale
        self.log_variance.grad = gradient if self.log_variance.grad is None else self.log_variance.grad + gradient
        return weights


@register("gls")
class GLS(LossWeighting):
    """Geometric loss strategy (Chennupati et al., MultiNet++, CVPR-W 2019, arXiv 1904.08492).

    L = (prod_k L_k)^(1/T), so w_k = dL/dL_k = L / (T L_k); all weighted losses are equal. Computed in log
    space.
    Scale: equal losses give 1/T each, the mean; in general w_k L_k = L/T. Factor to the paper: 1. Losses have
    to be at least zero; they are clamped at 1e-30 inside the logarithm. With absent tasks the geometric mean
    runs over the present ones and the divisor stays T.
    """

    accepts: ClassVar[str] = "a finite number, at least 0 for gls"

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return L / (T L_k)."""
        log = losses.clamp_min(1e-30).log()
        return (log.nanmean() - log).exp() / self.n_tasks

    def _acceptable(self, values: Tensor) -> Tensor:
        return values.isfinite() & (values >= 0)


class EpochWeighting(LossWeighting):
    """Base of the methods whose weights change once per epoch; they start from 1/T each."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._weights: Tensor
        self._previous: Tensor
        self.register_buffer("_weights", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))
        self.register_buffer("_previous", torch.ones(n_tasks, dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """[T] float64, in force until the epoch ends."""
        return self._weights.clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights of this epoch."""
        return self._weights

    def _end_epoch(self, losses: Tensor) -> None:
        self._weights.copy_(self.next_weights(losses))
        self._previous.copy_(losses)

    @abstractmethod
    def next_weights(self, losses: Tensor) -> Tensor:
        """Weights [T] of the next epoch from this epoch's mean losses [T] and the ``_previous`` epoch's."""


@register("dwa")
class DWA(EpochWeighting):
    """Dynamic weight average (Liu, Johns, Davison, CVPR 2019, arXiv 1803.10704, Eq. 7).

    r_k = L_k(t-1) / L_k(t-2) with epoch-mean losses, w = softmax(r / temperature); equal in the first two
    epochs, as in the authors' code (the text sets r_k(t) = 1 for t = 1, 2, which read with Eq. 7's r_k(t-1)
    would make it three).
    Scale: the mean, sum w = 1. The paper's weights sum to T: factor 1/T.

    Args:
        n_tasks: Number of tasks T.
        temperature: The paper's T, above 0; large values give equal weights.

    Raises:
        ValueError: ``temperature`` is not positive.
    """

    def __init__(self, n_tasks: int, temperature: float = 2.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}; accepted: a number above 0")
        super().__init__(n_tasks)
        self.temperature = temperature

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return softmax(r / temperature), or the initial weights after the first epoch."""
        if self.epochs == 0:
            return self._weights
        return (losses / self._previous.clamp_min(1e-30) / self.temperature).softmax(0)


def _log(losses: Tensor, method: str) -> Tensor:
    """Logarithm of an epoch's mean losses, clamped at 1e-30."""
    if bool((losses < 0).any()):
        raise ValueError(f"mean_losses is {losses.tolist()}; accepted: numbers of at least 0 for {method}")
    return losses.clamp_min(1e-30).log()


@register("lagged_gls")
class LaggedGLS(EpochWeighting):
    """GLS with the mean losses of the epoch before: w_k(t) = (prod_j l_j(t-1))^(1/T) / (T l_k(t-1)).

    Ours, to tell what loss scale balancing owes to the epoch as period: at beta = 0 and equal priorities LSB gives the
    same direction of the gradient.
    Scale: equal losses give 1/T each, the mean; 1/T each in the first epoch.

    Raises:
        ValueError: An epoch's mean loss is negative.
    """

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return weights that give equal loss scales to the losses of this epoch."""
        log = _log(losses, "lagged_gls")
        return (log.mean() - log).exp() / self.n_tasks


@register("lsb")
class LSB(EpochWeighting):
    """Loss scale balancing (Lee, Lee, Kim, ICCV 2021): equal loss scales w_k l_k, tilted towards slow tasks.

    Period t = 1, 2, ... is an epoch; l_k(t) the mean raw loss, L(t) = sum_k w_k(t) l_k(t), pi_k the priority::

        t = 1    w_k = pi_k
        t = 2    w_k = pi_k L(1) / l_k(1)
        t >= 3   w_k = alpha d_k pi_k L(t-1) / l_k(t-1),   alpha = 1 / sum_j pi_j d_j,
                 d_k = [ (l_k(t-1) / l_k(t-2)) / (L(t-1) / L(t-2)) ]^beta(t),   beta(t) = rate (t - offset)

    alpha d pi is computed as softmax(log pi + log d), in which the ratio of the totals L cancels. The
    supplement states the priorities (by its Section 3, Eq. 4 of the main paper), the equal start, the period
    and the rates of beta; the formulas for t >= 2 are a reconstruction (the main paper's text was not
    available), and so is the offset. Scale: pinned at the first period, where equal priorities give the mean;
    afterwards sum_k w_k(t) l_k(t-1) = L(t-1). Factor to the paper: 1.
    Departures: beta is never negative (offset > 3), and losses are clamped at 1e-30 in the logarithm. Two options serve
    ablations and leave the paper's method: ``period`` above 1 and ``conserve=False``.

    Args:
        n_tasks: Number of tasks T.
        priority: T positive numbers pi, scaled here to sum 1; equal if not given.
        rate: Growth of beta per epoch, at least 0: 0.02 (NYUv2, MobileNetV2, 1000 epochs), 0.05 (NYUv2,
            PNASNet, 50 epochs), 0.5 (Taskonomy, 200 epochs).
        offset: Period at which beta is zero.
        period: Epochs in a period, at least 1; beta(t) = rate period (t - offset) still grows by ``rate`` per epoch.
        conserve: Whether alpha keeps sum_k w_k(t) l_k(t-1) = L(t-1); otherwise alpha = 1.

    Raises:
        ValueError: An option is out of range, or an epoch's mean loss is negative.
    """

    def __init__(
        self,
        n_tasks: int,
        priority: list[float] | None = None,
        rate: float = 0.02,
        offset: float = 2.0,
        period: int = 1,
        conserve: bool = True,
    ) -> None:
        super().__init__(n_tasks)
        pi = shares("priority", priority, n_tasks)
        if not rate >= 0:
            raise ValueError(f"rate is {rate!r}; accepted: a number of at least 0")
        if not isinstance(period, int) or isinstance(period, bool) or period < 1:
            raise ValueError(f"period is {period!r}; accepted: a whole number of at least 1")
        if not isinstance(conserve, bool):
            raise ValueError(f"conserve is {conserve!r}; accepted: True, False")
        self.rate = rate
        self.offset = offset
        self.period = period
        self.conserve = conserve
        self._priority: Tensor
        self._sums: Tensor
        self._total: Tensor
        self.register_buffer("_priority", pi)
        self.register_buffer("_sums", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("_total", torch.ones((), dtype=torch.float64))
        self._weights.copy_(pi)

    def _end_epoch(self, losses: Tensor) -> None:
        self._sums += losses
        if (self.epochs + 1) % self.period == 0:
            super()._end_epoch(self._sums / self.period)
            self._sums.zero_()

    def beta(self, t: int) -> float:
        """Exponent of the difficulty in period t >= 3."""
        return max(self.rate * self.period * (t - self.offset), 0.0)

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return w_k(t) from the mean losses l(t-1), where t - 1 is the period that ends."""
        log_l = _log(losses, "lsb")
        total = (self._weights * losses).sum().clamp_min(1e-30).log()
        t = (self.epochs + 1) // self.period + 1
        log_share = self._priority.log()
        if t >= 3:
            fall = log_l - self._previous.clamp_min(1e-30).log()
            if not self.conserve:
                fall = fall - (total - self._total)
            log_share = log_share + self.beta(t) * fall
        self._total.copy_(total)
        if self.conserve:
            log_share = log_share.log_softmax(0)
        return (log_share + total - log_l).exp()
