"""Figure 3 on gradients that were drawn: which way the ratio goes, its null, and what the claims make of it."""

from math import atan, inf, pi

import numpy as np
import pandas as pd
import pytest
from mtsgd_runs import broken
from slice_cases import compare, write
from study_stores import keep_evaluated

from mtlrepro.studies.mtsgd import conflicts, grids, premise
from mtlrepro.studies.mtsgd.comparisons import KERNELS, groups
from mtlrepro.studies.mtsgd.premise import Premise
from mtlrepro.studies.setting import Setting
from mtlrepro.training.slices import BINS

SMOKE = {"scale": "smoke", "dataset": "streets", "network": "mtsgd", "seeds": 2, "comparison_seeds": 2}


def shown(ratio, *, power=1.0, epochs=(1, 4), **fields):
    """Runs whose disparity has `ratio` times the gradient, times the power of the factor on its loss."""
    factors = {
        factor: [
            {
                epoch: compare(ratio=ratio * factor**power * epoch**0.5, seed=7 * seed + epoch, **fields)
                for epoch in epochs
            }
            for seed in range(2 if factor == 1 else 1)
        ]
        for factor in grids.DISPARITY_SCALES
    }
    return Premise(Setting(**SMOKE), factors)


def all_kernels(slices):
    return groups(slices)[KERNELS]


def statuses(verdicts):
    found = {}
    for one in verdicts:
        found.setdefault(one.claim, set()).add(one.status)
    return found


def test_the_ratio_is_that_of_disparity_to_segmentation():
    slices = compare(ratio=10.0)
    for kind in ("element", "channel", "filter", "parameter"):
        found = premise.median(slices, kind, all_kernels(slices))
        assert found == pytest.approx(10, rel=0.3 if kind == "parameter" else 0.1)
        counted = premise.histogram(slices, kind, all_kernels(slices)).sum(0)
        assert counted[: BINS // 2].sum() < counted[BINS // 2 :].sum()


def test_signs_stay_with_their_ratios():
    slices = compare(signal=3.0, agreement=-1.0)
    positive, negative = premise.histogram(slices, "channel", groups(slices)["stage 2"]).sum(1)
    assert negative > 20 * positive


def test_the_null_of_elements_is_the_square_of_a_cauchy_variable():
    slices = compare(batches=1)
    found = premise.null(slices, "element", all_kernels(slices), 0.01, 100.0)
    assert found == pytest.approx(2 / pi * (atan(100) - atan(0.01)), abs=1e-12)
    assert found == pytest.approx(0.98727, abs=1e-5)
    for kind in ("element", "channel", "filter", "parameter"):
        assert premise.null(slices, kind, all_kernels(slices), 0.0, 1.0) == pytest.approx(0.5)
        assert premise.null(slices, kind, all_kernels(slices), 0.0, inf) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["element", "channel", "filter"])
def test_gradients_without_any_relation_are_as_the_null_says(kind):
    slices = compare(batches=40, seed=1)
    layers = all_kernels(slices)
    for low, high in ((0.01, 100.0), (0.1, 1.0), (1.0, 10**0.25)):
        found = premise.within(premise.histogram(slices, kind, layers), low, high)
        assert found == pytest.approx(premise.null(slices, kind, layers, low, high), abs=0.01)


def test_bars_are_shares_with_what_lies_beyond_the_axis_at_its_ends():
    counted = np.zeros((2, BINS), dtype=int)
    counted[0, 0], counted[0, 1], counted[1, -1], counted[1, 81] = 1, 2, 3, 4  # bin 81 begins at a ratio of 1
    found = premise.bars(counted)
    assert found.sum() == pytest.approx(100) and found.shape == (2, len(premise.EDGES) - 1)
    one = int(np.argmin(np.abs(premise.EDGES - 1)))
    assert (found[0, 0], found[1, -1], found[1, one]) == pytest.approx((30, 30, 40))


def test_claims_where_disparity_has_thirty_times_the_gradient():
    found = statuses(premise.claims(shown(30.0)))
    assert found.pop("One epoch has the 500 backward passes of the figure") == {"does not hold"}
    in_range = "As many ratios lie in the range of the figure's caption as of two Gaussian gradients of equal size"
    assert found.pop(in_range) == {"does not hold"}
    assert set().union(*found.values()) == {"holds"}


def test_claims_where_gradients_are_of_one_size():
    verdicts = premise.claims(shown(0.5, power=0.5))
    found = statuses(verdicts)
    much = "The gradients of disparity are much larger than those of segmentation"
    assert found[much] == {"does not hold"}
    told = {(one.source, one.kind, one.finding) for one in verdicts if one.claim == much}
    assert told == {("Section 3.1, Figures 2 and 3", "paper", 1)}
    assert found["The ratio of the gradients grows in proportion to the factor on the loss of disparity"] == {
        "does not hold"
    }
    assert found["With a factor of 30 on its loss, disparity has the much larger gradients"] == {"does not hold"}
    (span,) = (one for one in verdicts if "figure's caption" in one.claim)
    assert (span.status, span.claimed) == ("holds", 98.73)


