"""Directives for pages that are computed while the book is rendered.

`notebook-statistics` counts the stored notebooks, `params-output` shows what `mtlrepro params` prints for one of
them, `toy-problems` follows every balancer on two small problems, `scales-table` and `first-grid` show sizes and
costs of training runs and the first of them, and `module-api` documents modules by name.
"""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, get_args

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mtlrepro import cli
from mtlrepro.analysis.verdicts import Status, number
from mtlrepro.pages.chapter import badge, figure_html, image_html
from mtlrepro.pages.figures import use_style
from mtlrepro.pages.stored import notebook_statistics
from mtlrepro.runs.store import Store
from mtlrepro.studies import costs, first_grid, toys
from mtlrepro.training import scales

STATUSES = get_args(Status)


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


class ToyProblems(SphinxDirective):
    """Figure and table of all balancers on the toy problems, computed when the page or a balancer has changed."""

    alt = (
        "One panel per method and problem with its paths over the mean loss. Two tasks: from above, paths turn and then"
        " go down to a flat black curve. Quadratics: paths enter a black triangle."
    )
    rerun = """python -c "from mtlrepro import toys; toys.figure(toys.runs()).savefig('toys.svg')\""""

    def run(self) -> list[nodes.Node]:
        """Follow the balancers once; draw, state the finding, and list the distances."""
        module = Path(toys.__file__)
        for path in [module, *module.parent.joinpath("balancers").glob("*.py")]:
            self.env.note_dependency(str(path))
        use_style()
        followed = toys.runs()
        table = toys.distances(followed)
        html = figure_html(image_html(toys.figure(followed), self.alt), toys.finding(table), self.rerun)
        rows: dict[str, dict[str, str]] = {}
        for end in table.to_dict("records"):
            row = rows.setdefault(end["method"], {"Method": f"`{end['method']}`"})
            row[f"{end['problem']}, {end['start']}"] = (
                f"{end['distance']:.2f}" if end["reached"] else f"**{end['distance']:.2f}**"
            )
        return [nodes.raw("", html, format="html"), *markdown_table(self, list(rows.values()))]


class ScalesTable(SphinxDirective):
    """Sizes of runs by data set (`data`) or network (`network`), or their `cost` on a `cpu` or `gpu` by benchmark."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Show one of the tables; below costs, where they were measured, and on a GPU what the stored runs took."""
        for path in (Path(scales.__file__), *costs.BENCHMARKS.values()):
            self.env.note_dependency(str(path))
        kind, *scale = self.arguments
        rows = {"data": costs.data_rows, "network": costs.network_rows, "cost": costs.cost_rows}[kind](*scale)
        below = nodes.Element()
        if kind == "cost":
            lines = [costs.origin(*scale), *([costs.grid_time(Store(first_grid.RESULTS))] if scale == ["gpu"] else [])]
            text = StringList([" ".join(lines)], self.get_source_info()[0])
            self.state.nested_parse(text, self.content_offset, below)
        return [*markdown_table(self, rows), *below.children]


class FirstGrid(SphinxDirective):
    """Figure and tables of the first grid, from its stored records."""

    alt = (
        "Three panels, one for each task's metric. Each has five lines of dots, one for each way to weight losses, with"
        " a dot for each of three seeds and a bar at their mean."
    )
    rerun = ".venv/bin/mtlrepro grid book/grids/first.json --jobs 2"

    def run(self) -> list[nodes.Node]:
        """Draw the runs, state the finding, and list means and spreads."""
        for path in (Path(first_grid.__file__), first_grid.GRID):
            self.env.note_dependency(str(path))
        use_style()
        runs = first_grid.table()
        html = figure_html(image_html(first_grid.figure(runs), self.alt), first_grid.finding(runs), self.rerun)
        spread = first_grid.spread(runs)
        numbers = [
            {name[0].upper() + name[1:]: value if name == "metric" else number(value) for name, value in row.items()}
            for row in spread.to_dict("records")
        ]
        means = first_grid.means(runs).to_dict("records")
        return [nodes.raw("", html, format="html"), *markdown_table(self, means), *markdown_table(self, numbers)]


class ModuleApi(SphinxDirective):
    """One section for each module of the package named in the content, one name a line."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Make sections by hand, since headings cannot be parsed inside a directive."""
        sections: list[nodes.Node] = []
        for name in self.content:
            module = f"mtlrepro.{name.strip()}"
            section = nodes.section(ids=[nodes.make_id(module)], names=[module])
            section += nodes.title("", "", nodes.literal(text=module))
            lines = ["```{eval-rst}", f".. automodule:: {module}", "```"]
            self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, section)
            sections.append(section)
        return sections


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let |x| in a docstring stay as it is: reStructuredText would look for a substitution of that name."""
    quoted = re.compile(r"(``.*?``|`[^`]*`)", re.DOTALL)
    pieces = quoted.split("\n".join(lines))
    pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
    lines[:] = "".join(pieces).split("\n")


def skip_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave the fields of named tuples to the class's own list of attributes, or they would stand there twice."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.connect("autodoc-process-docstring", keep_bars, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
    app.add_directive("notebook-statistics", NotebookStatistics)
    app.add_directive("params-output", ParamsOutput)
    app.add_directive("toy-problems", ToyProblems)
    app.add_directive("scales-table", ScalesTable)
    app.add_directive("first-grid", FirstGrid)
    app.add_directive("module-api", ModuleApi)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
