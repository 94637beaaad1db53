"""Inner products of the gradients of tasks, of one task on two halves of a batch, and of single samples.

Each half is a batch by itself, with its own forward pass, so that two halves are two independent draws of half a batch.
In one pass they would not be where a network has batch normalisation: features that are centred over the whole batch
have opposite means over its halves.

Samples do come from one forward pass of the whole batch, as in training and in `balancers.MCLGS` with
`granularity="sample"`; the mean of a task's sample gradients is its gradient on the batch. Batch normalisation couples
them in the same way, so that samples of one task look less alike than they are, the more so the smaller the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro.balancers import gramian, task_gradients
from mtlrepro.balancers.gradients import Row
from mtlrepro.data.samples import Batch
from mtlrepro.losses import Terms

HALVES = ("1", "2")


def names(tasks: Sequence[str]) -> list[str]:
    """Names of the gradients of T tasks: `TASK` on the batch, `TASK/1` on its first half, `TASK/2` on its second."""
    return [*tasks, *(f"{task}/{half}" for half in HALVES for task in tasks)]


def pairs(tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Gradients that are compared: tasks on the batch, tasks on different halves, and each task with itself on those.

    The last are the null: they differ in nothing but the samples. Tasks on different halves differ from them in the
    task alone, as both lie on half a batch and share no sample.
    """
    ordered = [(a, b) for i, a in enumerate(tasks) for b in tasks[i:]]
    return [(a, b) for a, b in ordered if a != b] + [(f"{a}/1", f"{b}/2") for a, b in ordered]


def halves(batch: Batch) -> dict[str, Batch]:
    """Cut a batch of B samples into two of B // 2, by name; one sample is left out if B is odd."""
    middle = len(batch["image"]) // 2
    cuts = zip(HALVES, (slice(middle), slice(middle, 2 * middle)), strict=True)
    return {half: {key: _cut(value, cut) for key, value in batch.items()} for half, cut in cuts}


def _cut(value: Any, cut: slice) -> Any:  # noqa: ANN401
    return {key: part[cut] for key, part in value.items()} if isinstance(value, dict) else value[cut]


def gradients(terms: Mapping[str, Terms], parameters: Sequence[Tensor]) -> dict[str, Row]:
    """Gradients of each task's mean loss.

    Args:
        terms: Losses of T tasks; their graph is kept.
        parameters: What to differentiate by; nothing is written to `.grad`.

    Returns:
        By task; those without a label, or that are not finite, are absent.
    """
    losses = {task: term.mean() for task, term in terms.items() if bool(term.weights.any())}
    rows = task_gradients(list(losses.values()), parameters, retain_graph=True)
    return {task: row for task, row in zip(losses, rows, strict=True) if _finite(row)}


def sample_products(terms: Mapping[str, Terms], parameters: Sequence[Tensor]) -> Tensor:
    """Inner products of all samples' gradients, B backward passes a task; all T x B gradients are held at once.

    A sample's gradient is that of its summand in the mean loss of the batch, times B.

    Args:
        terms: Losses of T tasks on B samples; their graph is kept.
        parameters: What to differentiate by; nothing is written to `.grad`.

    Returns:
        [T, B, T, B] float64 on the CPU, see `products`; samples without a label are absent.
    """
    rows: list[Row | None] = []
    for term in terms.values():
        for loss, weight in zip(term.samples(), term.weights.tolist(), strict=True):
            row = task_gradients([loss], parameters, retain_graph=True)[0] if weight else None
            rows.append(row if row is not None and _finite(row) else None)
    t, b = len(terms), len(rows) // len(terms)
    return products(rows).view(t, b, t, b)


def products(rows: Sequence[Row | None]) -> Tensor:
    """Inner products of n gradients, [n, n] float64 on the CPU; NaN where one is None."""
    present = [i for i, row in enumerate(rows) if row is not None]
    result = torch.full((len(rows), len(rows)), torch.nan, dtype=torch.float64)
    if present:
        index = torch.tensor(present)
        result[index[:, None], index] = gramian([row for row in rows if row is not None]).cpu()
    return result


def _finite(row: Row) -> bool:
    return all(bool(gradient.isfinite().all()) for gradient in row if gradient is not None)


@dataclass(frozen=True)
class Cosines:
    """Inner products on n batches of B samples of one epoch.

    Attributes:
        tasks: [T] names.
        names: [3 T] names of the gradients of a batch, see `names`.
        indices: [n, B], which training samples a batch holds.
        batches: [n, 3 T, 3 T] inner products; NaN where a gradient is absent or not finite.
        samples: [m, T, B, T, B], those of the samples of the first m batches.
        losses: [m, T, B], what each of these samples adds to the mean loss of its batch, times B; 0 without a label.
            Empty where no samples are compared.
    """

    tasks: np.ndarray
    names: np.ndarray
    indices: np.ndarray
    batches: np.ndarray
    samples: np.ndarray
    losses: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))

    def between(self, first: str, second: str) -> np.ndarray:
        """Cosines [n] of two gradients of each batch by their names; 0 with a zero gradient, NaN with an absent one.

        Raises:
            ValueError: There is no such gradient.
        """
        i, j = (_position(self.names, name) for name in (first, second))
        norms = np.sqrt(np.diagonal(self.batches, axis1=1, axis2=2))
        return _quotient(self.batches[:, i, j], norms[:, i] * norms[:, j])

    def between_samples(self, first: str, second: str) -> np.ndarray:
        """Cosines [m, B, B] of a task's gradient on each sample with another's, or its own, on each; as `between`.

        The diagonals have two tasks on the same sample. Off them samples differ: of one task that is the control of
        what is found between two.

        Raises:
            ValueError: There is no such task.
        """
        i, j = (_position(self.tasks, name) for name in (first, second))
        norms = np.sqrt(np.einsum("mtbtb->mtb", self.samples))
        return _quotient(self.samples[:, i, :, j], norms[:, i, :, None] * norms[:, j, None])


def _position(known: np.ndarray, name: str) -> int:
    if name not in known:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(known)}")
    return list(known).index(name)


def _quotient(product: np.ndarray, norms: np.ndarray) -> np.ndarray:
    return np.clip(product / np.where(norms == 0, 1, norms), -1, 1)
