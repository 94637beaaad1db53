"""The comparison of a method with others, on tables made by hand: ranks, tests, learning rates."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from compared_methods import LADDER, METHODS, SEEDS, compared, comparison, runs_of
from scipy import stats

from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.scores import AVERAGE_RANK

METRICS = TABLE_S3.names
HIGHER = TABLE_S3.higher


@pytest.fixture
def ladder():
    return comparison(LADDER)


@pytest.fixture
def noisy():
    values = np.random.default_rng(0).normal(50, 2, (len(METHODS) * SEEDS, len(METRICS)))
    runs = runs_of({}).assign(**dict(zip(METRICS, values.T, strict=True)))
    return compared("multi_decoder", "gpu", runs)


# --- scores


def test_ranks_and_delta_by_hand(ladder):
    """LSB's seeds 4, 3, ... are places 1, 2, ...; equal's mean is 50.2 or 49.8, LSB's 5 better."""
    scores = ladder.scored()
    lsb = scores[scores["method"] == "LSB"].set_index("seed")
    assert lsb[AVERAGE_RANK].to_dict() == {0: 5, 1: 4, 2: 3, 3: 2, 4: 1}
    both, one = (5 / 50.2 + 5 / 49.8) / 2, 5 / 50.2  # depth and normals have a metric of each direction
    assert lsb.loc[2, "Δm"] == pytest.approx(100 * (both + both + one) / 3)
    assert scores.groupby("method")["Δm"].mean()["equal"] == pytest.approx(0, abs=1e-12)
    order = ladder.average_ranks()
    assert list(order) == METHODS[::-1]
    half = stats.t.ppf(0.975, 4) * np.std([1, 2, 3, 4, 5], ddof=1) / 5**0.5
    first = order["LSB"]
    assert (first.value, first.low, first.high) == pytest.approx((3, 3 - half, 3 + half))


def test_baseline_is_single_task_learning(ladder):
    frame = pd.DataFrame(
        [
            {"seed": seed, **{metric: 40.0 + seed if metric.startswith(task) else np.nan for metric in METRICS}}
            for task in ("segmentation", "depth", "normal")
            for seed in range(2)
        ]
    )
    single = studies_comparison.single_task(frame, TABLE_S3)
    assert single.to_numpy().tolist() == [[40.0] * 6, [41.0] * 6]
    other = replace(ladder, single=single)
    assert other.baseline.to_dict() == dict.fromkeys(METRICS, 40.5)
    table = other.table()
    assert table["method"].tolist() == [*METHODS, "single task"]
    assert table.iloc[-1]["rank of runs"] == table.iloc[-1]["Δm, %"] == ""
    assert table.iloc[-1][TABLE_S3.labels["depth.delta1"]].startswith("40.5 ± ")


def test_table_by_hand(ladder):
    table = ladder.table().set_index("method")
    half = stats.t.ppf(0.975, 4) * np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1) / 5**0.5
    assert table.loc["LSB", TABLE_S3.labels["segmentation.miou"]] == f"55.2 ± {half:.1f}"
    assert table.loc["LSB", TABLE_S3.labels["depth.rmse"]] == f"44.800 ± {half:.3f}"
    assert table["rank of means"].tolist() == ["6.00", "5.00", "4.00", "3.00", "2.00", "1.00", ""]
    assert table.loc["equal", "Δm, %"].startswith("0.0 ± ")
    assert not table.isin(["nan"]).any(axis=None)


def test_a_failed_run_is_named(ladder):
    broken = replace(ladder, runs=ladder.runs.assign(**{"depth.rmse": np.nan}))
    with pytest.raises(ValueError, match=r"'depth\.rmse' of .* is nan"):
        broken.table()


def test_top_places_count_runs(ladder, noisy):
    """Six of 30 runs: all five of LSB and the best of the next method, GradNorm."""
    own = TABLE_S3.top_places(ladder.runs, 6).groupby("method")["places"].sum() / len(METRICS)
    assert own.to_dict() == dict.fromkeys(METHODS, 0) | {"GradNorm": 1, "LSB": 5}
    places = TABLE_S3.top_places(noisy.runs, 6)
    np.testing.assert_allclose(places.groupby("metric")["places"].sum(), 6)


