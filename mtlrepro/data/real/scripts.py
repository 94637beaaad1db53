"""The command line that the data scripts share."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

Option = tuple[str, dict[str, Any]]
"""A flag or the name of an argument, and the keywords of `ArgumentParser.add_argument`."""


def option(flag: str, help: str, **keywords: Any) -> Option:  # noqa: ANN401 (what argparse takes)
    """Describe one option of a command; its function gets the value by name."""
    return flag, {"help": help, **keywords}


def image_size(text: str) -> tuple[int, int]:
    """Read `288x384` as (height, width)."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"size is {text!r}; accepted: HEIGHTxWIDTH in pixels, such as 288x384")
    return int(height), int(width)


MIRROR = option("--mirror", "a server that has the files as URL/NAME", metavar="URL")
_FOLDER = option("folder", "where the files go", type=Path, metavar="FOLDER")
_LICENCE = option("--accept-licence", "you have read the terms and accept them", action="store_true")
_SOURCE = option("source", "folder with the downloaded files", type=Path, metavar="SOURCE")
_TARGET = option("target", "folder for the arrays", type=Path, metavar="TARGET")
_PREPARED = option("target", "folder that `prepare` made", type=Path, metavar="TARGET")


@dataclass(frozen=True)
class Script:
    """The command line of one data set: `fetch FOLDER`, `prepare SOURCE TARGET [--size HxW]` and `verify TARGET`.

    Exit status: 0 well, 1 `verify` found a problem, 2 refused, 130 interrupted; an error is one line on stderr.

    Attributes:
        name: The script, as the user calls it.
        description: Text shown by `--help`.
        data_set: Module with the functions `fetch`, `prepare` and `verify` and the licence `TERMS`.
        fetch_help: What `fetch` does.
        size_help: Size that `prepare` takes by default.
        fetch: Further options of `fetch`.
        prepare: Further options of `prepare`.
        verify: Further options of `verify`.
    """

    name: str
    description: str | None
    data_set: ModuleType
    fetch_help: str
    size_help: str
    fetch: Sequence[Option] = ()
    prepare: Sequence[Option] = ()
    verify: Sequence[Option] = ()

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run a command line and return its exit status."""
        arguments = vars(self._parser().parse_args(argv))
        command = arguments.pop("command")
        try:
            if command == "verify":
                return self._verify(**arguments)
            if command == "fetch" and not arguments.pop("accept_licence"):
                raise ValueError(f"{self.data_set.TERMS}\nRun again with --accept-licence if you accept this")
            getattr(self.data_set, command)(**arguments)
        except (ValueError, OSError) as error:
            print(f"{self.name} {command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"{self.name} {command}: interrupted; run it again to go on", file=sys.stderr)
            return 130
        return 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=self.name, description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        size = option("--size", self.size_help, type=image_size, metavar="HxW")
        for name, help_, epilog, options in (
            ("fetch", self.fetch_help, self.data_set.TERMS, (_FOLDER, _LICENCE, *self.fetch)),
            ("prepare", "write the arrays", None, (_SOURCE, _TARGET, size, *self.prepare)),
            ("verify", "check a prepared folder; repairs nothing", None, (_PREPARED, *self.verify)),
        ):
            command = commands.add_parser(name, help=help_, description=help_, epilog=epilog)
            for flag, keywords in options:
                command.add_argument(flag, **keywords)
        return parser

    def _verify(self, target: Path, **options: object) -> int:
        findings: pd.DataFrame = self.data_set.verify(target, **options)
        with pd.option_context("display.max_colwidth", None, "display.width", None, "display.max_rows", None):
            print(findings.to_string(index=False))
        wrong = int((~findings["ok"]).sum())
        print(f"{target}: {'all well' if not wrong else f'{wrong} of {len(findings)} checks failed'}")
        return 1 if wrong else 0
