"""Gradient balancing: T backward passes to T gradients, which a method weights or edits."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch._functorch.config
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from mtlrepro.balancers.base import Balancer, Step
from mtlrepro.balancers.diagnostics import normalised
from mtlrepro.balancers.gradients import (
    BLOCK,
    Row,
    accumulate,
    at_least_float32,
    average,
    blocks,
    combine,
    gramian,
    leaves,
    precision,
    task_gradients,
)
from mtlrepro.balancers.shared import refuse_unreached
from mtlrepro.distributed import processes

SMALL = 2**15
"""Elements up to which a parameter is small: copying it costs less than the calls that this spares."""
LARGE_BLOCK = 2**18
"""Elements of a block for slice rules, whose many small operations cost more than a larger cache's latency."""


class GradientBalancer(Balancer):
    """Base of all methods that look at each task's gradient.

    T backward passes give the gradients of shared parameters and heads together; there is no further one.
    Creating one switches off `torch._functorch.config.donated_buffer`: a compiled model could not be
    differentiated T times otherwise. Compile the trunk and each head by themselves; a model compiled as a
    whole computes every head in each of the T passes.
    """

    gramian: Tensor | None = None
    """[t, t] float64, inner products of the last step's t present gradients, where the method computed
    them."""
    precision: torch.dtype = torch.float64
    """Type in which the products of `gramian` were taken; they are summed in float64."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        torch._functorch.config.donated_buffer = False

    def _step(self, step: Step) -> Tensor | None:
        heads = _heads(step.losses, step.shared)
        rows = task_gradients(step.losses, step.shared + heads, step.starts())
        self._look_at_reach(step, rows)
        rows = [average(row) for row in rows]
        n = len(step.shared)
        head_rows = [row[n:] for row in rows]
        for row in rows:
            del row[n:]
        weights, head_weights = self._merge(step, rows)
        accumulate(heads, combine(head_rows, head_weights))
        return weights

    def _look_at_reach(self, step: Step, rows: list[Row]) -> None:
        """Refuse shared parameters that no loss reaches; warn of those that one task alone does."""
        reached = [
            [k for k, row in zip(step.tasks, rows, strict=True) if row[i] is not None] for i in range(len(step.shared))
        ]
        refuse_unreached(any(reached))
        single = [(p, tasks[0]) for p, tasks in zip(step.shared, reached, strict=True) if len(tasks) == 1]
        if len(rows) == self.n_tasks > 1 and single:  # with a task absent its parameters would look like another's
            parameter, task = single[0]
            more = f", and {len(single) - 1} more are such" if len(single) > 1 else ""
            self._warn(
                "reach",
                f"shared: only {self._who(task)} reaches the parameter of shape "
                f"{tuple(parameter.shape)}{more}; nothing is balanced there (does it belong to a head?)",
            )

    @abstractmethod
    def _merge(self, step: Step, rows: list[Row]) -> tuple[Tensor | None, Tensor]:
        """Accumulate the shared parameters' gradient from the present tasks' rows.

        Returns the step's weights [n_tasks], if it has any, and the heads' weights [present tasks].
        """

    def _inner_products(self, step: Step, rows: list[Row]) -> tuple[Tensor, Tensor]:
        """Compute the Gramian [t, t] in the losses' own units, and whether the step is valid, scalar bool."""
        result = gramian(rows)
        if step.scale is not None:
            result = result / step.scale.double().square()
        self.gramian, self.precision = result, precision(rows)
        return result, self._judge(step, result.diagonal())

    def _judge(self, step: Step, sizes: Tensor) -> Tensor:
        """Report tasks whose gradient is not finite, as a number [t] made of it is not; scalar bool, valid step."""
        bad = step.spread((~sizes.isfinite()).double()).bool()
        if step.scale is None:
            self._report(bad, lambda k: "the gradient of its loss is not finite")
        return step.valid & ~bad.any()


