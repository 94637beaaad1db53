"""What survives, on records and gradients made by hand."""

import numpy as np
import pandas as pd
import pytest
from mtsgd_runs import broken
from slice_cases import compare, write
from study_stores import keep_evaluated

from mtlrepro.runs.store import Store
from mtlrepro.studies.mtsgd import grids, survival
from mtlrepro.studies.mtsgd.comparisons import KERNELS, groups
from mtlrepro.studies.mtsgd.grids import Cell
from mtlrepro.studies.mtsgd.rule import expected_part
from mtlrepro.studies.mtsgd.survival import Survival
from mtlrepro.studies.setting import Setting
from mtlrepro.training.slices import THRESHOLDS

SMOKE = {"scale": "smoke", "dataset": "streets", "network": "mtsgd", "seeds": 2, "comparison_seeds": 2}
AS_LONG = "At the same learning rate the steps of MTSGD are as long as the plain mean of its gradients"
NOT_LONGER = "Of two tasks no step of MTSGD is longer than the plain one"
AS_IT_IS = "The threshold leaves the step about as long as balance alone does"
AS_RANDOM = "The threshold takes from the step what it would take from independent random directions"


def entries(length, slices=0.5, elements=0.25):
    """Two epochs of a record, the second at a tenth of the rate and with half the length."""
    kept = {"slices_kept": slices, "elements_kept": elements}
    return [
        {"epoch": 1, "lr": 0.1, "observed": {**kept, "length": length}},
        {"epoch": 2, "lr": 0.01, "observed": {**kept, "length": length / 2}},
    ]


def steps(length):
    """Steps of two levels and two thresholds, of two seeds."""
    rows = [
        (level, threshold, seed, epoch, rate, length, 50.0, 25.0, rate * length)
        for level in ("channel", "filter")
        for threshold in grids.ENDS
        for seed in range(2)
        for epoch, rate in ((1, 0.1), (2, 0.01))
    ]
    names = ["level", "threshold", "seed", "epoch", "lr", "length", "slices", "elements", "effective"]
    return pd.DataFrame(rows, columns=names)


def shown(length=0.5, **fields):
    runs = [{epoch: compare(seed=10 * seed + epoch, batches=4, **fields) for epoch in (1, 2)} for seed in range(2)]
    return Survival(Setting(**SMOKE), steps(length), dict.fromkeys(grids.ENDS, runs))


def statuses(found, claim):
    return {one.case: one.status for one in survival.claims(found) if one.claim == claim}


def test_the_step_of_unrelated_gradients_thins_out_as_expected():
    slices = compare(batches=20)
    layers = groups(slices)[KERNELS]
    for level in ("channel", "filter"):
        for threshold in grids.THRESHOLDS:
            found = survival.thinned(slices, level, layers)[survival.at(threshold)]
            assert found == pytest.approx(survival.expected_thinned(slices, level, layers, threshold), abs=0.02)
    stage = groups(slices)["stage 2"]  # 3x3 kernels alone
    expected = expected_part(0.0, 9, power=2) ** 0.5
    assert survival.expected_thinned(slices, "channel", stage, 0.0) == pytest.approx(expected)
    assert expected == pytest.approx(0.798, abs=0.001)


def test_layers_count_by_what_balance_leaves_of_them():
    """Of two parts, one of 1x1 kernels that lose nothing, the expectation lies nearer to that of the larger one."""
    slices = compare(batches=4)
    both = groups(slices)["stage 1"] | groups(slices)["stage 2"]
    squares = expected_part(0.0, 9, power=2)
    lengths = [slices.length(survival.TASKS, "channel", groups(slices)[part])[0] for part in ("stage 1", "stage 2")]
    plain = [slices.plain[0, groups(slices)[part]].sum() for part in ("stage 1", "stage 2")]
    left, right = (length**2 * own for length, own in zip(lengths, plain, strict=True))
    expected = ((left + right * squares) / (left + right)) ** 0.5
    assert survival.expected_thinned(slices, "channel", both, 0.0) == pytest.approx(expected)


def test_records_give_lengths_shares_and_effective_rates(tmp_path):
    setting = Setting(**SMOKE)
    cells = (Cell(-1.0), Cell(0.0, "filter"))
    for cell, length in zip(cells, (0.8, 0.4), strict=True):
        keep_evaluated(tmp_path, *cell.runs(setting), history=entries(length))
    found = survival.history(Setting(**SMOKE, store=Store(tmp_path)), cells)
    assert len(found) == 2 * 2 * 2
    row = found[(found["level"] == "filter") & (found["epoch"] == 2) & (found["seed"] == 1)].iloc[0]
    assert (row["threshold"], row["slices"], row["elements"]) == (0, 50, 25)
    assert (row["length"], row["effective"]) == pytest.approx((0.2, 0.002))
    shares = survival.rate_shares(found)
    # (0.1 x 0.8 + 0.01 x 0.4) / 0.11: epochs count by their learning rate
    assert shares["channel"][-1.0].to_numpy() == pytest.approx([0.084 / 0.11] * 2)
    assert shares["filter"][0.0].to_numpy() == pytest.approx([0.042 / 0.11] * 2)


def test_steps_as_long_as_the_plain_ones():
    assert set(statuses(shown(0.95), AS_LONG).values()) == {"holds"}
    assert set(statuses(shown(0.5), AS_LONG).values()) == {"does not hold"}
    assert set(statuses(shown(1.0 + 1e-9), NOT_LONGER).values()) == {"holds"}  # rounding
    assert set(statuses(shown(1.1), NOT_LONGER).values()) == {"does not hold"}