def test_passes_of_an_epoch_are_counted():
    found = premise.passes_claim(2)
    assert (found.measured.value, found.status) == (500 - 2 * 186, "does not hold")
    assert premise.passes_claim(3).status == "holds"  # more passes than the figure needs are enough


def test_the_needed_factor_lies_on_lines_between_logarithms():
    own = pd.DataFrame({"factor": [1.0, 10.0, 100.0], "mean": [1.0, 4.0, 400.0]})
    assert premise.needed(own, 40.0) == pytest.approx(10**1.5)
    assert premise.needed(own, 2.0) == pytest.approx(10**0.5)
    assert premise.needed(own, 1.0) == 1
    assert premise.needed(own, 500.0) == inf


def test_the_law_of_proportion_starts_from_the_first_seed():
    drawn = shown(2.0)
    table = premise.responses(drawn)
    first = table[(table["epoch"] == 1) & (table["factor"] == 1)].iloc[0]
    last = table[(table["epoch"] == 1) & (table["factor"] == 100)].iloc[0]
    assert last["expected"] == pytest.approx(100 * first["expected"])
    slices = drawn.plain[0][1]
    assert first["expected"] == pytest.approx(premise.median(slices, "element", all_kernels(slices)))
    assert first["low"] < first["mean"] < first["high"]
    assert (last["low"], last["high"]) == pytest.approx((last["mean"], last["mean"]))  # of one seed
    assert premise.exponent(table[table["epoch"] == 1]).value == pytest.approx(1, abs=0.02)


def test_an_exponent_has_the_interval_of_points_off_the_line():
    # On logarithms to base 10: 0, 1, 2 against 0, 1.3, 2, of slope 1, off the line by -0.1, 0.2, -0.1.
    own = pd.DataFrame({"factor": [1.0, 10.0, 100.0], "mean": [1.0, 10**1.3, 100.0]})
    found = premise.exponent(own)
    assert found.value == pytest.approx(1)
    assert found.high - 1 == pytest.approx(12.7062 * (0.06 / 2) ** 0.5, rel=1e-4)
    assert premise.exponent(own.iloc[:2]).high == inf


def test_exhibits_say_what_they_show():
    drawn = shown(1.0)
    ratios = premise.histograms_exhibit(drawn)
    assert ratios.start == ("epoch 4", KERNELS)  # where the median is largest
    assert len(ratios.frames) == 2 * 5 and "98.7 %" in ratios.caption
    assert "2 seeds of 2 batches an epoch" in ratios.caption
    shares = ratios.table.drop(columns=["slice", "sign"]).groupby(["epoch", "layers"]).sum().sum(axis=1)
    np.testing.assert_allclose(shares, 400)  # four levels
    table = premise.medians_exhibit(drawn).table
    assert len(table) == 4 * 5 * 2 and (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()
    assert "it needs a factor of" in premise.scales_exhibit(drawn).caption


def test_stored_comparisons_are_found_by_factor_and_seed(tmp_path):
    setting = Setting(**SMOKE)
    runs = grids.premise(setting)
    setting = Setting(**SMOKE, store=keep_evaluated(tmp_path, *(run for own in runs.values() for run in own)))
    for factor, own in runs.items():
        for run in own:
            write(tmp_path, run, {1: compare(ratio=factor * 10.0**run.seed, batches=1)})
    found = premise.load(setting)
    assert found.epochs == [1] and len(found.plain) == 2
    table = premise.medians(found).query("layers == @KERNELS and level == 'element'").set_index(["factor", "seed"])
    for (factor, seed), ratio in table["median"].items():
        assert ratio == pytest.approx(factor * 10**seed, rel=0.2)


def test_a_factor_at_which_training_diverges_is_counted_and_not_judged(tmp_path):
    """The first seed without a factor diverged, and the run at the factor of the premise."""
    runs = grids.premise(Setting(**SMOKE))
    lost = [runs[1.0][0], *runs[grids.PREMISE]]
    broken(tmp_path, *lost)
    left = {factor: [run for run in own if run not in lost] for factor, own in runs.items()}
    setting = Setting(**SMOKE, store=keep_evaluated(tmp_path, *(run for own in left.values() for run in own)))
    for factor, own in left.items():
        for run in own:
            write(tmp_path, run, {1: compare(ratio=factor, batches=1)})
    found = premise.load(setting)
    assert found.lost == {1.0: 1, grids.PREMISE: 1} and grids.PREMISE not in found.factors and len(found.plain) == 1
    told = "Runs that diverged are left out: 1 of a factor of 1, 1 of a factor of 30. (Dashed"
    assert told in premise.scales_exhibit(found).caption
    for shown in (premise.medians_exhibit(found), conflicts.conflicts_exhibit(found)):
        assert "Runs that diverged are left out: 1 of a factor of 1. (Dashed" in shown.caption
    statuses = {one.status for one in (*premise.claims(found)[:-1], *conflicts.claims(found))}
    assert statuses == {"cannot be tested here"}
