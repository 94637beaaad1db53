"""What a trained network is worth: its metrics on a set, and what its tasks' gradients say about each other."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtlrepro.balancers import diagnostics, gramian, task_gradients
from mtlrepro.data.loading import Loader
from mtlrepro.data.samples import Batch
from mtlrepro.models import MultiTaskModel
from mtlrepro.targets import TARGETS
from mtlrepro.tasks import ImageTask, target_of
from mtlrepro.training.step import Trainer, predict

Metrics = dict[str, dict[str, float]]
"""By task and metric."""
FRAME = ((45, 471, 480), (41, 601, 640))
"""NYUv2's valid region: first row and the one after the last, of so many, and columns likewise.

Images of NYUv2 have a white frame, which evaluations of depth usually leave out since Eigen et al. (NeurIPS 2014).
"""


@torch.no_grad()
def evaluate(
    model: MultiTaskModel,
    tasks: Sequence[ImageTask],
    loader: Loader,
    precision: str = "float32",
    score: Literal["image", "frame"] = "image",
) -> tuple[Metrics, Metrics]:
    """Score a network on a set, in evaluation mode.

    Args:
        model: The network; it is left in training mode.
        tasks: What to score.
        loader: One epoch of it is read.
        precision: `float32` or `bf16`.
        score: `frame` leaves out what lies outside of `FRAME`.

    Returns:
        Metrics pooled over the set, by task and name; and those of single classes, of the tasks that have such.
    """
    model.eval()
    metrics = {task.name: task.metrics() for task in tasks}
    for batch in loader:
        predictions = predict(model, batch, precision)
        if score == "frame":
            batch = inside_frame(batch, [task.name for task in tasks])
        for name, metric in metrics.items():
            metric.update(predictions[name], batch)
    model.train()
    per_class = {name: values for name, metric in metrics.items() if (values := metric.per_class())}
    return {name: metric.compute() for name, metric in metrics.items()}, per_class


def inside_frame(batch: Batch, names: Sequence[str]) -> Batch:
    """Make the maps of a batch unknown outside of `FRAME`.

    Args:
        batch: Maps `[B, ..., H, W]` of any size; it is not changed.
        names: Tasks whose targets are looked at.
    """
    height, width = batch["image"].shape[-2:]
    (top, bottom), (left, right) = (
        [round(edge * size / of) for edge in edges] for (*edges, of), size in zip(FRAME, (height, width), strict=True)
    )
    inside = torch.zeros(height, width, dtype=torch.bool, device=batch["image"].device)
    inside[top:bottom, left:right] = True
    keys = map(target_of, names)
    return batch | {key: batch[key].masked_fill(~inside, TARGETS[key].invalid) for key in keys}


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


def update_change(trainer: Trainer, batch: Batch) -> dict[str, float | None]:
    """Measure the part of the optimizer's update that the method changed, on one batch, without taking the step.

    |u(g) - u(mean g)| / |u(mean g)|, where g is the method's gradient, mean g that of 1/T sum_k L_k, and u(.) the
    change of the parameters by the optimizer's next step. Both start from the same parameters and momenta, and u also
    holds what comes from these and from weight decay, except the configuration's `decoupled` one, which is no part of
    the optimizer's step. It is computed in float64 by copies of the optimizer, since the
    rounding of float32 parameters would hide small changes.

    The batch has all labels, as the probe's: where training hides some, or draws batches of one task in turn, this is
    the change that the method would make of a step with all tasks.

    Args:
        trainer: The run; nothing of it changes, its random streams included.
        batch: B samples.

    Returns:
        `shared`, over the parameters that the tasks share, and `all`, over the heads as well, each at least 0; None if
        the batch has no label, and NaN where u(mean g) is zero.
    """
    model, cuda = trainer.model, [trainer.device] if trainer.device.type == "cuda" else []
    parameters = [p for p in model.parameters() if p.requires_grad]
    shared = {id(p) for p in model.shared_parameters()}
    held = [p.grad for p in parameters]
    with keeping_buffers(model), torch.random.fork_rng(cuda):
        terms, losses = trainer.losses(batch, [True] * len(trainer.tasks))
        for name, term in zip(losses, terms, strict=True):
            if term is None or not bool(term.weights.any()):
                losses[name] = None
        known = [loss for loss in losses.values() if loss is not None]
        if not known:
            return {"shared": None, "all": None}
        starts = [torch.full_like(loss, 1 / (len(losses) * loss.numel())) for loss in known]
        plain = torch.autograd.grad(known, parameters, starts, retain_graph=True, allow_unused=True)
        for p in parameters:
            p.grad = None
        copy.deepcopy(trainer.balancer).backward(losses, model.shared_parameters(), features=model.features)
        balanced = [p.grad for p in parameters]
        for p, gradient in zip(parameters, held, strict=True):
            p.grad = gradient
        model.features = None  # they hold the graph
    pairs = zip(
        _updates(trainer.optimizer, parameters, balanced), _updates(trainer.optimizer, parameters, plain), strict=True
    )
    squares = torch.stack([torch.stack([(u - u0).square().sum(), u0.square().sum()]) for u, u0 in pairs])
    common = torch.tensor([id(p) in shared for p in parameters], device=squares.device)
    sums = {"shared": squares[common].sum(0), "all": squares.sum(0)}
    return {name: float((changed / whole).sqrt()) for name, (changed, whole) in sums.items()}


def _updates(optimizer: Optimizer, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
    """Change of each parameter by one step of a copy of the optimizer, in float64; zero without a gradient."""
    copied = copy.deepcopy(optimizer)  # without its hooks, such as the balancer's guard
    originals, copies = ([p for group in one.param_groups for p in group["params"]] for one in (optimizer, copied))
    partner = {id(p): other for p, other in zip(originals, copies, strict=True)}
    for p in copies:
        p.data = p.data.double()
        state = copied.state.get(p, {})
        for name, value in state.items():
            if name != "step" and isinstance(value, Tensor):
                state[name] = value.double()
    for p, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            partner[id(p)].grad = torch.empty_like(partner[id(p)]).copy_(gradient)  # fused kernels walk through memory
    copied.step()
    return [partner[id(p)].detach() - p.detach().double() for p in parameters]


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """Put running statistics, and whatever else are buffers of a network, back in the end."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def mean(evaluations: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """Mean of one evaluation or more, metric by metric; None where one of them has none."""

    def mean_of(values: list[float | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return fmean(numbers) if len(numbers) == len(values) else None

    first = evaluations[0]
    return {task: {name: mean_of([e[task][name] for e in evaluations]) for name in first[task]} for task in first}