def test_thresholds_on_unrelated_and_on_opposite_gradients():
    found = shown()
    assert statuses(found, AS_RANDOM)["by channel, threshold 0"] == "holds"
    # Chance takes next to nothing there, so that no step could tell.
    assert statuses(found, AS_RANDOM)["by channel, threshold -0.75"] == "cannot be tested here"
    told = statuses(found, AS_IT_IS)
    assert told["by channel, threshold -0.75"] == "holds" and told["by filter, threshold 0"] == "does not hold"
    for agreement in (-0.9, 0.2):
        against = statuses(shown(signal=1.0, agreement=agreement), AS_RANDOM)
        assert against["by channel, threshold 0"] == "does not hold"


def test_a_threshold_is_held_against_chance_by_what_it_takes_and_not_by_what_it_leaves():
    """Of slices that agree a little a threshold of 0 takes much less than of random ones."""
    found = shown(signal=1.0, agreement=0.2)
    runs = [survival.pooled(list(run.values())) for run in found.compared[grids.BALANCE_ALONE]]
    layers = groups(runs[0])[KERNELS]
    left = [survival.thinned(one, "channel", layers)[survival.at(0.0)] for one in runs]
    by_chance = [survival.expected_thinned(one, "channel", layers, 0.0) for one in runs]
    (one,) = (
        claim
        for claim in survival.claims(found)
        if claim.claim == AS_RANDOM and claim.case == "by channel, threshold 0"
    )
    taken = [(1 - a) / (1 - b) for a, b in zip(left, by_chance, strict=True)]
    assert (one.measured.low, one.measured.high) == pytest.approx((min(taken), max(taken)))
    assert one.measured.high < 0.8 and one.status == "does not hold"


def test_thresholds_do_nothing_to_single_elements():
    (one,) = (claim for claim in survival.claims(shown()) if "1x1" in claim.claim)
    assert (one.status, one.kind) == ("holds", "identity")
    slices = compare(batches=1)
    points = slices.kinds == "1x1"
    slices.balanced[0, points, 1, survival.at(0.5)] *= 0.9
    one = survival._single_elements([slices])
    assert one.status == "does not hold" and one.measured.value > 1e-3


def test_lengths_by_part_of_the_network():
    runs = shown().compared[grids.NO_CONFLICT]
    table = survival.by_layer(runs)
    own = table.query("epoch == 2 and level == 'channel' and layers == 'stage 2'").set_index("threshold")
    slices = [run[2] for run in runs]
    lengths = [one.length(survival.TASKS, "channel", groups(one)["stage 2"]) for one in slices]
    position = int(np.flatnonzero(THRESHOLDS == -0.5)[0])
    assert own.loc["MTSGD (-0.5)", "low"] == pytest.approx(min(one[position] for one in lengths))
    assert own.loc["MTSGD (-0.5)", "high"] == pytest.approx(max(one[position] for one in lengths))
    random = np.mean([one[0] for one in lengths]) * expected_part(0.0, 9, power=2) ** 0.5
    assert own["random"].to_numpy() == pytest.approx([random] * 4)


def test_exhibits_from_a_store(tmp_path):
    setting = Setting(**SMOKE)
    for cell in survival.CELLS:
        runs = cell.runs(setting)
        keep_evaluated(tmp_path, *runs, history=entries(0.6 if cell.threshold else 0.3))
        for run in runs:
            if run.gradients:
                write(tmp_path, run, {1: compare(seed=run.seed, batches=1)})
    found = survival.load(Setting(**SMOKE, store=Store(tmp_path)))
    assert {end: len(runs) for end, runs in found.compared.items()} == {-1.0: 2, 0.0: 2}
    kept = survival.kept_exhibit(found)
    assert len(kept.table) == 4 + 4 + 2  # of more than 12 rows it would be folded
    row = kept.table.set_index(["level", "threshold"]).loc[("channel", "0")]
    assert (row["length of the step"], row["slices kept, %"], row["elements kept, %"]) == pytest.approx((0.225, 50, 25))
    lengths = survival.lengths_exhibit(found)
    assert "MTSGD (0)" in lengths.caption and lengths.figure is not None
    assert list(survival.layers_exhibit(found).frames) == ["epoch 1"]


def test_rows_of_which_a_run_diverged_are_counted_and_not_judged(tmp_path):
    """One seed of balance alone, and all of the threshold -0.5 by filter."""
    setting = Setting(**SMOKE)
    lost = [Cell(-1.0).runs(setting)[0], *Cell(-0.5, "filter").runs(setting)]
    broken(tmp_path, *lost)
    for run in grids.runs_of(setting, survival.CELLS):
        if run not in lost:
            keep_evaluated(tmp_path, run, history=entries(0.95))
            if run.gradients:
                write(tmp_path, run, {1: compare(seed=run.seed, batches=1)})
    found = survival.load(Setting(**SMOKE, store=Store(tmp_path)))
    assert len(found.compared[-1.0]) == 1 and len(survival.kept_exhibit(found).table) == 9
    told = "Runs that diverged are left out: 1 of threshold -1 by channel, 2 of threshold -0.5 by filter. ("
    exhibits = (survival.lengths_exhibit, survival.kept_exhibit, survival.layers_exhibit)
    assert all(told in exhibit(found).caption for exhibit in exhibits)
    cases = statuses(found, AS_LONG)
    untold = {"by channel, threshold -1", "by filter, threshold -0.5"}
    assert {case for case, status in cases.items() if status == "cannot be tested here"} == untold and len(cases) == 10
    assert set(statuses(found, AS_IT_IS).values()) == {"cannot be tested here"}
