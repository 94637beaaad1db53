"""Loss scale balancing."""

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import EpochWeighting, shares


@register("lsb")
class LSB(EpochWeighting):
    """Loss scale balancing (Lee, Lee, Kim, ICCV 2021): equal loss scales w_k l_k, tilted towards slow tasks.

    Period t = 1, 2, ... is an epoch; l_k(t) the mean raw loss, L(t) = sum_k w_k(t) l_k(t), pi_k the priority::

        t = 1    w_k = pi_k
        t = 2    w_k = pi_k L(1) / l_k(1)
        t >= 3   w_k = alpha d_k pi_k L(t-1) / l_k(t-1),   alpha = 1 / sum_j pi_j d_j,
                 d_k = [ (l_k(t-1) / l_k(t-2)) / (L(t-1) / L(t-2)) ]^beta(t),   beta(t) = rate (t - offset)

    alpha d pi is computed as softmax(log pi + log d), in which the ratio of the totals L cancels if all tasks have an
    earlier mean loss. The
    supplement states the priorities (by its Section 3, Eq. 4 of the main paper), the equal start, the period
    and the rates of beta; the formulas for t >= 2 are a reconstruction (the main paper's text was not
    available), and so is the offset. Scale: pinned at the first period, where equal priorities give the mean;
    afterwards sum_k w_k(t) l_k(t-1) = L(t-1). Factor to the paper: 1.
    Departures: beta is never negative (offset > 3). A task whose mean loss is 0, or of which the period had no label,
    keeps its weight, and sums over tasks run over the others. A task without an earlier mean loss has d_k = 1, and the
    totals in the others' d_k are those of the tasks that have one. Two options serve ablations and leave the paper's
    method: `period` above 1 and `conserve=False`. `outside` is another reading of it: two of three public
    re-implementations multiply alpha d_k onto the loss beside its weight, so that L(t) is made of w_k = pi_k L(t-1) /
    l_k(t-1) alone. With the same losses the factors alpha d_k w_k on the gradients are then those of the usual reading
    times one number for all tasks: the softmax is the same, and only the totals differ.

    Args:
        n_tasks: Number of tasks T.
        priority: T positive numbers pi, scaled here to sum 1; equal if not given.
        rate: Growth of beta per epoch, at least 0: 0.02 (NYUv2, MobileNetV2, 1000 epochs), 0.05 (NYUv2,
            PNASNet, 50 epochs), 0.5 (Taskonomy, 200 epochs).
        offset: Period at which beta is zero.
        period: Epochs in a period, at least 1; beta(t) = rate period (t - offset) still grows by `rate` per epoch.
        conserve: Whether alpha keeps sum_k w_k(t) l_k(t-1) = L(t-1); otherwise alpha = 1.
        outside: Whether alpha d_k is no part of the weight of which L(t) is made. `weights` holds alpha d_k w_k then,
            which is what acts on the gradients.

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
        outside: bool = False,
    ) -> None:
        super().__init__(n_tasks)
        pi = shares("priority", priority, n_tasks)
        if not rate >= 0:
            raise ValueError(f"rate is {rate!r}; accepted: a number of at least 0")
        if not isinstance(period, int) or isinstance(period, bool) or period < 1:
            raise ValueError(f"period is {period!r}; accepted: a whole number of at least 1")
        for name, value in (("conserve", conserve), ("outside", outside)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; accepted: True, False")
        self.rate = rate
        self.offset = offset
        self.period = period
        self.conserve = conserve
        self.outside = outside
        self._priority: Tensor
        self._sums: Tensor
        self._epochs_seen: Tensor
        self._loss_scales: Tensor
        self._inner: Tensor  # the weights of which L(t) is made: `_weights`, or without alpha d where that is outside
        self.register_buffer("_priority", pi)
        self.register_buffer("_inner", pi.clone())
        self.register_buffer("_sums", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("_epochs_seen", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("_loss_scales", torch.zeros(n_tasks, dtype=torch.float64))
        self._weights.copy_(pi)

    def _update(self, losses: Tensor) -> None:
        self._sums += losses.nan_to_num(0.0)
        self._epochs_seen += ~losses.isnan()
        if (self.epochs + 1) % self.period == 0:
            super()._update(self._sums / self._epochs_seen)  # 0 / 0 is NaN, a period without a label
            self._sums.zero_()
            self._epochs_seen.zero_()

    def beta(self, t: int) -> float:
        """Exponent of the difficulty in period t >= 3."""
        return max(self.rate * self.period * (t - self.offset), 0.0)

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return w_k(t) from the mean losses l(t-1), where t - 1 is the period that ends."""
        t = (self.epochs + 1) // self.period + 1
        log_l = losses.log()
        told, new = ~losses.isnan(), self._previous == 0
        loss_scales = self._inner * losses
        log_L = loss_scales.nansum().log()
        log_d = torch.zeros_like(log_l)  # from t = 3 on log d_k, with `conserve` up to a term common to all tasks
        if t >= 3:
            change_of_log_l = log_l - self._previous.log()
            L, L_before = (torch.where(told & ~new, s, 0.0).sum() for s in (loss_scales, self._loss_scales))
            # The softmax below cancels what all tasks have in common, unless a new one, whose d_k is 1, has it not.
            matters = (told & new).any() | (not self.conserve)
            change_of_log_l = change_of_log_l - torch.where(matters, L.log() - L_before.log(), 0.0)
            log_d = torch.where(new, 0.0, self.beta(t) * change_of_log_l)
        self._loss_scales.copy_(torch.where(told, loss_scales, self._loss_scales))
        weights = (self._log_shares(log_d, told) + log_L - log_l).exp()
        level = (self._log_shares(torch.zeros_like(log_d), told) + log_L - log_l).exp()
        inner = level if self.outside else weights
        self._inner.copy_(torch.where(told, inner, self._inner))
        return weights

    def _log_shares(self, log_d: Tensor, told: Tensor) -> Tensor:
        """Log of alpha d_k pi_k over the tasks that have a new weight, without `conserve` of d_k pi_k."""
        log_d_pi = self._priority.log() + log_d
        return torch.where(told, log_d_pi, -torch.inf).log_softmax(0) if self.conserve else log_d_pi
