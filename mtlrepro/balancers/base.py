"""The interface of all balancers: how T task losses become one gradient."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm

from mtlrepro.balancers.gradients import accumulate, average, leaves
from mtlrepro.balancers.guard import Guard
from mtlrepro.balancers.shared import Shared, refuse_unreached, shared_parameters
from mtlrepro.distributed import from_first, processes

Losses = Sequence[Tensor | None] | Mapping[str, Tensor | None]
Means = Tensor | Sequence[float | Tensor | None] | Mapping[str, float | Tensor | None]
_Item = TypeVar("_Item")

LONG_EPOCH = 10_000
"""Steps without `end_epoch` after which a method whose weights change with the epochs warns."""
NOT_STEPPED = 100
"""Steps after which a balancer warns if no optimizer has changed its own parameters since the first one."""


@dataclass(frozen=True)
class Step:
    """What a method sees of one training step: the present tasks only, in task order.

    Attributes:
        losses: The present tasks' losses, attached to the graph.
        tasks: Their indices in 0 .. n_tasks - 1.
        values: [n_tasks] float64, detached losses averaged over processes (and samples), NaN where absent.
        valid: Scalar bool on the device: False marks a bad step, which must leave a method's state unchanged.
        shared: The shared parameters that require a gradient.
        features: The shared representation, one or more tensors, or None.
        scale: The GradScaler's factor as a scalar tensor, or None.
        certain: `valid` is known to be True without reading the device.
        last: Whether the optimizer steps after this call; False for the first calls of an accumulated step.
    """

    losses: list[Tensor]
    tasks: list[int]
    values: Tensor
    valid: Tensor
    shared: list[Tensor]
    features: list[Tensor] | None
    scale: Tensor | None
    certain: bool
    last: bool

    def starts(self, weights: Tensor | None = None) -> list[Tensor]:
        """Gradients at the losses, from which backward passes start: weight times the scaler's factor.

        Args:
            weights: [number of present tasks], or None for ones. Per-sample losses [B] share their weight.

        Returns:
            One tensor like each present loss.
        """
        factor = torch.ones((), dtype=torch.float64, device=self.values.device)
        if self.scale is not None:
            factor = factor * self.scale
        factors = (factor if weights is None else weights * factor).expand(len(self.losses))
        return [
            (f / loss.numel()).to(loss.dtype).expand_as(loss)
            for f, loss in zip(factors.unbind(), self.losses, strict=True)
        ]

    def present(self, weights: Tensor) -> Tensor:
        """Take the present tasks' weights out of those of all tasks [n_tasks]."""
        by_task = weights.unbind()
        return torch.stack([by_task[k] for k in self.tasks])

    def spread(self, weights: Tensor) -> Tensor:
        """Give each present task's weight its index among all tasks; an absent task has weight 0."""
        by_task = dict(zip(self.tasks, weights.unbind(), strict=True))
        zero = weights.new_zeros(())
        return torch.stack([by_task.get(k, zero) for k in range(len(self.values))])


