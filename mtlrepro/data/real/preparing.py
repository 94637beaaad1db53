"""Preparing a split of a real data set: files read in threads, arrays written in order, resumed after a stop."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtlrepro import files
from mtlrepro.data.samples import Sample, is_ragged
from mtlrepro.data.store import META, Store, Writer

Row = Mapping[str, NDArray[Any]]

PIECE = 16
THREADS = 4


class Samples(Protocol):
    """Samples by position: a list of them, or a data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


def write_split(
    folder: Path, names: Sequence[str], read: Callable[[str], Row], meta: Mapping[str, Any], *, progress: bool
) -> None:
    """Write one split; a split that is complete with the same ``names`` and ``meta`` is left as it is.

    Args:
        folder: the split's store.
        names: what the images are called in the source, in order; kept as the array ``names``.
        read: arrays of the image of that name: keys of a sample or others, the same for each image.
        meta: what describes the split; a stopped run is taken up only if it had the same.
        progress: show a bar on stderr.

    Raises:
        ValueError: the folder was prepared otherwise, the disk has not enough space, or what ``read`` raises.
    """
    meta = {**meta, "names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}
    if (folder / META).exists():
        found = json.loads((folder / META).read_text(encoding="utf-8"))
        other = [key for key, value in json.loads(json.dumps(meta)).items() if found.get(key) != value]
        if other:
            raise ValueError(
                f"{folder} was prepared with another {', '.join(other)}; accepted: the same again, a new TARGET, "
                "or this folder deleted"
            )
        if progress:
            tqdm.write(f"{folder} is complete", file=sys.stderr)
        return
    width = max(map(len, names))
    with (
        Writer(folder, len(names), meta, resume=True) as writer,
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(desc=folder.name, total=len(names), initial=writer.done, unit=" images", disable=not progress) as bar,
    ):
        for start in range(writer.done, len(names), PIECE):
            piece = names[start : start + PIECE]
            rows = list(pool.map(read, piece))
            if start == 0:  # later, the writer has taken the space
                _require_space(folder, sum(array.nbytes for array in rows[0].values()) * len(names))
            writer.put("names", start, np.array(piece, dtype=f"U{width}"))
            for key in rows[0]:
                if is_ragged(key):
                    for row in rows:
                        writer.append(key, row[key])
                else:
                    writer.put(key, start, np.stack([row[key] for row in rows]))
            writer.advance(len(piece))
            bar.update(len(piece))


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ValueError(
            f"{folder} needs {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; accepted: a TARGET with "
            "more space, or a smaller --size"
        )


def open_splits(target: Path, splits: Sequence[str]) -> dict[str, Store]:
    """Open those of the splits that are there and whose files fit their metadata."""
    found = {}
    for split in splits:
        with suppress(ValueError):
            found[split] = Store(target / split)
    return found


def load_json(path: Path, *, remedy: str) -> Any:  # noqa: ANN401 (what JSON holds)
    """Read a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {remedy}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a complete JSON file ({error}); {remedy}") from None


def require_files(paths: Sequence[Path], *, remedy: str) -> None:
    """Check that files exist, before any work.

    Raises:
        FileNotFoundError: naming the first that does not, and how many others.
    """
    absent = [path for path in paths if not path.is_file()]
    if absent:
        others = f" and {len(absent) - 1} more of {len(paths)}" if len(absent) > 1 else ""
        raise FileNotFoundError(f"{absent[0]}{others}: no such file; {remedy}")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; the name never shows half of it."""
    files.write(path, json.dumps(value, indent=1) + "\n")
