"""The rerun of Table S-3, on tables made by hand: scores, ranks, tests, claims, learning rates."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.studies.lsb import comparison as lsb_comparison
from mtlrepro.studies.lsb import grids
from mtlrepro.studies.lsb.comparison import COLUMNS, Comparison
from mtlrepro.studies.lsb.scores import (
    AVERAGE_RANK,
    HIGHER,
    METRICS,
    NAMES,
    best_rates,
    measures,
    ranks,
    rate_scores,
    top_places,
)

METHODS = list(NAMES.values())
SEEDS = 5


def runs_of(advantage, seeds=SEEDS):
    """Runs in which method m is better than 50 by ``advantage[m]`` on each metric, seed s by a tenth of s more."""
    rows = []
    for method in METHODS:
        for seed in range(seeds):
            gain = advantage.get(method, 0.0) + 0.1 * seed
            values = {metric: 50 + gain if higher else 50 - gain for metric, higher in HIGHER.items()}
            rows.append({"method": method, "seed": seed, **values})
    return pd.DataFrame(rows)


def single(runs):
    """Single-task runs that are as good as equal weighting."""
    return runs[runs["method"] == "equal"].set_index("seed")[[*METRICS]]


def comparison(advantage, **changes):
    runs = runs_of(advantage)
    return replace(Comparison("multi_column", "cpu", runs, single(runs)), **changes)


LADDER = {method: float(place) for place, method in enumerate(METHODS)}
"""LSB, the last, is best on every metric, and every run of a method is behind every run of the next."""


@pytest.fixture
def ladder():
    return comparison(LADDER)


@pytest.fixture
def noisy():
    values = np.random.default_rng(0).normal(50, 2, (len(METHODS) * SEEDS, len(METRICS)))
    runs = runs_of({}).assign(**dict(zip(METRICS, values.T, strict=True)))
    return Comparison("multi_decoder", "gpu", runs, single(runs))


# --- scores


def test_ranks_and_delta_by_hand(ladder):
    """LSB's seeds 4, 3, ... are places 1, 2, ...; equal's mean is 50.2 or 49.8, LSB's 5 better."""
    scores = lsb_comparison.scored(ladder)
    lsb = scores[scores["method"] == "LSB"].set_index("seed")
    assert lsb[AVERAGE_RANK].to_dict() == {0: 5, 1: 4, 2: 3, 3: 2, 4: 1}
    both, one = (5 / 50.2 + 5 / 49.8) / 2, 5 / 50.2  # depth and normals have a metric of each direction
    assert lsb.loc[2, "Δm"] == pytest.approx(100 * (both + both + one) / 3)
    assert scores.groupby("method")["Δm"].mean()["equal"] == pytest.approx(0, abs=1e-12)
    order = lsb_comparison.average_ranks(ladder)
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
    single = lsb_comparison.single_task(frame)
    assert single.to_numpy().tolist() == [[40.0] * 6, [41.0] * 6]
    other = replace(ladder, single=single)
    assert other.baseline.to_dict() == dict.fromkeys(METRICS, 40.5)
    table = lsb_comparison.table(other)
    assert table["method"].tolist() == [*METHODS, "single task"]
    assert table.iloc[-1]["rank of runs"] == table.iloc[-1]["Δm, %"] == ""
    assert table.iloc[-1][COLUMNS["depth.delta1"]].startswith("40.5 ± ")


def test_table_by_hand(ladder):
    table = lsb_comparison.table(ladder).set_index("method")
    half = stats.t.ppf(0.975, 4) * np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1) / 5**0.5
    assert table.loc["LSB", COLUMNS["segmentation.miou"]] == f"55.2 ± {half:.1f}"
    assert table.loc["LSB", COLUMNS["depth.rmse"]] == f"44.800 ± {half:.3f}"
    assert table["rank of means"].tolist() == ["6.00", "5.00", "4.00", "3.00", "2.00", "1.00", ""]
    assert table.loc["equal", "Δm, %"].startswith("0.0 ± ")
    assert not table.isin(["nan"]).any(axis=None)


