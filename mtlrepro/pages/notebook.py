"""Notebook files: reading them, and finding cells and published outputs in them.

A notebook publishes results as outputs of the MIME types `TABLE`, `VERDICTS`, `FINDINGS` and `PROVENANCE`.
"""

# mypy: allow-untyped-calls
# (nbformat is a typed package whose functions carry no types)

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

TABLE = "application/vnd.mtlrepro.table+json"
VERDICTS = "application/vnd.mtlrepro.verdicts+json"
FINDINGS = "application/vnd.mtlrepro.findings+json"
PROVENANCE = "application/vnd.mtlrepro.provenance+json"
INJECTED = "injected-parameters"
"""Tag of the cell by which papermill overrides parameters."""
_LIST_OF_NUMBERS = re.compile(r"\[\n[^][{}\"]+\n\s*\]")
"""A list without texts, lists or objects in indented JSON; within texts lines do not end."""


class NotebookError(ValueError):
    """A notebook, or a value meant for one, that is refused; the message says what is accepted."""


def read_notebook(path: str | Path) -> NotebookNode:
    """Read a notebook of format 4; cells without an id (before 4.5) are numbered.

    Raises:
        NotebookError: The file is not such a notebook.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotebookError(f"{path}: no such notebook") from None
    except (OSError, ValueError, RecursionError) as error:  # the latter from brackets nested thousands deep
        raise NotebookError(f"{path}: not a readable notebook: {error}") from None
    try:
        content["nbformat_minor"] = max(content["nbformat_minor"], 5)
        for number, cell in enumerate(content["cells"]):
            cell.setdefault("id", f"cell-{number}")
        twice = [id_ for id_, count in Counter(cell["id"] for cell in content["cells"]).items() if count > 1]
        if twice:
            raise NotebookError(f"{path}: cells share the ids {', '.join(twice)}, accepted: an id each")
        nbformat.validate(content, version=4)
    except KeyError as error:
        raise NotebookError(f"{path}: not a notebook of format 4: there is no {error}") from None
    except (AttributeError, TypeError, nbformat.ValidationError) as error:
        (reason, *_) = str(error).splitlines()
        raise NotebookError(f"{path}: not a notebook of format 4: {one_line(reason)}") from None
    notebook: NotebookNode = nbformat.reads(json.dumps(content), as_version=4)
    return notebook


def tagged_cells(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    """Code cells with a tag."""
    return [c for c in notebook.cells if c.cell_type == "code" and tag in c.metadata.get("tags", [])]


def payloads(notebook: NotebookNode, mime: str) -> Iterator[Any]:
    """Contents of all outputs of a MIME type, in order."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output.data[mime]


def title_of(notebook: NotebookNode) -> str:
    """First heading of a notebook; empty if it has none."""
    markdown = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^#{1,6} +(.+?) *#*$", markdown, re.MULTILINE)
    return heading[1] if heading else ""


def failure_in(notebook: NotebookNode) -> str:
    """Say which cell of a run failed, and why, by the first error among its outputs; empty if there is none."""
    cells = [cell for cell in notebook.cells if is_executed(cell)]
    for number, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                where = f"code cell {number} of {len(cells)} (`{first_line(cell)}`)"
                return one_line(f"{where}: {output.ename}: {output.evalue}")
    return ""


def notebook_text(notebook: NotebookNode) -> str:
    """Text of a notebook's file, as nbformat writes it, but with the numbers of a list on one line.

    On a line each, the numbers of a long table would fill less of the file than the spaces before them.
    """
    return _LIST_OF_NUMBERS.sub(_on_one_line, f"{nbformat.writes(notebook)}\n")


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]")


def is_executed(cell: NotebookNode) -> bool:
    """Whether a run executes a cell."""
    return cell.cell_type == "code" and bool(cell.source.strip())


def first_line(cell: NotebookNode) -> str:
    """First line of a cell's source, shortened."""
    return textwrap.shorten(cell.source.strip().splitlines()[0], 60)


def one_line(text: str) -> str:
    """A text in one line, shortened."""
    return textwrap.shorten(text, 500)
