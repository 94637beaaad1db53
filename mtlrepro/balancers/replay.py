"""Weights that another run has had: its mean, its last ones, or its epochs or steps in some order."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.drawn import DrawnWeighting

Rows = Sequence[float] | Sequence[Sequence[float]]


@register("replay")
class Replay(DrawnWeighting):
    """Given weights that do not look at this run: sum_k w_k L_k, a row of weights for each epoch or step.

    The control of a method that adapts its weights. With the mean or the last weights of one of its runs, nothing
    adapts; with its epochs or steps in another order, weights have the same distribution, but answer to nothing. Rows
    of equal weights f/T are a gate f on the plain mean step, the control of `mclgs`, which for two tasks is such a gate
    itself.
    `RunConfig` takes `run`, the hash of a stored run, and `mode` in the place of `weights`, see `training.controls`.

    Scale: as given, not normalised: T equal gradients g give (sum_k w_k) g. The weights act on shared parameters and
    heads alike. So do those of methods that weight losses, and of gradnorm, maxgnr and mclgs. Methods such as cagrad
    weight the shared parameters alone, and their heads receive grad L_k / T: a replay of these weights changes the
    heads' steps too.
    An absent task's weight is left out, the others keep theirs.

    Args:
        n_tasks: Number of tasks T.
        weights: T numbers of at least 0, or E rows of them, one for each epoch; the last one stays in force. Equal, 1/T
            each, if not given.
        draw: Take a row at random in each step, whatever the epoch.
        step: What a row is for. With `iteration` there is one for each training step, and none is drawn.
        seed: Of the draws; the stream is the balancer's own and part of `state_dict`.

    Raises:
        ValueError: `weights`, `draw` or `step` is out of range, or the last two do not go together.
    """

    def __init__(
        self,
        n_tasks: int,
        weights: Rows | None = None,
        draw: bool = False,
        seed: int = 0,
        step: Literal["epoch", "iteration"] = "epoch",
    ) -> None:
        super().__init__(n_tasks, seed)
        if not isinstance(draw, bool):
            raise ValueError(f"draw is {draw!r}; accepted: True, False")
        if step not in ("epoch", "iteration"):
            raise ValueError(f"step is {step!r}; accepted: 'epoch', 'iteration'")
        if draw and step == "iteration":
            raise ValueError("draw is True; accepted with step='iteration': False")
        self.draw, self.step = draw, step
        self._rows: Tensor
        self._weights: Tensor
        self.register_buffer("_rows", _rows(weights, n_tasks))
        self.register_buffer("_weights", self._rows[0].clone())

    @property
    def weights(self) -> Tensor | None:
        """[T] float64, of the next step, which are in force for the whole epoch unless each step has its own.

        None where each step draws its own.
        """
        return None if self.draw else self._given().clone()

    def draw_weights(self, device: torch.device) -> Tensor:
        """Return the weights of this epoch or step, or of a row drawn for this step."""
        if not self.draw:
            return self._given()
        index = torch.randint(len(self._rows), (1,), device=device, generator=self.generator(device))
        return self._rows.index_select(0, index).squeeze(0)

    def _given(self) -> Tensor:
        """Weights [T] of the next step; steps are counted on the device, so that a CUDA graph takes row after row."""
        if self.step == "epoch":
            return self._weights
        return self._rows.index_select(0, self._count.clamp_max(len(self._rows) - 1)[None]).squeeze(0)

    def _end_epoch(self, losses: Tensor) -> None:
        if not self.draw:  # in place, where a CUDA graph looks for it
            self._weights.copy_(self._rows[min(self.epochs + 1, len(self._rows) - 1)])

    def _waits_for_epochs(self) -> bool:
        return self.step == "epoch" and not self.draw and len(self._rows) > 1


def _rows(weights: Rows | None, n_tasks: int) -> Tensor:
    """Rows of weights [E, T] float64."""
    try:
        rows = torch.tensor([1 / n_tasks] * n_tasks if weights is None else weights, dtype=torch.float64)
    except (TypeError, ValueError):  # rows of several lengths, or no numbers
        rows = torch.empty(0)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != n_tasks or not len(rows) or not bool((rows.isfinite() & (rows >= 0)).all()):
        accepted = f"{n_tasks} numbers of at least 0, or a row of them for each epoch"
        raise ValueError(f"weights is {weights!r}; accepted: {accepted}")
    return rows
