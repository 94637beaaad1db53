"""What a notebook says of a run before it starts."""

import math
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat import v4

from mtlrepro.pages.notebook import NotebookError
from mtlrepro.pages.plan import Part, Plan, plan_of, ready, settle

DECLARED = """\
scale: str = "cpu"  # size {smoke, cpu}
seeds: int = 5  # repetitions [2..20]
sizes: list[int] = [4, 8]  # batch sizes
"""


def notebook(path, **metadata):
    cell = v4.new_code_cell(DECLARED, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell], metadata=metadata), path)
    return path


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Notebook, and the module that its metadata name."""
    module = SimpleNamespace(SMOKE={"seeds": 2, "sizes": [1]}, plan=lambda **values: Plan())
    monkeypatch.setitem(sys.modules, "a_study", module)
    return notebook(tmp_path / "n.ipynb", mtlrepro={"plan": "a_study"}), module


def test_values_are_those_given_and_the_defaults_of_the_rest(planned):
    path, _ = planned
    usual = {"scale": "cpu", "seeds": 5, "sizes": [4, 8]}
    assert settle(path, {"seeds": 3}) == (usual | {"seeds": 3}, usual)


def test_smoke_has_defaults_of_its_own_for_what_nobody_has_set(planned):
    path, _ = planned
    small = {"scale": "cpu", "seeds": 2, "sizes": [1]}
    assert settle(path, {"scale": "smoke"}) == (small | {"scale": "smoke"}, small)
    assert settle(path, {"scale": "smoke", "seeds": 5, "sizes": [4, 8]})[0] == small | {"scale": "smoke"}
    assert settle(path, {"scale": "smoke", "seeds": 7})[0] == small | {"scale": "smoke", "seeds": 7}


def test_without_a_module_nothing_is_planned(tmp_path):
    path = notebook(tmp_path / "n.ipynb")
    assert settle(path, {"scale": "smoke"})[0]["seeds"] == 5
    assert plan_of(path, settle(path, {})[0]) == Plan()


def test_the_plan_takes_every_parameter(planned):
    path, module = planned
    seen = []
    module.plan = lambda **values: seen.append(values) or Plan(jobs="jobs")
    assert plan_of(path, settle(path, {"seeds": 3})[0]).jobs == "jobs"
    assert seen == [{"scale": "cpu", "seeds": 3, "sizes": [4, 8]}]


def test_what_the_plan_refuses_is_refused_with_its_words(planned):
    path, module = planned

    def plan(**values):
        raise ValueError("sizes and seeds do not fit; accepted: others")

    module.plan = plan
    with pytest.raises(NotebookError, match=r"n\.ipynb: sizes and seeds do not fit; accepted: others"):
        plan_of(path, settle(path, {})[0])


def test_an_obstacle_is_planned_and_stops_a_run(planned):
    path, module = planned
    module.plan = lambda **values: Plan(obstacle="device is 'cuda'; accepted: 'cpu'")
    settled = settle(path, {})[0]
    assert plan_of(path, settled).lines()[0] == "cannot run here: device is 'cuda'; accepted: 'cpu'"
    with pytest.raises(NotebookError, match=r"n\.ipynb: device is 'cuda'; accepted: 'cpu'"):
        ready(path, settled)


def test_a_path_is_relative_to_the_working_directory_and_its_default_is_the_notebooks(tmp_path, monkeypatch):
    declared = 'grid: str = "book/first.json"  # grid file [file]\nroot: str = ""  # where data are [folder]\n'
    cell = v4.new_code_cell(declared, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    (tmp_path / "mine.json").touch()
    monkeypatch.chdir(tmp_path)
    usual = {"grid": "book/first.json", "root": ""}
    assert settle("n.ipynb", usual) == (usual, usual)
    settled, _ = settle("n.ipynb", {"grid": "mine.json", "root": "."})
    assert settled == {"grid": str(tmp_path / "mine.json"), "root": str(tmp_path)}
    for values in ({"grid": ""}, {"grid": "other.json"}, {"grid": "."}, {"root": "mine.json"}):
        ((name, value),) = values.items()
        kind = "file" if name == "grid" else "folder"
        with pytest.raises(NotebookError, match=f"parameter '{name}': found '{value}', accepted: an existing {kind}"):
            settle("n.ipynb", values)


@pytest.mark.parametrize(("name", "message"), [("no_such_study", "No module named"), ("math", "a function plan")])
def test_a_module_without_a_plan_is_refused(tmp_path, name, message):
    path = notebook(tmp_path / "n.ipynb", mtlrepro={"plan": name})
    with pytest.raises(NotebookError, match=f"its metadata name the module '{name}'.*{message}"):
        plan_of(path, settle(path, {})[0])


def test_a_plan_in_words():
    assert Plan().lines() == ["no runs are read or trained; all that is shown is computed"]
    stored = Part(name="3, table", scale="gpu", runs=4)
    assert Plan(parts=(stored,)).lines() == [
        "all 4 runs are stored; nothing is trained",
        "3, table: gpu scale, 4 runs, all stored",
    ]
    parts = (
        stored,
        Part(name="4, trends", scale="cpu", runs=6, missing=2, hours=1.26, note="gpu scale is not shown"),
        Part(name="5, maps", runs=1, missing=1, hours=0.05, machine="GPU"),
        Part(name="6, front", runs=2, missing=2, hours=math.nan),
    )
    head, *rest = Plan(parts=parts, jobs="jobs", store="FOLDER").lines()
    assert head == (
        "5 of 13 runs are missing and will be trained into FOLDER: an unknown number of core-hours, about 3 "
        "GPU-minutes, one after another; -p jobs N trains N at a time"
    )
    assert rest[1:] == [
        "4, trends: cpu scale, 2 of 6 runs missing, about 1.3 core-hours; gpu scale is not shown",
        "5, maps: 1 of 1 runs missing, about 3 GPU-minutes",
        "6, front: 2 of 2 runs missing, an unknown number of core-hours",
    ]
    open_ = Part(name="7, tuned", runs=9, missing=9, hours=0.01, note="fewer if", at_most=True)
    assert Plan(parts=(open_,), store="FOLDER").lines() == [
        "at most 9 of 9 runs are missing and will be trained into FOLDER: about 1 core-minute, one after another",
        "7, tuned: at most 9 of 9 runs missing, about 1 core-minute; fewer if",
    ]