def test_a_failed_run_is_named(ladder):
    broken = replace(ladder, runs=ladder.runs.assign(**{"depth.rmse": np.nan}))
    with pytest.raises(ValueError, match=r"'depth\.rmse' of .* is nan"):
        lsb_comparison.table(broken)


def test_top_places_count_runs(ladder, noisy):
    """Six of 30 runs: all five of LSB and the best of the next method, GradNorm."""
    own = top_places(ladder.runs, HIGHER, 6).groupby("method")["places"].sum() / len(METRICS)
    assert own.to_dict() == dict.fromkeys(METHODS, 0) | {"GradNorm": 1, "LSB": 5}
    places = top_places(noisy.runs, HIGHER, 6)
    np.testing.assert_allclose(places.groupby("metric")["places"].sum(), 6)


def test_rounding_errors_are_ties():
    table = pd.DataFrame({metric: [0.1 + 0.2, 0.3, 0.9] for metric in METRICS})
    assert ranks(table, HIGHER)["segmentation.miou"].tolist() == [2.5, 2.5, 1.0]


# --- tests


def test_significance_is_positive_where_lsb_is_better(ladder):
    tests = lsb_comparison.significance(ladder)
    assert len(tests) == 5 * (len(METRICS) + 2)
    assert (tests["difference"] > 0).all()
    np.testing.assert_allclose(tests["p"], 2 / 252)
    np.testing.assert_allclose(tests["p_holm_measure"], 5 * 2 / 252)
    summary = lsb_comparison.summary(tests).set_index("against")
    assert summary.loc["equal", "difference"] == pytest.approx(25)
    assert summary["better"].tolist() == [6] * 5
    assert summary["worse"].tolist() == [0] * 5


def test_summary_counts_metrics_and_keeps_networks_apart(ladder):
    """Normals are turned round for LSB, so two of six metrics are worse than every other method's."""
    worse = ladder.runs.copy()
    for metric in ("normal.within_30", "normal.mean_angle"):
        worse.loc[worse["method"] == "LSB", metric] = 50 + (-10 if HIGHER[metric] else 10) + 0.1 * np.arange(SEEDS)
    mixed = replace(ladder, network="full_sharing", runs=worse)
    tests = pd.concat([lsb_comparison.significance(one) for one in (ladder, mixed)], ignore_index=True)
    summary = lsb_comparison.summary(tests).set_index(["network", "against"])
    assert summary.loc[("multi column", "DWA"), ["better", "worse"]].tolist() == [6, 0]
    assert summary.loc[("full sharing", "DWA"), ["better", "worse"]].tolist() == [4, 2]


def test_measures_have_one_direction(noisy):
    values = measures(noisy.runs, HIGHER)
    np.testing.assert_allclose(values["depth.rmse"], -noisy.runs["depth.rmse"])
    np.testing.assert_allclose(values["segmentation.miou"], noisy.runs["segmentation.miou"])
    assert values[AVERAGE_RANK].mean() == pytest.approx(-(30 + 1) / 2)


# --- claims


def test_claims_hold_where_lsb_leads_everywhere(ladder):
    verdicts = lsb_comparison.claims(ladder)
    assert [verdict.status for verdict in verdicts] == ["holds"] * 4
    share, rank, p_value, best = (verdict.measured for verdict in verdicts)
    assert (share.value, share.low, share.high) == pytest.approx([100 / 6] * 3)
    assert rank.value == pytest.approx(-5)
    assert p_value.value == pytest.approx(2 / 252)
    assert (best.value, best.low, best.high) == (6, 6, 6)
    assert {verdict.source for verdict in verdicts} == {"Section 4, Table S-3"}
    assert all("multi column, cpu scale" in verdict.claim for verdict in verdicts)


def test_claims_fail_where_lsb_is_last():
    last = comparison(LADDER | {"LSB": -5.0}, network="full_sharing", rates=RATES)
    verdicts = lsb_comparison.claims(last)
    assert [verdict.status for verdict in verdicts] == ["does not hold"] * 4
    assert verdicts[2].measured.value == 1  # significantly worse is no significance in favour
    assert verdicts[3].measured.high == 0
    assert {verdict.source for verdict in verdicts} == {"Section 4, extended"}
    assert all("tuned rates" in verdict.claim for verdict in verdicts)


