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
            for seed in range(SEEDS)
        ]
    )
    single = studies_comparison.single_task(frame, TABLE_S3)
    assert single.to_numpy().tolist() == [[40.0 + seed] * 6 for seed in range(SEEDS)]
    other = replace(ladder, single=single)
    assert other.baseline.to_dict() == dict.fromkeys(METRICS, 42.0)
    table = other.table()
    assert table["method"].tolist() == [*METHODS, "single task"]
    assert table.iloc[-1]["rank of runs"] == table.iloc[-1]["Δm, %"] == ""
    assert table.iloc[-1][TABLE_S3.labels["depth.delta1"]].startswith("42.0 ± ")


def test_table_by_hand(ladder):
    table = ladder.table().set_index("method")
    half = stats.t.ppf(0.975, 4) * np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1) / 5**0.5
    assert table.loc["LSB", TABLE_S3.labels["segmentation.miou"]] == f"55.2 ± {half:.1f}"
    assert table.loc["LSB", TABLE_S3.labels["depth.rmse"]] == f"44.800 ± {half:.3f}"
    assert table["rank of means"].tolist() == ["6.00", "5.00", "4.00", "3.00", "2.00", "1.00", ""]
    assert table.loc["equal", "Δm, %"] == "0.0 ± 0.0"  # equal weighting is its own baseline here
    assert not table.isin(["nan"]).any(axis=None)


def test_few_seeds_have_their_range_in_the_table_and_the_caption(ladder):
    """Of three seeds that are far apart, half a Student interval would leave 0 to 100 % and a rank of 1."""
    few = replace(
        ladder, runs=ladder.runs[ladder.runs["seed"] < 3].reset_index(drop=True), single=ladder.single.iloc[:3]
    )
    wild = few.runs.assign(**{"depth.delta1": few.runs["depth.delta1"] + 20 * (few.runs["seed"] == 0)})
    few = replace(few, runs=wild)
    table = few.table().set_index("method")
    assert table.loc["LSB", TABLE_S3.labels["depth.delta1"]] == "61.8 [55.1, 75.0]"
    assert not table.map(lambda cell: "±" in cell).any(axis=None)
    ranks = few.average_ranks()["LSB"]
    assert 1 <= ranks.low <= ranks.value <= ranks.high <= len(few.runs)
    caption = few.exhibit("few").caption
    assert "(Brackets: the range over 3 seeds" in caption
    assert "±" not in caption
    assert "±: half the 95 % interval over 5 seeds; brackets: 95 % over 5 seeds" in ladder.exhibit("all").caption


def test_a_page_shows_a_row_a_measure_and_a_column_a_method(ladder):
    shown = ladder.exhibit("all").shown
    assert [*shown] == ["measure", *ladder.table()["method"]]
    assert shown["measure"].tolist() == [*ladder.table()][1:]


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
    assert (tests[tests["measure"] != "Δm"]["p"] == 0).all()  # by the same in every seed
    summary = studies_comparison.summary(tests, METRICS).set_index("against")
    rank = studies_comparison.DIFFERENCES[AVERAGE_RANK]
    assert summary.loc["equal", [rank, f"{rank} low", f"{rank} high"]].tolist() == pytest.approx([25] * 3)
    assert summary["metrics better"].tolist() == [6] * 5
    assert summary["metrics worse"].tolist() == [0] * 5


def test_tests_are_paired_by_seed(noisy):
    """What all runs of a seed have in common does not change the difference of two methods."""
    rank = noisy.significance().query("measure == 'segmentation.miou'")
    shared = noisy.runs.assign(**{"segmentation.miou": noisy.runs["segmentation.miou"] + 5 * noisy.runs["seed"]})
    moved = replace(noisy, runs=shared).significance().query("measure == 'segmentation.miou'")
    np.testing.assert_allclose(moved[["difference", "low", "high", "p"]], rank[["difference", "low", "high", "p"]])
    values = noisy.runs.pivot(index="seed", columns="method", values="segmentation.miou")
    expected = stats.ttest_rel(values["LSB"], values["DWA"]).pvalue
    assert rank.set_index("against").loc["DWA", "p"] == pytest.approx(expected)


def test_interval_of_delta_has_the_spread_of_the_single_tasks(noisy):
    """Runs that are all alike leave the spread of the baseline alone: b in the place of 50 gives 100 (50 / b - 1)."""
    alike = noisy.runs.assign(**dict.fromkeys(METRICS, 50.0))
    baseline = pd.DataFrame({metric: [49.0, 50.0, 51.0, 50.0, 50.0] for metric in METRICS})
    (lsb, *_) = (replace(noisy, runs=alike, single=baseline).mean_deltas()[name] for name in ("LSB",))
    assert lsb.value == pytest.approx(0)
    assert lsb.high < 100 * stats.t.ppf(0.975, 4) * np.std([49, 50, 51, 50, 50], ddof=1) / 5**0.5 / 50
    depth = replace(noisy, runs=alike, single=baseline.assign(**{"depth.rmse": 50.0, "normal.mean_angle": 50.0}))
    assert depth.mean_deltas()["LSB"].high > 0.5
    assert replace(depth, single=0 * baseline + 50).mean_deltas()["LSB"].high == pytest.approx(0)


def test_summary_counts_metrics_and_keeps_networks_apart(ladder):
    """Normals are turned round for LSB, so two of six metrics are worse than every other method's."""
    worse = ladder.runs.copy()
    for metric in ("normal.within_30", "normal.mean_angle"):
        worse.loc[worse["method"] == "LSB", metric] = 50 + (-10 if HIGHER[metric] else 10) + 0.1 * np.arange(SEEDS)
    mixed = replace(ladder, network="full_sharing", runs=worse)
    tests = pd.concat([one.significance() for one in (ladder, mixed)], ignore_index=True)
    summary = studies_comparison.summary(tests, METRICS).set_index(["network", "against"])
    assert summary.loc[("multi column", "DWA"), ["metrics better", "metrics worse"]].tolist() == [6, 0]
    assert summary.loc[("full sharing", "DWA"), ["metrics better", "metrics worse"]].tolist() == [4, 2]


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
    finding = ladder.finding()
    assert (
        "By the average rank of runs LSB takes place 1 of 6, 3.0 [1.0, 5.0]; the best other method is GradNorm"
        in finding
    )
    assert "By Δm against single tasks, in %, LSB takes place 1 of 6, 10.0 [10.0, 10.0]" in finding
    assert finding.endswith("Against equal weighting its Δm differs by +10.0 [10.0, 10.0] points.")
    last = comparison(LADDER | {"LSB": -5.0})
    assert "LSB takes place 6 of 6" in last.finding()
    assert "It falls furthest behind on" in last.finding()
    better, worse = (
        studies_comparison.summary_finding(studies_comparison.summary(one.significance(), METRICS), "LSB", 6)
        for one in (ladder, last)
    )
    assert better == (
        "Of 5 comparisons, LSB is significantly better and worse by average rank in 5 and 0 and by Δm in 5 and 0; "
        "of 30 on single metrics, in 30 and 0."
    )
    assert studies_comparison.uncorrected_finding(studies_comparison.summary(last.significance(), METRICS), "LSB") == (
        "By intervals alone, which are not corrected, LSB is better and worse by average rank in 0 and 5 and by Δm in "
        "0 and 5."
    )
    assert worse.endswith("by average rank in 0 and 5 and by Δm in 0 and 5; of 30 on single metrics, in 0 and 30.")
