"""What a chapter shows: figures with their data tables, tables, verdicts and the environment of the run."""

import re
import shlex
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.figure import Figure

from mtlrepro import files
from mtlrepro.analysis.verdicts import Interval, Verdict, number, rows
from mtlrepro.pages.figures import svg, use_style, webp
from mtlrepro.pages.notebooks import PROVENANCE, TABLE, VERDICTS
from mtlrepro.pages.notebooks import parameters as declared
from mtlrepro.pages.sliders import figure_slider, figure_sliders
from mtlrepro.training.provenance import provenance

Form = Literal["svg", "drawing", "photograph"]
"""How a picture is kept: as SVG, whose text can be selected; as the pixels of a drawing of many lines; or, with some
loss, as those of a picture of many colours."""


class Chapter:
    """One run of one chapter's notebook.

    Every figure is shown with the command that rebuilds it, and carries the data table behind it as an output of
    type ``application/vnd.mtlrepro.table+json``; tests recompute the tables and compare them within the tolerance
    that each table states.

    Sets the book's figure style, and one CPU thread: for networks this small a second thread hardly helps on an idle
    machine and costs many times over on a busy one, and sums come out the same whatever the number of cores.

    Args:
        notebook: path of the notebook inside the project, as the command line takes it.
        parameters: name and value of every parameter of this run.
    """

    def __init__(self, notebook: str, parameters: Mapping[str, Any]) -> None:
        use_style()
        torch.set_num_threads(1)
        self.notebook = notebook
        self.parameters = dict(parameters)
        stored = files.PROJECT / notebook
        self.defaults = {entry.name: entry.default for entry in declared(stored)} if stored.exists() else {}
        self.judged: list[Verdict] = []
        self.started = time.perf_counter()

    def rerun(self, *names: str) -> str:
        """Command that repeats this run: the parameters ``names``, and all others that differ from their defaults."""
        changed = [name for name, value in self.parameters.items() if value != self.defaults.get(name, value)]
        shown = dict.fromkeys([*names, *changed])
        return rerun_line(self.notebook, {name: self.parameters[name] for name in shown})

    def figure(
        self,
        figure: Figure,
        table: pd.DataFrame,
        name: str,
        *,
        caption: str,
        alt: str,
        uses: Sequence[str],
        form: Form = "svg",
        rtol: float = 1e-6,
        atol: float = 1e-9,
    ) -> None:
        """Show a figure.

        Args:
            figure: the drawing.
            table: every number that was drawn.
            name: name of the table, unique in the chapter.
            caption: the finding, as plain text.
            alt: what the figure looks like, for readers who cannot see it.
            uses: the parameters that the figure depends on most, for the line below it.
            form: how the picture is kept, see :data:`Form`.
            rtol: relative tolerance within which a rerun must agree.
            atol: absolute tolerance.
        """
        html = figure_html(image_html(figure, alt, form), caption, self.rerun(*uses))
        _show(html, caption, {TABLE: table_payload(table, name, rtol, atol)})

    def slider(
        self,
        figures: Mapping[str, tuple[Figure, str]],
        table: pd.DataFrame,
        name: str,
        *,
        description: str,
        caption: str,
        uses: Sequence[str],
        form: Form = "svg",
        rtol: float = 1e-6,
        atol: float = 1e-9,
    ) -> None:
        """Show several figures, one at a time, under a slider that needs no kernel; a single one has none.

        Args:
            figures: slider label to drawing and its alternative text.
            table: every number that was drawn in any of them.
            name: name of the table, unique in the chapter.
            description: what the slider varies.
            caption: the finding, as plain text.
            uses: the parameters that the figures depend on most, for the line below them.
            form: how the pictures are kept, see :data:`Form`.
            rtol: relative tolerance within which a rerun must agree.
            atol: absolute tolerance.
        """
        images = {label: image_html(figure, alt, form) for label, (figure, alt) in figures.items()}
        single = "".join(images.values()) if len(images) == 1 else ""
        if not single:
            display(figure_slider(images, description))
        html = figure_html(single, caption, self.rerun(*uses))
        _show(html, caption, {TABLE: table_payload(table, name, rtol, atol)})

    def sliders(
        self,
        figures: Mapping[tuple[str, str], tuple[Figure, str]],
        table: pd.DataFrame,
        name: str,
        *,
        descriptions: tuple[str, str],
        caption: str,
        uses: Sequence[str],
        rtol: float = 1e-6,
        atol: float = 1e-9,
    ) -> None:
        """Show many figures, one at a time, under two sliders that need no kernel, as compact pictures.

        Args:
            figures: labels of both sliders to drawing and its alternative text, for each pair of labels.
            table: every number that was drawn in any of them.
            name: name of the table, unique in the chapter.
            descriptions: what each slider varies.
            caption: the finding, as plain text.
            uses: the parameters that the figures depend on most, for the line below them.
            rtol: relative tolerance within which a rerun must agree.
            atol: absolute tolerance.
        """
        images = {labels: image_html(figure, alt, "drawing") for labels, (figure, alt) in figures.items()}
        display(figure_sliders(images, descriptions))
        html = figure_html("", caption, self.rerun(*uses))
        _show(html, caption, {TABLE: table_payload(table, name, rtol, atol)})

    def table(self, table: pd.DataFrame, name: str, *, caption: str, rtol: float = 1e-6, atol: float = 1e-9) -> None:
        """Show a table of numbers under a caption that states its finding; the rest as for :meth:`figure`."""
        html = table_html(table.map(lambda entry: number(entry) if isinstance(entry, float) else entry), caption)
        _show(html, caption, {TABLE: table_payload(table, name, rtol, atol)})

    def judge(
        self,
        claim: str,
        source: str,
        claimed: float | None = None,
        tolerance: float | None = None,
        measured: Interval | None = None,
        *,
        below: bool = False,
    ) -> None:
        """Put a claim on the chapter's list of verdicts; see :class:`mtlrepro.analysis.verdicts.Verdict`."""
        self.judged.append(Verdict(claim, source, claimed, tolerance, measured, below))

    def verdicts(self) -> None:
        """Show all verdicts so far, one row each."""
        entries = rows(self.judged)
        shown = pd.DataFrame(entries).map(escape)
        shown["status"] = [badge(verdict.status) for verdict in self.judged]
        caption = "Verdicts, computed from this run."
        _show(table_html(shown, caption, escaped=True), caption, {VERDICTS: entries})

    def environment(self) -> None:
        """Show where the numbers of this run come from: code, versions, device, time."""
        record = {**provenance(str(self.parameters.get("device", "cpu"))), "parameters": self.parameters}
        record["seconds"] = round(time.perf_counter() - self.started)
        shown = pd.DataFrame({"": record.keys(), "this run": [str(value) for value in record.values()]})
        caption = "Environment of this run."
        _show(table_html(shown, caption), caption, {PROVENANCE: record})