def test_one_equal_rival_leaves_the_claims_open():
    """GradNorm's runs differ from LSB's by less than their spread."""
    verdicts = lsb_comparison.claims(comparison(LADDER | {"GradNorm": 4.99}))
    assert [verdict.status for verdict in verdicts[1:]] == ["inconclusive", "does not hold", "inconclusive"]
    assert "GradNorm" in verdicts[1].claim
    best = verdicts[3].measured
    assert (best.value, best.low, best.high) == (6, 0, 6)


def test_share_of_others_agrees_with_top_places(noisy):
    places = top_places(noisy.runs, HIGHER, 6).groupby("method")["places"].sum()
    expected = 100 - 100 * places["LSB"] / places.sum()
    assert lsb_comparison.claims(noisy)[0].measured.value == pytest.approx(expected)


def test_three_seeds_cannot_be_significant():
    """Of 20 ways to split six runs the best is one of two, so p is 0.1 or more, even where LSB beats every run."""
    runs = runs_of(LADDER, seeds=3)
    few = Comparison("multi_column", "cpu", runs, single(runs))
    statuses = [verdict.status for verdict in lsb_comparison.claims(few)]
    assert statuses == ["holds", "holds", "cannot be tested here", "holds"]
    summary = lsb_comparison.summary(lsb_comparison.significance(few))
    assert summary["p_reachable"].tolist() == pytest.approx([0.5] * 5)
    assert lsb_comparison.summary_finding(summary).endswith("smallest corrected p-value can be 0.50.")


# --- learning rates


@pytest.fixture
def tuning():
    """Two seeds around a gain in per cent of the mean of equal weighting at rate 0.001, the same on each metric."""
    gains = {"equal": {0.0003: -1, 0.001: 0, 0.003: -2}, "lsb": {0.0003: 1, 0.001: 2, 0.003: 3}}
    rows = []
    for method, rates in gains.items():
        for rate, gain in rates.items():
            for seed, noise in enumerate((-0.5, 0.5)):
                change = (gain + noise) / 100
                values = {metric: 2 * (1 + change if higher else 1 - change) for metric, higher in HIGHER.items()}
                rows.append({"method": method, "lr": rate, "seed": seed, **values})
    return pd.DataFrame(rows)


def test_rates_are_chosen_by_delta_and_edges_are_named(tuning):
    scores = rate_scores(tuning, 0.001)
    assert scores.loc[scores["method"] == "lsb", "score"].tolist() == pytest.approx([0.5, 1.5, 1.5, 2.5, 2.5, 3.5])
    assert best_rates(scores) == {"equal": 0.001, "lsb": 0.003}
    table = lsb_comparison.rate_table(scores).set_index("method")
    assert table.loc["equal"].to_dict() == {
        "0.0003": "-1.0 (-1.5 to -0.5)",
        "0.001": "0.0 (-0.5 to 0.5)",
        "0.003": "-2.0 (-2.5 to -1.5)",
        "best": 0.001,
        "at the edge": "no",
    }
    assert table.loc["LSB", ["best", "at the edge"]].tolist() == [0.003, "yes"]
    smallest = scores.assign(score=-scores["lr"])
    assert lsb_comparison.rate_table(smallest)[["best", "at the edge"]].to_numpy().tolist() == [[0.0003, "yes"]] * 2


def test_a_tuning_without_its_baseline_is_refused(tuning):
    with pytest.raises(ValueError, match=r"baseline of depth\.delta1 is nan"):
        rate_scores(tuning, 0.002)


RATES = dict.fromkeys(grids.METHODS, 0.001) | {"equal": 0.003}


