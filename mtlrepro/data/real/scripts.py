"""The command line that the data scripts share."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

Options = Mapping[str, Mapping[str, Any]]
"""Options by flag, each with the keywords of `ArgumentParser.add_argument`."""

MIRROR: Options = {"--mirror": {"metavar": "URL", "help": "a server that has the files as URL/NAME"}}


class DataSet(Protocol):
    """What the module of a real data set offers; functions get the values of their arguments by name."""

    TERMS: str

    @property
    def fetch(self) -> Callable[..., object]:
        """Function that gets the owner's files into a folder, or says where they are."""

    @property
    def prepare(self) -> Callable[..., object]:
        """Function that writes the arrays."""

    @property
    def verify(self) -> Callable[..., pd.DataFrame]:
        """Function that checks the arrays, one row per check."""


@dataclass(frozen=True)
class Script:
    """The command line of one data set: `fetch FOLDER`, `prepare SOURCE TARGET [--size HxW]` and `verify TARGET`.

    Exit status: 0 well, 1 `verify` found a problem, 2 refused, 130 interrupted; an error is one line on stderr.

    Attributes:
        name: The script, as the user calls it.
        description: Text shown by `--help`.
        data_set: The module whose functions are called.
        fetch_help: What `fetch` does.
        size_help: Size that `prepare` takes by default.
        fetch: Own options of `fetch`.
        prepare: Own options of `prepare`.
        verify: Own options of `verify`.
    """

    name: str
    description: str | None
    data_set: DataSet
    fetch_help: str
    size_help: str
    fetch: Options = field(default_factory=dict)
    prepare: Options = field(default_factory=dict)
    verify: Options = field(default_factory=dict)

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run a command line and return its exit status."""
        arguments = vars(self._parser().parse_args(argv))
        command = arguments.pop("command")
        try:
            status: int = {"fetch": self._fetch, "prepare": self._prepare, "verify": self._verify}[command](**arguments)
        except (ValueError, OSError) as error:
            print(f"{self.name} {command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"{self.name} {command}: interrupted; run it again to go on", file=sys.stderr)
            return 130
        return status

    def _parser(self) -> argparse.ArgumentParser:
        folder = {"type": Path}
        source = {"source": folder | {"metavar": "SOURCE", "help": "folder with the downloaded files"}}
        target = {"target": folder | {"metavar": "TARGET", "help": "folder for the arrays"}}
        prepared = {"target": folder | {"metavar": "TARGET", "help": "folder that `prepare` made"}}
        size = {"--size": {"type": image_size, "metavar": "HxW", "help": self.size_help}}
        licence = {"action": "store_true", "help": "you have read the terms and accept them"}
        where = {"folder": folder | {"metavar": "FOLDER", "help": "where the files go"}, "--accept-licence": licence}
        commands: tuple[tuple[str, str, Options], ...] = (
            ("fetch", self.fetch_help, {**where, **self.fetch}),
            ("prepare", "write the arrays", {**source, **target, **size, **self.prepare}),
            ("verify", "check a prepared folder; repairs nothing", {**prepared, **self.verify}),
        )
        parser = argparse.ArgumentParser(
            prog=self.name, description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for name, text, options in commands:
            epilog = self.data_set.TERMS if name == "fetch" else None
            command = subparsers.add_parser(name, help=text, description=text, epilog=epilog)
            for flag, keywords in options.items():
                command.add_argument(flag, **keywords)
        return parser

    def _fetch(self, *, accept_licence: bool, **arguments: object) -> int:
        if not accept_licence:
            raise ValueError(f"{self.data_set.TERMS}\nRun again with --accept-licence if you accept this")
        self.data_set.fetch(**arguments)
        return 0

    def _prepare(self, **arguments: object) -> int:
        self.data_set.prepare(**arguments)
        return 0

    def _verify(self, target: Path, **options: object) -> int:
        findings = self.data_set.verify(target, **options)
        with pd.option_context("display.max_colwidth", None, "display.width", None, "display.max_rows", None):
            print(findings.to_string(index=False))
        wrong = int((~findings["ok"]).sum())
        print(f"{target}: {'all well' if not wrong else f'{wrong} of {len(findings)} checks failed'}")
        return 1 if wrong else 0


def image_size(text: str) -> tuple[int, int]:
    """Read `288x384` as (height, width)."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"size is {text!r}; accepted: HEIGHTxWIDTH in pixels, such as 288x384")
    return int(height), int(width)
