"""Tables of exhibits can be compared; what cannot be shown is refused."""

import json
import math

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat import v4
from page_cases import drawing, exhibit

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.notebook import TABLE, NotebookError
from mtlrepro.pages.tables import compare_tables, read_tables


def stored(path, *payloads, mime=TABLE):
    outputs = [v4.new_output("display_data", {mime: json.loads(json.dumps(payload))}) for payload in payloads]
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("show()", outputs=outputs)]), path)
    return path


def test_table_payload_goes_through_a_notebook_and_back(tmp_path):
    table = pd.DataFrame(
        {
            "task": ["left", "sum"],
            "n": [1, 2],
            "x": [1 / 3, 1e-300],
            "small": np.array([0.5, 0.25], dtype=np.float32),
            "usable": [True, False],
        },
        index=[7, 3],
    )
    payload = Exhibit(name="t", table=table, caption="c").payload
    found = read_tables(stored(tmp_path / "n.ipynb", payload))["t"]
    assert (found.name, found.rtol, found.atol) == ("t", 1e-6, 1e-9)
    assert found.columns == {
        "task": ["left", "sum"],
        "n": [1, 2],
        "x": [0.33333333, 0],
        "small": [0.5, 0.25],
        "usable": [True, False],
    }


@pytest.mark.parametrize(
    ("rtol", "atol", "kept"),
    [
        (1e-3, 0, [1234.6, -0.00012346, 0.0]),
        (1e-6, 1e-9, [1234.5679, -0.0001234568, 0.0]),
        (0, 0.5, [1234.57, 0.0, 0.0]),
        (0, 0, [1234.56789, -0.000123456789, 0.0]),
    ],
)
def test_numbers_are_stored_with_the_digits_of_their_tolerance(rtol, atol, kept):
    table = pd.DataFrame({"x": [1234.56789, -0.000123456789, 0.0]})
    near = table * (1 + 1e-12)
    payloads = [exhibit(table=one, rtol=rtol, atol=atol).payload for one in (table, near)]
    assert payloads[0]["columns"] == {"x": kept}
    if rtol or atol:  # numbers that differ by rounding alone are stored as the same, as nbval asks
        assert payloads[1] == payloads[0]


@pytest.mark.parametrize(("change", "count"), [(0, 0), (0.9e-3, 0), (-0.9e-3, 0), (1.1e-3, 1), (-1.1e-3, 1)])
def test_tables_are_compared_within_their_tolerance(tmp_path, change, count):
    paths = []
    for factor in (1, 1 + change):
        table = pd.DataFrame({"x": [2.0 * factor], "k": ["a"]})
        payload = Exhibit(name="t", table=table, caption="c", rtol=1e-3, atol=0).payload
        paths.append(stored(tmp_path / f"{len(paths)}.ipynb", payload))
    assert len(compare_tables(*map(read_tables, paths))) == count


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_exhibit_refuses_numbers_that_are_not_finite(value):
    with pytest.raises(ValueError, match=r"table 'mine', column 'x', holds a value that is missing or not finite"):
        exhibit(name="mine", table=pd.DataFrame({"k": ["a", "b"], "x": [1.0, value]}))


@pytest.mark.parametrize("column", [["a", None], ["a", math.nan], pd.Series([1.0, math.nan], dtype=object)])
def test_an_exhibit_refuses_gaps_in_other_columns(tmp_path, column):
    try:
        payload = exhibit(table=pd.DataFrame({"k": column})).payload
    except ValueError:
        return
    try:
        read_tables(stored(tmp_path / "n.ipynb", payload))
    except NotebookError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figure": drawing(), "frames": {"a": (drawing(), "A.")}, "alt": "A."}, "has a figure and frames"),
        ({"figure": drawing()}, "without alternative text"),
        ({"frames": {"a": (drawing(), "")}, "sliders": ("n",)}, "without alternative text"),
        ({"frames": {"a": (drawing(), "A.")}}, r"sliders is \(\); accepted: 1 of them"),
        ({"frames": {("a", "b"): (drawing(), "A.")}, "sliders": ("n",)}, "accepted: 2 of them"),
        ({"frames": {"a": (drawing(), "A.")}, "sliders": ("n",), "start": "b"}, "start is 'b'; accepted: 'a'"),
        ({"start": "b"}, "start is 'b'; accepted: None, without frames"),
    ],
)
def test_an_exhibit_refuses_pictures_that_do_not_fit_together(changes, message):
    with pytest.raises(ValueError, match=message):
        exhibit(**changes)


@pytest.mark.parametrize(
    ("labels", "sliders", "start", "first"),
    [
        (["1", "2"], ("n",), None, ("1",)),
        (["1", "2"], ("n",), "2", ("2",)),
        ([("1", "a"), ("1", "b")], ("n", "k"), ("1", "b"), ("b",)),
        ([("1", "a"), ("2", "a")], ("n", "k"), None, ("1",)),
        ([("1", "a")], ("n", "k"), ("1", "a"), ()),
        ([], (), None, ()),
    ],
)
def test_the_first_picture_is_that_of_start(labels, sliders, start, first):
    frames = {label: (drawing(), f"{label}.") for label in labels}
    found = exhibit(frames=frames, sliders=sliders, start=start)
    assert found.first == first
    assert first in found.pictures[1] or not labels
