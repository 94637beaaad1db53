"""Notebooks as programs: declared parameters, strict runs, a stored form, and results that can be compared.

A notebook declares its parameters in one code cell tagged `parameters`, one annotated assignment a line:

    batch_size: int = 32  # images in a mini-batch [1..512]
    device: str = "cpu"  # where tensors live {cpu, cuda}

It publishes results as outputs of the MIME types `TABLE`, `VERDICTS` and `PROVENANCE`.
"""

# mypy: allow-untyped-calls
# (nbformat is a typed package whose functions carry no types)

import ast
import difflib
import io
import json
import logging
import math
import os
import re
import sys
import textwrap
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import nbformat
from nbformat import NotebookNode

from mtlrepro import files

TABLE = "application/vnd.mtlrepro.table+json"
VERDICTS = "application/vnd.mtlrepro.verdicts+json"
PROVENANCE = "application/vnd.mtlrepro.provenance+json"

Scalar = int | float | str | bool
Value = Scalar | list[int] | list[float] | list[str]

_PYTHON_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_TYPES = (*_PYTHON_TYPES, "list[int]", "list[float]", "list[str]")
_IN_WORDS = {
    "int": "a whole number",
    "float": "a finite number",
    "str": "text",
    "bool": "true or false",
    "list[int]": "whole numbers as 1,2,3",
    "list[float]": "finite numbers as 0.1,0.2",
    "list[str]": "texts as a,b,c",
}
_GRAMMAR = (
    "accepted: one `name: type = literal  # help` a line, where the help may end with [lo..hi] or {a, b} "
    f"and the type is one of {', '.join(_TYPES)}"
)
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONSTRAINT = re.compile(r"\s*(?:\[(?P<interval>[^\[\]]*)\]|\{(?P<choices>[^{}]*)\})$")

_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_WIDGET_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")
_INJECTED = "injected-parameters"


class NotebookError(ValueError):
    """A notebook, or a value meant for one, that is refused; the message says what is accepted."""


class RunFailed(NotebookError):
    """A notebook that was started and did not complete."""


# --- parameters ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; `bounds` and `choices` hold for each element of a list."""

    name: str
    type: str
    default: Value
    help: str
    bounds: tuple[float | None, float | None] | None = None
    choices: tuple[Scalar, ...] | None = None

    @property
    def accepted(self) -> str:
        """The accepted values in words."""
        words = _IN_WORDS[self.type]
        if self.bounds is not None:
            low, high = ("" if end is None else f"{end:g}" for end in self.bounds)
            return f"{words} in [{low}..{high}]"
        if self.choices is not None:
            words = "elements of" if self.type.startswith("list[") else "one of"
            return f"{words} {{{', '.join(map(str, self.choices))}}}"
        return words

    def check(self, value: object) -> Value:
        """Return the value in the parameter's type (a whole number may stand for a float).

        Raises NotebookError if the type is another one or the constraint is broken.
        """
        if not self.type.startswith("list["):
            return self._check_element(value, value)
        if not isinstance(value, list):
            raise self._refusal(value)
        return [self._check_element(element, value) for element in value]  # type: ignore[return-value]

    def parse(self, text: str) -> Value:
        """Return the value that a command line's text stands for.

        Lists are written `1,2,3` or `[1, 2, 3]`; a text element cannot hold a comma.
        Raises NotebookError if the text is not exactly of the type or the constraint is broken.
        """
        value: object
        try:
            if self.type.startswith("list["):
                inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
                value = _parse_elements(_element_type(self.type), inside)
            else:
                value = _parse_scalar(self.type, text)
        except ValueError:
            raise self._refusal(text) from None
        return self.check(value)

    def _check_element(self, element: object, value: object) -> Scalar:
        kind = _PYTHON_TYPES[_element_type(self.type)]
        if kind is float and type(element) is int:
            element = float(element)
        if type(element) is not kind or not isinstance(element, int | float | str):
            raise self._refusal(value)
        if isinstance(element, float) and not math.isfinite(element):
            raise self._refusal(value)
        if self.choices is not None and element not in self.choices:
            raise self._refusal(value)
        if self.bounds is not None and not isinstance(element, str):
            low, high = self.bounds
            if (low is not None and element < low) or (high is not None and element > high):
                raise self._refusal(value)
        return element

    def _refusal(self, value: object) -> NotebookError:
        return NotebookError(f"parameter {self.name!r}: found {value!r}, accepted: {self.accepted}")


