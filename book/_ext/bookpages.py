"""Directives for pages that are computed while the book is rendered.

`findings-table` shows what the chapters found, `stored-figure` a figure of one of them, `notebook-statistics` counts
the stored notebooks, `params-output` shows what `mtlrepro params` prints for one of them, and `package-api` documents
every module of the parts of the package that it names. The foot of every page says of which version, commit and day it
is.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import redirect_stdout
from html import escape
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, get_args

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

from mtlrepro import cli
from mtlrepro.analysis.verdicts import Status
from mtlrepro.pages.findings import findings_rows_html
from mtlrepro.pages.html import badge
from mtlrepro.pages.notebook import FINDINGS, TABLE, payloads, read_notebook
from mtlrepro.pages.stored import notebook_statistics

STATUSES = get_args(Status)
PACKAGE = Path(cli.__file__).parent


class FindingsTable(SphinxDirective):
    """Table of what the chapters found, read from the stored notebooks in the order of the table of contents."""

    def run(self) -> list[nodes.Node]:
        """Make HTML, as links lead to places inside other pages."""
        self.env.note_reread()
        chapters = []
        for name in contents_order(yaml.safe_load((Path(self.env.srcdir) / "_toc.yml").read_text(encoding="utf-8"))):
            path = Path(self.env.srcdir) / f"{name}.ipynb"
            found = list(payloads(read_notebook(path), FINDINGS)) if path.is_file() else []
            if found and found[-1]:
                link = self.env.app.builder.get_relative_uri(self.env.docname, name)
                chapters.append((notebook_statistics(path)["title"], link, found[-1]))
        if not chapters:
            return [nodes.paragraph(text="No stored chapter says yet what it found.")]
        return [nodes.raw("", findings_rows_html(chapters), format="html")]


def contents_order(entry: dict[str, Any]) -> list[str]:
    """Names of the pages below an entry of the table of contents."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [child for key in ("parts", "chapters", "sections") for child in entry.get(key, [])]
    return own + [name for child in below for name in contents_order(child)]


class StoredFigure(SphinxDirective):
    """The figure behind a data table of a notebook: name of the page, name of the table."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Show the figure as the notebook stores it, with its caption, which links to the chapter."""
        name, table = self.arguments
        path = Path(self.env.srcdir) / f"{name}.ipynb"
        self.env.note_dependency(str(path))
        outputs = [output for cell in read_notebook(path).cells for output in cell.get("outputs", [])]
        shown = [
            output.data["text/html"] for output in outputs if output.get("data", {}).get(TABLE, {}).get("name") == table
        ]
        if len(shown) != 1 or "<img" not in shown[0]:
            raise self.error(f"{path.name} has no figure of table {table!r}")
        link = self.env.app.builder.get_relative_uri(self.env.docname, name)
        title = escape(notebook_statistics(path)["title"])
        html = shown[0].replace("</figcaption>", f' From <a href="{link}">{title}</a>.</figcaption>', 1)
        return [nodes.raw("", html, format="html")]


def statistics_rows(paths: list[Path]) -> list[dict[str, str]]:
    """One row of Markdown cells for each notebook."""
    rows = []
    for path in paths:
        found = notebook_statistics(path)
        origin = found["provenance"] or {}
        verdicts = [
            badge(status, f"{found['verdicts'][status]} {status}") for status in STATUSES if status in found["verdicts"]
        ]
        contents = [
            f"{found['code_cells']} code cells",
            f"{found['figures']} figures",
            f"{found['tables']} data tables",
            f"{len(found['parameters'])} parameters",
            f"{found['bytes'] / 1000:.0f} kB",
        ]
        run = f"{origin['seconds']} s on {origin['device']}, torch {origin['torch']}" if origin else "not recorded"
        rows.append(
            {
                "Notebook": f"[{found['title']}]({path.name})",
                "Verdicts": "<br>".join(verdicts) or "none",
                "Contents": ", ".join(contents),
                "Stored run": run,
            }
        )
    return rows