class GramianWeighting(GradientBalancer):
    """Base of the methods that map the T x T Gramian of the task gradients to T coefficients.

    `balancer(gramian)` is that map by itself, a pure function of the Gramian but for the random order of
    pcgrad; the same object serves as a weighting in TorchJD.

    Args:
        n_tasks: Number of tasks T.
        at: `parameters` takes gradients by the shared parameters. `representation` takes them by
            `features`, a different quantity, an upper bound in the manner of MGDA-UB (Sener and Koltun,
            NeurIPS 2018, Section 3.3): the trunk is passed once, and `features` has to separate all losses from the
            shared parameters.

    Raises:
        ValueError: `at` is neither.
    """

    def __init__(self, n_tasks: int, at: Literal["parameters", "representation"] = "parameters") -> None:
        if at not in ("parameters", "representation"):
            raise ValueError(f"at is {at!r}; accepted: 'parameters', 'representation'")
        super().__init__(n_tasks)
        self.at = at

    @abstractmethod
    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian to coefficients.

        Args:
            gramian: [t, t], inner products of the task gradients.

        Returns:
            [t] float64, c with combined gradient sum_k c_k g_k.
        """

    def coefficients(self, gramian: Tensor, precision: torch.dtype) -> Tensor:
        """Map the Gramian of a step to coefficients: `forward`, for methods without guards against rounding.

        Args:
            gramian: [t, t] float64, inner products of the task gradients.
            precision: Type in which the products were taken.

        Returns:
            [t] float64, as `forward`.
        """
        coefficients: Tensor = self(gramian)
        return coefficients

    def head_weights(self, gramian: Tensor, coefficients: Tensor) -> Tensor:
        """Weights [t] of the tasks' own parameters: 1/t each, unless the method weights losses."""
        return torch.full_like(coefficients, 1 / len(coefficients))

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, see `Balancer.observed`.

        Returns:
            `weights` [T]; `gramian` [T, T], G as the method took it, by parameters or features; `cosines` [T, T], in
            [-1, 1], its normalised form; `length`, a scalar of at least 0, |sum_k w_k g_k| over that of the mean
            gradient |1/T sum_k g_k|, both from G, and NaN where the mean is zero.
        """
        result = super().observed()
        length = result["weights"].new_full((), torch.nan)
        gramian = cosines = length.expand(self.n_tasks, self.n_tasks)
        if self.gramian is not None:
            gramian, cosines = self._over_pairs(self.gramian), self._over_pairs(normalised(self.gramian))
            if self._applied is not None:
                weights = self._applied.unbind()
                combined = _square(self.gramian, torch.stack([weights[k] for k in self._present]))
                mean = _square(self.gramian, torch.full_like(self.gramian[0], 1 / self.n_tasks))
                length = torch.where(mean > 0, combined / mean, torch.nan).sqrt()
        return result | {"gramian": gramian, "cosines": cosines, "length": length}

    def _over_pairs(self, matrix: Tensor) -> Tensor:
        """Give a symmetric matrix [t, t] of the present tasks its indices among all T; NaN where one is absent."""
        return self._over_tasks(self._over_tasks(matrix).T)

    def _step(self, step: Step) -> Tensor | None:
        return super()._step(step) if self.at == "parameters" else self._step_at_features(step)

    def _merge(self, step: Step, rows: list[Row]) -> tuple[Tensor, Tensor]:
        products, valid = self._inner_products(step, rows)
        coefficients, head_weights = self._solve(step, products, valid)
        accumulate(step.shared, combine(rows, coefficients))
        return step.spread(coefficients), head_weights

    def _solve(self, step: Step, products: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for the coefficients and head weights; NaN in a bad step, for a GradScaler to see."""
        coefficients = self.coefficients(products, self.precision)
        head_weights = self.head_weights(products, coefficients)
        part = torch.where(valid, len(step.tasks) / self.n_tasks, torch.nan)
        return coefficients * part, head_weights * part

    def _step_at_features(self, step: Step) -> Tensor:
        features = step.features
        if features is None:
            raise ValueError("features is None; accepted for at='representation': the shared representation")
        if not all(f.requires_grad for f in features):
            raise ValueError("features: one requires no gradient; accepted: the representation as the losses use it")
        heads = leaves(step.losses, stop=features)
        shared = {id(p) for p in step.shared}
        if any(id(p) in shared for p in heads):
            raise ValueError("features: the losses reach shared parameters past them; accepted: all paths through")
        rows = task_gradients(step.losses, features + heads, step.starts())
        n = len(features)
        self.precision = precision([row[:n] for row in rows])
        products = gramian([row[:n] for row in rows])
        if step.scale is not None:
            products = products / step.scale.double().square()
        if processes() > 1:  # the joined batch has the mean loss, and its features are all processes' features
            dist.all_reduce(products)
            products /= processes() ** 2
        self.gramian = products
        coefficients, head_weights = self._solve(step, products, self._judge(step, products.diagonal()))
        head_rows = [average(row[n:]) for row in rows]
        for row in rows:
            del row[n:]
        combined = combine(rows, coefficients)
        reached = [(f, g) for f, g in zip(features, combined, strict=True) if g is not None]
        trunk = leaves(f for f, _ in reached)
        refuse_unreached(not shared.isdisjoint(map(id, trunk)))
        gradients = torch.autograd.grad([f for f, _ in reached], trunk, [g for _, g in reached])
        accumulate(heads, combine(head_rows, head_weights))
        accumulate(trunk, average(list(gradients)))
        return step.spread(coefficients)


