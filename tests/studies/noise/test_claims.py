"""What the chapter claims and shows, on tables of two small snapshots."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from noise_cases import BATCH, SAMPLES, SEEDS

from mtlrepro.analysis.verdicts import Interval, Verdict, grouped
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.findings import answers
from mtlrepro.studies.noise import (
    combinations,
    digits,
    estimators,
    findings,
    gaussian,
    intuition,
    momentum,
    sampling,
    training,
    weights,
)

BOOK = Path(__file__).parents[3] / "book"
EPOCH = SAMPLES // BATCH


@pytest.fixture(scope="module")
def tables(snapshots, moving):
    """Measurements of the whole chapter, made small."""
    kurtosis, quantiles = gaussian.gaussianity(snapshots, [1, BATCH, 16], 50, directions=2)
    return {
        "epoch": sampling.epoch_identity(snapshots, BATCH),
        "errors": sampling.monte_carlo(snapshots, BATCH, [1, 4], 20),
        "power": sampling.noise_by_batch_size(snapshots, [1, BATCH, 32], 50),
        "ratios": momentum.frozen_noise(snapshots, [0.0, 0.5], BATCH, 20),
        "shuffled": momentum.shuffled_noise(snapshots, [0.5, 0.9], [2, BATCH, 32], 20),
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
        intuition.picture(snapshots[0], "left", BATCH, 0.9, 20),
        sampling.error_figure(tables["errors"]),
        sampling.power_figure(tables["power"]),
        momentum.frozen_figure(tables["ratios"]),
        momentum.epoch_figure(tables["shuffled"], [EPOCH, 100]),
        training.training_figure(tables["moving"].assign(step=lambda rows: rows["step"] * 10)),
        gaussian.quantile_figure(tables["quantiles"], SEEDS),
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


def judged(tables) -> list[Verdict]:
    """All verdicts of the chapter, in its order."""
    return [
        *sampling.unbiased_claims(tables["epoch"], tables["errors"]),
        *sampling.power_claims(tables["power"], BATCH),
        *momentum.frozen_claims(tables["ratios"], tables["shuffled"], EPOCH),
        *training.training_claims(tables["moving"]),
        *gaussian.kurtosis_claims(tables["kurtosis"], BATCH),
        *combinations.universality_claims(tables["weighted"]),
        combinations.condition_claim(tables["conditions"]),
        *combinations.span_claims(tables["outside"]),
        *estimators.estimator_claims(tables["estimates"]),
        *weights.closed_form_claims(tables["forms"]),
        *weights.label_claims(tables["noisy"]),
        *weights.cross_claims(tables["cross"]),
        weights.UNTESTED,
    ]


def statuses(verdicts: list[Verdict]) -> list[str]:
    return [verdict.status for verdict in verdicts]


def cases(verdicts: list[Verdict], claim: str) -> list[str]:
    found = [verdict.case for verdict in verdicts if verdict.claim == claim]
    assert found
    return found


def test_exhibits_have_names_of_their_own_and_a_picture_for_each_condition(snapshots, tables):
    exhibits = shown(snapshots, tables)
    assert len({exhibit.name for exhibit in exhibits}) == len(exhibits)
    frames = {exhibit.name: list(exhibit.frames) for exhibit in exhibits if exhibit.frames}
    assert frames == {"momentum_noise": ["0", "0.5"], "quantiles": ["1", "8", "16"]}
    (power,) = [exhibit for exhibit in exhibits if exhibit.name == "noise_power"]
    assert f"to {sampling.shuffled_ratio(tables['power'], 32)} of it at B = 32." in power.caption
    assert all(exhibit.caption.endswith(".)") for exhibit in exhibits)  # conditions in brackets at the end


def test_identities_hold_and_stop_holding_when_a_table_is_off(tables):
    assert statuses(combinations.universality_claims(tables["weighted"])) == ["holds", "holds"]
    off = combinations.universality_claims(tables["weighted"].assign(gradient=1e-3))
    assert statuses(off) == ["does not hold", "holds"]
    assert statuses(sampling.unbiased_claims(tables["epoch"], tables["errors"]))[1] == "holds"
    off = sampling.unbiased_claims(tables["epoch"].assign(loss=1e-3), tables["errors"])
    assert statuses(off)[1] == "does not hold"
    assert statuses(weights.closed_form_claims(tables["forms"])) == ["holds"] * 12
    off = weights.closed_form_claims(tables["forms"].assign(gnr=lambda rows: range(1, len(rows) + 1)))
    assert statuses(off) == ["holds"] * 8 + ["does not hold"] * 4
    assert statuses([combinations.condition_claim(tables["conditions"])]) == ["does not hold"]
    assert statuses([combinations.condition_claim(tables["conditions"].assign(usable=True))]) == ["holds"]


def test_power_claims_name_the_sizes_that_were_measured(tables):
    claim = "Shuffled data leave the noise power at tr(C)/B"
    assert cases(sampling.power_claims(tables["power"], BATCH), claim) == ["B = 8", "B = 32"]
    assert cases(sampling.power_claims(tables["power"], 2), claim) == ["B = 32"]  # a size that was not measured


def test_momentum_claims_take_settled_steps_only(tables):
    claims = momentum.frozen_claims(tables["ratios"], tables["shuffled"], EPOCH)
    assert cases(claims, "Momentum scales the noise by the printed root") == ["γ = 0.5", "γ = 0"]
    early = tables["ratios"].query("gamma == 0.5").assign(finite=0.1, ratio_limit=9.0)
    again = momentum.frozen_claims(pd.concat([tables["ratios"], early]), tables["shuffled"], EPOCH)
    assert again[:2] == claims[:2]


def test_the_finite_sum_is_the_papers_and_shuffled_epochs_are_ours(tables):
    claims = {one.claim: one for one in momentum.frozen_claims(tables["ratios"], tables["shuffled"], EPOCH)}
    finite = claims["After t steps the noise of momentum is the finite sum"]
    assert (finite.source, finite.kind) == ("Eq. 8, second line", "paper")
    assert {one.kind for name, one in claims.items() if name.startswith("Shuffled")} == {"ours"}


def test_shuffled_claims_judge_the_closed_form_at_every_length_and_the_root_at_the_own_and_the_longest(tables):
    claims = momentum.frozen_claims(tables["ratios"], tables["shuffled"], EPOCH)
    exact = "Shuffled epochs leave momentum the noise of the closed form"
    assert cases(claims, exact) == [f"{count} batches an epoch" for count in (2, 8, 32)]
    assert cases(claims, "Shuffled epochs leave momentum the printed root") == [
        f"γ = {gamma}, {count} batches an epoch" for count in (8, 32) for gamma in (0.5, 0.9)
    ]
    low = momentum.frozen_claims(tables["ratios"], tables["shuffled"].assign(ratio_exact=0.5), EPOCH)
    assert {one.status for one in low if one.claim == exact} == {"does not hold"}


def test_where_the_exact_factor_is_known_it_judges_the_printed_one(tables):
    """Without draws, so that no verdict on the appendix is open for want of them."""
    shuffled = {one.case: one.measured for one in sampling.power_claims(tables["power"], BATCH) if one.kind == "ours"}
    assert shuffled["B = 32"] == Interval(32 / 63, 32 / 63, 32 / 63)
    claims = momentum.frozen_claims(tables["ratios"], tables["shuffled"].assign(ratio_limit=9.0), EPOCH)
    root = [one for one in claims if one.claim == "Shuffled epochs leave momentum the printed root"]
    assert {one.measured.high - one.measured.low for one in root} == {0}
    assert max(one.measured.value for one in root) < 1


def test_that_noise_powers_of_independent_steps_add_up_is_an_identity_in_expectation(tables):
    moving = tables["moving"]
    claims = {one.claim: one for one in training.training_claims(moving.assign(assumed=moving["noise"] / 2))}
    papers = claims["While training, the noise of momentum follows Eq. 8"]
    assert (papers.kind, papers.finding, papers.status) == ("paper", 4, "does not hold")
    assert math.isclose(papers.measured.value, 2)
    sums = claims["While training, the noise powers of the steps add up by their squared weights"]
    assert (sums.kind, sums.finding) == ("expectation", 0)


def test_training_claims_speak_of_the_second_half(tables):
    claims = training.training_claims(tables["moving"])
    assert cases(claims, "While training, the noise of momentum follows Eq. 8") == ["γ = 0.7", "γ = 0.9"]
    assert cases(claims, "While training, the error of momentum is its noise alone") == ["γ = 0.7", "γ = 0.9"]
    first_half = tables["moving"]["step"] <= 6
    changed = tables["moving"].assign(noise=lambda rows: rows["noise"].where(~first_half, 1e9))
    assert training.training_claims(changed) == claims


def test_kurtosis_claims_take_the_own_the_smallest_and_the_largest_batch_and_every_task_and_direction(tables):
    claims = gaussian.kurtosis_claims(tables["kurtosis"], BATCH)
    readings = list(dict.fromkeys(one.reading for one in claims if one.claim == "The noise is Gaussian"))
    assert readings == [
        f"{moment} at B = {size}, exact for each network"
        for size in (8, 1, 16)
        for moment in ("excess kurtosis", "size of the skewness")
    ]
    assert len(cases(claims, "The noise is Gaussian")) == 6 * 6
    assert cases(claims, "Excess kurtosis of the noise is that of one image over B") == ["B = 1", "B = 8", "B = 16"]


def test_one_task_that_is_not_gaussian_is_not_averaged_away(tables):
    kurtosis = tables["kurtosis"].assign(expected=0.0, skewness=1e-3)
    one = (kurtosis["task"] == "sum") & (kurtosis["direction"] == "most noise")
    claims = gaussian.kurtosis_claims(kurtosis.assign(expected=kurtosis["expected"].where(~one, 0.2)), BATCH)
    assert {one.case for one in claims if one.status == "does not hold"} == {"sum, direction of most noise"}


def test_span_and_estimator_claims_have_one_verdict_a_condition(tables):
    assert [verdict.case for verdict in combinations.span_claims(tables["outside"])] == ["GradDrop", "PCGrad"]
    assert statuses(combinations.span_claims(tables["outside"]))[1] == "holds"
    assert len({verdict.case for verdict in estimators.estimator_claims(tables["estimates"])}) == 4


def test_label_claims_expect_no_change_where_the_own_noise_counts(tables):
    claims = weights.label_claims(tables["noisy"])
    assert [(verdict.case, verdict.kind) for verdict in claims if not verdict.below] == [
        ("maxmin, narrow, own noise", "identity"),
        ("maxmin, broad, own noise", "identity"),
    ]
    assert {verdict.kind for verdict in claims if verdict.below} == {"identity"}
    assert all(0 < verdict.measured.low <= verdict.measured.high <= 1 for verdict in claims if verdict.below)
    assert len(claims) == len(list(weights.readings()))


def test_the_broad_product_with_own_noise_is_a_reading_like_the_others(tables):
    name = weights.reading_name("product", "broad", True)
    assert name in cases(
        weights.closed_form_claims(tables["forms"]), "Weights by formula equal those of a numeric optimiser"
    )
    assert name in set(weights.weight_figure(tables["forms"]).table["reading"])
    assert name in set(weights.label_figure(tables["noisy"]).table["reading"])


def test_cross_claims_look_at_sizes_whatever_their_sign(tables):
    flipped = tables["cross"].assign(noise=lambda rows: rows["noise"].where(rows["seed"] == 0, -rows["noise"]))
    assert weights.cross_claims(flipped) == weights.cross_claims(tables["cross"])


def test_every_verdict_says_how_it_is_read_and_cases_of_a_claim_share_its_value(tables):
    for one in judged(tables):
        assert one.reading, one.claim
    for group in grouped(judged(tables)):
        assert len({(one.claimed, one.tolerance, one.below, one.finding) for one in group}) == 1
        assert len({one.case for one in group}) == len(group)


def test_only_claims_of_the_paper_answer_its_claims(tables):
    for one in judged(tables):
        assert (one.kind == "paper") == (one.finding > 0), one.claim


def test_what_momentum_and_noise_power_need_is_told_beside_their_claims(tables):
    limits = {one["number"]: one["limits"] for one in answers(findings.FINDINGS, judged(tables))}
    assert [[told["quoted"].split(" (")[0] for told in limits[number]] for number in (4, 5)] == [
        ["Shuffled epochs leave momentum the printed root", "While training, the error of momentum is its noise alone"],
        ["Shuffled data leave the noise power at tr(C)/B"],
    ]
    assert not any(limits[number] for number in (1, 2, 3, 6))


def test_each_finding_is_answered_and_its_section_exists(tables):
    answered = answers(findings.FINDINGS, judged(tables))
    assert [int(one["number"]) for one in answered] == [1, 2, 3, 4, 5, 6]
    cells = json.loads((BOOK / "sgd_noise.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).split("\n")]
    titles = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    slugs = {"-".join("".join(c if c.isalnum() else " " for c in title.lower()).split()) for title in titles}
    assert {finding.section for finding in findings.FINDINGS} <= slugs


def extreme(table: pd.DataFrame, columns: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Table whose seeds differ as much as they can: values near the ends of each column's domain, by turns."""
    last = table["seed"] == table["seed"].max()
    return table.assign(**{name: np.where(last, high, low) for name, (low, high) in columns.items()})


