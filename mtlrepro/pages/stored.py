"""The form in which notebooks are stored, and what the stored ones hold."""

# mypy: allow-untyped-calls
# (nbformat is a typed package whose functions carry no types)

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from mtlrepro import files
from mtlrepro.pages.notebook import (
    INJECTED,
    PROVENANCE,
    VERDICTS,
    is_executed,
    notebook_text,
    payloads,
    read_notebook,
    tagged_cells,
    title_of,
)
from mtlrepro.pages.parameters import declared_parameters
from mtlrepro.pages.tables import read_tables
from mtlrepro.runs.workers import LEAD

_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PROGRESS = re.compile(rf"(?:\r|^){re.escape(LEAD)}[^\r\n]*\n?", re.MULTILINE)
_WIDGET_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return the stored form of a notebook: what a reader sees, without what differs from run to run.

    Outputs, execution counts, cell ids, tags and widget state stay. Times, other execution metadata, the kernel's patch
    version and what was said about runs while they were trained go; consecutive pieces of one stream are joined;
    widgets are numbered in order of first appearance, and their layouts keep what is set; paths of this machine in text
    outputs get neutral names.
    """
    notebook = deepcopy(notebook)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        for name in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(name, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if INJECTED in cell.metadata.get("tags", []):
            cell.id = INJECTED
        if cell.cell_type == "code":
            cell.outputs = _without_progress(_joined_streams(cell.outputs))
            for output in cell.outputs:
                _neutralise(output)
    for model in _models(notebook).values():
        if model["model_name"] == "LayoutModel":
            model["state"] = {name: value for name, value in model["state"].items() if value is not None}
    return _number_widgets(notebook)


def normalise_file(path: str | Path, *, check: bool = False) -> bool:
    """Bring a notebook file into stored form, unless `check`; return whether it was in stored form before.

    Raises:
        NotebookError: The file is not a notebook.
    """
    path = Path(path)
    text = notebook_text(normalise(read_notebook(path)))
    same = path.read_bytes() == text.encode()
    if not same and not check:
        files.write(path, text)
    return same


def _joined_streams(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _without_progress(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Outputs without the lines about runs that were trained, see `runs.workers.LEAD`."""
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            output.text = _PROGRESS.sub("", output.text)
    return [output for output in outputs if output.output_type != "stream" or output.text]


def _neutralise(output: NotebookNode) -> None:
    match output.output_type:
        case "stream":
            output.text = _neutral(output.text)
        case "error":
            output.evalue = _neutral(output.evalue)
            output.traceback = [_neutral(line) for line in output.traceback]
        case _ if "text/plain" in output.data:
            output.data["text/plain"] = _neutral(output.data["text/plain"])


def _neutral(text: str) -> str:
    """Replace paths of this machine; the kernel's own file names hold its process number."""
    text = re.sub(r"(?:/[\w.+-]+)*/ipykernel_\d+/\d+\.py", "<cell>", text)
    names = {
        str(files.PROJECT): "<project>",
        sys.prefix: "<environment>",
        os.path.expanduser("~"): "~",  # noqa: PTH111 (Path.home() fails where there is none)
    }
    for path in sorted(names, key=len, reverse=True):
        if path.count("/") > 1:  # `/`, `/usr` or `/root` stand for too much
            text = re.sub(rf"(?<![\w.~/-]){re.escape(path)}(?![\w.-])", names[path], text)
    return text


def _models(notebook: NotebookNode) -> dict[str, dict[str, Any]]:
    """Id to widget model."""
    models: dict[str, dict[str, Any]] = notebook.metadata.get("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    return models


def _number_widgets(notebook: NotebookNode) -> NotebookNode:
    """Replace the random ids of widget models by their number, wherever they occur."""
    states = _models(notebook)
    shown = {view["model_id"] for view in payloads(notebook, _WIDGET_VIEW)}
    # Other text may look like an id: only ids of models, stored or shown, are replaced.
    ids = {id_ for id_ in states.keys() | shown if _WIDGET_ID.fullmatch(id_)}
    numbers: dict[str, str] = {}

    def visit(content: object) -> None:
        # Depth first, so that numbers follow from what is shown: a model, then those that it refers to.
        for id_ in _WIDGET_ID.findall(json.dumps(content, sort_keys=True)):
            if id_ in ids and id_ not in numbers:
                numbers[id_] = f"{len(numbers) + 1:032x}"
                visit(states.get(id_))

    def unrolled(id_: str, above: tuple[str, ...] = ()) -> str:
        """Return a model's state with every unnumbered id in it replaced by that model's own state."""
        path = (*above, id_)

        def inside(match: re.Match[str]) -> str:
            other = match[0]
            if other in numbers or other not in ids:
                return numbers.get(other, other)
            return f"above {path.index(other)}" if other in path else unrolled(other, path)

        return _WIDGET_ID.sub(inside, json.dumps(states.get(id_), sort_keys=True))

    def reached(id_: str, found: set[str]) -> set[str]:
        """Return `found` with the unnumbered models that a model leads to, itself among them."""
        if id_ in ids and id_ not in numbers and id_ not in found:
            found.add(id_)
            for other in _WIDGET_ID.findall(json.dumps(states.get(id_))):
                reached(other, found)
        return found

    for cell in notebook.cells:
        visit(cell.get("outputs"))
    # Models that no output shows, such as links, have no order of their own: their content decides. What refers to
    # others comes before them, since two equal layouts can be told apart by their owners alone; where nothing tells
    # two models apart, the ids that they have keep a stored notebook as it is.
    while hidden := ids - numbers.keys():
        visit(min(hidden, key=lambda id_: (-len(reached(id_, set())), unrolled(id_), id_)))

    text = _WIDGET_ID.sub(lambda match: numbers.get(match[0], match[0]), json.dumps(notebook))
    numbered: NotebookNode = nbformat.reads(text, as_version=4)
    return numbered


def notebook_statistics(path: str | Path) -> dict[str, Any]:
    """Return what a statistics page says about a notebook.

    Keys: `title` (first heading, else the file's stem), `code_cells`, `figures`, `tables`, `parameters`
    (their names), `bytes`, `verdicts` (count by status) and `provenance` (the last one published, or None).

    Raises:
        NotebookError: Parameters or tables are malformed.
    """
    path = Path(path)
    notebook = read_notebook(path)
    verdicts = [verdict for payload in payloads(notebook, VERDICTS) for verdict in payload]
    return {
        "title": title_of(notebook) or path.stem,
        "code_cells": sum(is_executed(cell) for cell in notebook.cells),
        "figures": sum("<figure" in html for html in payloads(notebook, "text/html")),
        "tables": len(read_tables(path)),
        "parameters": [p.name for p in declared_parameters(path)] if tagged_cells(notebook, "parameters") else [],
        "bytes": path.stat().st_size,
        "verdicts": dict(Counter(verdict["status"] for verdict in verdicts)),
        "provenance": next(reversed(list(payloads(notebook, PROVENANCE))), None),
    }
