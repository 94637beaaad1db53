import nbformat
import pytest
from nbformat import v4
from notebook_cases import save

from mtlrepro.pages.notebook import NotebookError
from mtlrepro.pages.parameters import Parameter, declared_parameters


def test_parameters(tmp_path):
    assert declared_parameters(save(tmp_path / "n.ipynb")) == [
        Parameter("seed", "int", 3, "where the noise starts", bounds=(0, None)),
        Parameter("rate", "float", 0.01, "step size", bounds=(1e-6, 1)),
        Parameter("sizes", "list[int]", [8, 16], "images in a mini-batch", bounds=(1, 512)),
        Parameter("device", "str", "cpu", "where tensors live", choices=("cpu", "cuda")),
        Parameter("methods", "list[str]", ["equal"], "what is compared"),
        Parameter("quick", "bool", False, "skip the slow part"),
    ]


@pytest.mark.parametrize(
    ("cell", "line", "problem"),
    [
        ("a: int = 1  # fine\nb = 2  # no type", 2, "found `b = 2  # no type`"),
        ("import os", 1, "found `import os`"),
        ("a: int  # no default", 1, "found `a: int"),
        ("a: int = 1", 1, "'a' has no help"),
        ("a: int = 1  # [0..]", 1, "'a' has no help"),
        ("a: int = 1; b: int = 2  # one help for two", 1, "'b' has no help"),
        ("a: int = 1  # once\na: int = 2  # twice", 2, "'a' is declared twice"),
        ("a: int = 1.5  # help", 1, "found 1.5, accepted: a whole number"),
        ("a: int = True  # help", 1, "found True, accepted: a whole number"),
        ("a: float = 1e999  # help", 1, "found inf, accepted: a finite number"),
        ("a: list[int] = (1, 2)  # help", 1, r"found \(1, 2\), accepted: whole numbers"),
        ("a: int = 0  # help [1..]", 1, r"found 0, accepted: a whole number in \[1..\]"),
        ("a: list[int] = [1, 9]  # help [..8]", 1, r"found \[1, 9\]"),
        ("a: str = 'c'  # help {a, b}", 1, "found 'c', accepted: one of {a, b}"),
        ("a: int = 1 + 1  # help", 1, "not a literal"),
        ("a: dict = {}  # help", 1, "unknown type 'dict'"),
        ("a: int = 1  # help [1-9]", 1, "is no constraint of int"),
        ("a: int = 1  # help [..]", 1, "is no constraint of int"),
        ("a: int = 1  # help [9..1]", 1, "is no constraint of int"),
        ("a: int = 1  # help [0.5..]", 1, "is no constraint of int"),
        ("a: int = 1  # help {}", 1, "is no constraint of int"),
        ("a: str = 'x'  # help [1..2]", 1, "is no constraint of str"),
        ("a: int = 1  # help 1..9]", 1, "is no constraint"),
        ("a: int = 1  # fine\na: int = = 2", 2, "invalid syntax"),
    ],
)
def test_a_cell_outside_the_grammar_is_refused(tmp_path, cell, line, problem):
    path = save(tmp_path / "n.ipynb", declared=cell)
    with pytest.raises(NotebookError, match=f"n.ipynb, parameters cell, line {line}: .*{problem}.*accepted: one `name"):
        declared_parameters(path)


def test_exactly_one_parameters_cell(tmp_path):
    path = save(tmp_path / "n.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(v4.new_code_cell("a: int = 1  # help", metadata={"tags": ["parameters"]}))
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match="2 code cells tagged `parameters`, accepted: exactly one"):
        declared_parameters(path)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int", "-7", -7),
        ("float", "1e-4", 1e-4),
        ("float", "2", 2.0),
        ("bool", "true", True),
        ("bool", "false", False),
        ("str", "a b", "a b"),
        ("str", "", ""),
        ("list[int]", "1,2,3", [1, 2, 3]),
        ("list[int]", "[1, 2, 3]", [1, 2, 3]),
        ("list[int]", "[]", []),
        ("list[float]", "[1, 2e-3]", [1.0, 0.002]),
        ("list[str]", "a, b", ["a", "b"]),
        ("list[str]", "['a', \"\", '1']", ["a", "", "1"]),
    ],
)
def test_parse(type_, text, value):
    parsed = Parameter("p", type_, "", "help").parse(text)
    assert parsed == value
    assert repr(parsed) == repr(value)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        *[("int", text) for text in ("3.5", "1e3", "1_000", " 1", "", "true", "٣")],
        *[("float", text) for text in ("nan", "inf", "-inf", "1e999", "1,5", "e5", ".", "")],
        *[("bool", text) for text in ("True", "1", "yes", "")],
        *[("list[int]", text) for text in ("1,,2", "1,2,", "1.5", "[1", "1 2")],
        ("list[float]", "1,nan"),
    ],
)
def test_parse_is_strict(type_, text):
    parameter = Parameter("p", type_, "", "help")
    with pytest.raises(NotebookError) as refusal:
        parameter.parse(text)
    assert str(refusal.value).startswith("parameter 'p': found ")
    assert str(refusal.value).endswith(f"accepted: {parameter.accepted}")


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (Parameter("p", "int", 1, "help", bounds=(1, 3)), ("1", "3"), ("0", "4")),
        (Parameter("p", "float", 1.0, "help", bounds=(None, 1)), ("-9", "1"), ("1.01",)),
        (Parameter("p", "list[int]", [], "help", bounds=(1, None)), ("1,9",), ("1,0",)),
        (Parameter("p", "str", "a", "help", choices=("a", "b")), ("a", "b"), ("c", "A")),
        (Parameter("p", "list[str]", [], "help", choices=("a", "b")), ("a,b,a", ""), ("a,c",)),
    ],
)
def test_constraints(parameter, good, bad):
    for text in good:
        parameter.parse(text)
    for text in bad:
        with pytest.raises(NotebookError, match=r"parameter 'p': found .*, accepted: "):
            parameter.parse(text)