def test_tuned_beside_untuned_has_one_baseline(ladder):
    """Tuning lifts equal weighting alone, by 10 per metric: it comes first, and the others stay as they are."""
    pairs = lsb_comparison.beside(ladder, comparison(LADDER | {"equal": 10.0}, rates=RATES)).set_index("method")
    both, one = (10 / 50.2 + 10 / 49.8) / 2, 10 / 50.2
    lift = 100 * (both + both + one) / 3
    assert pairs.loc["equal", ["change", "low", "high"]].tolist() == pytest.approx([lift] * 3)
    assert pairs.loc["equal", "untuned, %"].startswith("0.0 ± ")
    assert pairs.loc["equal", "tuned, %"].startswith(f"{lift:.1f} ± ")
    others = pairs.drop("equal")
    assert (others[["change", "low", "high"]] == 0).all(axis=None)
    assert (others["untuned, %"] == others["tuned, %"]).all()
    assert pairs["untuned place"].tolist() == [6, 5, 4, 3, 2, 1]
    assert pairs["tuned place"].tolist() == [1, 6, 5, 4, 3, 2]
    assert pairs["tuned rate"].tolist() == [0.003] + [0.001] * 5
    assert lsb_comparison.beside_finding(pairs.reset_index()) == (
        "Tuning raises Δm beyond the spread of seeds in 1 and lowers it in 0 of 6 cases. "
        "LSB's place of 6, untuned and tuned: multi column 1 and 2."
    )


def test_change_is_paired_by_seed(ladder):
    """Seeds that trade places change nothing on average; their differences spread from -0.4 to 0.4 per metric."""
    runs = ladder.runs.assign(seed=SEEDS - 1 - ladder.runs["seed"])
    pairs = lsb_comparison.beside(ladder, replace(ladder, runs=runs, rates=RATES)).set_index("method")
    np.testing.assert_allclose(pairs["change"], 0, atol=1e-12)
    per_metric = 100 * (2 * (1 / 50.2 + 1 / 49.8) / 2 + 1 / 50.2) / 3
    half = stats.t.ppf(0.975, 4) * np.std([-0.4, -0.2, 0, 0.2, 0.4], ddof=1) / 5**0.5 * per_metric
    assert pairs.loc["LSB", "high"] == pytest.approx(half)


def test_a_comparison_without_rates_is_not_tuned(ladder):
    with pytest.raises(ValueError, match="tuned has no rates"):
        lsb_comparison.beside(ladder, ladder)


# --- what is loaded and drawn


def test_largest_stored_scale_is_shown(monkeypatch):
    """Complete at gpu scale is one network; of the other a run is missing, and no scale below that asked for counts."""
    setting = grids.Setting("cpu")
    larger = replace(setting, scale="gpu")
    column, decoder = (grids.comparison(larger, networks=[name]) for name in ("multi_column", "multi_decoder"))
    have = {config.hash for config in column + decoder[1:]}
    monkeypatch.setattr(grids, "is_stored", lambda store, run: run.hash in have)

    def shown(asked, network):
        return grids.largest_stored(asked, partial(grids.comparison, networks=[network]))

    assert shown(setting, "multi_column") == larger
    assert shown(setting, "multi_decoder") == setting
    assert shown(replace(setting, scale="smoke"), "multi_column").scale == "gpu"
    assert shown(larger, "multi_column") == larger
    assert shown(replace(setting, comparison_seeds=6), "multi_column").scale == "cpu"
    assert shown(grids.Setting("paper", "nyuv2", data_root="TARGET"), "multi_column").scale == "paper"


