"""What a run keeps of its steps besides losses and weights: means by epoch in the record, weights beside it."""

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlrepro import files
from mtlrepro.balancers import Balancer


class Observations:
    """Sums of what a balancer observes over the steps of an epoch, and the weights of each step, on the device.

    Nothing waits for the device, and all tensors stay where they are, so that a replayed CUDA graph adds to them.

    Args:
        balancer: Where `method` is asked for, its `observing` is set.
        steps: Steps that an epoch has at most.
        asked: Of `RunConfig.observe`; `method` and `weights` are looked at.
    """

    def __init__(self, balancer: Balancer, steps: int, asked: Collection[str]) -> None:
        self._balancer = balancer
        balancer.observing = "method" in asked
        shown = balancer.observed()
        # The means of the weights stand in the record already.
        self._shapes = {name: value.shape for name, value in shown.items() if name != "weights"}
        self._active = bool({"method", "weights"} & set(asked))
        weights = shown["weights"]
        numbers = sum(shape.numel() for shape in self._shapes.values())
        self._sums = weights.new_zeros(2, numbers if balancer.observing else 0)
        self._weights = weights.new_zeros(steps if "weights" in asked else 0, len(weights))
        self._position = weights.new_zeros(1, dtype=torch.int64)

    def start(self) -> None:
        """Begin an epoch."""
        self._sums.zero_()
        self._position.zero_()

    def add(self) -> None:
        """Add the step that the balancer has just taken."""
        if not self._active:
            return
        shown = self._balancer.observed()
        if len(self._weights):
            self._weights.index_copy_(0, self._position, shown["weights"][None])
            self._position += 1
        if self._sums.numel():
            values = torch.cat([shown[name].flatten() for name in self._shapes])
            known = ~values.isnan()
            self._sums += torch.stack([torch.where(known, values, 0.0), known.double()])

    def means(self) -> dict[str, Any]:
        """Means over the steps of the epoch that had the quantity, by name, as nested lists; NaN where none had it."""
        means = self._sums[0] / self._sums[1]
        parts = torch.split(means, [shape.numel() for shape in self._shapes.values()])
        return {
            name: part.view(shape).tolist() for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def weights(self) -> Tensor:
        """Weights of the epoch's steps, [steps, T] float64 on the CPU; NaN for absent tasks and without weights."""
        return self._weights[: int(self._position)].to("cpu", copy=True)


def write_weights(store: Path, run: str, epochs: Sequence[Tensor]) -> None:
    """Write the weights of every step as `STORE/HASH.weights.npz`, under that name only when the file is whole.

    Args:
        store: Folder of records.
        run: The configuration's hash.
        epochs: For each epoch [steps, T].

    Raises:
        OSError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, weights=torch.cat(list(epochs)).numpy())
    files.write(_path(store, run), buffer.getbuffer())


def step_weights(store: str | Path, run: str) -> np.ndarray:
    """Read the weights of every step of a stored run with `weights` in its `observe`.

    Args:
        store: Folder of records.
        run: The configuration's hash.

    Returns:
        [steps, T] float64 over all epochs, combined gradient = sum_k w_k grad L_k over the shared parameters. NaN for
        a task that was absent from a step, and for steps of a method that has no weights.

    Raises:
        FileNotFoundError: There is no such file; says how it is made.
        ValueError: The file is damaged.
    """
    path = _path(Path(store), run)
    if not path.exists():
        raise FileNotFoundError(f"{path} is absent; remove {run}.json beside it, if there, and train the run again")
    try:
        with np.load(path, allow_pickle=False) as file:
            weights: np.ndarray = file["weights"]
    except Exception as error:  # any error here means that the file is corrupt
        raise ValueError(f"{path} is damaged ({error})") from None
    if weights.ndim != 2 or weights.dtype != np.float64:
        raise ValueError(f"{path} is damaged (it holds {weights.dtype} {list(weights.shape)}, not [steps, T] float64)")
    return weights


def _path(store: Path, run: str) -> Path:
    return store / f"{run}.weights.npz"