class Balancer(Guard, ABC):
    """How T losses become one gradient: `backward` replaces `loss.backward()` in a training step.

    Scale convention: always the mean. If all task gradients are equal to g, the combined gradient is g
    (exceptions say so). An absent task, whose loss is `None`, takes no part in the step: the others are
    balanced among themselves and keep the weight that they would have in the mean over all tasks. A task without a
    label in the batch has to be absent; a loss of 0 in its place would be balanced as if it had been learned perfectly.

    Some methods have parameters of their own (`uncertainty`, `gradnorm`): give `balancer.parameters()`
    to the optimizer, in a group without weight decay. `state_dict` is complete: a resumed run takes the
    same steps as an unbroken one.

    Args:
        n_tasks: Number of tasks T, at least 1.

    Attributes:
        observing: Whether steps also compute what `observed` reports and the method itself does not need. Only slice
            rules have such; False unless it is set.

    Raises:
        ValueError: `n_tasks` is not a positive integer.
    """

    accepts: ClassVar[str] = "a finite number"
    accumulates: ClassVar[bool] = False
    """Whether the weights are known before a step, so that micro-batches add up to the step of their union."""
    capturable: bool = True
    """Whether all steps launch the same work without asking the device, so that a CUDA graph can stand for them."""
    per_sample: bool = False

    def __init__(self, n_tasks: int) -> None:
        if not isinstance(n_tasks, int) or isinstance(n_tasks, bool) or n_tasks < 1:
            raise ValueError(f"n_tasks is {n_tasks!r}; accepted: an integer of at least 1")
        super().__init__(n_tasks)
        self.epochs = 0
        self.observing = False
        self._present: list[int] = []  # tasks of the last step
        self._applied: Tensor | None = None  # and its weights [T], if it had any
        self._calls = 0
        self._capturing = False
        self._steps_of_epoch = 0
        self._first: list[Tensor] = []
        self._warned: set[str] = set()

    @torch.no_grad()
    def backward(
        self,
        losses: Losses,
        shared: Shared,
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        scaler: GradScaler | None = None,
        last: bool = True,
    ) -> Tensor | None:
        """Add the combined gradient of all losses to `.grad` of every parameter they reach.

        An existing `.grad` is added to, so gradients accumulate over several calls, each balanced by itself. To
        accumulate one step over n micro-batches, pass each loss divided by n and `last=False` in all calls but the
        last: the result is that of the whole batch. Only methods that know their weights before the step can do that.

        With several processes, run the forward pass inside `model.no_sync()`: gradients are averaged here, per task
        and before weights are computed, so that all processes take the same step. A process then waits for one
        message of 2 T numbers, and a task has to be present on all processes or on none: a process whose part of
        the batch has no label of a present task passes a zero that depends on the network's output.

        Args:
            losses: T scalars; `None` for a task that has no label in this batch. A mapping by name is brought into
                the order of the first mapping that was given, to this method or to `end_epoch`; sequences are taken to
                be in that order. Where a method says so, [B] per-sample losses.
            shared: The parameters that tasks share, or the module that holds them; one that is listed twice, as tied
                weights are, counts once, and frozen ones are left out. All others that the losses reach belong to
                the heads.
            features: The shared representation, for methods created with `at="representation"`.
            scaler: GradScaler in use; `.grad` is then scaled by it. Non-finite gradients are left to the
                scaler, which skips their step; non-finite losses are still errors.
            last: Whether the optimizer steps after this call.

        Returns:
            [T] float64, the weights w of this step (combined gradient = sum_k w_k grad L_k over the shared
            parameters; 0 for an absent task), or `None` for rules that have no such weights.

        Raises:
            ValueError: The number, type, names, shape, device or presence of losses is wrong; `shared` is empty, frozen
                as a whole, holds what is no leaf, or nothing that a present loss reaches; or the method does not
                accumulate.
            FloatingPointError: A loss or a task's gradient is not finite; no `.grad` and no state has been
                changed, but random streams move on. In a step of one backward pass it is the gradient of the
                weighted sum, seen only after it was added to `.grad`, in parameters of fewer than two
                dimensions (biases and normalisation; all parameters, if there are none such). After
                `guard` all of this is found on the device instead and raised by `check`.
        """
        if not last and not self.accumulates:
            raise ValueError(
                f"last is False; accepted by {type(self).__name__}: True, as its weights depend on the whole batch"
            )
        with self._undone_if_refused():
            return self._backward(losses, shared, features, scaler, last)

    def _backward(
        self,
        losses: Losses,
        shared: Shared,
        features: Tensor | Sequence[Tensor] | None,
        scaler: GradScaler | None,
        last: bool,
    ) -> Tensor | None:
        items = self._items(losses)
        parameters = shared_parameters(shared)
        tasks = [k for k, loss in enumerate(items) if loss is not None]
        present = [loss for loss in items if loss is not None]
        device = present[0].device
        if self._first_bad.device != device:
            self.to(device)
        if isinstance(features, Tensor):
            features = [features]
        with torch.autocast(device.type, enabled=False):
            values = self._values(items, device)
            absent = torch.stack([torch.full((), loss is None, device=device) for loss in items])
            bad = ~(self._acceptable(values) | absent)
            self._report(bad, lambda k: f"its loss is {values[k].item():g}; accepted: {self.accepts}")
            scale = None
            if scaler is not None and scaler.is_enabled():
                scale = scaler.scale(torch.ones((), device=device))
            step = Step(
                losses=present,
                tasks=tasks,
                values=values,
                valid=~bad.any(),
                shared=parameters,
                features=features if features is None else list(features),
                scale=scale,
                certain=not self.guarded and scale is None,
                last=last,
            )
            weights = self._step(step)
            self._present, self._applied = tasks, weights
            if last:
                self._count += 1
        if last:
            self._end_step()
        return weights

    @torch.no_grad()
    def end_epoch(self, mean_losses: Means) -> None:
        """Tell the balancer that an epoch has ended; methods with a schedule per epoch step here.

        Args:
            mean_losses: T mean raw training losses of the epoch, not weighted, in task order or by name; `None` for a
                task of which the epoch had no label, whose weight is then left alone. Averaged here over the
                processes that have one.

        Raises:
            ValueError: The number or the names are wrong, or a value is not finite.
        """
        with self._undone_if_refused():
            self._end_epoch(self._means(mean_losses))
        self.epochs += 1
        self._steps_of_epoch = 0

    def _means(self, mean_losses: Means) -> Tensor:
        """Mean losses in task order, [n_tasks] float64, averaged over processes; NaN where there is none."""
        device = self._first_bad.device
        if isinstance(mean_losses, Tensor):
            losses = mean_losses.detach().to(device, torch.float64)
            there = torch.ones(self.n_tasks, dtype=torch.bool, device=device)
        else:
            values = self._in_order("mean_losses", mean_losses)
            numbers = [0.0 if value is None else value for value in values]
            losses = torch.stack(
                [torch.as_tensor(value, dtype=torch.float64, device=device).detach() for value in numbers]
            )
            there = torch.tensor([value is not None for value in values], device=device)
        if losses.shape != (self.n_tasks,):
            raise ValueError(f"mean_losses has shape {tuple(losses.shape)}; accepted: ({self.n_tasks},)")
        if not losses.isfinite().all():
            raise ValueError(f"mean_losses is {losses.tolist()}; accepted: finite numbers, None")
        if processes() > 1:
            sums = torch.stack([losses, there.double()])
            dist.all_reduce(sums)
            losses, there = sums[0] / sums[1].clamp_min(1), sums[1] > 0
        return torch.where(there, losses, torch.nan)

    @property
    def weights(self) -> Tensor | None:
        """The weights now in force, [T] float64, or None where a method has none between steps."""
        return None

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, on the device and without waiting for it.

        A method has the same names and shapes at every call. NaN stands for the entries of absent tasks, for what the
        last step did not have, and for everything before the first step. A step that is replayed as a CUDA graph has
        to call this inside the graph. Nothing of it is in `state_dict`.

        Returns:
            float64 tensors by name. Every method has `weights` [T], those that `backward` returned; what others a
            family or a method has stands with its own `observed`.
        """
        missing = torch.full((self.n_tasks,), torch.nan, dtype=torch.float64, device=self._first_bad.device)
        if self._applied is None:
            return {"weights": missing}
        weights = self._applied.unbind()
        return {"weights": self._over_tasks(torch.stack([weights[k] for k in self._present]))}

    def generators(self) -> list[torch.Generator]:
        """List the random streams in use, which a CUDA graph has to know."""
        return []

    def get_extra_state(self) -> dict[str, Any]:
        """Counters and whatever else is not a buffer, for `state_dict`."""
        return {"steps": self.steps, "epochs": self.epochs, "names": self._names}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        names = state.get("names")  # states of earlier versions have none
        if names is not None and len(names) != self.n_tasks:
            raise ValueError(f"state has {len(names)} tasks, {', '.join(names)}; accepted: n_tasks = {self.n_tasks}")
        self.steps, self.epochs, self._names = state["steps"], state["epochs"], names
        self._count.fill_(self.steps)

    @abstractmethod
    def _step(self, step: Step) -> Tensor | None:
        """Accumulate the gradients of one step and return its weights [n_tasks], if it has any."""

    def _end_epoch(self, losses: Tensor) -> None:
        """Update what changes per epoch from its mean losses [n_tasks], float64; NaN where it had no label."""

    def _abandon(self) -> None:
        """Forget what a step that failed had begun."""

    def _over_tasks(self, entries: Tensor) -> Tensor:
        """Give the entries [t, ...] of the last step's present tasks their indices among all T; NaN where absent."""
        by_task = dict(zip(self._present, entries.unbind(), strict=True))
        missing = torch.full_like(entries[0], torch.nan)
        return torch.stack([by_task.get(k, missing) for k in range(self.n_tasks)])

    def _waits_for_epochs(self) -> bool:
        """Whether the step depends on `end_epoch` being called."""
        return False

    def _acceptable(self, values: Tensor) -> Tensor:
        """Mark the losses [n_tasks] that the method can use."""
        return values.isfinite()

    def _weighted_backward(self, step: Step, weights: Tensor) -> None:
        """Take the one backward pass of sum_k w_k L_k, with weights [number of present tasks]."""
        starts = step.starts(weights)
        parameters = leaves(step.losses)
        known = {id(parameter) for parameter in parameters}
        refuse_unreached(any(id(parameter) in known for parameter in step.shared))
        if processes() == 1:
            torch.autograd.backward(step.losses, starts)
        else:
            row = torch.autograd.grad(step.losses, parameters, starts, allow_unused=True)
            accumulate(parameters, average(list(row)))
        if step.scale is None:
            reached = [p.grad for p in parameters if p.grad is not None]
            norm = get_total_norm([g for g in reached if g.ndim < 2] or reached, 1.0)
            bad = torch.arange(self.n_tasks + 1, device=norm.device).eq(self.n_tasks) & ~norm.isfinite()
            self._report(
                bad,
                lambda _: (
                    "its gradient is not finite, found after it was added to .grad; "
                    "to learn the task, take the step with a method that sees each gradient, such as 'mgda'"
                ),
            )

    def _values(self, losses: list[Tensor | None], device: torch.device) -> Tensor:
        """Mean of each loss over samples and processes, [n_tasks] float64, NaN where absent."""
        nan = torch.full((), torch.nan, dtype=torch.float64, device=device)
        values = torch.stack([nan if loss is None else loss.detach().double().mean() for loss in losses])
        world = processes()
        if world > 1:
            there = torch.tensor([float(loss is not None) for loss in losses], device=device).double()
            total = torch.stack([torch.where(there > 0, values, 0.0), there])
            dist.all_reduce(total)
            for k, count in enumerate(total[1].tolist()):
                if 0 < count < world:
                    raise ValueError(
                        f"losses: {self._who(k)} is present on {count:.0f} of {world} processes; accepted: "
                        "all or none (without labels, pass a zero that depends on the output)"
                    )
            values = torch.where(there > 0, total[0] / world, nan)
        return values

    def _items(self, losses: Losses) -> list[Tensor | None]:
        """Losses in task order, None for the absent ones, after looking at each."""
        if not isinstance(losses, Sequence | Mapping):
            raise ValueError(
                f"losses is {type(losses).__name__}; accepted: a sequence or a mapping of T scalar tensors"
            )
        items = self._in_order("losses", losses)
        if all(loss is None for loss in items):
            raise ValueError("losses: every task is absent; accepted: at least one loss that is not None")
        for k, loss in enumerate(items):
            if loss is None:
                continue
            if not isinstance(loss, Tensor):
                raise ValueError(f"losses: {self._who(k)} is {loss!r}; accepted: a tensor, or None if it is absent")
            if loss.ndim != self.per_sample:
                accepted = "[B] per-sample losses" if self.per_sample else "a scalar"
                raise ValueError(f"losses: {self._who(k)} has shape {tuple(loss.shape)}; accepted: {accepted}")
            if not loss.requires_grad:
                raise ValueError(f"losses: {self._who(k)} requires no gradient; accepted: one that does, or None")
        first = next(loss for loss in items if loss is not None).device
        for k, loss in enumerate(items):
            if loss is not None and loss.device != first:
                raise ValueError(f"losses: {self._who(k)} is on {loss.device}; accepted: all on one device, {first}")
        return items

    def _in_order(self, argument: str, values: Sequence[_Item] | Mapping[str, _Item]) -> list[_Item]:
        """Bring T values into task order; the first mapping, of the first process, sets the order of names."""
        if len(values) != self.n_tasks:
            raise ValueError(f"{argument} has {len(values)} entries; accepted: n_tasks = {self.n_tasks}")
        if not isinstance(values, Mapping):
            return list(values)
        if self._names is None:
            self._names = from_first(tuple(values))
        if set(values) != set(self._names):
            raise ValueError(
                f"{argument} has the names {', '.join(map(repr, values))}; accepted: "
                f"{', '.join(map(repr, self._names))}, as at first"
            )
        return [values[name] for name in self._names]

    @contextmanager
    def _undone_if_refused(self) -> Iterator[None]:
        """Let a call that is refused leave neither names behind nor what a step had begun."""
        names = self._names
        try:
            yield
        except Exception:
            self._names = names
            self._abandon()
            raise

    def _end_step(self) -> None:
        """Count a step; warn, once each, where the training loop seems to leave out what the method needs."""
        self.steps += 1
        if self._capturing:  # which reads nothing from the device
            return
        self._calls += 1
        self._steps_of_epoch += 1
        if self._steps_of_epoch == LONG_EPOCH and self._waits_for_epochs():
            self._warn(
                "end_epoch",
                f"{type(self).__name__} has taken {LONG_EPOCH} steps without end_epoch, on which its steps depend; "
                "call it after every epoch (an epoch of more steps than that is the only other cause)",
            )
        if self._calls == 1:
            self._first = [parameter.detach().clone() for parameter in self.parameters()]
        elif self._calls == NOT_STEPPED and self._first:  # the only time that values are read from the device
            pairs = zip(self.parameters(), self._first, strict=True)
            if all(torch.allclose(p, first.to(p.device), rtol=1e-9, atol=0) for p, first in pairs):
                self._warn(
                    "parameters",
                    f"no optimizer has changed the parameters of {type(self).__name__} in {NOT_STEPPED} steps; give it "
                    "balancer.parameters() too, in a group without weight decay (a learning rate of 0 is the only "
                    "other cause)",
                )
            self._first = []

    def _warn(self, subject: str, message: str) -> None:
        """Warn of one subject only once, also where Python's own filter lets all warnings pass."""
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, stacklevel=5)


_B = TypeVar("_B", bound=type[Balancer])

METHODS: dict[str, type[Balancer]] = {}
CONTROLS = {"fixed", "lagged_gls", "replay", "rlw", "uw-so", "warmup"}
"""Methods that the others are compared with; they are not among the proposals that the book looks at."""


def register(name: str) -> Callable[[_B], _B]:
    """Class decorator: make a balancer available to `create` under a name."""

    def add(method: _B) -> _B:
        METHODS[name] = method
        return method

    return add