def test_tuned_runs_follow_from_the_rates_that_are_chosen(monkeypatch):
    """Without the runs that choose there is no choice; with them, the method that is best at another rate is tuned."""
    setting = grids.Setting("cpu", seeds=1, comparison_seeds=1)
    tuning = grids.tuning(setting)
    have: set[str] = set()
    monkeypatch.setattr(grids, "is_stored", lambda store, run: run.hash in have)

    def grid(configs, store, jobs, data_root):
        good = [1.0 + 0.1 * (config.method == "lsb" and config.lr == 3e-3) for config in configs]
        return pd.DataFrame(
            {
                "method": [config.method for config in configs],
                "lr": [config.lr for config in configs],
                "seed": [config.seed for config in configs],
                "status": "complete",
                **{name: [one if HIGHER[name] else 1 / one for one in good] for name in METRICS},
            }
        )

    monkeypatch.setattr(grids, "grid", grid)
    assert lsb_comparison.tuned_runs(setting) == tuning
    have |= {config.hash for config in tuning}
    rates = lsb_comparison.chosen_rates(setting)
    assert rates["lsb"] == 3e-3
    runs = lsb_comparison.tuned_runs(setting)
    for network in grids.NETWORKS:
        assert {run.hash for run in lsb_comparison.rerun(setting, network)} <= {run.hash for run in runs}
        tuned = lsb_comparison.rerun(setting, network, rates)
        assert {run.hash for run in tuned} <= {run.hash for run in runs}
        assert {run.lr for run in tuned if run.method == "lsb"} == {3e-3}


def test_load_reads_the_comparison_and_the_single_tasks(monkeypatch):
    asked = []

    def grid(configs, store, jobs, data_root):
        assert (jobs, data_root) == (1, None)
        asked.extend(configs)
        rows = [
            {
                "method": config.method,
                "seed": config.seed,
                "tasks": [*config.tasks],
                "status": "complete",
                **{name: 1.0 + config.seed for name in METRICS if name.split(".")[0] in config.tasks},
            }
            for config in configs
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(grids, "grid", grid)
    setting = grids.Setting("cpu", seeds=2, comparison_seeds=2)
    rates = dict.fromkeys(grids.METHODS, 0.003)
    loaded = lsb_comparison.load(setting, "multi_decoder", rates)
    assert asked == lsb_comparison.rerun(setting, "multi_decoder", rates)
    assert {config.lr for config in asked if len(config.tasks) > 1} == {0.003}
    assert {config.lr for config in asked if len(config.tasks) == 1} == {0.001}
    assert loaded.runs["method"].tolist() == [name for name in METHODS for _ in range(2)]
    assert loaded.single.to_numpy().tolist() == [[1.0] * 6, [2.0] * 6]
    assert loaded.rates == rates
    assert lsb_comparison.load(setting, "multi_decoder").rates is None


def test_figure_shows_every_run_and_the_single_tasks(noisy):
    drawing = lsb_comparison.figure(noisy)
    assert len(drawing.axes) == len(METRICS)
    for metric in METRICS:
        axes = next(axes for axes in drawing.axes if axes.get_xlabel().startswith(COLUMNS[metric] + "\n"))
        dashed, *lines = axes.lines
        assert dashed.get_xdata() == [noisy.single[metric].mean()] * 2
        assert [value for line in lines[::2] for value in line.get_xdata()] == noisy.runs[metric].tolist()
        means = [line.get_xdata()[0] for line in lines[1::2]]
        np.testing.assert_allclose(means, noisy.runs.groupby("method", sort=False)[metric].mean())


def test_findings_follow_the_runs(ladder, tuning):
    assert lsb_comparison.finding(ladder).startswith(
        "Multi column, cpu scale, 5 seeds: LSB takes place 1 of 6 by the average rank of 30 runs, 3.00 ["
    )
    assert "the best other method is GradNorm, 8.00 [" in lsb_comparison.finding(ladder)
    last = comparison(LADDER | {"LSB": -5.0})
    assert "LSB takes place 6 of 6" in lsb_comparison.finding(last)
    better, worse = (
        lsb_comparison.summary_finding(lsb_comparison.summary(lsb_comparison.significance(one)))
        for one in (ladder, last)
    )
    assert "better in 5 and worse in 0 of 5 comparisons; on single metrics LSB is better in 30 and worse in 0" in better
    assert "better in 0 and worse in 5 of 5 comparisons; on single metrics LSB is better in 0 and worse in 30" in worse
    table = lsb_comparison.rate_table(rate_scores(tuning, 0.001))
    assert "for LSB: a still better one" in lsb_comparison.rate_finding(table)
    assert "No best" in lsb_comparison.rate_finding(table[table["method"] == "equal"])
