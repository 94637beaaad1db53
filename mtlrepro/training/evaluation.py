"""What a trained network is worth: its metrics on a set, and what its tasks' gradients say about each other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import nn

from mtlrepro.balancers import diagnostics, gramian, task_gradients
from mtlrepro.data.loading import Loader
from mtlrepro.data.samples import Batch
from mtlrepro.models import MultiTaskModel
from mtlrepro.tasks import ImageTask
from mtlrepro.training.step import predict

Metrics = dict[str, dict[str, float]]
"""By task and metric."""


@torch.no_grad()
def evaluate(model: MultiTaskModel, tasks: Sequence[ImageTask], loader: Loader, precision: str = "float32") -> Metrics:
    """Score a network on a set, in evaluation mode.

    Args:
        model: The network; it is left in training mode.
        tasks: What to score.
        loader: One epoch of it is read.
        precision: `float32` or `bf16`.

    Returns:
        Metrics pooled over the set, by task and name.
    """
    model.eval()
    metrics = {task.name: task.metrics() for task in tasks}
    for batch in loader:
        predictions = predict(model, batch, precision)
        for name, metric in metrics.items():
            metric.update(predictions[name], batch)
    model.train()
    return {name: metric.compute() for name, metric in metrics.items()}


def probe(
    model: MultiTaskModel,
    tasks: Sequence[ImageTask],
    batch: Batch,
    precision: str = "float32",
    scales: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Compare the tasks' gradients by the shared parameters on one batch, as in training but without a step.

    Args:
        model: The network, in training mode; parameters, running statistics and `.grad` stay as they are.
        tasks: T tasks.
        batch: B samples.
        precision: `float32` or `bf16`.
        scales: Factors on the losses by task, as in training; default: 1 each.

    Returns:
        `norms`, by task; `cosines`, T x T in task order; `conflicts`, the share of pairs with a negative one. None
        stands for a task without a label in the batch.
    """
    with keeping_buffers(model):
        predictions = predict(model, batch, precision)
        terms = {task.name: task.loss(predictions[task.name], batch) for task in tasks}
        factors = dict.fromkeys(terms, 1.0) | dict(scales or {})
        losses = {name: factors[name] * term.mean() for name, term in terms.items() if bool(term.weights.any())}
        gradients = task_gradients(list(losses.values()), [p for p in model.shared_parameters() if p.requires_grad])
    if not losses:
        return {"norms": dict.fromkeys(terms), "cosines": [[None] * len(terms)] * len(terms), "conflicts": None}
    compared = diagnostics(gramian(gradients))
    norms = dict(zip(losses, compared.norms.tolist(), strict=True))
    cosines = {
        (one, other): value
        for one, row in zip(losses, compared.cosines.tolist(), strict=True)
        for other, value in zip(losses, row, strict=True)
    }
    return {
        "norms": {name: norms.get(name) for name in terms},
        "cosines": [[cosines.get((one, other)) for other in terms] for one in terms],
        "conflicts": compared.conflicts.item(),
    }


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """Put running statistics, and whatever else are buffers of a network, back in the end."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def mean(evaluations: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """Mean of one evaluation or more, metric by metric; None where one of them has none."""

    def mean_of(values: list[float | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return fmean(numbers) if len(numbers) == len(values) else None

    first = evaluations[0]
    return {task: {name: mean_of([e[task][name] for e in evaluations]) for name in first[task]} for task in first}
