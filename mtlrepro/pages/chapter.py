"""What a chapter shows: exhibits, verdicts, and the environment of the run."""

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd
import torch
from IPython.display import display, update_display

from mtlrepro import files
from mtlrepro.analysis.verdicts import Verdict, placed, rows
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import use_style
from mtlrepro.pages.findings import Finding, answers, findings_html, findings_text
from mtlrepro.pages.html import figure_html, image_html, table_html
from mtlrepro.pages.notebook import FINDINGS, PROVENANCE, TABLE, VERDICTS, NotebookError
from mtlrepro.pages.parameters import Value, declared_parameters
from mtlrepro.pages.plan import SMOKE, ready, settle
from mtlrepro.pages.readable import readable
from mtlrepro.pages.sliders import figure_slider, figure_sliders
from mtlrepro.pages.verdict_tables import verdicts_html
from mtlrepro.runs.workers import LEAD
from mtlrepro.training.provenance import provenance

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
        plan = ready(path, self.parameters)
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
        """HTML of an exhibit below its sliders, which are displayed; without scripts, their first picture is there."""
        sliders, pictures = exhibit.pictures
        if not pictures:
            shown, note = readable(exhibit.table if exhibit.shown is None else exhibit.shown)
            return table_html(shown, exhibit.caption, note=note)
        command = self.command(*exhibit.uses)
        images = {labels: image_html(figure, alt, exhibit.form) for labels, (figure, alt) in pictures.items()}
        if not sliders:
            return figure_html(images[()], exhibit.caption, command)
        if len(sliders) == 1:
            (label,) = exhibit.first
            display(figure_slider({label: image for (label,), image in images.items()}, *sliders, label))
        else:
            (outer, inner), (row, column) = sliders, exhibit.first
            frames = {(one, two): image for (one, two), image in images.items()}
            display(figure_sliders(frames, (outer, inner), (row, column)))
        return figure_html(f"<noscript>{images[exhibit.first]}</noscript>", exhibit.caption, command)

    def judge(self, *verdicts: Verdict) -> None:
        """Put verdicts on the chapter's list."""
        self.judged += verdicts

    def findings(self, *findings: Finding) -> None:
        """Show the box *What we found*, above the evidence; :meth:`verdicts` fills it in at the end of the run."""
        self.found = tuple(replace(one, evidence=f"{self.label}{one.evidence}") for one in findings)
        display(self._box([]), raw=True, display_id=BOX)

    def _box(self, answered: list[dict[str, Any]]) -> dict[str, Any]:
        return {"text/html": findings_html(answered), "text/plain": findings_text(answered), FINDINGS: answered}

    def verdicts(self) -> None:
        """Show all verdicts so far, see :func:`~mtlrepro.pages.verdict_tables.verdicts_html`.

        Fills in the box of :meth:`findings`, too.

        Raises:
            ValueError: The verdicts do not fit the findings, see :func:`~mtlrepro.pages.findings.answers`.
        """
        if self.found:
            update_display(self._box(answers(self.found, self.judged)), raw=True, display_id=BOX)
        text = f"{self.label}Verdicts, computed from this run."
        _show(verdicts_html(self.judged, self.label), text, {VERDICTS: rows(self.judged)})

    def rerun_line(self) -> None:
        """Show the command that repeats this run, with the values of all parameters."""
        sys.stdout.write(f"{self.command(*self.parameters)}\n")

    def environment(self) -> None:
        """Show where the numbers of this run come from: code, versions, device, time."""
        record = {**provenance(str(self.parameters.get("device", "cpu"))), "parameters": self.parameters}
        record["seconds"] = round(time.perf_counter() - self.started)
        shown = pd.DataFrame({"part": record.keys(), "this run": [str(value) for value in record.values()]})
        caption = "Environment of this run."
        _show(table_html(shown, caption, most_rows=None), caption, {PROVENANCE: record})


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


def _show(html: str, text: str, payload: Mapping[str, Any]) -> None:
    display({"text/html": html, "text/plain": text, **payload}, raw=True)
