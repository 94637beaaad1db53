import math

import numpy as np
import pandas as pd
import pytest
import torch
from noise_cases import BATCH, CHAINS, SAMPLES, SEEDS, SMALL, check

from mtlrepro.analysis.verdicts import geometric_interval
from mtlrepro.studies.noise import digits, training


def test_training_that_blows_up_names_step_and_task():
    with pytest.raises(
        FloatingPointError, match=r"^step 2: loss of task left, right, sum is not finite; lower the learning rate"
    ):
        digits.snapshots(1, SAMPLES, 3, **{**SMALL, "learning_rate": 1e200})
    with pytest.raises(
        FloatingPointError, match=r"^step \d+: loss of task .*sum is not finite; lower the learning rate$"
    ):
        training.training_error(1, SAMPLES, [0.9], 30, chains=1, **{**SMALL, "learning_rate": 1e100})


def test_momentum_while_training(moving):
    check(
        moving,
        ["seed", "gamma", "step", "noise", "lag", "total", "signal", "cross", "predicted", "assumed"],
        SEEDS * 3 * 12,
    )
    assert moving.groupby(["seed", "gamma"])["step"].apply(list).tolist() == [list(range(1, 13))] * SEEDS * 3
    np.testing.assert_allclose(moving["noise"] + moving["lag"] + moving["cross"], moving["total"], rtol=1e-10)
    norms = np.sqrt(moving[["noise", "lag", "total"]])
    assert (norms["total"] <= (norms["noise"] + norms["lag"]) * (1 + 1e-12)).all()
    assert (norms["total"] >= (norms["noise"] - norms["lag"]).abs() * (1 - 1e-12)).all()


def test_there_is_no_lag_without_momentum_nor_at_the_first_step(moving):
    plain = moving[moving["gamma"] == 0]
    assert (plain["lag"] == 0).all()
    assert (plain["total"] == plain["noise"]).all()
    np.testing.assert_allclose(plain["predicted"], plain["noise"], rtol=1e-6)
    first = moving[moving["step"] == 1]
    assert (first["lag"] <= 1e-28 * first["signal"]).all()  # (1 - gamma) x / (1 - gamma) rounds
    later = moving[(moving["step"] > 1) & (moving["gamma"] > 0)]
    assert (later["lag"] > 1e-8 * later["signal"]).all()


def test_all_momenta_start_from_the_same_network_and_batch(moving):
    first = moving[moving["step"] == 1]
    for _, rows in first.groupby("seed"):
        np.testing.assert_allclose(rows[["noise", "predicted"]], rows["noise"].iloc[0], rtol=1e-12)
        np.testing.assert_allclose(rows["signal"], rows["signal"].iloc[0], rtol=1e-12)


def test_the_first_step_by_hand(moving):
    """Gradients in float32 against those in float64: the noise is the mean over the chains."""
    (snapshot,) = digits.snapshots(1, SAMPLES, 0, **SMALL)  # the same initial network and images
    gradients = snapshot.gradients.mean(0)
    full = gradients.mean(0)
    index = torch.randint(SAMPLES, (CHAINS, BATCH), generator=snapshot.generator(8))
    first = moving[(moving["seed"] == 0) & (moving["step"] == 1)].iloc[0]
    noise = (gradients[index].mean(1) - full).square().sum(1)
    assert noise.std() > 0.01 * noise.mean()
    assert math.isclose(first["signal"], full.square().sum().item(), rel_tol=1e-5)
    assert math.isclose(first["noise"], noise.mean().item(), rel_tol=1e-5)


def test_chains_of_a_seed_start_alike_and_drift_apart():
    one, three = (training.training_error(1, SAMPLES, [0.9], 4, chains=chains, **SMALL) for chains in (1, 3))
    assert math.isclose(one["signal"][0], three["signal"][0], rel_tol=1e-6)
    assert not math.isclose(one["signal"][3], three["signal"][3], rel_tol=1e-6)


def test_there_is_no_lag_while_the_parameters_stand_still():
    table = training.training_error(1, SAMPLES, [0.9], 6, chains=2, **{**SMALL, "learning_rate": 0.0})
    assert (table["lag"] < 1e-28 * table["signal"]).all()
    np.testing.assert_allclose(table["total"], table["noise"], rtol=1e-10)
    np.testing.assert_allclose(table["signal"], table["signal"][0], rtol=1e-12)


