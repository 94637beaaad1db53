"""What a chapter shows: exhibits, verdicts, and the environment of the run."""

import re
import shlex
import sys
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Protocol

import pandas as pd
import torch
from IPython.display import display, update_display
from matplotlib.figure import Figure

from mtlrepro import files
from mtlrepro.analysis.verdicts import Kind, Verdict, grouped, number, placed, rows
from mtlrepro.pages.exhibit import Exhibit, Form
from mtlrepro.pages.figures import svg, use_style, webp
from mtlrepro.pages.findings import Finding, answers, findings_html
from mtlrepro.pages.notebook import FINDINGS, PROVENANCE, TABLE, VERDICTS, NotebookError
from mtlrepro.pages.parameters import Value, declared_parameters
from mtlrepro.pages.plan import SMOKE, plan_of, settle
from mtlrepro.pages.sliders import figure_slider, figure_sliders
from mtlrepro.runs.workers import LEAD
from mtlrepro.training.provenance import provenance

KINDS: dict[Kind, str] = {
    "paper": "The paper's claims, judged on this run.",
    "ours": "Questions of ours.",
    "identity": "Identities, which must hold up to rounding.",
}
"""Whose statement a verdict judges, to the caption of its table."""
COLUMNS = {
    "claim": "claim",
    "source": "source",
    "reading": "read as",
    "claimed": "claimed",
    "measured": "measured",
    "case": "tested on",
    "status": "status",
}
"""Columns of a table of verdicts, and their titles."""
NO_EVIDENCE = "Smoke: no evidence. "
"""What every caption begins with at the scale `smoke`."""
BOX = "mtlrepro-findings"
"""Name under which the box of findings is shown first and filled in later."""


class Sized(Protocol):
    """Runs of one size, as a study describes them."""

    @property
    def scale(self) -> str:
        """Name of the size."""

    @property
    def passed_over(self) -> str:
        """What is stored at a larger size and not shown, in a few words; empty if nothing is."""


class Chapter:
    """One run of one chapter's notebook, made in a cell below its parameters, whose values it reads there.

    Every picture is shown with the command that rebuilds it, and carries the data table behind it as an output of
    type `application/vnd.mtlrepro.table+json`; tests recompute the tables and compare them within the tolerance
    that each table states.

    What the notebook's plan refuses is refused here, and what it is about to train is said here, see `pages.plan`. At
    the scale `smoke`, parameters that nobody has set take the values that the plan has for it, also in the notebook,
    and every caption says that nothing is shown.

    Sets the book's figure style, and one CPU thread: for networks this small a second thread hardly helps on an idle
    machine and costs many times over on a busy one, and sums come out the same whatever the number of cores.

    Args:
        notebook: Path of the notebook inside the project, as the command line takes it.

    Raises:
        NotebookError: The notebook declares a parameter that has no value where this is called, or the declaration or
            the plan refuses one.
    """

    def __init__(self, notebook: str) -> None:
        use_style()
        torch.set_num_threads(1)
        self.notebook = notebook
        path = files.book().parent / notebook
        # In a kernel, the caller's globals are the variables of the notebook, whoever started it.
        namespace = sys._getframe(1).f_globals
        names = [parameter.name for parameter in declared_parameters(path)]
        absent = [name for name in names if name not in namespace]
        if absent:
            accepted = "a value for each, as the cell tagged `parameters` gives"
            raise NotebookError(f"{notebook}: no value of {', '.join(absent)}; accepted: {accepted}")
        self.parameters, self.defaults = settle(path, {name: namespace[name] for name in names})
        namespace.update(self.parameters)
        self.label = NO_EVIDENCE if self.parameters.get("scale") == SMOKE else ""
        plan = plan_of(path, self.parameters)
        if plan.missing:
            sys.stderr.write("".join(f"{LEAD}{line}\n" for line in plan.lines()))
        self.judged: list[Verdict] = []
        self.found: tuple[Finding, ...] = ()
        self.started = time.perf_counter()

    def command(self, *names: str) -> str:
        """Command that repeats this run: the parameters `names`, and all others that differ from their defaults."""
        changed = [name for name, value in self.parameters.items() if value != self.defaults[name]]
        return rerun_command(self.notebook, {name: self.parameters[name] for name in dict.fromkeys([*names, *changed])})

    def at(self, setting: Sized) -> "Placed":
        """Show and judge at one size of runs, which captions and claims then name."""
        return Placed(self, f"{setting.scale} scale", setting.passed_over)

    def show(self, *exhibits: Exhibit) -> None:
        """Show exhibits: a picture, pictures under sliders that need no kernel, or a table."""
        for exhibit in exhibits:
            exhibit = replace(exhibit, caption=f"{self.label}{exhibit.caption}")
            _show(self._html(exhibit), exhibit.caption, {TABLE: exhibit.payload})

    def _html(self, exhibit: Exhibit) -> str:
        """HTML of an exhibit below its sliders, which are displayed."""
        sliders, pictures = exhibit.pictures
        if not pictures:
            table = exhibit.table if exhibit.shown is None else exhibit.shown
            shown = table.map(lambda entry: number(entry) if isinstance(entry, float) else entry)
            return table_html(shown, exhibit.caption)
        command = self.command(*exhibit.uses)
        images = {labels: image_html(figure, alt, exhibit.form) for labels, (figure, alt) in pictures.items()}
        if not sliders:
            return figure_html(images[()], exhibit.caption, command)
        if len(sliders) == 1:
            display(figure_slider({label: image for (label,), image in images.items()}, *sliders))
        else:
            outer, inner = sliders
            display(figure_sliders({(one, two): image for (one, two), image in images.items()}, (outer, inner)))
        return figure_html("", exhibit.caption, command)

    def judge(self, *verdicts: Verdict) -> None:
        """Put verdicts on the chapter's list."""
        self.judged += verdicts

    def findings(self, *findings: Finding) -> None:
        """Show the box *What we found*, above the evidence; :meth:`verdicts` fills it in at the end of the run."""
        self.found = tuple(replace(one, evidence=f"{self.label}{one.evidence}") for one in findings)
        display(self._box([]), raw=True, display_id=BOX)

    def _box(self, answered: list[dict[str, str]]) -> dict[str, Any]:
        text = "\n".join(f"{one['number']}. {one['claim']}: {one['status']}" for one in answered)
        return {"text/html": findings_html(answered), "text/plain": text, FINDINGS: answered}

    def verdicts(self) -> None:
        """Show all verdicts so far by kind, a row a claim, and fill in the box of :meth:`findings`.

        A claim that was tested in several places has one row, that of its worst case, and the rest folded below it.

        Raises:
            ValueError: The verdicts do not fit the findings, see :func:`~mtlrepro.pages.findings.answers`.
        """
        if self.found:
            update_display(self._box(answers(self.found, self.judged)), raw=True, display_id=BOX)
        parts = []
        for kind, title in KINDS.items():
            own = [one for one in self.judged if one.kind == kind]
            if own:
                title = f"{self.label}{title}"
                table = table_html(_grouped_rows(own), title, escaped=True)
                folded = f"<details><summary>{title} ({len(grouped(own))} rows)</summary>{table}</details>"
                parts.append(folded if kind == "identity" else table)
        _show("".join(parts), f"{self.label}Verdicts, computed from this run.", {VERDICTS: rows(self.judged)})

    def rerun_line(self) -> None:
        """Show the command that repeats this run, with the values of all parameters."""
        sys.stdout.write(f"{self.command(*self.parameters)}\n")

    def environment(self) -> None:
        """Show where the numbers of this run come from: code, versions, device, time."""
        record = {**provenance(str(self.parameters.get("device", "cpu"))), "parameters": self.parameters}
        record["seconds"] = round(time.perf_counter() - self.started)
        shown = pd.DataFrame({"": record.keys(), "this run": [str(value) for value in record.values()]})
        caption = "Environment of this run."
        _show(table_html(shown, caption), caption, {PROVENANCE: record})


