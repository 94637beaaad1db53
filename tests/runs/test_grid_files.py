"""Grid files: what they mean, and what is refused."""

import json

import pytest

from mtlrepro.runs import read_grid
from mtlrepro.training.config import RunConfig


def written(tmp_path, content):
    path = tmp_path / "grid.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_base_and_vary_are_a_product_in_the_order_written(tmp_path):
    content = {"base": {"epochs": 3, "tasks": ["depth"]}, "vary": {"method": ["equal", "lsb"], "seed": [1, 0, 2]}}
    assert read_grid(written(tmp_path, content)) == [
        RunConfig(epochs=3, tasks=("depth",), method=method, seed=seed)
        for method in ("equal", "lsb")
        for seed in (1, 0, 2)
    ]


def test_a_list_holds_configurations_and_grids(tmp_path):
    content = [{"seed": 5}, {"vary": {"seed": [6, 5]}}, {"base": {"method": "cagrad", "method_options": {"c": 0.2}}}]
    assert read_grid(written(tmp_path, content)) == [
        RunConfig(seed=5),
        RunConfig(seed=6),
        RunConfig(seed=5),
        RunConfig(method="cagrad", method_options={"c": 0.2}),
    ]


def test_one_configuration(tmp_path):
    assert read_grid(written(tmp_path, {"seed": 4})) == [RunConfig(seed=4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("3", "holds neither an object nor a list"),
        ([], "holds neither an object nor a list"),
        ([{}, 3], "part 2 is 3; accepted: a configuration, or base and vary"),
        ('{"seed": 1, "lr": 1, "seed": 2}', "'seed' is given twice"),
        ({"base": {}, "vary": {}, "varied": {}}, "grid has 'varied' beside base and vary"),
        ({"base": [], "vary": {}}, r"grid: base is \[\]; accepted: an object"),
        ({"base": {}, "vary": []}, r"grid: vary is \[\]; accepted: an object"),
        ({"vary": {"seed": 3}}, "grid: vary: 'seed' is 3; accepted: a list"),
        ({"vary": {"seed": []}}, r"grid: vary: 'seed' is \[\]; accepted: a list"),
        ({"base": {"seed": 1}, "vary": {"seed": [1]}}, "grid: 'seed' is in base and in vary"),
        ({"vary": {"sede": [1]}}, "grid, {\"sede\": 1}: field 'sede' is unknown; accepted: "),
        ([{"seed": 1}, {"base": {"epochs": 0}}], "part 2: epochs is 0; accepted: "),
        ({"vary": {"seed": [1], "method": ["equal", "best"]}}, '"method": "best"}: method is \'best\'; accepted: '),
    ],
)
def test_what_is_refused_is_named(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as refused:
        read_grid(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "grid.json"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"grid\.json: .* can't decode"):
        read_grid(path)
