"""What the chapter claims and shows, on tables of two small snapshots."""

import pandas as pd
import pytest
from noise_cases import BATCH

from mtlrepro.analysis.verdicts import Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.noise import combinations, digits, estimators, gaussian, momentum, sampling, training, weights


@pytest.fixture(scope="module")
def tables(snapshots, moving):
    """Measurements of the whole chapter, made small."""
    kurtosis, quantiles = gaussian.gaussianity(snapshots, [1, BATCH, 16], 50, directions=2)
    return {
        "epoch": sampling.epoch_identity(snapshots, BATCH),
        "errors": sampling.monte_carlo(snapshots, BATCH, [1, 4], 20),
        "power": sampling.noise_by_batch_size(snapshots, [1, BATCH, 32], 50),
        "ratios": momentum.frozen_noise(snapshots, [0.0, 0.5], BATCH, 20),
        "shuffled": momentum.shuffled_noise(snapshots, [0.0, 0.5], BATCH, 20),
        "moving": moving[moving["gamma"] > 0],
        "kurtosis": kurtosis,
        "quantiles": quantiles,
        "weighted": combinations.universality(snapshots, [1.0, 0.5, 2.0], 2.0),
        "conditions": combinations.printed_conditions(),
        "angles": combinations.pcgrad_weights([30, 120]),
        "outside": combinations.span_residual(snapshots),
        "estimates": estimators.estimators(snapshots, BATCH, 0.9, 20, rate=0.9, chains=2),
        "forms": weights.closed_forms(snapshots, BATCH),
        "noisy": weights.label_noise(snapshots, [0.0, 1.0], BATCH),
        "cross": weights.cross_terms(snapshots, BATCH),
    }


def shown(snapshots, tables) -> list[Exhibit]:
    return [
        digits.overview(snapshots, BATCH),
        sampling.error_figure(tables["errors"]),
        sampling.power_figure(tables["power"]),
        momentum.limit_table(tables["ratios"], tables["shuffled"]),
        momentum.frozen_figure(tables["ratios"]),
        training.training_figure(tables["moving"].assign(step=lambda rows: rows["step"] * 10)),
        gaussian.quantile_figure(tables["quantiles"]),
        gaussian.kurtosis_figure(tables["kurtosis"]),
        combinations.weight_table(tables["weighted"]),
        combinations.condition_table(tables["conditions"]),
        combinations.angle_figure(tables["angles"]),
        combinations.span_table(tables["outside"]),
        estimators.estimator_figure(tables["estimates"]),
        weights.weight_figure(tables["forms"]),
        weights.label_figure(tables["noisy"]),
        weights.cross_table(tables["cross"]),
    ]


def statuses(verdicts: list[Verdict]) -> list[str]:
    return [verdict.status for verdict in verdicts]


def test_exhibits_have_names_of_their_own_and_a_picture_for_each_condition(snapshots, tables):
    exhibits = shown(snapshots, tables)
    assert len({exhibit.name for exhibit in exhibits}) == len(exhibits)
    frames = {exhibit.name: list(exhibit.frames) for exhibit in exhibits if exhibit.frames}
    assert frames == {"momentum_noise": ["0", "0.5"], "quantiles": ["1", "8", "16"]}
    assert f"{sampling.shuffled_ratio(tables['power'], 32)} at B = 32." in exhibits[2].caption


def test_identities_hold_and_stop_holding_when_a_table_is_off(tables):
    assert statuses(combinations.universality_claims(tables["weighted"])) == ["holds", "holds"]
    off = combinations.universality_claims(tables["weighted"].assign(gradient=1e-3))
    assert statuses(off) == ["holds", "does not hold"]
    assert statuses(sampling.unbiased_claims(tables["epoch"], tables["errors"]))[0] == "holds"
    off = sampling.unbiased_claims(tables["epoch"].assign(loss=1e-3), tables["errors"])
    assert statuses(off)[0] == "does not hold"
    assert statuses(weights.closed_form_claims(tables["forms"])) == ["holds", "holds"]
    off = weights.closed_form_claims(tables["forms"].assign(gnr=lambda rows: range(1, len(rows) + 1)))
    assert statuses(off) == ["holds", "does not hold"]


def test_power_claims_name_the_sizes_that_were_measured(tables):
    claims = [verdict.claim for verdict in sampling.power_claims(tables["power"], BATCH)]
    assert [claim.rpartition(", ")[2] for claim in claims] == [
        "with replacement",
        "with replacement",
        "without replacement",
        "B = 8",
        "B = 32",
    ]
    assert len(sampling.power_claims(tables["power"], 2)) == 4  # a size that was not measured has no verdict


def test_momentum_claims_take_settled_steps_only(tables):
    claims = momentum.frozen_claims(tables["ratios"], tables["shuffled"])
    assert [verdict.source for verdict in claims] == [
        "Eq. 8",
        "Eq. 8",
        "Eq. 8, extended to shuffled data",
        "Eq. 8, extended to shuffled data",
        "our correction",
    ]
    early = tables["ratios"].query("gamma == 0.5").assign(finite=0.1, ratio_limit=9.0)
    again = momentum.frozen_claims(pd.concat([tables["ratios"], early]), tables["shuffled"])
    assert again[:2] == claims[:2]


def test_training_claims_speak_of_the_second_half(tables):
    claims = training.training_claims(tables["moving"])
    assert [verdict.claim.rpartition(", ")[2] for verdict in claims] == ["γ = 0.7"] * 2 + ["γ = 0.9"] * 2
    first_half = tables["moving"]["step"] <= 6
    changed = tables["moving"].assign(noise=lambda rows: rows["noise"].where(~first_half, 1e9))
    assert training.training_claims(changed) == claims


def test_kurtosis_claims_take_the_smallest_the_own_and_the_largest_batch(tables):
    claims = [verdict.claim for verdict in gaussian.kurtosis_claims(tables["kurtosis"], BATCH)]
    assert [claim.rpartition(", ")[2] for claim in claims[:-1]] == ["B = 1", "B = 8", "B = 16"]


def test_span_and_estimator_claims_have_one_verdict_a_condition(tables):
    assert [verdict.claim.partition("'")[0] for verdict in combinations.span_claims(tables["outside"])] == [
        "GradDrop",
        "PCGrad",
    ]
    assert statuses(combinations.span_claims(tables["outside"]))[1] == "holds"
    assert len(estimators.estimator_claims(tables["estimates"])) == 4


def test_label_claims_expect_no_change_where_the_own_noise_counts(tables):
    claims = weights.label_claims(tables["noisy"])
    assert [verdict.claim for verdict in claims if not verdict.below] == [
        "Label noise leaves its task's weight (new / old), maxmin, narrow, own noise",
        "Label noise leaves its task's weight (new / old), maxmin, broad, own noise",
    ]
    assert len(claims) == len(list(weights.readings()))


def test_cross_claims_look_at_sizes_whatever_their_sign(tables):
    flipped = tables["cross"].assign(noise=lambda rows: -rows["noise"])
    assert weights.cross_claims(flipped) == weights.cross_claims(tables["cross"])


def test_results_of_the_main_paper_cannot_be_tested():
    assert weights.UNTESTED.status == "cannot be tested here"