POSITIVE, SHARE, CORRELATION = (1e-3, 1e3), (1e-3, 1 - 1e-3), (-0.5, 0.999)
DOMAINS = {
    # Column of the summary or kind of quantity to the least and the largest value it can have.
    "positive": (0, math.inf),
    "kurtosis": (-2, math.inf),
    "share": (0, 1),
    "correlation": (-1, 1),
    "weight": (0, 3),
}


def summaries_of(tables) -> list[tuple[str, pd.DataFrame]]:
    """Tables with intervals, made of extreme values, and the domain of each."""
    cross = extreme(tables["cross"], dict.fromkeys(("narrow", "broad"), POSITIVE))
    cross = extreme(cross, dict.fromkeys(("noise", "gradient"), CORRELATION))
    wide = weights.cross_table(cross).table
    return [
        ("positive", sampling.error_figure(extreme(tables["errors"], {"error": POSITIVE})).table),
        ("positive", sampling.power_figure(extreme(tables["power"], {"ratio": POSITIVE})).table),
        ("positive", momentum.frozen_figure(extreme(tables["ratios"], {"ratio": POSITIVE})).table),
        ("positive", momentum.epoch_figure(extreme(tables["shuffled"], {"ratio_limit": POSITIVE}), [100]).table),
        ("positive", training.error_parts(extreme(tables["moving"], {"noise": POSITIVE, "lag": POSITIVE}))),
        ("kurtosis", gaussian.kurtosis_figure(extreme(tables["kurtosis"], {"kurtosis": (-1.99, 9)})).table),
        ("share", combinations.span_table(extreme(tables["outside"], {"residual": SHARE})).table),
        ("weight", weights.weight_figure(extreme(tables["forms"], {"closed": (0.01, 2.9)})).table),
        ("positive", weights.label_figure(extreme(tables["noisy"], {"relative": POSITIVE})).table),
        *(
            (domain, wide.rename(columns={f"{title} {bound}": bound for bound in ("low", "high")}))
            for title, domain in (
                ("correlation of noises", "correlation"),
                ("cosine of gradients", "correlation"),
                ("factor, narrow", "positive"),
                ("factor, broad", "positive"),
            )
        ),
    ]


