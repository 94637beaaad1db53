"""Parameters that a notebook declares, and the values that a command line gives them.

They stand in one code cell tagged `parameters`, one annotated assignment a line:

    batch_size: int = 32  # images in a mini-batch [1..512]
    device: str = "cpu"  # where tensors live {cpu, cuda}
    grid: str = "book/grids/first.json"  # grid file [file]

A path, `[file]` or `[folder]`, is taken relative to the folder where the command is given, as on every command line;
only the default is the notebook's own, which may take it otherwise, or take an empty one for none.
"""

import ast
import difflib
import io
import math
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mtlrepro.pages.notebook import NotebookError, read_notebook, tagged_cells

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
    "accepted: one `name: type = literal  # help` a line, where the help may end with [lo..hi], {a, b}, [file] or "
    f"[folder] and the type is one of {', '.join(_TYPES)}"
)
_PATHS: tuple[Literal["file", "folder"], ...] = ("file", "folder")
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONSTRAINT = re.compile(r"\s*(?:\[(?P<interval>[^\[\]]*)\]|\{(?P<choices>[^{}]*)\})$")


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; `bounds` and `choices` hold for each element of a list, `path` says what has to exist."""

    name: str
    type: str
    default: Value
    help: str
    bounds: tuple[float | None, float | None] | None = None
    choices: tuple[Scalar, ...] | None = None
    path: Literal["", "file", "folder"] = ""

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
        return f"an existing {self.path}" if self.path else words

    def check(self, value: object) -> Value:
        """Return the value in the parameter's type (a whole number may stand for a float).

        Raises:
            NotebookError: The type is another one or the constraint is broken.
        """
        if not self.type.startswith("list["):
            return self._check_element(value, value)
        if not isinstance(value, list):
            raise self._refusal(value)
        return [self._check_element(element, value) for element in value]  # type: ignore[return-value]

    def parse(self, text: str) -> Value:
        """Return the value that a command line's text stands for.

        Lists are written `1,2,3` or `[1, 2, 3]`; a text element cannot hold a comma.

        Raises:
            NotebookError: The text is not exactly of the type or the constraint is broken.
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

    def located(self, value: Value) -> Value:
        """Return the value; a path that is not the default as an absolute one.

        Raises:
            NotebookError: Nothing of that kind is there.
        """
        if not self.path or value == self.default:
            return value
        path = Path(str(value)).absolute()
        if not value or not (path.is_file() if self.path == "file" else path.is_dir()):
            raise self._refusal(value)
        return str(path)

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


def declared_parameters(path: str | Path) -> list[Parameter]:
    """Return the parameters that a notebook declares, in order.

    Raises:
        NotebookError: The notebook does not have exactly one code cell tagged `parameters`, or that cell breaks the
            grammar; the message has file and line.
    """
    cells = tagged_cells(read_notebook(path), "parameters")
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

    declared: dict[str, Parameter] = {}
    for statement in statements:
        line = statement.lineno
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as literal):
                pass
            case _:
                raise refusal(line, f"found `{source.splitlines()[line - 1].strip()}`")
        if name in declared:
            raise refusal(line, f"{name!r} is declared twice")
        # A comment serves one parameter: `pop` leaves none for a second one on the same line.
        comment = comments.pop(statement.end_lineno or line, "")
        try:
            default = ast.literal_eval(literal)
        except (TypeError, ValueError):
            raise refusal(line, f"the default of {name!r} is not a literal") from None
        try:
            declared[name] = _parameter(name, ast.unparse(annotation), default, comment)
        except ValueError as error:
            raise refusal(line, str(error)) from None
    return list(declared.values())


def assign(path: str | Path, texts: Sequence[tuple[str, str]]) -> dict[str, Value]:
    """Return the values that (name, text) pairs of a command line give to a notebook's parameters.

    Raises:
        NotebookError: A name is not declared or given twice, or a parameter refuses its value.
    """
    declared = parameters_by_name(path, [name for name, _ in texts])
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
    for path in _PATHS:
        if constraint["interval"] == path and parameter.type == "str":
            return replace(parameter, path=path)
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


def parameters_by_name(path: str | Path, names: Sequence[str]) -> dict[str, Parameter]:
    """Return the declared parameters by name, refusing names that are not among them."""
    declared = {parameter.name: parameter for parameter in declared_parameters(path)}
    for name in names:
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            accepted = ", ".join(declared) or "none"
            raise NotebookError(f"{path}: no parameter {name!r}{hint}, accepted: {accepted}")
    return declared