class SliceRule(GradientBalancer):
    """Base of the methods that act on the T gradients of each shared parameter, slice by slice.

    The heads' parameters receive grad L_k / T.
    """

    draws = False
    """Whether the rule draws random numbers. Which element gets which number follows from the order and the size of the
    blocks, and stored runs have one parameter after the other in blocks of `BLOCK`; such a rule keeps to these. Other
    rules see larger blocks, and small parameters with like slices joined."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._tallied: dict[str, Tensor] = {}

    @torch.no_grad()
    def observed(self) -> dict[str, Tensor]:
        """Report the last step's quantities, see `Balancer.observed`; all are NaN unless `observing` is True.

        Returns:
            `weights` [T], always NaN, as the rule has none; scalars `slices_kept` and `elements_kept`, the shares in
            [0, 1] of slices, and of the elements in them, whose combined gradient is not zero, among the parameters
            that two present tasks or more reach; `length`, at least 0, that of the combined gradient over that of the
            mean gradient |1/T sum_k g_k|, over all shared parameters, and NaN where the mean is zero.
        """
        result = super().observed()
        missing = torch.full_like(result["weights"][0], torch.nan)
        return result | (self._tallied or dict.fromkeys(("slices_kept", "elements_kept", "length"), missing))

    def slices(self, shape: torch.Size) -> tuple[int, int]:
        """Count a parameter's slices, each of consecutive elements, and the elements of one; by default each is one."""
        return shape.numel(), 1

    def fill(self, gradients: list[Tensor], out: Tensor) -> None:
        """Combine the gradients of some slices by one task or more; see `rule`."""
        if len(gradients) > 1:
            self.rule(gradients, out)
        else:
            torch.div(gradients[0], self.n_tasks, out=out)

    def finish(self, combined: list[Tensor]) -> None:
        """Change the combined gradients of all shared parameters in place, once all of them are there."""

    @abstractmethod
    def rule(self, gradients: list[Tensor], out: Tensor) -> None:
        """Combine the gradients of some slices by the tasks that reach them: their sum under the rule, over T.

        Args:
            gradients: At least two tensors [A, n, B] of A x B slices of n elements, not to be changed in place. Of
                weights whose channels are last in memory B is their number, otherwise 1: slices are read as they lie.
            out: [A, n, B], where the result goes.
        """

    def _merge(self, step: Step, rows: list[Row]) -> tuple[None, Tensor]:
        result: Row = [None] * len(step.shared)
        sums: list[list[Tensor]] = [[] for _ in rows]
        tally = _Tally() if self.observing else None
        for group in self._groups(step.shared, rows):
            total = torch.empty_like(next(iter(group.gradients.values())))
            for out, *parts in blocks([total, *group.gradients.values()], BLOCK if self.draws else LARGE_BLOCK):
                for k, part in zip(group.gradients, parts, strict=True):
                    sums[k].append(part.sum())
                self.fill(parts, out)
                if tally is not None:
                    tally.add(parts, out)
            for i, piece in zip(group.indices, torch.split(total, group.counts), strict=True):
                parameter = step.shared[i]
                result[i] = group.layout.whole(piece, parameter.shape).to(parameter.dtype)
        self.finish([g for g in result if g is not None])
        self._tallied = {} if tally is None else tally.result([g for g in result if g is not None], self.n_tasks)
        zero = torch.zeros_like(step.values[0])
        valid = self._judge(step, torch.stack([torch.stack(s).double().sum() if s else zero for s in sums]))
        factor = torch.where(valid, 1.0, torch.nan)  # NaN in a bad step, for a GradScaler to see
        if smallest := sorted((g for g in result if g is not None), key=Tensor.numel)[:1]:
            smallest[0].mul_(factor)
        accumulate(step.shared, result)
        return None, (factor / self.n_tasks).double().expand(len(step.tasks))

    def _groups(self, shared: Sequence[Tensor], rows: list[Row]) -> Iterator["_Group"]:
        """Cut gradients into slices, drop them from `rows`, and join those of small parameters with like slices."""
        small: dict[tuple[int, tuple[int, ...], torch.dtype], list[tuple[int, list[Tensor]]]] = {}
        for i, parameter in enumerate(shared):
            reached = {k: row[i] for k, row in enumerate(rows)}
            for row in rows:
                row[i] = None
            joinable = parameter.numel() <= SMALL and not self.draws
            layout = _Layout.of(parameter, self.slices(parameter.shape), as_it_lies=not joinable and not self.draws)
            gradients = {k: layout.cut(at_least_float32(g)) for k, g in reached.items() if g is not None}
            if not gradients:
                continue
            if joinable:
                key = (layout.n, tuple(gradients), next(iter(gradients.values())).dtype)
                small.setdefault(key, []).append((i, list(gradients.values())))
            else:
                yield _Group([i], [len(next(iter(gradients.values())))], gradients, layout)
        for (n, tasks, _), members in small.items():
            indices, parts = zip(*members, strict=True)
            joined = [torch.cat(gradients) for gradients in zip(*parts, strict=True)]
            counts = [len(first) for first, *_ in parts]
            yield _Group(list(indices), counts, dict(zip(tasks, joined, strict=True)), _Layout(n))


