"""What the four data scripts share: one command line, and the checks of a prepared folder."""

import argparse
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mtlrepro.data.store import Store

Command = Callable[..., object]


class Script:
    """The command line of one data set: ``fetch``, ``prepare SOURCE TARGET`` and ``verify TARGET``.

    A command's function gets the values of its arguments by name. Exit status: 0 well, 1 ``verify`` found a
    problem, 2 refused, 130 interrupted; an error is one line on stderr.

    Args:
        name: the script, as the user calls it.
        description: shown by ``--help``.
    """

    def __init__(self, name: str, description: str) -> None:
        self._parser = argparse.ArgumentParser(
            prog=name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._commands = self._parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        self._functions: dict[str, Command] = {}

    def command(self, name: str, function: Command, help: str) -> argparse.ArgumentParser:
        """Add a command and return its parser, for its own arguments."""
        self._functions[name] = function
        return self._commands.add_parser(name, help=help, description=help)

    def fetch(self, function: Command, terms: str, help: str, *, mirror: bool = True) -> argparse.ArgumentParser:
        """Add ``fetch FOLDER``; the function gets ``folder`` (and ``mirror``), once the terms are accepted."""

        def accepted(*, accept_licence: bool, **arguments: object) -> None:
            if not accept_licence:
                raise ValueError(f"{terms}\nRun again with --accept-licence if you accept this")
            function(**arguments)

        parser = self.command("fetch", accepted, help)
        parser.epilog = terms
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files go")
        parser.add_argument("--accept-licence", action="store_true", help="you have read the terms and accept them")
        if mirror:
            parser.add_argument("--mirror", metavar="URL", help="a server that has the files as URL/NAME")
        return parser

    def prepare(self, function: Command, help: str, size_help: str) -> argparse.ArgumentParser:
        """Add ``prepare SOURCE TARGET [--size HxW]``; the function gets ``source``, ``target``, ``size``."""
        parser = self.command("prepare", function, help)
        parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with the downloaded files")
        parser.add_argument("target", type=Path, metavar="TARGET", help="folder for the arrays")
        parser.add_argument("--size", type=image_size, metavar="HxW", help=size_help)
        return parser

    def verify(self, function: Callable[..., pd.DataFrame]) -> argparse.ArgumentParser:
        """Add ``verify TARGET``, which prints the findings of the function and changes nothing."""

        def report(target: Path, **options: object) -> int:
            findings = function(target, **options)
            with pd.option_context("display.max_colwidth", None, "display.width", None, "display.max_rows", None):
                print(findings.to_string(index=False))
            wrong = int((~findings["ok"]).sum())
            print(f"{target}: {'all well' if not wrong else f'{wrong} of {len(findings)} checks failed'}")
            return 1 if wrong else 0

        parser = self.command("verify", report, "check a prepared folder; repairs nothing")
        parser.add_argument("target", type=Path, metavar="TARGET", help="folder that `prepare` made")
        return parser

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run a command line and return its exit status."""
        arguments = vars(self._parser.parse_args(argv))
        command = arguments.pop("command")
        try:
            status = self._functions[command](**arguments)
        except (ValueError, OSError) as error:
            print(f"{self._parser.prog} {command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"{self._parser.prog} {command}: interrupted; run it again to go on", file=sys.stderr)
            return 130
        return status if isinstance(status, int) else 0


def image_size(text: str) -> tuple[int, int]:
    """Read ``288x384`` as (height, width)."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"size is {text!r}; accepted: HEIGHTxWIDTH in pixels, such as 288x384")
    return int(height), int(width)


# --- checks of a prepared folder


@dataclass
class Findings:
    """What ``verify`` looked at, one row each."""

    rows: list[dict[Hashable, Any]] = field(default_factory=list)

    def add(self, what: str, found: object, expected: object, ok: bool) -> None:
        """Note one check."""
        self.rows.append({"what": what, "found": str(found), "expected": str(expected), "ok": ok})

    def equal(self, what: str, found: object, expected: object) -> None:
        """Note a check for equality."""
        self.add(what, found, expected, found == expected)

    def frame(self) -> pd.DataFrame:
        """Return the rows with the columns ``what``, ``found``, ``expected`` and ``ok``."""
        return pd.DataFrame(self.rows, columns=["what", "found", "expected", "ok"])


RANGES: Mapping[str, tuple[float, float]] = {
    "depth": (0, 200),
    "disparity": (0, 10_000),
    "curvature": (-1000, 1000),
    "reshading": (0, 1),
    "edges2d": (0, 1),
    "edges3d": (0, 1),
    "keypoints2d": (0, 1),
    "keypoints3d": (0, 1),
}
UNIT = 2e-3  # how far the length of a stored normal may be from 1
Rays = Callable[[Mapping[str, Any], int, int], np.ndarray]


def verify_target(
    target: Path,
    *,
    counts: Mapping[str, int | None],
    keys: Sequence[str],
    class_names: Sequence[str] = (),
    rays: Rays | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Check the splits of a prepared folder: counts, arrays, checksums, ranges, classes, normals.

    Args:
        target: the folder that holds one store per split.
        counts: number of images of each split, None where any number will do.
        keys: arrays that each store must have.
        class_names: names of segmentation's classes, in order.
        rays: viewing rays ``[3, H, W]`` from a store's metadata, height and width; the sign of normals is
            tested against them.
        progress: show a bar on stderr.

    Returns:
        One row per check: ``what``, ``found``, ``expected``, ``ok``. Nothing is changed.

    Raises:
        ValueError: if ``target`` is no folder.
    """
    if not target.is_dir():
        raise ValueError(f"target is {target}, which is no folder; accepted: a folder that `prepare` made")
    findings = Findings()
    for split, count in counts.items():
        if not (target / split / "meta.json").is_file():
            findings.add(f"{split}: store", "missing", "a complete store; run `prepare` again", False)
            continue
        try:
            store = Store(target / split)
        except ValueError as error:
            findings.add(f"{split}: store", error, "a complete store", False)
            continue
        problems = store.verify()
        findings.add(f"{split}: files and checksums", "; ".join(problems) or "as written", "as written", not problems)
        if count is None:
            findings.add(f"{split}: images", len(store), "1 or more", len(store) > 0)
        else:
            findings.equal(f"{split}: images", len(store), count)
        absent = set(keys) - set(store.names)
        findings.add(f"{split}: maps", ", ".join(store.names), ", ".join(keys), not absent)
        if problems:
            continue
        bar = tqdm(store.names, desc=f"{split}: values", disable=not progress)
        for name in bar:
            if name in RANGES:
                _check_range(findings, split, store, name)
            elif name == "segmentation" and class_names:
                _check_classes(findings, split, store, class_names)
            elif name == "normal" and rays is not None:
                _check_normals(findings, split, store, rays)
    return findings.frame()


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Go through a memory-mapped array a few images at a time."""
    for start in range(0, len(array), 16):
        yield np.asarray(array[start : start + 16])


def _check_range(findings: Findings, split: str, store: Store, name: str) -> None:
    low, high = np.inf, -np.inf
    for piece in _pieces(store[name]):
        low, high = np.minimum(low, piece.min()), np.maximum(high, piece.max())  # both keep NaN
    lowest, highest = RANGES[name]
    ok = bool(lowest <= low and high <= highest)
    findings.add(f"{split}: {name} range", f"{low:.4g} to {high:.4g}", f"{lowest:g} to {highest:g}", ok)


def _check_classes(findings: Findings, split: str, store: Store, class_names: Sequence[str]) -> None:
    counts = np.zeros(256, np.int64)
    for piece in _pieces(store["segmentation"]):
        counts += np.bincount(piece.astype(np.uint8).ravel(), minlength=256)
    labelled, ignored = counts[: len(class_names)], counts[255]
    others = int(counts.sum() - labelled.sum() - ignored)
    findings.add(f"{split}: segmentation values", f"{others} others", f"-1 to {len(class_names) - 1}", others == 0)
    findings.add(f"{split}: labelled pixels", f"{labelled.sum() / counts.sum():.4f}", "above 0", bool(labelled.any()))
    for name, count in zip(class_names, labelled.tolist(), strict=True):
        findings.add(f"{split}: class {name}", f"{count / max(labelled.sum(), 1):.4f} of labelled", "any", True)


def _check_normals(findings: Findings, split: str, store: Store, rays: Rays) -> None:
    """Test lengths, and each axis' sign: seen from inside a room, surfaces face us in x, in y and in z."""
    directions = rays(store.meta, *store["normal"].shape[-2:])
    facing, known, bent = np.zeros(3), 0, 0
    for piece in _pieces(store["normal"]):
        normal = piece.astype(np.float32)
        length = np.linalg.norm(normal, axis=1)
        known += int(np.count_nonzero(length))
        bent += int(np.count_nonzero(np.abs(length - 1)[length > 0] > UNIT))
        facing += (normal * directions).sum(axis=(0, 2, 3), dtype=np.float64)
    findings.add(f"{split}: normals not of length 1", bent, 0, bent == 0)
    for axis, value in zip("xyz", (facing / max(known, 1)).tolist(), strict=True):
        findings.add(f"{split}: mean n_{axis} ray_{axis}", f"{value:.4f}", "below 0 (facing the camera)", value < 0)
