"""Tables as they are read."""

import math

import pandas as pd
import pytest

from mtlrepro.pages.readable import readable, transposed


def cells(**columns):
    shown, note = readable(pd.DataFrame({name.replace("_", " "): values for name, values in columns.items()}))
    return shown.to_dict("list"), note


def test_fractions_have_three_digits_and_the_rest_stays():
    shown, note = cells(n=[123456, 7], x=[0.123456, 3e-17], text=["a", "0.1234"], flag=[True, False])
    assert shown == {
        "n": [123456, 7],
        "x": ["0.123", "< 1e-12"],
        "text": ["a", "0.1234"],
        "flag": [True, False],
    }
    assert note == ""


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("x", "x low", "x high"), "x"),
        (("x", "x, low", "x, high"), "x"),
        (("x, mean", "x, low", "x, high"), "x"),
        (("mean", "low", "high"), "mean"),
        (("difference, %", "low", "high"), "difference, %"),
    ],
)
def test_bounds_stand_in_the_cell_of_their_value(names, title):
    table = pd.DataFrame(zip("ab", [1.0, 2.0], [0.5, 1.75], [1.25, math.inf], "cd", strict=True))
    table.columns = ["task", *names, "after"]
    shown, _ = readable(table)
    assert shown.to_dict("list") == {
        "task": ["a", "b"],
        title: ["1.00 [0.500, 1.25]", "2.00 [1.75, inf]"],
        "after": ["c", "d"],
    }


def test_bounds_of_several_values_go_each_to_its_own_whatever_the_order():
    shown, _ = cells(a=[1.0], b=[2.0], b_low=[1.5], a_high=[3.0], b_high=[2.5], a_low=[0.5])
    assert shown == {"a": ["1.00 [0.500, 3.00]"], "b": ["2.00 [1.50, 2.50]"]}


def test_a_bound_without_its_fellow_is_a_column_like_others():
    shown, _ = cells(a=[1.0], low=[0.5], b_high=[2.0])
    assert list(shown) == ["a", "low", "b high"]


def test_what_all_rows_say_is_said_once():
    shown, note = cells(task=["a", "b"], seeds=[3, 3], p=[0.5, 0.5], x=[1.0, 2.0])
    assert list(shown) == ["task", "x"]
    assert note == "In all rows, seeds: 3; p: 0.500."


@pytest.mark.parametrize("table", [{"a": ["x"], "b": [1.0]}, {"a": ["x", "x"], "b": [1.0, 1.0]}])
def test_a_table_of_one_row_or_of_equal_rows_stays(table):
    shown, note = cells(**table)
    assert list(shown) == ["a", "b"]
    assert note == ""


def test_a_wide_table_is_turned_with_the_titles_of_its_columns_in_the_first():
    turned = transposed(pd.DataFrame({"method": ["equal", "LSB"], "rank": ["2", "1"], "loss": ["0.5", ""]}), "measure")
    assert turned.to_dict("list") == {"measure": ["rank", "loss"], "equal": ["2", "0.5"], "LSB": ["1", ""]}
