"""Arrays beside a record, in one compressed file that appears under its name only when it is whole."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtlrepro import files


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of numbers or texts by their names.

    Args:
        path: `STORE/HASH.npz`, or with a further word after the hash.
        arrays: Names, which may hold slashes, to arrays.

    Raises:
        OSError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    files.write(path, buffer.getbuffer())


def read(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Raises:
        FileNotFoundError: There is no such file; says how it is made.
        ValueError: The file is damaged.
    """
    if not path.exists():
        run = path.name.partition(".")[0]
        raise FileNotFoundError(f"{path} is absent; remove {run}.json beside it, if there, and train the run again")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # any error here means that the file is corrupt
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> ValueError:
    """Make the error that says so of a file."""
    return ValueError(f"{path} is damaged ({error})")
