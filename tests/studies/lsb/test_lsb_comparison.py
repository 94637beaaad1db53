"""The rerun of Table S-3: claims on tables made by hand, and the runs that are loaded."""

import numpy as np
import pytest
from compared_methods import LADDER, METHODS, RATES, SEEDS, compared, comparison, runs_of
from study_stores import keep, metrics_of

from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies.lsb import comparison as lsb_comparison
from mtlrepro.studies.lsb import grids
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.setting import Setting


@pytest.fixture
def ladder():
    return comparison(LADDER)


@pytest.fixture
def noisy():
    values = np.random.default_rng(0).normal(50, 2, (len(METHODS) * SEEDS, len(TABLE_S3.names)))
    runs = runs_of({}).assign(**dict(zip(TABLE_S3.names, values.T, strict=True)))
    return compared("multi_decoder", "gpu", runs)


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
    places = TABLE_S3.top_places(noisy.runs, 6).groupby("method")["places"].sum()
    expected = 100 - 100 * places["LSB"] / places.sum()
    assert lsb_comparison.claims(noisy)[0].measured.value == pytest.approx(expected)


def test_three_seeds_cannot_be_significant():
    """Of 20 ways to split six runs the best is one of two, so p is 0.1 or more, even where LSB beats every run."""
    runs = runs_of(LADDER, seeds=3)
    few = compared("multi_column", "cpu", runs)
    statuses = [verdict.status for verdict in lsb_comparison.claims(few)]
    assert statuses == ["holds", "holds", "cannot be tested here", "holds"]
    summary = studies_comparison.summary(few.significance(), TABLE_S3.names)
    assert summary["p_reachable"].tolist() == pytest.approx([0.5] * 5)
    assert studies_comparison.summary_finding(summary, "LSB", 6).endswith("smallest corrected p-value can be 0.50.")


# --- what is loaded


def test_tuned_runs_follow_from_the_rates_that_are_chosen(tmp_path):
    """Without the runs that choose there is no choice; with them, the method that is best at another rate is tuned."""
    setting = Setting(seeds=1, comparison_seeds=1, store=keep(tmp_path))
    tuning = grids.tuning(setting)
    assert lsb_comparison.tuned_runs(setting) == tuning
    for run in tuning:
        gain = 0.1 * (run.method == "lsb" and run.lr == 3e-3)
        keep(tmp_path, run, metrics=metrics_of(run, 1 + gain))
    search = lsb_comparison.rate_search(setting)
    assert search.rates["lsb"] == 3e-3
    runs = {run.hash for run in lsb_comparison.tuned_runs(setting)}
    for network in grids.NETWORKS:
        assert {run.hash for run in grids.rerun(setting, network)} <= runs
        tuned = grids.rerun(setting, network, search.rates)
        assert {run.hash for run in tuned} <= runs
        assert {run.lr for run in tuned if run.method == "lsb"} == {3e-3}


def test_a_comparison_reads_its_runs_and_the_single_tasks(tmp_path):
    setting = Setting(seeds=2, comparison_seeds=2, store=keep(tmp_path))
    for run in grids.rerun(setting, "multi_column"):
        keep(tmp_path, run, metrics=metrics_of(run, 1.0 + run.seed))
    loaded = lsb_comparison.compared(setting, "multi_column")
    assert (loaded.method, loaded.network, loaded.scale, loaded.rates) == ("LSB", "multi_column", "cpu", None)
    assert loaded.runs["method"].tolist() == [name for name in METHODS for _ in range(2)]
    values = [[1.0 + seed if higher else 1 / (1.0 + seed) for higher in TABLE_S3.higher.values()] for seed in range(2)]
    np.testing.assert_allclose(loaded.single.to_numpy(), values)


def test_tuned_comparisons_have_the_rates_that_were_chosen(tmp_path):
    setting = Setting(seeds=2, comparison_seeds=2, store=keep(tmp_path))
    for run in grids.tuning(setting):
        keep(tmp_path, run, metrics=metrics_of(run, 1 + run.lr))
    search = lsb_comparison.rate_search(setting)
    for run in grids.rerun(setting, "full_sharing", search.rates):
        keep(tmp_path, run, metrics=metrics_of(run, 1.0 + run.seed + (run.lr == 0.003)))
    tuned = lsb_comparison.compared(setting, "full_sharing", search)
    assert tuned.rates == dict.fromkeys(grids.METHODS, 0.003)
    assert tuned.runs["segmentation.miou"].tolist() == [2.0, 3.0] * 6
    assert tuned.single["segmentation.miou"].tolist() == [1.0, 2.0]
