"""The rerun of Table S-3: claims on tables made by hand, and the runs that are loaded."""

import numpy as np
import pytest
from compared_methods import LADDER, METHODS, RATES, SEEDS, compared, comparison, runs_of
from study_stores import keep, metrics_of

from mtlrepro.analysis.verdicts import grouped
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
    assert [verdict.status for verdict in verdicts] == ["holds"] * 6
    share, rank, p_value, best, delta, _ = (verdict.measured for verdict in verdicts)
    assert (share.value, share.low, share.high) == pytest.approx([100 / 6] * 3)
    assert rank.value == pytest.approx(-5)
    assert p_value.value == 0  # LSB is ahead of every other method by the same in every seed
    assert (best.value, best.low, best.high) == (6, 6, 6)
    assert delta.high < 0
    paper, ours = verdicts[:4], verdicts[4:]
    assert {(one.source, one.kind, one.finding) for one in paper} == {("Section 4, Table S-3", "paper", 1)}
    assert {(one.source, one.kind, one.finding) for one in ours} == {("our question", "ours", 0)}
    assert {one.place for one in verdicts} == {"multi column", "multi column, best other GradNorm"}
    assert all(one.reading for one in verdicts)


def test_claims_fail_where_lsb_is_last():
    last = comparison(LADDER | {"LSB": -5.0}, network="full_sharing", rates=RATES)
    verdicts = lsb_comparison.claims(last)
    assert [verdict.status for verdict in verdicts] == ["does not hold"] * 6
    assert verdicts[2].measured.value == 1  # significantly worse is no significance in favour
    assert verdicts[3].measured.high == 0
    assert {verdict.kind for verdict in verdicts} == {"ours"}, "Section 4 is about the multi-column network"
    assert {verdict.finding for verdict in verdicts} == {0}
    assert all(verdict.case.startswith("full sharing, tuned learning rates") for verdict in verdicts)


def test_networks_of_one_claim_are_cases_of_one_row():
    verdicts = [
        one
        for network in ("full_sharing", "multi_decoder")
        for one in lsb_comparison.claims(comparison(LADDER, network=network))
    ]
    assert [len(cases) for cases in grouped(verdicts)] == [2] * 6


def test_one_equal_rival_leaves_the_claims_open():
    """GradNorm's runs are as good as LSB's, with the seeds in another order."""
    runs = runs_of(LADDER)
    own, other = (runs["method"] == name for name in ("LSB", "GradNorm"))
    shifted = (runs.loc[own, TABLE_S3.names].to_numpy())[[2, 0, 4, 1, 3]]
    runs.loc[other, TABLE_S3.names] = shifted
    verdicts = lsb_comparison.claims(compared("multi_column", "cpu", runs))
    statuses = [verdict.status for verdict in verdicts]
    assert statuses[1:5] == ["inconclusive", "does not hold", "inconclusive", "inconclusive"]
    assert verdicts[1].circumstances == "best other GradNorm"
    best = verdicts[3].measured
    assert (best.low, best.high) == (0, 6)


def test_rank_and_delta_can_disagree():
    """LSB is ahead of all on five metrics and far behind on mIoU: first by rank, behind equal weighting by Δm."""
    runs = runs_of({"LSB": 5.0})
    runs[TABLE_S3.names] += 0.1 * np.random.default_rng(0).standard_normal((len(runs), 6))
    runs.loc[runs["method"] == "LSB", "segmentation.miou"] = 12.0 + 0.1 * np.arange(5)
    one = compared("full_sharing", "gpu", runs)
    finding = one.finding()
    assert "By the average rank of runs LSB takes place 1 of 6" in finding
    assert "By Δm against single tasks, in %, LSB takes place 6 of 6" in finding
    assert "It falls furthest behind on mIoU: 12.2 against 50." in finding
    statuses = {verdict.claim: verdict.status for verdict in lsb_comparison.claims(one)}
    assert statuses["LSB's average rank is better than every other method's"] == "holds"
    assert statuses["LSB's Δm is better than every other method's"] == "does not hold"


def test_share_of_others_agrees_with_top_places(noisy):
    places = TABLE_S3.top_places(noisy.runs, 6).groupby("method")["places"].sum()
    expected = 100 - 100 * places["LSB"] / places.sum()
    assert lsb_comparison.claims(noisy)[0].measured.value == pytest.approx(expected, abs=2)


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


# --- uncertainty weighting with a learning rate of its own


def test_the_own_rate_is_chosen_on_the_validation_split_and_reported_on_the_test_split(tmp_path):
    """One rate is best on validation, another on test; the report has the same seeds of all methods."""
    setting = Setting(seeds=2, store=keep(tmp_path))
    chosen, other = grids.OWN_RATES[1], grids.OWN_RATES[2]
    for run in grids.own_rate_search(setting):
        keep(
            tmp_path,
            run,
            metrics=metrics_of(run, 2.0 + run.seed + (run.balancer_lr == other)),
            validation_metrics=metrics_of(run, 1.0 + 0.1 * (run.balancer_lr == chosen)),
        )
    search = lsb_comparison.own_rate_search(setting)
    assert search.rates == {"uncertainty": chosen}
    few = Setting(seeds=2, comparison_seeds=2, store=setting.store)
    for run in lsb_comparison.beside_own_rate(few):
        keep(tmp_path, run, metrics=metrics_of(run, 1.0 + run.seed + 0.1 * (run.method == "lsb")))
    compared = lsb_comparison.own_rate_compared(setting, chosen)
    assert compared.method == "uncertainty, own rate"
    own = compared.runs[compared.runs["method"] == compared.method]
    assert own["segmentation.miou"].tolist() == [2.0, 3.0]
    assert compared.runs["method"].value_counts().to_dict() == dict.fromkeys(
        ["equal", "uncertainty", "LSB", "uncertainty, own rate"], 2
    )
    tried, gained = lsb_comparison.own_rate_exhibits(search, compared)
    assert (tried.name, gained.name) == ("own_rates", "own_rate")
    assert tried.table["best"].tolist() == [chosen]
    assert tried.caption.startswith("Uncertainty weighting at each learning rate of its own parameters")
    assert [(one.kind, one.measured.value < 0) for one in lsb_comparison.own_rate_claims(compared)] == [
        ("ours", True)
    ] * 2
