"""Checkpoints of a run: one file after every epoch, the last two kept, damage found when one is read."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from mtlrepro import files

KEPT = 2
"""Checkpoints that stay: if the last one turns out to be damaged, the run goes on from the one before."""


def path_of(folder: Path, run: str, epoch: int) -> Path:
    """File of a run's state after so many epochs."""
    return folder / f"{run}-{epoch}.pt"


def save(folder: Path, run: str, epoch: int, state: dict[str, Any]) -> None:
    """Write a checkpoint under its name only when it is whole, then remove all but it and the one before.

    Args:
        folder: Where checkpoints are.
        run: The configuration's hash.
        epoch: Number of completed epochs.
        state: What `torch.load(weights_only=True)` can read.

    Raises:
        OSError: The file cannot be written, for one because the disk is full; earlier checkpoints stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    target = path_of(folder, run, epoch)
    files.write(target, buffer.getbuffer())
    kept = [path_of(folder, run, epoch - back) for back in range(KEPT)]
    for other in _saved(folder, run):  # older ones, and damaged ones of epochs that are trained again
        if other not in kept:
            other.unlink(missing_ok=True)


def load(folder: Path, run: str) -> dict[str, Any] | None:
    """Read the last checkpoint of a run that is whole, on the CPU; warns about a damaged one.

    Returns:
        The state, or None if there is none.

    Raises:
        OSError: A file cannot be read, which says nothing about what is in it.
    """
    for path in _saved(folder, run):
        content = path.read_bytes()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} has a wrong checksum")
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # any error here means that the file is corrupt
            warnings.warn(f"{path} is damaged ({error}); going on from the one before it", stacklevel=2)
        else:
            return state
    return None


def remove(folder: Path, run: str) -> None:
    """Remove all checkpoints of a run, and what killed processes left of writing them."""
    for path in [*_saved(folder, run), *folder.glob(f".{run}-*.partial.pt")]:
        path.unlink(missing_ok=True)


def _saved(folder: Path, run: str) -> list[Path]:
    """Checkpoints of a run, latest first."""
    epochs = {path: path.stem.removeprefix(f"{run}-") for path in folder.glob(f"{run}-*.pt")}
    return sorted((path for path, epoch in epochs.items() if epoch.isdecimal()), key=lambda p: -int(epochs[p]))
