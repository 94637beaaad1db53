"""Which parts of the package may import which: imports go down one list, and never in a circle.

Imports inside functions and for type checkers count as well, since a reader has to follow them all the same.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mtlrepro"
NAME = re.compile(r"mtlrepro(\.\w+)+")
ORDER = (
    {"files", "options", "streams", "targets"},
    {"losses", "metrics", "noise", "analysis", "distributed"},
    {"tasks"},
    {"data", "models", "balancers"},
    {"training"},
    {"runs"},
    {"pages"},
    {"bench"},
    {"studies"},
    {"cli"},
    {"__main__"},
)
"""Parts of the package from low to high: each imports from its own level and from those before it."""
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}


def module_of(path: Path) -> str:
    """Dotted name of a file of the package, without the package's own; a folder's `__init__` has the folder's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relative to itself"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in inside if name.removeprefix("mtlrepro.") in modules}
            names |= submodules | ({str(node.module)} if submodules != inside else set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            names.add(node.value)  # what `import_module` is given
    return {name.removeprefix("mtlrepro.") for name in names} & modules


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a part that stands above the importing one."""
    part = {module: module.partition(".")[0] for module in graph}
    return [
        f"{module} -> {target}"
        for module, targets in sorted(graph.items())
        for target in sorted(targets)
        if LEVEL[part[target]] > LEVEL[part[module]]
    ]


def across_chapters(graph: dict[str, set[str]]) -> list[str]:
    """Imports from one chapter's studies, which lie in a folder of `studies`, into another's."""
    chapter = {module: module.split(".")[1] if module.count(".") > 1 else "" for module in graph}
    return [
        f"{module} -> {target}"
        for module, targets in sorted(graph.items())
        for target in sorted(targets)
        if module.startswith("studies.") and target.startswith("studies.")
        if chapter[target] and chapter[target] != chapter[module]
    ]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, the first of them twice; none if there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


GRAPH = {module: imports(path, set(MODULES)) for module, path in MODULES.items()}


def test_every_part_has_a_place_in_the_order():
    assert {module.partition(".")[0] for module in MODULES} == LEVEL.keys()


def test_imports_go_down():
    found = upward(GRAPH)
    assert not found, "\n".join(found)


def test_chapters_import_nothing_from_each_other():
    found = across_chapters(GRAPH)
    assert not found, "\n".join(found)


def test_no_modules_import_each_other_in_a_circle():
    assert circle(GRAPH) == []


def test_tests_have_the_tree_of_the_package():
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/*/**/*.py")}
    own = {Path("helpers"), Path("book")}  # shared code, and the notebooks and pages
    assert [str(folder) for folder in sorted(folders - own) if not (PACKAGE / folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    "code",
    [
        "import mtlrepro.runs.store",
        "from mtlrepro.runs import store",
        "from mtlrepro.runs.store import read",
        "def f():\n    from mtlrepro.runs import store",
        "if TYPE_CHECKING:\n    from mtlrepro.runs import store",
    ],
)
def test_every_form_of_an_import_is_seen(code, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert imports(path, {"runs", "runs.store"}) == {"runs.store"}


def test_what_is_forbidden_is_found():
    assert upward({"tasks": {"runs.store", "losses"}, "runs.store": set(), "losses": set()}) == ["tasks -> runs.store"]
    shared: dict[str, set[str]] = {"studies.costs": set(), "studies.lsb.method": set()}
    found = across_chapters({"studies.noise.digits": {"studies.costs", "studies.lsb.method"}} | shared)
    assert found == ["studies.noise.digits -> studies.lsb.method"]
    assert circle({"a": {"b"}, "b": {"a"}}) in (["a", "b", "a"], ["b", "a", "b"])