def test_rounding_errors_are_ties():
    table = pd.DataFrame({metric: [0.1 + 0.2, 0.3, 0.9] for metric in METRICS})
    assert TABLE_S3.ranks(table)["segmentation.miou"].tolist() == [2.5, 2.5, 1.0]


# --- tests


def test_significance_is_positive_where_lsb_is_better(ladder):
    tests = ladder.significance()
    assert len(tests) == 5 * (len(METRICS) + 2)
    assert (tests["difference"] > 0).all()
    np.testing.assert_allclose(tests["p"], 2 / 252)
    np.testing.assert_allclose(tests["p_holm_measure"], 5 * 2 / 252)
    summary = studies_comparison.summary(tests, METRICS).set_index("against")
    assert summary.loc["equal", "difference"] == pytest.approx(25)
    assert summary["better"].tolist() == [6] * 5
    assert summary["worse"].tolist() == [0] * 5


def test_summary_counts_metrics_and_keeps_networks_apart(ladder):
    """Normals are turned round for LSB, so two of six metrics are worse than every other method's."""
    worse = ladder.runs.copy()
    for metric in ("normal.within_30", "normal.mean_angle"):
        worse.loc[worse["method"] == "LSB", metric] = 50 + (-10 if HIGHER[metric] else 10) + 0.1 * np.arange(SEEDS)
    mixed = replace(ladder, network="full_sharing", runs=worse)
    tests = pd.concat([one.significance() for one in (ladder, mixed)], ignore_index=True)
    summary = studies_comparison.summary(tests, METRICS).set_index(["network", "against"])
    assert summary.loc[("multi column", "DWA"), ["better", "worse"]].tolist() == [6, 0]
    assert summary.loc[("full sharing", "DWA"), ["better", "worse"]].tolist() == [4, 2]


def test_measures_have_one_direction(noisy):
    values = TABLE_S3.measures(noisy.runs)
    np.testing.assert_allclose(values["depth.rmse"], -noisy.runs["depth.rmse"])
    np.testing.assert_allclose(values["segmentation.miou"], noisy.runs["segmentation.miou"])
    assert values[AVERAGE_RANK].mean() == pytest.approx(-(30 + 1) / 2)


# --- exhibits


def test_figure_shows_every_run_and_the_single_tasks(noisy):
    drawing = noisy.runs_exhibit("runs").figure
    assert len(drawing.axes) == len(METRICS)
    for metric in METRICS:
        axes = next(axes for axes in drawing.axes if axes.get_xlabel().startswith(TABLE_S3.labels[metric] + "\n"))
        dashed, *lines = axes.lines
        assert dashed.get_xdata() == [noisy.single[metric].mean()] * 2
        assert [value for line in lines[::2] for value in line.get_xdata()] == noisy.runs[metric].tolist()
        means = [line.get_xdata()[0] for line in lines[1::2]]
        np.testing.assert_allclose(means, noisy.runs.groupby("method", sort=False)[metric].mean())


def test_findings_follow_the_runs(ladder):
    assert ladder.finding().startswith(
        "Multi column, 5 seeds: LSB takes place 1 of 6 by the average rank of 30 runs, 3.00 ["
    )
    assert "the best other method is GradNorm, 8.00 [" in ladder.finding()
    last = comparison(LADDER | {"LSB": -5.0})
    assert "LSB takes place 6 of 6" in last.finding()
    better, worse = (
        studies_comparison.summary_finding(studies_comparison.summary(one.significance(), METRICS), "LSB", 6)
        for one in (ladder, last)
    )
    assert "better in 5 and worse in 0 of 5 comparisons; on single metrics LSB is better in 30 and worse in 0" in better
    assert "better in 0 and worse in 5 of 5 comparisons; on single metrics LSB is better in 0 and worse in 30" in worse
