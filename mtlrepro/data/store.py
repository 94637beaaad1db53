"""A split of a data set on disk: one folder with `meta.json` and one memory-mapped `NAME.npy` for each array.

A folder appears under its name only when it is complete. Boxes and labels of all images follow one another;
`box_offsets[i]` to `box_offsets[i + 1]` are those of image i.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from torch import Tensor

from mtlrepro import files
from mtlrepro.data.samples import encode, is_ragged
from mtlrepro.targets import TARGETS

FORMAT = 1
META = "meta.json"
_PROGRESS = "progress.json"


def _lock(folder: Path) -> BaseFileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"), is_singleton=True)


def build_once(folder: str | Path, build: Callable[[Path], None]) -> Path:
    """Build a folder unless it is there and undamaged; a second process waits for the first, then finds it so.

    A folder with a file that is not as it was written is named in a warning, and built again.

    Args:
        folder: Folder of the finished store.
        build: Called with `folder`, under a lock; writes it with a `Writer`.

    Returns:
        The folder.
    """
    folder = Path(folder)
    if _problem(folder):
        with _lock(folder):
            if problem := _problem(folder):
                if folder.exists():
                    warnings.warn(f"{problem}; {folder} is made again", stacklevel=3)
                    shutil.rmtree(folder)
                build(folder)
    return folder


def _problem(folder: Path) -> str:
    """What is wrong with a folder, to the last byte; empty if nothing is. A process looks at all bytes only once."""
    try:
        mark = (folder, (folder / META).stat().st_mtime_ns)
        if mark not in _undamaged and (problems := Store(folder).verify()):
            return problems[0]
    except (OSError, ValueError) as error:
        return str(error)
    _undamaged.add(mark)
    return ""


_undamaged: set[tuple[Path, int]] = set()


def offsets_of(name: str) -> str:
    """Name of the array that says where each image's rows of a ragged array begin: `boxes` to `box_offsets`."""
    return "box_offsets_right" if name.endswith("_right") else "box_offsets"