@dataclass(frozen=True)
class _Layout:
    """How a weight's gradient is cut into slices without being copied.

    Attributes:
        n: Elements of a slice.
        channels: Slices that lie interleaved in memory, element by element, as the channels of a filter do whose
            weight has its channels last; 1 where the elements of a slice are neighbours.
        channels_last: Whether the weight has its channels last.
    """

    n: int
    channels: int = 1
    channels_last: bool = False

    @classmethod
    def of(cls, parameter: Tensor, slices: tuple[int, int], *, as_it_lies: bool) -> "_Layout":
        """Find the layout of a parameter's slices, of which `slices` has the count and the elements of one.

        In memory with channels last, whole parameters, filters and single elements are as consecutive as in their
        order by index, and the planes of a filter's channels are interleaved; slices of any other count, or all without
        `as_it_lies`, are cut in the order by index, which may take a copy.
        """
        count, n = slices
        if not as_it_lies or parameter.dim() < 3 or parameter.is_contiguous():
            return cls(n)
        filters, channels = parameter.shape[:2]
        last = parameter.movedim(1, -1).is_contiguous() and count in (1, filters, filters * channels, parameter.numel())
        return cls(n, channels if last and count == filters * channels else 1, last)

    def cut(self, gradient: Tensor) -> Tensor:
        """Cut a gradient into slices [A, n, B]."""
        ordered = gradient.movedim(1, -1) if self.channels_last else gradient
        return ordered.reshape(-1, self.n, self.channels)

    def whole(self, slices: Tensor, shape: torch.Size) -> Tensor:
        """Give slices [A, n, B] the shape of their parameter again."""
        if not self.channels_last:
            return slices.view(shape)
        filters, channels, *rest = shape
        return slices.view(filters, *rest, channels).movedim(-1, 1)


