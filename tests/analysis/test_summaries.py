"""Summaries of tables, by hand."""

import math

import numpy as np
import pandas as pd

from mtlrepro.analysis.summaries import slopes, summarise, with_expected
from mtlrepro.analysis.verdicts import geometric_interval

RATIOS = pd.DataFrame(
    {
        "seed": [0, 0, 1, 1, 2, 2] * 2,
        "task": ["a", "b"] * 6,
        "n": [8] * 6 + [2] * 6,
        "x": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 5.0, 7.0, 5.0, 7.0, 5.0, 7.0],
        "expected": [2.0] * 6 + [6.0] * 6,
    }
)


def test_summarise_by_hand():
    table = summarise(RATIOS, "x", ["n"])
    assert table.columns.tolist() == ["n", "mean", "low", "high"]
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)  # t(0.975, 2) times the standard error of 1, 2, 3
    np.testing.assert_allclose(table.to_numpy(float), [[8, 2, 2 - half, 2 + half], [2, 6, 6, 6]])
    assert summarise(RATIOS, "x", ["task", "n"])["mean"].tolist() == [2, 2, 5, 7]


def test_summarise_averages_within_seeds_first():
    """Rows of one seed are not independent: with one value per seed the interval is over seeds."""
    table = pd.DataFrame({"seed": [0, 0, 0, 1], "k": ["a"] * 4, "x": [1.0, 1.0, 1.0, 3.0]})
    assert summarise(table, "x", ["k"])["mean"].tolist() == [2.0]


def test_summarise_one_seed():
    table = summarise(RATIOS[RATIOS["seed"] == 0], "x", ["n"])
    assert table.to_numpy(float).tolist() == [[8, 1, 1, 1], [2, 6, 6, 6]]


def test_with_expected():
    table = with_expected(RATIOS, "x", ["n"])
    assert table.columns.tolist() == ["n", "mean", "low", "high", "expected"]
    assert table["expected"].tolist() == [2, 6]
    assert with_expected(RATIOS, "x", ["n"], expected="n")["expected"].tolist() == [8, 2]


def test_the_expected_value_has_the_same_kind_of_mean():
    rows = pd.DataFrame({"seed": [0, 1], "n": [1, 1], "x": [2.0, 2.0], "expected": [1.0, 4.0]})
    assert math.isclose(with_expected(rows, "x", ["n"], interval=geometric_interval)["expected"].item(), 2)


def test_slopes():
    table = pd.DataFrame({"k": ["a"] * 3 + ["b"] * 2, "x": [1, 2, 4, 1, 100], "y": [3.0, 0.75, 0.1875, 5.0, 50.0]})
    found = slopes(table, "x", "y", ["k"])
    assert found.columns.tolist() == ["k", "slope"]
    np.testing.assert_allclose(found["slope"], [-2, 0.5])
