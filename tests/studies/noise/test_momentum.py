import math

import numpy as np
import pandas as pd
import pytest
from noise_cases import BATCH, SAMPLES, SEEDS, check

from mtlrepro import noise
from mtlrepro.studies.noise import momentum


def test_momentum_noise(snapshots):
    table = momentum.frozen_noise(snapshots, [0.0, 0.5, 0.8], BATCH, 300)
    columns = ["seed", "task", "gamma", "step", "ratio", "finite", "limit", "ratio_finite", "ratio_limit"]
    steps = {gamma: rows["step"].unique().tolist() for gamma, rows in table.groupby("gamma")}
    check(table, columns, SEEDS * 3 * sum(map(len, steps.values())))
    assert [(marks[0], marks[-1]) for marks in steps.values()] == [(1, 4), (1, 8), (1, 20)]
    assert all(marks == sorted(set(marks)) for marks in steps.values())
    for row in table.itertuples():
        assert math.isclose(row.finite, noise.momentum_power_factor(row.gamma, row.step) ** 0.5)
        assert math.isclose(row.limit, momentum.momentum_limit(row.gamma))
        assert math.isclose(row.ratio_finite, row.ratio / row.finite)
        assert math.isclose(row.ratio_limit, row.ratio / row.limit)
    np.testing.assert_allclose(table["ratio_finite"], 1, atol=0.12)
    # The first step is far below the limit that Eq. 8 prints: sqrt((1 - gamma)(1 + gamma)) of it.
    first = table[(table["step"] == 1) & (table["gamma"] == 0.8)]
    np.testing.assert_allclose(first["ratio_limit"], 0.6, atol=0.07)
    last = table[table.groupby("gamma")["step"].transform("max") == table["step"]]
    np.testing.assert_allclose(last["finite"], last["limit"], rtol=1e-3)


def test_momentum_limit():
    assert math.isclose(momentum.momentum_limit(0.9), math.sqrt(0.1 / 1.9))
    assert momentum.momentum_limit(0.0) == 1


def test_momentum_shuffled(snapshots):
    gammas, sizes = [0.5, 0.8], [4, BATCH, SAMPLES // 2]
    table = momentum.shuffled_noise(snapshots, gammas, sizes, 400)
    columns = ["seed", "task", "gamma", "batches", "ratio_limit", "exact", "ratio_exact"]
    check(table, columns, SEEDS * 3 * len(gammas) * len(sizes))
    assert sorted(table["batches"].unique()) == [2, 8, 16]
    np.testing.assert_allclose(table["ratio_limit"], table["exact"], rtol=0.08)
    np.testing.assert_allclose(table["ratio_exact"], table["ratio_limit"] / table["exact"])
    # Eight steps an epoch of eight batches or of two: all positions, so that the mean over positions is exact.
    for row in table[table["batches"] <= 8].itertuples():
        assert math.isclose(row.exact, noise.shuffled_power_factor(row.gamma, row.batches) ** 0.5)
    assert (table.loc[(table["gamma"] == 0.8) & (table["batches"] == 8), "ratio_limit"] < 0.9).all()  # unlike Eq. 8


@pytest.mark.parametrize(("settled", "batches"), [(40, 2), (40, 8), (400, 32), (40, 1024)])
def test_marks_are_spread_over_one_epoch(settled, batches):
    marks = sorted(momentum._epoch_marks(settled, batches))
    assert len(marks) == min(8, batches)
    assert settled < marks[0]
    assert marks[-1] <= settled + batches
    assert len(set(np.diff(marks))) <= 1


@pytest.mark.parametrize("size", [SAMPLES, 5])
def test_epochs_of_a_single_batch_or_of_broken_ones_are_refused(snapshots, size):
    with pytest.raises(ValueError, match=f"^batch_size is {size}; accepted: a divisor of the number of samples, 64"):
        momentum.shuffled_noise(snapshots, [0.5], [BATCH, size], 3)


def test_epoch_sizes_divide_the_samples_and_hold_the_own_one():
    assert momentum.epoch_sizes([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], 32, 1024) == [1, 8, 32, 64, 512]
    assert momentum.epoch_sizes([3, 5, 64], 8, 64) == [8]


def test_the_caption_of_the_epochs_states_the_closed_form(snapshots):
    table = momentum.shuffled_noise(snapshots, [0.9, 0.5], [4, BATCH], 5)
    exhibit = momentum.epoch_figure(table, [32, 397])
    assert "the root of the mean power over all positions is, with γ = 0.5, " in exhibit.caption
    assert "; with γ = 0.9, 0.771 at 32, 0.978 at 397." in exhibit.caption
    assert exhibit.table[["gamma", "batches"]].to_numpy().tolist() == [[0.5, 8], [0.5, 16], [0.9, 8], [0.9, 16]]


def test_the_alternative_text_of_momentum_states_the_numbers_of_its_table():
    rows = pd.DataFrame({"step": [1, 36], "mean": [0.1, 0.2345]})
    assert momentum.momentum_alt(0.9, rows) == (
        "Momentum 0.9: the noise ratio goes from 0.10 at step 1 to 0.23 at step 36; the printed limit is 0.23."
    )
