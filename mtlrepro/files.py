"""Where files are: the book beside this package, the cache of this machine; files that are written whole, and JSON."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
"""Folder of the checkout that this package runs from."""
DIGITS = 400
"""Most digits of a whole number in JSON; the largest number of 64 bits with a fraction has fewer."""


def book(*parts: str) -> Path:
    """Path inside the folder of the book, such as `book("results", "runs")`.

    Raises:
        FileNotFoundError: This package is installed without the book.
    """
    folder = PROJECT / "book"
    if not (folder / "_toc.yml").is_file():
        raise FileNotFoundError(
            f"there is no book beside {Path(__file__).parent}: work in a checkout of the project, installed by `make` "
            "or by `pip install -e .`, or name the folder that is meant"
        )
    return folder.joinpath(*parts)


def cache_dir() -> Path:
    """Folder of everything that can be made again: `$MTLREPRO_CACHE` or `~/.cache/mtlrepro`.

    Raises:
        ValueError: There is neither the variable nor a home folder.
    """
    if chosen := os.environ.get("MTLREPRO_CACHE"):
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "mtlrepro"
    except RuntimeError:
        raise ValueError("there is no home folder for the cache; accepted: a folder in MTLREPRO_CACHE") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which is renamed to `path` at the end, so that no name shows half a file.

    The temporary name is hidden, lies in the same folder and has the same suffix. Its folder is made if it is absent.

    Raises:
        OSError: The file cannot be written; names it. What `path` held before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename in (None, str(partial)):  # a full disk is found without a name
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file whole, see :func:`replacing`; text as UTF-8 with the line ends that it has.

    Raises:
        OSError: The file cannot be written; what `path` held before is still there.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def parse_json(content: str | bytes) -> Any:  # noqa: ANN401 (what JSON holds)
    """Read JSON, in bytes with or without a byte-order mark.

    Raises:
        ValueError: It is none, it is nested thousands deep, an object has a name twice, or a number is not finite.
    """
    try:
        hooks: dict[str, Any] = {"object_pairs_hook": _unique, "parse_constant": _refuse, "parse_float": _finite}
        return json.loads(content, parse_int=_whole, **hooks)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from None
    except RecursionError:
        raise ValueError("no JSON: brackets are nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which JSON does not have")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text}; accepted: finite ones")
    return value


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"it holds a number of {len(text)} digits; accepted: up to {DIGITS}")
    return int(text)
