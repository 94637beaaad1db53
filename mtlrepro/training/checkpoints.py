"""Checkpoints of a run: one file after every epoch, the last two kept; one that is damaged or foreign is not used."""

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mtlrepro import files
from mtlrepro.distributed import rank

KEPT = 2
"""Checkpoints that stay: if the last one turns out to be damaged or foreign, the run goes on from the one before."""
ASIDE = ".aside"
"""What is added to the name of a checkpoint that does not fit the run."""


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


def load(folder: Path, run: str, take: Callable[[dict[str, Any]], None]) -> bool:
    """Take the last checkpoint of a run that is whole and fits; of each other one, a warning says so.

    A damaged file stays until the next checkpoint is written. A whole one that does not fit is the state of something
    else: it is set aside, under a name with `ASIDE` at its end.

    Args:
        folder: Where checkpoints are.
        run: The configuration's hash.
        take: Called with a state, on the CPU; raises ValueError if it does not fit.

    Returns:
        Whether one was taken.

    Raises:
        OSError: A file cannot be read, which says nothing about what is in it.
    """
    for path in _saved(folder, run):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # another process of this run has set it aside
            continue
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} has a wrong checksum")
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # any error here means that the file is corrupt
            warnings.warn(f"{path} is damaged ({error}); going on from the one before it", stacklevel=2)
            continue
        try:
            take(state)
        except ValueError as error:
            aside = path.with_name(f"{path.name}{ASIDE}")
            if rank() == 0:
                path.replace(aside)
            warnings.warn(f"{path} is not used: {error}; set aside as {aside.name}", stacklevel=2)
            continue
        return True
    return False


def remove(folder: Path, run: str) -> None:
    """Remove all checkpoints of a run."""
    for path in _saved(folder, run):
        path.unlink(missing_ok=True)


def _saved(folder: Path, run: str) -> list[Path]:
    """Checkpoints of a run, latest first."""
    epochs = {path: path.stem.removeprefix(f"{run}-") for path in folder.glob(f"{run}-*.pt")}
    return sorted((path for path, epoch in epochs.items() if epoch.isdecimal()), key=lambda p: -int(epochs[p]))
