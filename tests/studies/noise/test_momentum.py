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


def shuffled_power(gamma, per_epoch, step):
    """Expected noise power of momentum after a step over that of one batch: the noise of an epoch's batches sums to 0,
    so that any two of them have the correlation -1/(per_epoch - 1)."""
    weights = (1 - gamma) * gamma ** np.arange(step - 1, -1, -1)
    power = 0.0
    for epoch in range(0, step, per_epoch):
        own = weights[epoch : epoch + per_epoch]
        power += (own**2).sum() - ((own.sum()) ** 2 - (own**2).sum()) / (per_epoch - 1)
    return power


def test_momentum_shuffled(snapshots):
    gammas = [0.0, 0.5, 0.8]
    table = momentum.shuffled_noise(snapshots, gammas, BATCH, 400)
    check(table, ["seed", "task", "gamma", "ratio_limit"], SEEDS * 3 * len(gammas))
    for gamma in gammas:
        settled = round(4 / (1 - gamma))
        power = np.mean([shuffled_power(gamma, SAMPLES // BATCH, settled + step) for step in range(8)])
        found = table.loc[table["gamma"] == gamma, "ratio_limit"]
        np.testing.assert_allclose(found, math.sqrt(power) / momentum.momentum_limit(gamma), rtol=0.06)
    assert (table.loc[table["gamma"] == 0.8, "ratio_limit"] < 0.9).all()  # or Eq. 8 would hold here too


def test_momentum_of_batches_of_all_samples_is_refused(snapshots):
    with pytest.raises(ValueError, match="batch_size"):
        momentum.shuffled_noise(snapshots, [0.5], SAMPLES, 3)


def test_momentum_table():
    settled = pd.DataFrame(
        {
            "seed": [0, 1, 0, 1],
            "gamma": [0.5, 0.5, 0.9, 0.9],
            "ratio_limit": [1.0, 1.0, 2.0, 2.0],
            "limit": 1.0,
            "finite": 1.0,
        }
    )
    shuffled = settled.assign(ratio_limit=lambda rows: rows["ratio_limit"] / 4)
    early = settled.assign(finite=0.5, ratio_limit=9.0)
    table = momentum.limit_table(pd.concat([settled, early]), shuffled).table
    bounds = ("mean", "low", "high")
    check(table, ["gamma", *(f"{name}, {bound}" for name in ("independent", "shuffled") for bound in bounds)], 2)
    assert table.to_numpy().tolist() == [[0.5, 1, 1, 1, 0.25, 0.25, 0.25], [0.9, 2, 2, 2, 0.5, 0.5, 0.5]]


def test_the_alternative_text_of_momentum_states_the_numbers_of_its_table():
    rows = pd.DataFrame({"step": [1, 36], "mean": [0.1, 0.2345]})
    assert momentum.momentum_alt(0.9, rows) == (
        "Momentum 0.9: the noise ratio goes from 0.10 at step 1 to 0.23 at step 36; the printed limit is 0.23."
    )