def parameters(path: str | Path) -> list[Parameter]:
    """Return the parameters that a notebook declares, in order.

    Raises NotebookError, with file and line, if the notebook does not have exactly one code cell tagged
    `parameters` or if that cell breaks the grammar.
    """
    cells = _tagged(_read(path), "parameters")
    if len(cells) != 1:
        raise NotebookError(f"{path}: {len(cells)} code cells tagged `parameters`, accepted: exactly one")
    source = cells[0].source

    def refusal(line: int | None, problem: str) -> NotebookError:
        return NotebookError(f"{path}, parameters cell, line {line}: {problem}; {_GRAMMAR}")

    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise refusal(error.lineno, error.msg) from None
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}

    found: dict[str, Parameter] = {}
    for statement in statements:
        line = statement.lineno
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as literal):
                pass
            case _:
                raise refusal(line, f"found `{source.splitlines()[line - 1].strip()}`")
        if name in found:
            raise refusal(line, f"{name!r} is declared twice")
        # A comment serves one parameter: `pop` leaves none for a second one on the same line.
        comment = comments.pop(statement.end_lineno or line, "")
        try:
            default = ast.literal_eval(literal)
        except (TypeError, ValueError):
            raise refusal(line, f"the default of {name!r} is not a literal") from None
        try:
            found[name] = _parameter(name, ast.unparse(annotation), default, comment)
        except ValueError as error:
            raise refusal(line, str(error)) from None
    return list(found.values())


def assign(path: str | Path, texts: Sequence[tuple[str, str]]) -> dict[str, Value]:
    """Return the values that (name, text) pairs of a command line give to a notebook's parameters.

    Raises NotebookError for a name that the notebook does not declare, a name given twice, or a value
    that its parameter refuses.
    """
    declared = _by_name(path, [name for name, _ in texts])
    values: dict[str, Value] = {}
    for name, text in texts:
        if name in values:
            raise NotebookError(f"parameter {name!r} is given twice")
        values[name] = declared[name].parse(text)
    return values


def _parameter(name: str, type_: str, default: object, comment: str) -> Parameter:
    if type_ not in _TYPES:
        raise ValueError(f"unknown type {type_!r}")
    constraint = _CONSTRAINT.search(comment)
    help_ = comment[: constraint.start()] if constraint else comment
    if not help_:
        raise ValueError(f"{name!r} has no help comment")
    if constraint is None and comment.endswith(("]", "}")):
        raise ValueError(f"the end of {comment!r} is no constraint")
    parameter = Parameter(name, type_, "", help_)
    if constraint is not None:
        try:
            parameter = _constrained(parameter, constraint)
        except ValueError:
            raise ValueError(f"{constraint[0].strip()} is no constraint of {type_}") from None
    return replace(parameter, default=parameter.check(default))


def _constrained(parameter: Parameter, constraint: re.Match[str]) -> Parameter:
    kind = _element_type(parameter.type)
    if constraint["choices"] is not None:
        choices = tuple(_parse_elements(kind, constraint["choices"]))
        if not choices:
            raise ValueError
        return replace(parameter, choices=choices)
    low, dots, high = constraint["interval"].partition("..")
    if not dots or not (low or high) or kind not in ("int", "float"):
        raise ValueError
    bounds = tuple(float(_parse_scalar(kind, end.strip())) for end in (low, high) if end)
    if list(bounds) != sorted(bounds):
        raise ValueError
    return replace(parameter, bounds=(bounds[0] if low else None, bounds[-1] if high else None))


def _element_type(type_: str) -> str:
    return type_.removeprefix("list[").removesuffix("]")


def _parse_scalar(kind: str, text: str) -> Scalar:
    if kind == "str":
        return text
    if kind == "int" and _INT.fullmatch(text):
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    raise ValueError(text)


def _parse_elements(kind: str, text: str) -> list[Scalar]:
    if not text.strip():
        return []
    elements = []
    for element in (part.strip() for part in text.split(",")):
        if not element:
            raise ValueError(text)
        quoted = kind == "str" and len(element) > 1 and element[0] == element[-1] and element[0] in "\"'"
        elements.append(_parse_scalar(kind, element[1:-1] if quoted else element))
    return elements


def _by_name(path: str | Path, names: Sequence[str]) -> dict[str, Parameter]:
    """Return the declared parameters by name, refusing names that are not among them."""
    declared = {parameter.name: parameter for parameter in parameters(path)}
    for name in names:
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            accepted = ", ".join(declared) or "none"
            raise NotebookError(f"{path}: no parameter {name!r}{hint}, accepted: {accepted}")
    return declared


