"""Gradients of chosen epochs looked at closely, and what is kept of them beside a record, in `HASH.gradients.npz`.

`slices` compares tasks within each layer, `cosines` over all shared parameters; both see the same batches. Nothing of
the run is changed by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro.data.samples import Batch
from mtlrepro.losses import Terms
from mtlrepro.models import MultiTaskModel
from mtlrepro.tasks import ImageTask
from mtlrepro.training import arrays, cosines
from mtlrepro.training.cosines import Cosines
from mtlrepro.training.evaluation import keeping_buffers
from mtlrepro.training.slices import Slices, SliceStatistics
from mtlrepro.training.step import Trainer, predict

SEED = 2**31
"""Of the batches' order and transforms and of the network's own draws, in every run and epoch alike."""


@dataclass(frozen=True)
class Gradients:
    """What the gradients of one epoch said."""

    slices: Slices
    cosines: Cosines


def measure(trainer: Trainer) -> dict[str, Any]:
    """Take and compare the gradients that a run's field `gradients` asks for, as in training but without a step.

    Of several processes, each does the same.

    Returns:
        See `compare`.
    """
    asked, config = trainer.config.gradients, trainer.config
    drawn = islice(trainer.further_batches(SEED), asked["batches"])
    return compare(trainer.model, trainer.tasks, drawn, asked["samples"], config.precision, config.loss_scales)


def compare(
    model: MultiTaskModel,
    tasks: Sequence[ImageTask],
    batches: Iterable[Batch],
    samples: int,
    precision: str = "float32",
    scales: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Compare the tasks' gradients by the shared parameters.

    A batch costs T backward passes of itself, T of each half, and T B more of itself where samples are compared.

    Args:
        model: The network, in training mode; parameters, buffers, `.grad` and random streams stay as they are.
        tasks: T tasks, at least two.
        batches: n batches of B samples.
        samples: Number m of batches, the first ones, of which the gradients of single samples are compared too.
        precision: `float32` or `bf16`.
        scales: Factors on the losses by task, as in training; default: 1 each.

    Returns:
        Fields of `Slices` as `slices/FIELD` and of `Cosines` as `cosines/FIELD`: tensors on the CPU, lists of texts.
    """
    chosen = {id(p) for p in model.shared_parameters() if p.requires_grad}
    named = {name: p for name, p in model.named_parameters() if id(p) in chosen}
    parameters = list(named.values())
    names = [task.name for task in tasks]
    factors = dict.fromkeys(names, 1.0) | dict(scales or {})
    rows_of, device = cosines.names(names), parameters[0].device
    statistics = SliceStatistics(named, cosines.pairs(names))
    indices: list[Tensor] = []
    products: list[Tensor] = []
    of_samples: list[Tensor] = []
    sample_losses: list[Tensor] = []

    def losses(batch: Batch) -> dict[str, Terms]:
        predictions = predict(model, batch, precision)
        terms = {task.name: task.loss(predictions[task.name], batch) for task in tasks}
        return {name: term._replace(values=term.values * factors[name]) for name, term in terms.items()}

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(keeping_buffers(model))
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # half batches would compile other code, to stay
        torch.manual_seed(SEED)
        for batch in batches:
            terms = losses(batch)
            rows = cosines.gradients(terms, parameters)
            if len(of_samples) < samples:
                of_samples.append(cosines.sample_products(terms, parameters))
                sample_losses.append(torch.stack([term.samples().detach() for term in terms.values()]).double().cpu())
            for half, part in cosines.halves(batch).items():
                rows |= {f"{name}/{half}": row for name, row in cosines.gradients(losses(part), parameters).items()}
            statistics.add(rows)
            products.append(cosines.products([rows.get(name) for name in rows_of]))
            indices.append(batch["index"].cpu())
    model.features = None  # they hold the last batch's graph
    b = len(indices[0])
    found = {
        "tasks": names,
        "names": rows_of,
        "indices": torch.stack(indices),
        "batches": torch.stack(products),
        "samples": torch.stack(of_samples) if of_samples else torch.zeros(0, len(names), b, len(names), b).double(),
        "losses": torch.stack(sample_losses) if sample_losses else torch.zeros(0, len(names), b).double(),
    }
    parts = {"slices": statistics.state(), "cosines": found}
    return {f"{part}/{field}": value for part, fields in parts.items() for field, value in fields.items()}


def path_of(store: str | Path, run: str) -> Path:
    """File of what is kept, where `run` is the configuration's hash."""
    return Path(store) / f"{run}.gradients.npz"


def write(path: Path, kept: Mapping[int, Mapping[str, Any]]) -> None:
    """Write what was found after some epochs, under its name only when the file is whole.

    Args:
        path: See `path_of`.
        kept: Number of epochs to what `compare` gave.

    Raises:
        OSError: The file cannot be written.
    """
    arrays.write(
        path, {f"{epoch}/{name}": np.asarray(value) for epoch, found in kept.items() for name, value in found.items()}
    )


def read(store: str | Path, run: str) -> dict[int, Gradients]:
    """Read what a stored run found, by number of epochs.

    Args:
        store: Folder of records.
        run: The configuration's hash.

    Raises:
        FileNotFoundError: There is no such file; says how it is made.
        ValueError: The file is damaged.
    """
    path = path_of(store, run)
    stored = arrays.read(path)
    parts: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    try:
        for name, values in stored.items():
            epoch, part, field = name.split("/")
            parts.setdefault(int(epoch), {"slices": {}, "cosines": {}})[part][field] = values
        return {n: Gradients(Slices(**found["slices"]), Cosines(**found["cosines"])) for n, found in parts.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise arrays.damaged(path, error) from None
