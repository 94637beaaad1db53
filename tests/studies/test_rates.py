"""Learning rates chosen on the validation split, and what they change on the test split."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from compared_methods import LADDER, RATES, SEEDS, comparison
from scipy import stats

from mtlrepro.studies import rates
from mtlrepro.studies.lsb.scores import TABLE_S3


@pytest.fixture
def ladder():
    return comparison(LADDER)


@pytest.fixture
def tuning():
    """Two seeds around a gain in per cent of the mean of equal weighting at rate 0.001, the same on each metric."""
    gains = {"equal": {0.0003: -1, 0.001: 0, 0.003: -2}, "lsb": {0.0003: 1, 0.001: 2, 0.003: 3}}
    rows = []
    for method, by_rate in gains.items():
        for rate, gain in by_rate.items():
            for seed, noise in enumerate((-0.5, 0.5)):
                change = (gain + noise) / 100
                values = {
                    metric: 2 * (1 + change if higher else 1 - change) for metric, higher in TABLE_S3.higher.items()
                }
                rows.append({"method": method, "lr": rate, "seed": seed, **values})
    return pd.DataFrame(rows)


def test_rates_are_chosen_by_delta_and_edges_are_named(tuning):
    scores = rates.rate_scores(tuning, 0.001, TABLE_S3)
    assert scores.loc[scores["method"] == "lsb", "score"].tolist() == pytest.approx([0.5, 1.5, 1.5, 2.5, 2.5, 3.5])
    assert rates.best_rates(scores) == {"equal": 0.001, "lsb": 0.003}
    table = rates.rate_table(scores).set_index("method")
    assert table.loc["equal"].to_dict() == {
        "0.0003": "-1.0 (-1.5 to -0.5)",
        "0.001": "0.0 (-0.5 to 0.5)",
        "0.003": "-2.0 (-2.5 to -1.5)",
        "best": 0.001,
        "at the edge": "no",
    }
    assert table.loc["LSB", ["best", "at the edge"]].tolist() == [0.003, "yes"]
    smallest = scores.assign(score=-scores["lr"])
    assert rates.rate_table(smallest)[["best", "at the edge"]].to_numpy().tolist() == [[0.0003, "yes"]] * 2


def test_a_tuning_without_its_baseline_is_refused(tuning):
    with pytest.raises(ValueError, match=r"baseline of depth\.delta1 is nan"):
        rates.rate_scores(tuning, 0.002, TABLE_S3)


def test_tuned_beside_untuned_has_one_baseline(ladder):
    """Tuning lifts equal weighting alone, by 10 per metric: it comes first, and the others stay as they are."""
    pairs = rates.beside(ladder, comparison(LADDER | {"equal": 10.0}, rates=RATES)).set_index("method")
    both, one = (10 / 50.2 + 10 / 49.8) / 2, 10 / 50.2
    lift = 100 * (both + both + one) / 3
    change, low, high = rates.CHANGE
    assert pairs.loc["equal", change] == pytest.approx(lift)
    assert 0 < lift - pairs.loc["equal", low] < 1  # what is left is the spread of the baseline
    bounds = [f"untuned, %{bound}" for bound in ("", " low", " high")]
    assert pairs.loc["equal", bounds].tolist() == pytest.approx([0] * 3)  # equal weighting is the baseline itself
    assert pairs.loc["equal", "tuned, %"] == pytest.approx(lift)
    others = pairs.drop("equal")
    assert (others[[change, low, high]] == 0).all(axis=None)
    assert (others["untuned, %"] == others["tuned, %"]).all()
    assert pairs["untuned place"].tolist() == [6, 5, 4, 3, 2, 1]
    assert pairs["tuned place"].tolist() == [1, 6, 5, 4, 3, 2]
    assert pairs["tuned rate"].tolist() == [0.003] + [0.001] * 5
    assert rates.beside_finding(pairs.reset_index(), "LSB") == (
        "5 of 6 cases keep the rate of the scale and cannot change. Where the rate changes, the interval of the "
        "change of Δm lies above 0 in 1 and below 0 in 0 of 1. "
        "LSB's place of 6, untuned and tuned: multi column 1 and 2."
    )


def test_change_is_paired_by_seed(ladder):
    """Seeds that trade places change nothing on average; their differences spread from -0.4 to 0.4 per metric."""
    runs = ladder.runs.assign(seed=SEEDS - 1 - ladder.runs["seed"])
    pairs = rates.beside(ladder, replace(ladder, runs=runs, rates=RATES)).set_index("method")
    np.testing.assert_allclose(pairs[rates.CHANGE[0]], 0, atol=1e-12)
    per_metric = 100 * (2 * (1 / 50.2 + 1 / 49.8) / 2 + 1 / 50.2) / 3
    half = stats.t.ppf(0.975, 4) * np.std([-0.4, -0.2, 0, 0.2, 0.4], ddof=1) / 5**0.5 * per_metric
    assert pairs.loc["LSB", rates.CHANGE[2]] == pytest.approx(half)


def test_a_comparison_without_rates_is_not_tuned(ladder):
    with pytest.raises(ValueError, match="tuned has no rates"):
        rates.beside(ladder, ladder)


def test_the_finding_names_methods_whose_best_rate_is_at_the_edge(tuning):
    table = rates.rate_table(rates.rate_scores(tuning, 0.001, TABLE_S3))
    assert "for LSB: a still better one" in rates.rate_finding(table)
    assert "No best" in rates.rate_finding(table[table["method"] == "equal"])