# --- running ------------------------------------------------------------------------------------------


def run(
    path: str | Path,
    output: str | Path,
    values: Mapping[str, Value] | None = None,
    *,
    timeout: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Execute a notebook with the given parameter values and return the path of the result.

    The notebook runs in its own folder, on the running interpreter; parameters not given take their
    defaults, also where the notebook is itself the result of an earlier run. The result is in stored form
    (see `normalise`) and appears under its name only when every code cell has completed; `output` may be
    the notebook itself. `timeout` is in seconds for each cell. `progress` is told the number of each code
    cell as it starts, how many there are, and the cell's first line.

    Raises NotebookError before a kernel starts if a name or value is refused; RunFailed if the run does
    not complete: the notebook so far then lies beside `output` as `<stem>.failed.ipynb`.
    """
    source, target = Path(path).absolute(), Path(output).absolute()
    values = values or {}
    declared = _by_name(path, list(values))
    values = {name: declared[name].check(value) for name, value in values.items()}
    if target.suffix != ".ipynb" or not target.parent.is_dir():
        raise NotebookError(f"output {output}: accepted is a name ending in .ipynb in an existing folder")

    notebook = _read(source)
    # What an earlier run left behind would otherwise override defaults or be taken for new output.
    notebook.cells = [cell for cell in notebook.cells if _INJECTED not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("widgets", None)

    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.ipynb")
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    try:
        files.write(partial, _text(notebook))
        error = _execute(partial, source.parent, values, timeout, progress)
        notebook = _read(partial)
        reason = _failure(notebook, error, timeout)
        files.write(partial, _text(normalise(notebook)))
        if reason is not None:
            partial.replace(failed)
            raise RunFailed(f"{path}: {reason}. The notebook so far is kept as {failed}") from error
        partial.replace(target)
        if failed.resolve() != source.resolve():
            failed.unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _execute(
    path: Path,
    folder: Path,
    values: Mapping[str, Value],
    timeout: int | None,
    progress: Callable[[int, int, str], None] | None,
) -> Exception | None:
    """Execute a notebook file in place with papermill and return what stopped it, if anything did."""
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class RunningInterpreter(AsyncKernelManager):
        """The kernel of this interpreter, whatever kernels are registered under the name python3."""

        @property
        def kernel_spec(self) -> KernelSpec:
            # What goes wrong in a cell is told in the notebook; the kernel's own log would only repeat it.
            return KernelSpec(resource_dir="", **get_kernel_dict(["--log-level=CRITICAL"]))

    started = 0

    def on_cell_execute(cell: NotebookNode, cell_index: int) -> None:
        nonlocal started
        started += 1
        if progress is not None:
            progress(started, total, _first_line(cell))

    total = sum(_runs(cell) for cell in _read(path).cells) + bool(values)
    logging.getLogger("papermill").addHandler(logging.NullHandler())
    literal = str(path).replace("{", "{{").replace("}", "}}")  # papermill formats paths
    try:
        papermill.execute_notebook(
            literal,
            literal,
            dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=folder,
            execution_timeout=timeout,
            iopub_timeout=60,
            kernel_manager_class=RunningInterpreter,
            on_cell_execute=on_cell_execute,
        )
    except Exception as error:
        return error
    return None


def _failure(notebook: NotebookNode, error: Exception | None, timeout: int | None) -> str | None:
    """Return which cell failed and why, and record it in that cell; None if every code cell completed."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    cells = [cell for cell in notebook.cells if _runs(cell)]
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    # papermill ends by marking cells that never started as completed, so the status alone does not tell.
    completed = [cell for cell in started if cell.metadata.papermill.status == "completed"]
    if error is None and len(completed) == len(cells):
        return None
    if not started:
        return _one_line(f"the kernel did not start: {error}")

    raised = [(cell, output) for cell in cells for output in cell.outputs if output.output_type == "error"]
    # Where the kernel was stopped from outside, an error output tells how, not why.
    if raised and not isinstance(error, CellTimeoutError | DeadKernelError):
        cell, output = raised[0]
        reason = f"{output.ename}: {output.evalue}"
    else:
        cell, name = started[-1], type(error).__name__
        reason = f"{name}: {error}"
        if isinstance(error, DeadKernelError):
            reason = "the kernel died (killed, out of memory, or left by os._exit)"
        elif isinstance(error, CellTimeoutError):
            reason = f"timed out: still running after {timeout} s"
        cell.outputs.append(NotebookNode(output_type="error", ename=name, evalue=reason, traceback=[reason]))
    where = f"code cell {cells.index(cell) + 1} of {len(cells)} (`{_first_line(cell)}`)"
    return _one_line(f"{where} failed: {reason}")


def _runs(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _first_line(cell: NotebookNode) -> str:
    return textwrap.shorten(cell.source.strip().splitlines()[0], 60, placeholder=" ...")


def _one_line(text: str) -> str:
    return textwrap.shorten(text, 500, placeholder=" ...")


# --- stored form --------------------------------------------------------------------------------------


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return the stored form of a notebook: what a reader sees, without what differs from run to run.

    Outputs, execution counts, cell ids, tags and widget state stay. Times, other execution metadata and
    the kernel's patch version go; consecutive pieces of one stream are joined; widgets are numbered in
    order of first appearance, and their layouts keep what is set; places of this machine in text outputs get neutral
    names.
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
        if _INJECTED in cell.metadata.get("tags", []):
            cell.id = _INJECTED
        if cell.cell_type == "code":
            cell.outputs = _joined_streams(cell.outputs)
            for output in cell.outputs:
                _neutralise(output)
    for model in _models(notebook).values():
        if model["model_name"] == "LayoutModel":
            model["state"] = {name: value for name, value in model["state"].items() if value is not None}
    return _number_widgets(notebook)


def normalise_file(path: str | Path, *, check: bool = False) -> bool:
    """Bring a notebook file into stored form, unless `check`; return whether it was in stored form before.

    Raises NotebookError if the file is not a notebook.
    """
    path = Path(path)
    text = _text(normalise(_read(path)))
    same = path.read_bytes() == text.encode()
    if not same and not check:
        files.write(path, text)
    return same


def _text(notebook: NotebookNode) -> str:
    return f"{nbformat.writes(notebook)}\n"


def _joined_streams(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


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
    places = {
        str(files.PROJECT): "<project>",
        sys.prefix: "<environment>",
        os.path.expanduser("~"): "~",  # noqa: PTH111 (Path.home() fails where there is none)
    }
    for place in sorted(places, key=len, reverse=True):
        if place.count("/") > 1:  # `/`, `/usr` or `/root` stand for too much
            text = re.sub(rf"(?<![\w.~/-]){re.escape(place)}(?![\w.-])", places[place], text)
    return text


def _models(notebook: NotebookNode) -> dict[str, dict[str, Any]]:
    """Id to widget model."""
    models: dict[str, dict[str, Any]] = notebook.metadata.get("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    return models


def _number_widgets(notebook: NotebookNode) -> NotebookNode:
    """Replace the random ids of widget models by their number, wherever they occur."""
    states = _models(notebook)
    shown = {view["model_id"] for view in _payloads(notebook, _WIDGET_VIEW)}
    ids = {id_ for id_ in states.keys() | shown if _WIDGET_ID.fullmatch(id_)}
    numbers: dict[str, str] = {}

    def visit(content: object) -> None:
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

    for cell in notebook.cells:
        visit(cell.get("outputs"))
    # Models that no output shows, such as links, have no order of their own: their content decides.
    while hidden := ids - numbers.keys():
        visit(min(hidden, key=unrolled))

    text = _WIDGET_ID.sub(lambda match: numbers.get(match[0], match[0]), json.dumps(notebook))
    numbered: NotebookNode = nbformat.reads(text, as_version=4)
    return numbered


# --- results ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table of results and how far a rerun may be off: |a - b| <= atol + rtol |a|."""

    name: str
    rtol: float
    atol: float
    columns: dict[str, list[float | str | bool | None]]


def tables(path: str | Path) -> dict[str, Table]:
    """Return the tables that a notebook publishes, by name.

    Raises NotebookError for a malformed table or a name used twice.
    """
    found: dict[str, Table] = {}
    for payload in _payloads(_read(path), TABLE):
        try:
            table = _table(payload)
        except (TypeError, KeyError, ValueError) as error:
            raise NotebookError(
                f"{path}: malformed table ({type(error).__name__}: {error}), accepted: name, rtol >= 0, "
                "atol >= 0 and columns of equal length holding finite numbers, null, true, false or text"
            ) from None
        if table.name in found:
            raise NotebookError(f"{path}: two tables are named {table.name!r}, accepted: a name each")
        found[table.name] = table
    return found


def compare_tables(stored: Mapping[str, Table], fresh: Mapping[str, Table]) -> list[str]:
    """Return what differs between stored and fresh tables, one line each, by the stored tolerances."""
    differences = []
    for name in [*stored, *(name for name in fresh if name not in stored)]:
        if name not in fresh or name not in stored:
            differences.append(f"table {name!r}: only in the {'stored' if name in stored else 'fresh'} one")
        elif stored[name].columns.keys() != fresh[name].columns.keys():
            pair = (", ".join(sorted(side[name].columns)) for side in (stored, fresh))
            differences.append("table {!r}: columns stored [{}], fresh [{}]".format(name, *pair))
        else:
            differences += _compare_columns(stored[name], fresh[name])
    return differences


def _compare_columns(stored: Table, fresh: Table) -> Iterator[str]:
    for column, values in stored.columns.items():
        where, others = f"table {stored.name!r}, column {column!r}", fresh.columns[column]
        if len(values) != len(others):
            yield f"{where}: {len(values)} rows stored, {len(others)} fresh"
            continue
        for row, (a, b) in enumerate(zip(values, others, strict=True)):
            if _is_number(a) and _is_number(b):
                accepted = stored.atol + stored.rtol * abs(a)
                if abs(a - b) > accepted:
                    yield f"{where}, row {row}: stored {a!r}, fresh {b!r}, accepted within {accepted:.3g}"
            elif type(a) is not type(b) or a != b:
                yield f"{where}, row {row}: stored {a!r}, fresh {b!r}"


def statistics(path: str | Path) -> dict[str, Any]:
    """Return what a statistics page says about a notebook.

    Keys: `title` (first heading, else the file's stem), `code_cells`, `figures`, `tables`, `parameters`
    (their names), `bytes`, `verdicts` (count by status) and `provenance` (the last one published, or None).
    Raises NotebookError if parameters or tables are malformed.
    """
    path = Path(path)
    notebook = _read(path)
    markdown = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^#{1,6} +(.+?) *#*$", markdown, re.MULTILINE)
    verdicts = [verdict for payload in _payloads(notebook, VERDICTS) for verdict in payload]
    return {
        "title": heading[1] if heading else path.stem,
        "code_cells": sum(_runs(cell) for cell in notebook.cells),
        "figures": sum("<figure" in html for html in _payloads(notebook, "text/html")),
        "tables": len(tables(path)),
        "parameters": [p.name for p in parameters(path)] if _tagged(notebook, "parameters") else [],
        "bytes": path.stat().st_size,
        "verdicts": dict(Counter(verdict["status"] for verdict in verdicts)),
        "provenance": next(reversed(list(_payloads(notebook, PROVENANCE))), None),
    }


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(payload: dict[str, Any]) -> Table:
    table = Table(payload["name"], payload["rtol"], payload["atol"], payload["columns"])
    if not isinstance(table.name, str):
        raise TypeError("name")
    for tolerance in (table.rtol, table.atol):
        if not _is_number(tolerance) or not 0 <= tolerance < math.inf:
            raise ValueError("rtol or atol")
    if len({len(values) for values in table.columns.values()}) > 1:
        raise ValueError("columns of different length")
    for column, values in table.columns.items():
        for value in values:
            if not (value is None or isinstance(value, str) or math.isfinite(value)):
                raise ValueError(column)
    return table


# --- notebook files -----------------------------------------------------------------------------------


def _read(path: str | Path) -> NotebookNode:
    """Read a notebook of format 4; cells without an id (before 4.5) are numbered."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotebookError(f"{path}: no such notebook") from None
    except (OSError, ValueError) as error:
        raise NotebookError(f"{path}: not a readable notebook: {error}") from None
    try:
        content["nbformat_minor"] = max(content["nbformat_minor"], 5)
        for number, cell in enumerate(content["cells"]):
            cell.setdefault("id", f"cell-{number}")
        twice = [id_ for id_, count in Counter(cell["id"] for cell in content["cells"]).items() if count > 1]
        if twice:
            raise NotebookError(f"{path}: cells share the ids {', '.join(twice)}, accepted: an id each")
        nbformat.validate(content, version=4)
    except (AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path}: not a notebook of format 4: {_one_line(str(error))}") from None
    notebook: NotebookNode = nbformat.reads(json.dumps(content), as_version=4)
    return notebook


def _tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code" and tag in c.metadata.get("tags", [])]


def _payloads(notebook: NotebookNode, mime: str) -> Iterator[Any]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output.data[mime]