def test_predicted_noise_adds_the_noise_of_the_steps_by_their_squared_weights():
    """At parameters that stand still: Eq. 8 with the noise that each batch happened to have."""
    still = {**SMALL, "learning_rate": 0.0}
    plain, heavy = (training.training_error(1, SAMPLES, [gamma], 5, chains=2, **still) for gamma in (0.0, 0.8))
    for t in range(1, 6):
        weights = 0.2 * 0.8 ** np.arange(t - 1, -1, -1) / (1 - 0.8**t)
        assert math.isclose(heavy["predicted"][t - 1], (weights**2 * plain["noise"][:t]).sum(), rel_tol=1e-6)
    # Eq. 8 takes the noise of all steps as that of the current one.
    for t in range(1, 6):
        factor = 0.2 / 1.8 * (1 - 0.8 ** (2 * t)) / (1 - 0.8**t) ** 2
        assert math.isclose(heavy["assumed"][t - 1], factor * plain["noise"][t - 1], rel_tol=1e-6)
    # The noise itself has cross terms, which only their mean does not.
    assert not np.allclose(heavy["predicted"][1:], heavy["noise"][1:], rtol=1e-3)


def test_training_with_momentum_needs_a_momentum():
    with pytest.raises(ValueError, match=r"^gammas is \[\]; accepted: one or more, at least 0$"):
        training.training_error(1, SAMPLES, [], 3, chains=1, **SMALL)


def test_error_parts_are_geometric_means_of_every_tenth_step():
    table = pd.DataFrame(
        [
            {"seed": seed, "gamma": 0.9, "step": step, "noise": 4.0**seed, "lag": 1.0, "total": 9.0, "signal": 2.0}
            for seed in (0, 1)
            for step in range(1, 21)
        ]
    )
    parts = training.error_parts(table)
    check(parts, ["gamma", "part", "step", "mean", "low", "high"], 3 * 2)
    assert sorted(parts["step"].unique()) == [10, 20]
    assert list(parts["part"].unique()) == ["noise", "lag", "signal"]
    np.testing.assert_allclose(parts.loc[parts["part"] == "noise", "mean"], 2)  # of 1 and 4
    np.testing.assert_allclose(parts.loc[parts["part"] == "signal", "mean"], 2)
    assert (parts["low"] > 0).all()
    np.testing.assert_allclose(parts["low"] * parts["high"], parts["mean"] ** 2)


def test_error_parts_leave_out_a_lag_of_zero(moving):
    parts = training.error_parts(moving)
    assert set(parts.loc[parts["gamma"] == 0, "part"]) == {"noise", "signal"}
    assert set(parts.loc[parts["gamma"] == 0.9, "part"]) == {"noise", "lag", "signal"}


LATE = pd.DataFrame(
    {
        "noise": [10.0, 10.0, 4.0, 4.0],
        "lag": [1.0, 4.0, 8.0, 8.0],
        "cross": [2.0, -2.0, 4.0, 4.0],
        "total": [13.0, 12.0, 16.0, 16.0],
        "assumed": [5.0, 20.0, 4.0, 4.0],
    },
    index=pd.MultiIndex.from_product([(0.5, 0.9), (0, 1)], names=["gamma", "seed"]),
)


def test_the_caption_of_the_training_states_the_noise_over_that_of_the_current_parameters():
    assert training.noise_finding(LATE) == (
        "In the second half, the noise over that of Eq. 8 at the current parameters is"
        f" {geometric_interval([2, 0.5])} at γ = 0.5, 1.00 [1.00, 1.00] at γ = 0.9."
    )


def test_the_parts_of_the_error_add_up_in_caption_and_table(moving):
    assert training.part_finding(LATE) == (
        "Noise, lag and the cross term 2⟨noise, lag⟩ add up to the whole: 1 + 0.250 + (0) = 1.25 at γ = 0.5,"
        " 1 + 2.00 + (1.00) = 4.00 at γ = 0.9."
    )
    table = training.part_table(moving).table
    assert table["γ"].tolist() == [0, 0.7, 0.9]
    sums = table["noise"] + table["lag"] + table["2⟨noise, lag⟩"]
    np.testing.assert_allclose(sums, table["whole error"], rtol=1e-10)
    assert (table["lag low"] >= 0).all()