def test_intervals_of_figures_and_tables_lie_in_the_domain_of_their_quantity(tables):
    for domain, table in summaries_of(tables):
        lowest, highest = DOMAINS[domain]
        assert (table["low"] >= lowest).all(), table
        assert (table["high"] <= highest).all(), table
        assert (table["low"] < table["high"]).any()


def test_intervals_of_verdicts_lie_in_the_domain_of_their_quantity(tables):
    off = dict(tables)
    off["power"] = extreme(tables["power"], {"ratio": POSITIVE, "ratio_exact": POSITIVE})
    off["ratios"] = extreme(tables["ratios"], {"ratio_limit": POSITIVE, "ratio_finite": POSITIVE})
    off["shuffled"] = extreme(tables["shuffled"], {"ratio_limit": POSITIVE, "ratio_exact": POSITIVE})
    off["moving"] = extreme(tables["moving"], {"noise": POSITIVE})
    off["kurtosis"] = extreme(
        tables["kurtosis"], {"kurtosis": (-1.99, 9), "expected": (-1.99, 9), "skewness": POSITIVE}
    )
    off["outside"] = extreme(tables["outside"], {"residual": SHARE})
    off["noisy"] = extreme(tables["noisy"], {"relative": POSITIVE})
    off["cross"] = extreme(tables["cross"], {"noise": (-SHARE[0], SHARE[1]), "gradient": SHARE})
    domains = {
        "exponent": (-math.inf, math.inf),
        "difference of": (-math.inf, math.inf),
        "estimated over": (-math.inf, math.inf),  # an unbiased estimate of a power may be negative
        "excess kurtosis": DOMAINS["kurtosis"],
        "share": DOMAINS["share"],
        "absolute": DOMAINS["share"],
    }
    for one in judged(off):
        if one.measured is None:
            continue
        lowest, highest = next(
            (bounds for name, bounds in domains.items() if one.reading.startswith(name)), (0, math.inf)
        )
        assert lowest <= one.measured.low <= one.measured.value <= one.measured.high <= highest, one


def test_results_of_the_main_paper_cannot_be_tested():
    assert weights.UNTESTED.status == "cannot be tested here"
