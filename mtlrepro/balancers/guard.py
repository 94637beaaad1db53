"""Bad steps, whose losses or gradients are not finite: found, named by task, and skipped by the optimizer."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer


class Guard(nn.Module):
    """The part of a balancer that finds bad steps: on the host, which raises at once, or on the device.

    Args:
        n_tasks: Number of tasks T.

    Attributes:
        steps: Number of steps taken.
        guarded: Whether bad steps are found on the device.
    """

    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        self.steps = 0
        self.guarded = False
        self._names: tuple[str, ...] | None = None
        self._count: Tensor
        self._first_bad: Tensor
        self._skip: Tensor
        # `steps` as the device counts it, since a replayed CUDA graph runs no Python.
        self.register_buffer("_count", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("_first_bad", torch.full((2,), -1), persistent=False)  # step and task
        self.register_buffer("_skip", torch.zeros(()), persistent=False)  # 1 makes the optimizer skip its next step

    def guard(self, optimizer: Optimizer) -> None:
        """Find bad steps on the device: no host-device synchronisation, and the optimizer skips them.

        Without a guard, `backward` raises at once, which costs two synchronisations per step on CUDA. With
        it, a device flag keeps the first bad step and task for `check`, and the optimizer's fused kernel
        leaves parameters, momenta and step counts as they are, also where gradients were accumulated over
        several calls. `.grad` of a bad step is undefined.

        Args:
            optimizer: A torch optimizer with `fused=True` in all its groups.

        Raises:
            ValueError: The optimizer is not fused, so it could not skip without asking the device; or is SGD
                with dampening.
        """
        if not all(group.get("fused") for group in optimizer.param_groups):
            name = type(optimizer).__name__
            raise ValueError(f"optimizer is {name} without fused=True; accepted: fused=True in all groups")

        momentum = [group for group in optimizer.param_groups if isinstance(optimizer, SGD) and group["momentum"]]
        if any(group["dampening"] for group in momentum):
            raise ValueError("optimizer has dampening; accepted: SGD with dampening=0")

        def skip(optimizer: Any, *_: object) -> None:  # noqa: ANN401
            for parameter in (p for group in momentum for p in group["params"] if p.grad is not None):
                # torch leaves this buffer uninitialised when the first step is skipped
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            scaled = getattr(optimizer, "found_inf", None)
            optimizer.found_inf = self._skip if scaled is None else torch.maximum(scaled, self._skip)

        def done(optimizer: Any, *_: object) -> None:  # noqa: ANN401
            self._skip.zero_()
            optimizer.found_inf = None

        optimizer.register_step_pre_hook(skip)
        optimizer.register_step_post_hook(done)
        self.guarded = True

    def check(self) -> None:
        """Raise if a guarded step was bad. Reads the device: call it at logging points.

        Raises:
            FloatingPointError: Names the first bad step and its task.
        """
        step, task = self._first_bad.tolist()
        if step >= 0:
            raise FloatingPointError(
                f"step {step}: the loss or gradient of {self._who(task)} is not finite; "
                "the optimizer has skipped this and every other bad step"
            )

    def _report(self, bad: Tensor, why: Callable[[int], str]) -> None:
        """Raise for the first task marked in `bad` [n_tasks (+ 1 for their sum)], or note it if guarded."""
        if self.guarded:
            found = torch.stack([self._count, bad.int().argmax()])
            self._first_bad.copy_(torch.where(bad.any() & (self._first_bad[0] < 0), found, self._first_bad))
            self._skip.copy_(torch.maximum(self._skip, bad.any()))
        elif bad.any():
            k = int(bad.int().argmax())
            raise FloatingPointError(f"step {self.steps}, {self._who(k)}: {why(k)}; no parameter was changed")

    def _who(self, k: int) -> str:
        if k == self.n_tasks:
            return "the weighted sum of all tasks"
        return f"task {str(k) if self._names is None else self._names[k]!r}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the state between devices, but leave its precision alone when a model around it is cast."""

        def move(tensor: Tensor) -> Tensor:
            try:
                moved = fn(tensor)
            except TypeError as error:  # what PyTorch raises for a device without float64
                raise ValueError(f"device: {error}; accepted: one with float64, such as cpu and cuda") from error
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self
