"""Where files are: the book beside this package, the cache of this machine, and files that are written whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[1]
"""Folder of the checkout that this package runs from."""


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
    """Folder of everything that can be made again: `$MTLREPRO_CACHE` or `~/.cache/mtlrepro`."""
    return Path(os.environ.get("MTLREPRO_CACHE") or Path.home() / ".cache" / "mtlrepro")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which is renamed to `path` at the end, so that no name shows half a file.

    The temporary name is hidden, lies in the same folder and has the same suffix. Its folder is made if it is absent.

    Raises:
        OSError: The file cannot be written; what `path` held before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file whole, see :func:`replacing`; text as UTF-8 with the line ends that it has.

    Raises:
        OSError: The file cannot be written; what `path` held before is still there.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