class NotebookStatistics(SphinxDirective):
    """Table of the chapters, counted anew in every build."""

    def run(self) -> list[nodes.Node]:
        """Parse a Markdown table, so that links and verdicts are resolved as on any page."""
        chapters = [Path(self.env.doc2path(name)) for name in sorted(self.env.found_docs)]
        self.env.note_reread()
        rows = statistics_rows([path for path in chapters if path.suffix == ".ipynb"])
        if not rows:
            return [nodes.paragraph(text="There is no notebook yet.")]
        return markdown_table(self, rows)


def markdown_table(directive: SphinxDirective, rows: list[dict[str, str]]) -> list[nodes.Node]:
    """Parse a table of Markdown cells; the keys of its rows are the header."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = nodes.Element()
    text = StringList([f"| {' | '.join(line)} |" for line in lines], directive.get_source_info()[0])
    directive.state.nested_parse(text, directive.content_offset, table)
    return table.children


class ParamsOutput(SphinxDirective):
    """What `mtlrepro params` prints for the notebook named in the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Call the command in this process and keep what it prints."""
        path = Path(self.env.srcdir) / self.arguments[0]
        self.env.note_dependency(str(path))
        printed = StringIO()
        with redirect_stdout(printed):
            status = cli.main(["params", str(path)])
        if status:
            raise self.error(f"mtlrepro params {path.name} exited with status {status}")
        return [nodes.literal_block("", printed.getvalue(), language="text")]


class PackageApi(SphinxDirective):
    """One section for each part of the package named in the content, one a line, and within it for all its modules."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Make sections by hand, since headings cannot be parsed inside a directive."""
        return [self.section(part_path(name.strip())) for name in self.content]

    def section(self, path: Path) -> nodes.section:
        """Describe a module, or a package and, below it, everything that it holds."""
        self.env.note_dependency(str(path))
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        section = nodes.section(ids=[nodes.make_id(module)], names=[module])
        section += nodes.title("", "", nodes.literal(text=module))
        lines = ["```{eval-rst}", f".. automodule:: {module}", "   :ignore-module-all:", "```"]
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, section)
        for child in contents(path):
            section += self.section(child)
        return section


def part_path(name: str) -> Path:
    """Path of a part of the package: a folder or a file directly below it."""
    folder = PACKAGE / name
    return folder if folder.is_dir() else folder.with_suffix(".py")


def contents(path: Path) -> list[Path]:
    """Modules and then packages inside a package, by name; a module holds none."""
    modules = [file for file in path.glob("*.py") if not file.name.startswith("_")]
    return sorted(modules) + sorted(file.parent for file in path.glob("*/__init__.py"))


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let |x| in a docstring stay as it is: reStructuredText would look for a substitution of that name."""
    pieces = re.split(r"(`[^`]*`)", "\n".join(lines))
    pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
    lines[:] = "".join(pieces).split("\n")


def skip_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave the fields of named tuples to the class's own list of attributes, or they would stand there twice."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def release(folder: Path = PACKAGE) -> str:
    """Version of the package, and commit and day of the checkout that it runs from, as far as git knows."""
    command = ["git", "-C", str(folder), "log", "-1", "--abbrev=12", "--format=%h of %cs"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return f"mtlrepro {version('mtlrepro')}, commit {commit}"


def add_release(app: Sphinx, config: Config) -> None:
    """Put the release into the foot of every page."""
    config.html_theme_options = {**config.html_theme_options, "extra_footer": f"<p>{escape(release())}</p>"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives and the foot of the pages."""
    app.connect("config-inited", add_release)
    app.add_directive("findings-table", FindingsTable)
    app.add_directive("stored-figure", StoredFigure)
    app.connect("autodoc-process-docstring", keep_bars, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
    app.add_directive("notebook-statistics", NotebookStatistics)
    app.add_directive("params-output", ParamsOutput)
    app.add_directive("package-api", PackageApi)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