def rerun_line(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Shell command that runs ``notebook`` with ``parameters``, written as ``mtlrepro run`` reads them."""
    words = ["mtlrepro", "run", notebook]
    for name, value in parameters.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += ["-p", name, text.lower() if isinstance(value, bool) else text]
    return shlex.join(words)


def image_html(figure: Figure, alt: str, form: Form = "svg") -> str:
    """Figure as an ``<img>`` with its picture inside, in one of its forms, and its alternative text."""
    if form == "svg":
        return picture_html("svg+xml", svg(figure).encode(), alt)
    return picture_html("webp", webp(figure, photograph=form == "photograph"), alt)


def picture_html(kind: str, content: bytes, alt: str) -> str:
    """Picture as an ``<img>`` that holds it; ``kind`` is the second part of its MIME type."""
    return f'<img src="data:image/{kind};base64,{b64encode(content).decode()}" alt="{escape(alt)}">'


def figure_html(image: str, caption: str, rerun: str) -> str:
    """``<figure>`` of an image, its caption, and the command that rebuilds it."""
    return (
        f'<figure class="mtlrepro">{image}<figcaption>{escape(caption)}</figcaption>'
        f'<p class="rerun"><code>{escape(rerun)}</code></p></figure>'
    )


def table_html(table: pd.DataFrame, caption: str, *, escaped: bool = False) -> str:
    """HTML of a table, text escaped unless it already is, in a box that scrolls sideways on a narrow screen.

    A line does not end between a ± and its number, or between the bounds of an interval.
    """
    html = table.to_html(index=False, border=0, classes="mtlrepro", escape=not escaped, justify="left")
    html = re.sub(r"(\d \[[^][<,]+), ", r"\1,&nbsp;", html.replace(" ± ", " ±&nbsp;"))
    html = html.replace("<thead>", f"<caption>{escape(caption)}</caption><thead>", 1)
    return f'<div class="mtlrepro-table" tabindex="0">{html}</div>'


def badge(status: str, text: str = "") -> str:
    """Status of a verdict as coloured text, ``text`` in place of the status itself if given."""
    return f'<span class="verdict {status.replace(" ", "-")}">{text or status}</span>'


def table_payload(table: pd.DataFrame, name: str, rtol: float, atol: float) -> dict[str, Any]:
    """Data table in the form that notebooks store: name, tolerances and columns.

    Raises:
        ValueError: if a value is missing or not finite: such a table cannot be compared.
    """
    for column in table:
        if table[column].isna().any() or np.isinf(pd.to_numeric(table[column], errors="coerce")).any():
            raise ValueError(f"table {name!r}, column {column!r}, holds a value that is missing or not finite")
    columns = {str(column): table[column].tolist() for column in table}
    return {"name": name, "rtol": rtol, "atol": atol, "columns": columns}


def _show(html: str, text: str, payload: Mapping[str, Any]) -> None:
    display({"text/html": html, "text/plain": text, **payload}, raw=True)
