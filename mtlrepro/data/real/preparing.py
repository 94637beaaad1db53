"""Preparing a split of a real data set: files read in threads, arrays written in order, resumed after a stop."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtlrepro import files
from mtlrepro.data.real.rasters import Raster, resize_image, resize_nearest
from mtlrepro.data.samples import Sample, is_ragged
from mtlrepro.data.store import META, Writer

Row = Mapping[str, NDArray[Any]]

PIECE = 16
"""Images after which a stopped run goes on."""

THREADS = 4

LARGEST = 4096
"""Pixels of a side of a stored image; twice the width of the widest images of the four data sets."""


class Samples(Protocol):
    """Samples by position: a list of them, or a data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class SourceSplit:
    """One split as its owner's files hold it.

    Attributes:
        names: What the images are called in the source, in order.
        shape: (height, width) of the images.
        read: Gives the image of that name and its targets, by key of a sample or another name, the same for each
            image. Images are uint8 `[H, W, 3]`, maps `[..., H, W]`; pixels are those of `shape`.
        meta: What else describes the split, as JSON.
    """

    names: Sequence[str]
    shape: tuple[int, int]
    read: Callable[[str], Row]
    meta: Mapping[str, Any] = field(default_factory=dict)


def write_split(
    folder: Path, split: SourceSplit, meta: Mapping[str, Any], *, size: tuple[int, int] | None, progress: bool
) -> None:
    """Write one split; a split that is complete with the same names and metadata is left as it is.

    Args:
        folder: The split's store; its last part is the name of the split.
        split: What to read. Its names are kept as the array `names`.
        meta: What describes all splits of the data set; a stopped run is taken up only if it had the same.
        size: (height, width) of the stored images; default: as they are, see :func:`resized`.
        progress: Show a bar on stderr.

    Raises:
        ValueError: The folder was prepared otherwise, the disk has not enough space, or a file is damaged.
    """
    names, size = split.names, size or split.shape
    checksum = hashlib.sha256("\n".join(names).encode()).hexdigest()
    meta = {"split": folder.name, **meta, **split.meta, "size": size, "names_sha256": checksum}
    if (folder / META).exists():
        _require_same(folder, meta)
        if progress:
            tqdm.write(f"{folder} is complete", file=sys.stderr)
        return

    def read(name: str) -> Row:
        return resized(split.read(name), split.shape, size)

    width = max(map(len, names))
    with (
        Writer(folder, len(names), meta, resume=True) as writer,
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(desc=folder.name, total=len(names), initial=writer.done, unit=" images", disable=not progress) as bar,
    ):
        for start in range(writer.done, len(names), PIECE):
            piece = names[start : start + PIECE]
            rows = list(pool.map(read, piece))
            if start == 0:  # A resumed run has taken its space already.
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


def resized(row: Row, shape: tuple[int, int], size: tuple[int, int]) -> dict[str, Raster]:
    """Resize an image and its targets, and put the image's channels first.

    Images are low-passed where they shrink; maps take the nearest pixel, so that no hole and no class is blended.
    Lengths in pixels (disparity, focal length, boxes) are multiplied by the ratio of the sizes. What has fewer than
    two axes is left as it is.

    Args:
        row: What a `SourceSplit` reads.
        shape: (height, width) before.
        size: (height, width) after.
    """
    return {key: _resized(key, value, shape, size) for key, value in row.items()}


def _resized(key: str, value: Raster, shape: tuple[int, int], size: tuple[int, int]) -> Raster:
    if key in ("image", "right"):
        return resize_image(value, size).transpose(2, 0, 1)
    if key == "disparity":
        return resize_nearest(value, size) * np.float32(size[1] / shape[1])
    if key == "focal":
        return np.asarray(value * size[1] / shape[1], np.float32)
    if key == "boxes":
        old, new = (np.array([width, height] * 2, np.float32) for height, width in (shape, size))
        boxes: Raster = np.minimum(value * (new / old), new)  # Rounding must not take a box across the border.
        return boxes
    return resize_nearest(value, size) if value.ndim > 1 else value