@dataclass(frozen=True)
class Placed:
    """A chapter whose captions and claims name the size of the runs behind them, in brackets at the end."""

    chapter: Chapter
    where: str
    passed_over: str = ""

    def show(self, *exhibits: Exhibit) -> None:
        """Show exhibits, see :meth:`Chapter.show`; captions also say what is stored and not shown."""
        where = f"{self.where}; {self.passed_over}" if self.passed_over else self.where
        self.chapter.show(*(replace(one, caption=f"{one.caption} ({where})") for one in exhibits))

    def judge(self, *verdicts: Verdict) -> None:
        """Put verdicts on the chapter's list."""
        self.chapter.judge(*placed(verdicts, self.where))


def rerun_command(notebook: str, parameters: Mapping[str, Value]) -> str:
    """Shell command that runs `notebook` with `parameters`, written as `mtlrepro run` reads them."""
    words = ["mtlrepro", "run", notebook]
    for name, value in parameters.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += ["-p", name, text.lower() if isinstance(value, bool) else text]
    return shlex.join(words)


def image_html(figure: Figure, alt: str, form: Form = "svg") -> str:
    """Figure as an `<img>` with its picture inside, in one of its forms, and its alternative text."""
    if form == "svg":
        return picture_html("svg+xml", svg(figure).encode(), alt)
    return picture_html("webp", webp(figure, photograph=form == "photograph"), alt)


def picture_html(kind: str, content: bytes, alt: str) -> str:
    """Picture as an `<img>` that holds it; `kind` is the second part of its MIME type."""
    return f'<img src="data:image/{kind};base64,{b64encode(content).decode()}" alt="{escape(alt)}">'


def figure_html(image: str, caption: str, rerun: str) -> str:
    """`<figure>` of an image, its caption, and the command that rebuilds it."""
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


def _grouped_rows(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row of HTML a claim: its worst case, and the others folded below what was measured."""
    shown = []
    for worst, *others in grouped(verdicts):
        row = {name: escape(text) for name, text in rows([worst])[0].items()}
        if others:
            lines = [
                f"<li>{escape(case['case'])}: {escape(case['measured'])} {badge(case['status'])}</li>"
                for case in rows(others)
            ]
            count = f"{len(others)} more case{'s' if len(others) > 1 else ''}"
            row["measured"] += f"<details><summary>{count}</summary><ul>{''.join(lines)}</ul></details>"
        row["status"] = badge(worst.status)
        shown.append({title: row[name] for name, title in COLUMNS.items()})
    table = pd.DataFrame(shown)
    return table.drop(columns=[COLUMNS[name] for name in ("reading", "case") if not table[COLUMNS[name]].any()])


def badge(status: str, text: str = "") -> str:
    """Status of a verdict as coloured text, `text` in place of the status itself if given."""
    return f'<span class="verdict {status.replace(" ", "-")}">{text or status}</span>'


def _show(html: str, text: str, payload: Mapping[str, Any]) -> None:
    display({"text/html": html, "text/plain": text, **payload}, raw=True)