@dataclass
class _Group:
    """Slices that are combined together.

    Attributes:
        indices: Parameters that they belong to.
        counts: Rows A of each.
        gradients: Task to its gradients [A, n, B], for those that reach the parameters.
        layout: How they were cut.
    """

    indices: list[int]
    counts: list[int]
    gradients: dict[int, Tensor]
    layout: _Layout


def sum_of_slices(slices: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum the elements of each slice, [A, n, B] to [A, B]."""
    rows, n, columns = slices.shape
    if columns > 1:
        return torch.sum(slices, 1, out=out)
    # A product with ones is the fastest sum of neighbours.
    result = torch.mv(slices.view(rows, n), slices.new_ones(n), out=None if out is None else out.view(rows))
    return result.view(rows, 1)


class _Tally:
    """What slice rules report of a step: gathered with few operations a parameter, added up at the end."""

    def __init__(self) -> None:
        self._plain: list[Tensor] = []
        self._sizes: dict[int, list[Tensor]] = {}

    def add(self, gradients: Sequence[Tensor], out: Tensor) -> None:
        """Add slices [A, n, B]: the gradients of the tasks that reach them, and what the rule made of them."""
        if len(gradients) == 1:
            self._plain.append(gradients[0])
            return
        total = gradients[0] + gradients[1]
        for gradient in gradients[2:]:
            total += gradient
        self._plain.append(total)
        n = out.shape[1]
        # Of magnitudes, since squares could vanish below the smallest number.
        size = out if n == 1 else sum_of_slices(out.abs())
        self._sizes.setdefault(n, []).append(size.flatten())

    def result(self, combined: Sequence[Tensor], n_tasks: int) -> dict[str, Tensor]:
        """Add up what `SliceRule.observed` reports, given the combined gradients of the parameters."""
        length, plain = (get_total_norm(tensors).double() for tensors in (combined, self._plain))
        kept = {n: (torch.cat(sizes) != 0).sum().double() for n, sizes in self._sizes.items()}
        every = {n: sum(map(len, sizes)) for n, sizes in self._sizes.items()}
        zero = torch.zeros_like(length)  # 0 / 0 is NaN, where no two tasks reach one parameter
        return {
            "slices_kept": sum(kept.values(), zero) / sum(every.values()),
            "elements_kept": sum((n * count for n, count in kept.items()), zero) / sum(n * m for n, m in every.items()),
            "length": torch.where(plain > 0, length / plain * n_tasks, torch.nan),
        }


def _square(gramian: Tensor, coefficients: Tensor) -> Tensor:
    """|sum_k c_k g_k|^2, a scalar of at least 0, from the Gramian [t, t] and c [t]."""
    return (coefficients * (gramian * coefficients).sum(1)).sum().clamp_min(0)


def _heads(losses: list[Tensor], shared: list[Tensor]) -> list[Tensor]:
    known = {id(p) for p in shared}
    return [p for p in leaves(losses) if id(p) not in known]