def _require_same(folder: Path, meta: Mapping[str, Any]) -> None:
    """Check that a complete store was prepared with this metadata."""
    stored = json.loads((folder / META).read_text(encoding="utf-8"))
    other = [key for key, value in json.loads(json.dumps(meta)).items() if stored.get(key) != value]
    if other:
        raise ValueError(
            f"{folder} was prepared with another {', '.join(other)}; accepted: the same again, a new TARGET, "
            "or this folder deleted"
        )


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ValueError(
            f"{folder} needs {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; accepted: a TARGET with "
            "more space, or a smaller --size"
        )


def files_in(folder: Path, pattern: str) -> list[Path]:
    """List the files of a folder that match a pattern, sorted, without hidden ones such as macOS's `._NAME`.

    Args:
        folder: The folder; it may be absent.
        pattern: With an extension in small letters, such as `*.png`.

    Raises:
        ValueError: A file has the extension in capitals, and would be left out.
    """
    extension = PurePath(pattern).suffix
    paths = sorted(
        path
        for path in folder.glob(str(PurePath(pattern).with_suffix(".*")))
        if path.suffix.lower() == extension and not path.name.startswith(".")
    )
    for path in paths:
        if path.suffix != extension:
            raise ValueError(f"{path}: extension {path.suffix}; accepted: {extension}; rename the files")
    return paths


def hint(path: Path) -> str:
    """Say where a missing file or folder seems to be; empty if that is not seen.

    Looked for are the same name with an extension in capitals, and the same path one folder deeper.
    """
    capitals = path.with_suffix(path.suffix.upper())
    if capitals != path and capitals.exists():
        return f"; {capitals.name} is there: rename the files, accepted is {path.suffix}"
    for parent in [folder for folder in path.parents if folder.is_dir()][:1]:
        rest = path.relative_to(parent)
        for deeper in sorted(folder for folder in parent.iterdir() if not folder.name.startswith(".")):
            if (deeper / rest).exists():
                return f"; {deeper / rest} is there: it lies one folder too deep"
    return ""


def load_json(path: Path, *, remedy: str) -> Any:  # noqa: ANN401 (what JSON holds)
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    try:
        return files.parse_json(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file{hint(path)}; {remedy}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a complete JSON file ({error}); {remedy}") from None


def number(value: object) -> float:
    """Take a number of a JSON file, as it is read there.

    Raises:
        ValueError: It is text, a truth value or something else, or too large for a float.
    """
    if type(value) not in (int, float) or not abs(cast(float, value)) <= sys.float_info.max:
        raise ValueError(f"{value!r} is no number")
    return float(cast(float, value))


def require_size(size: tuple[int, int] | None) -> None:
    """Check the size that images are to be stored in, before any work.

    Raises:
        ValueError: It is not None, nor two whole numbers from 1 to `LARGEST`.
    """
    fits = isinstance(size, tuple) and len(size) == 2 and all(type(n) is int and 1 <= n <= LARGEST for n in size)
    if size is not None and not fits:
        raise ValueError(f"size is {size!r}; accepted: (height, width), whole numbers from 1 to {LARGEST}")


def require_files(paths: Sequence[Path], *, remedy: str) -> None:
    """Check that files exist, before any work.

    Raises:
        FileNotFoundError: It names the first file that does not exist, and how many others.
    """
    absent = [path for path in paths if not path.is_file()]
    if absent:
        others = f" and {len(absent) - 1} more of {len(paths)}" if len(absent) > 1 else ""
        raise FileNotFoundError(f"{absent[0]}{others}: no such file{hint(absent[0])}; {remedy}")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; the name never shows half of it."""
    files.write(path, json.dumps(value, indent=1) + "\n")