class Writer:
    """Writes one split into a temporary folder beside the final one; a clean exit renames it.

    As a context manager::

        with Writer(folder, n, {"dataset": "rooms", "classes": CLASSES}, resume=True) as writer:
            for start in range(writer.done, n, 64):
                writer.put("image", start, images)  # [b, 3, H, W], sample's or stored type
                writer.append("boxes", boxes)  # [m, 4], the boxes of the next image: once an image, in order
                writer.append("labels", labels)
                writer.advance(64)

    Keys of a sample are checked and converted (`samples.encode`); any other name is stored as it is given
    (`depth_raw`, `has_segmentation`, ...). On an error the folder does not appear. Only one process can write a
    folder at a time.

    Args:
        folder: Folder of the finished store; must not exist.
        n: Number of images, at least 1.
        meta: Description of the split, as JSON: `dataset`, `split`, `classes` (names), `box_classes`, ...
        resume: Keep what is written when the block ends with an error or the process is killed, and continue
            from it, if it was written for the same `n` and `meta`; otherwise begin anew.

    Attributes:
        done: Number of rows that are complete.

    Raises:
        ValueError: The folder exists, another process writes it, or `n` is below 1.
    """

    def __init__(self, folder: str | Path, n: int, meta: Mapping[str, Any], *, resume: bool = False) -> None:
        if n < 1:
            raise ValueError(f"n is {n}; accepted: 1 or more")
        self.folder = Path(folder)
        self.n = n
        self.meta: dict[str, Any] = json.loads(json.dumps(dict(meta)))
        self.resume = resume
        self.done = 0
        self._partial = self.folder.with_name(f".{self.folder.name}.partial")
        self._arrays: dict[str, np.memmap] = {}
        self._written: dict[str, np.ndarray] = {}
        self._counts: dict[str, list[int]] = {}

    def __enter__(self) -> Self:
        self._lock = _lock(self.folder)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"{self.folder} is being written by another process; wait for it") from None
        try:
            if self.folder.exists():
                raise ValueError(f"{self.folder} exists; accepted: a new folder (delete this one to make it again)")
            if not (self.resume and self._continue()):
                shutil.rmtree(self._partial, ignore_errors=True)
                self._partial.mkdir()
                self._record()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._arrays.clear()
            if not self.resume:
                shutil.rmtree(self._partial, ignore_errors=True)
            self._lock.release()

    def put(self, name: str, start: int, array: np.ndarray | Tensor) -> None:
        """Write the rows `start` to `start + b` of an array.

        Args:
            name: Key of a sample, or another name.
            start: First row.
            array: `[b, ...]`; the first call fixes the shape and, for other names, the type.

        Raises:
            ValueError: Values that `samples.encode` refuses, rows outside the split, another shape or type than
                before, or a ragged key.
            OSError: No space for the whole array.
        """
        if is_ragged(name):
            raise ValueError(f"{name} has another number of rows for each image; accepted: append({name!r}, rows)")
        values = encode(name, array, start) if name in TARGETS else np.asarray(array)
        if name in ("segmentation", "segmentation_right") and "classes" in self.meta and values.size:
            _require_below(name, values, start, len(self.meta["classes"]))
        stop = start + len(values)
        if not 0 <= start <= stop <= self.n:
            raise ValueError(f"{name}: rows {start} to {stop} of {self.n}; accepted: rows 0 to {self.n}")
        if name not in self._arrays:
            self._create(name, values)
        target = self._arrays[name]
        if values.shape[1:] != target.shape[1:] or values.dtype != target.dtype:
            raise ValueError(
                f"{name}, rows {start} to {stop}: found {list(values.shape[1:])} {values.dtype}; "
                f"accepted: {list(target.shape[1:])} {target.dtype}, as in the rows before"
            )
        target[start:stop] = values
        self._written[name][start:stop] = True

    def append(self, name: str, rows: np.ndarray | Tensor) -> None:
        """Write the rows of a ragged array for the next image, `[m, ...]` with m >= 0; once an image, in order.

        Raises:
            ValueError: No ragged key of a sample, values that `samples.encode` refuses, or more images than `n`.
        """
        if not is_ragged(name):
            accepted = ", ".join(filter(is_ragged, TARGETS))
            raise ValueError(f"name is {name!r}; accepted: {accepted}")
        counts = self._counts.setdefault(name, [])
        if len(counts) >= self.n:
            raise ValueError(f"{name}: rows of image {len(counts)}; accepted: {self.n} images")
        try:
            values = encode(name, rows)
        except ValueError as error:
            raise ValueError(f"image {len(counts)}: {error}") from None
        counts.append(len(values))
        for suffix, array in (("rows", values), ("counts", np.int64(len(values)))):
            with (self._partial / f"{name}.{suffix}").open("ab") as file:
                file.write(array.tobytes())

    def advance(self, rows: int) -> None:
        """Mark the next rows of all arrays as complete: a resumed writer begins after them."""
        done = self.done + rows
        if not self.done <= done <= self.n:
            raise ValueError(f"rows is {rows}; accepted: 0 to {self.n - self.done}")
        for name, written in self._written.items():
            if not written[:done].all():
                raise ValueError(f"{name}: row {np.argmin(written[:done])} is not written; put it before advance")
        for name, counts in self._counts.items():
            if len(counts) != done:
                raise ValueError(f"{name}: {len(counts)} images appended; accepted: {done}, as many as are complete")
        for array in self._arrays.values():
            array.flush()
        self.done = done
        self._record()

    def _create(self, name: str, values: np.ndarray) -> None:
        if not name.isidentifier():
            raise ValueError(f"name is {name!r}; accepted: letters, digits and underscores")
        if values.dtype.kind not in "biufU":
            raise ValueError(f"{name} is {values.dtype}; accepted: numbers, truth values, text of fixed length")
        if self.done:
            raise ValueError(f"{name} is new at row {self.done}; accepted: {', '.join(self._arrays)}")
        path = self._partial / f"{name}.npy"
        shape = (self.n, *values.shape[1:])
        self._arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=values.dtype, shape=shape)
        _allocate(path)
        self._written[name] = np.zeros(self.n, dtype=bool)

    def _record(self) -> None:
        names = {"arrays": list(self._arrays), "ragged": list(self._counts)}
        _write_json(self._partial / _PROGRESS, {"n": self.n, "meta": self.meta, "done": self.done, **names})

    def _continue(self) -> bool:
        """Continue a partial folder that was written for the same `n` and `meta`; False if there is none.

        Only rows up to `done` count. What a killed process wrote after the last `advance` is cut off or overwritten.
        """
        try:
            state = json.loads((self._partial / _PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if state["n"] != self.n or state["meta"] != self.meta or not state["done"]:
            return False
        self.done = state["done"]
        for name in state["arrays"]:
            self._arrays[name] = np.lib.format.open_memmap(self._partial / f"{name}.npy", mode="r+")
            self._written[name] = np.arange(self.n) < self.done
        for name in state["ragged"]:
            counts = np.fromfile(self._partial / f"{name}.counts", np.int64)[: self.done]
            row = int(np.prod(TARGETS[name].shape)) * np.dtype(TARGETS[name].stored).itemsize
            os.truncate(self._partial / f"{name}.counts", counts.nbytes)
            os.truncate(self._partial / f"{name}.rows", int(counts.sum()) * row)
            self._counts[name] = counts.tolist()
        return True

    def _finish(self) -> None:
        for name, written in self._written.items():
            if not written.all():
                raise ValueError(f"{name}: row {np.argmin(written)} of {self.n} was never written")
        if not self._arrays:
            raise ValueError(f"{self.folder}: no array was written")
        for array in self._arrays.values():
            array.flush()
        for name, counts in self._counts.items():
            self._finish_ragged(name, counts)
        arrays = {}
        for path in sorted(self._partial.glob("*.npy")):
            saved = _load(path)
            arrays[path.stem] = {"dtype": saved.dtype.str, "shape": list(saved.shape), "sha256": _sha256(path)}
        _write_json(self._partial / META, {**self.meta, "format": FORMAT, "n": self.n, "arrays": arrays})
        for path in (self._partial / _PROGRESS, *self._partial.glob("*.rows"), *self._partial.glob("*.counts")):
            path.unlink()
        self._partial.replace(self.folder)

    def _finish_ragged(self, name: str, counts: list[int]) -> None:
        if len(counts) != self.n:
            raise ValueError(f"{name}: {len(counts)} images appended; accepted: {self.n}")
        pair = name.replace("labels", "boxes") if "labels" in name else name.replace("boxes", "labels")
        if counts != self._counts.get(pair):
            raise ValueError(f"{name} and {pair} have not the same numbers of rows; accepted: one label for each box")
        target = TARGETS[name]
        rows = np.fromfile(self._partial / f"{name}.rows", dtype=target.stored).reshape(-1, *target.shape)
        np.save(self._partial / f"{name}.npy", rows, allow_pickle=False)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        np.save(self._partial / f"{offsets_of(name)}.npy", offsets, allow_pickle=False)


class Store:
    """One finished split, read through memory maps.

    Args:
        folder: Folder that a `Writer` has made.

    Attributes:
        meta: Contents of `meta.json`.
        names: Names of the arrays.

    Raises:
        ValueError: There is no store, it has another format, or a file is missing or has the wrong length.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.meta = _read_meta(self.folder / META)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{self.folder} holds no {META}; accepted: the folder of a prepared split") from None
        except ValueError as error:
            raise ValueError(f"{self.folder / META} is damaged ({error}); {_AGAIN}") from None
        self.names: list[str] = list(self.meta["arrays"])
        self._open: dict[str, np.ndarray] = {}
        problems = [problem for name in self.names for problem in self._layout(name)]
        if problems:
            raise ValueError(f"{problems[0]}; {_AGAIN}")

    def __len__(self) -> int:
        return int(self.meta["n"])

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """Array of that name, memory-mapped and read-only.

        Raises:
            ValueError: There is none.
        """
        if name not in self._open:
            if name not in self.names:
                raise ValueError(f"{self.folder} has no array {name!r}; accepted: {', '.join(self.names)}")
            self._open[name] = _load(self._file(name))
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: the folder, not the open arrays."""
        return {**self.__dict__, "_open": {}}

    def verify(self) -> list[str]:
        """Compare every file with `meta.json` to the last byte; return the problems, none where all is well."""
        problems = []
        for name in self.names:
            damage = self._layout(name)
            expected = self.meta["arrays"][name]["sha256"]
            if not damage and (sha256 := _sha256(self._file(name))) != expected:
                damage = [f"{self._file(name)} has sha256 {sha256}; expected {expected}"]
            problems += damage
        return problems

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _layout(self, name: str) -> list[str]:
        """Problems of one file that show without reading the values."""
        path, expected = self._file(name), self.meta["arrays"][name]
        try:
            array = _load(path)
        except (OSError, ValueError) as error:
            return [f"{path} cannot be read ({error})"]
        if (layout := (array.dtype.str, list(array.shape))) != (expected["dtype"], expected["shape"]):
            return [f"{path} holds {layout}; expected {(expected['dtype'], expected['shape'])}"]
        return []


_AGAIN = "delete the folder and make it again"


def _read_meta(path: Path) -> dict[str, Any]:
    """Read metadata with all entries that a `Writer` adds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON object, has another format, or an entry is missing or of another type.
    """
    meta = files.parse_json(path.read_bytes())
    if not isinstance(meta, dict):
        raise ValueError("no JSON object")
    if meta.get("format") != FORMAT:
        raise ValueError(f"format is {meta.get('format')!r}; accepted: {FORMAT}")
    described = meta.get("arrays")
    if type(meta.get("n")) is not int or not isinstance(described, dict):
        raise ValueError("it has no number n and no object arrays")
    for name, entry in described.items():
        if not isinstance(entry, dict) or not {"dtype", "shape", "sha256"} <= entry.keys():
            raise ValueError(f"array {name!r} has no dtype, shape and sha256")
    return meta


def _load(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        array = np.load(path, allow_pickle=False)
        if array.size:  # only empty arrays cannot be mapped
            raise
    return array


def _allocate(path: Path) -> None:
    """Take the space of a file on disk at once: a map of a file without space would end the process."""
    if hasattr(os, "posix_fallocate"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; {size:,} bytes are needed", str(path)) from None


def _require_below(name: str, values: np.ndarray, row: int, n_classes: int) -> None:
    if (highest := values.max()) >= n_classes:
        first = np.argwhere(values == highest)[0]
        raise ValueError(
            f"{name}, row {row + first[0]}, element {first[1:].tolist()}: found class {highest}; "
            f"accepted: -1 to {n_classes - 1}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: object) -> None:
    files.write(path, json.dumps(value, indent=1) + "\n")
