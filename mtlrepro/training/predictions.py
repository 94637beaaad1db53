"""Predictions for a few images, kept beside a run's record in `HASH.npz` for the figures that show them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtlrepro.data.samples import Batch
from mtlrepro.models import MultiTaskModel
from mtlrepro.tasks import ImageTask
from mtlrepro.training import arrays
from mtlrepro.training.step import predict

UNIT = 127
"""Of the coordinates of stored unit normals."""


@torch.no_grad()
def predict_maps(
    model: MultiTaskModel, tasks: Sequence[ImageTask], batch: Batch, precision: str = "float32"
) -> dict[str, Tensor]:
    """Predict maps for some images, in evaluation mode.

    Args:
        model: The network; it is left in training mode.
        tasks: Dense tasks.
        batch: B images.
        precision: `float32` or `bf16`.

    Returns:
        By task, on the CPU: classes `[B, H, W]` int8; unit normals `[B, 3, H, W]` int8, times `UNIT`; other maps
        `[B, C, H, W]` float16.
    """
    model.eval()
    predictions: dict[str, Any] = predict(model, batch, precision)
    model.train()
    return {task.name: _compact(task.name, predictions[task.name]).cpu() for task in tasks}


def _compact(task: str, prediction: Tensor) -> Tensor:
    if task == "segmentation":
        return prediction.argmax(1).to(torch.int8)
    if task == "normal":
        return (UNIT * F.normalize(prediction.float(), dim=1)).round().to(torch.int8)
    return prediction.to(torch.float16)


def write(path: Path, kept: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Write the predictions after some epochs, under their name only when the file is whole.

    Args:
        path: `STORE/HASH.npz`.
        kept: Number of epochs to what `predict_maps` gave.

    Raises:
        OSError: The file cannot be written.
    """
    named = {f"{epoch}/{task}": values.numpy() for epoch, maps in kept.items() for task, values in maps.items()}
    arrays.write(path, named)


def read(store: str | Path, run: str) -> dict[int, dict[str, np.ndarray]]:
    """Read the predictions of a stored run, normals as float32 unit vectors, other numbers as float32.

    Args:
        store: Folder of records.
        run: The configuration's hash.

    Returns:
        By number of epochs and task, `[B, H, W]` classes or `[B, C, H, W]` maps.

    Raises:
        FileNotFoundError: There is no such file; says how it is made.
        ValueError: The file is damaged.
    """
    path = Path(store) / f"{run}.npz"
    kept: dict[int, dict[str, np.ndarray]] = {}
    for name, values in arrays.read(path).items():
        try:
            epoch, task = name.split("/")
            kept.setdefault(int(epoch), {})[task] = _as_predicted(task, values)
        except ValueError as error:
            raise arrays.damaged(path, error) from None
    return kept


def _as_predicted(task: str, values: np.ndarray) -> np.ndarray:
    if task == "segmentation":
        return values
    unit = UNIT if task == "normal" else 1
    return values.astype(np.float32) / unit
