"""The chapter's experiments on two small snapshots: form of the tables, identities, and known limits."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mtlrepro import noise
from mtlrepro.analysis import summaries
from mtlrepro.analysis.verdicts import geometric_interval
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import DigitNet
from mtlrepro.studies.noise import digits as study
from mtlrepro.tasks import TWO_DIGITS

TASKS = ["left", "right", "sum"]
SEEDS, SAMPLES, BATCH = 2, 64, 8
SMALL = {"learning_rate": 0.05, "batch_size": BATCH, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def taken(one_thread):
    return study.snapshots(SEEDS, SAMPLES, 5, **SMALL)


@pytest.fixture(scope="module")
def moving(one_thread):
    return study.momentum_while_training(SEEDS, SAMPLES, [0.0, 0.7, 0.9], 12, **SMALL)


def check(table, columns, rows):
    """A finite table with these columns, that many rows, and no row twice."""
    assert table.columns.tolist() == columns
    assert len(table) == rows
    assert np.isfinite(table.select_dtypes("number").to_numpy(dtype=float)).all()
    assert not table.isna().any(axis=None)
    assert table.index.tolist() == list(range(rows))


# --- snapshots


def test_snapshots_hold_the_losses_and_gradients_of_their_network(taken):
    assert [snapshot.seed for snapshot in taken] == [0, 1]
    for snapshot in taken:
        assert snapshot.gradients.shape == (3, SAMPLES, 2700)
        assert snapshot.gradients.dtype == snapshot.losses.dtype == snapshot.data.images.dtype == torch.float64
        assert not snapshot.losses.requires_grad
        assert not snapshot.gradients.requires_grad
        torch.testing.assert_close(snapshot.losses, study.task_losses(snapshot.model, snapshot.data).detach())
        for row in (0, SAMPLES - 1):
            losses = study.task_losses(snapshot.model, snapshot.data[row : row + 1])
            for k in range(3):
                gradient = study.shared_gradient(losses[k], snapshot.model)
                torch.testing.assert_close(snapshot.gradients[k, row], gradient, rtol=1e-10, atol=1e-14)


def test_snapshots_train_by_momentum_on_the_mean_loss():
    """Two steps by hand from the same initial parameters and batches."""
    (found,) = study.snapshots(1, SAMPLES, 2, **SMALL)
    data = two_digits(SAMPLES).to("cpu", torch.float64)
    torch.manual_seed(0)
    model = DigitNet().double()
    generator = found.generator(7)
    velocity = None
    for _ in range(2):
        part = data[torch.randint(SAMPLES, (BATCH,), generator=generator)]
        outputs = model(part.images)
        loss = sum(task.loss(outputs[task.name], part.targets).mean() for task in TWO_DIGITS) / 3
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        velocity = gradients if velocity is None else [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        with torch.no_grad():
            for parameter, v in zip(model.parameters(), velocity, strict=True):
                parameter -= 0.05 * v
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found.model.get_parameter(name), parameter)


def test_snapshots_are_the_same_again_and_whatever_was_drawn_before(taken):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    (again,) = study.snapshots(1, SAMPLES, 5, **SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(again.gradients, taken[0].gradients)
    assert torch.equal(again.losses, taken[0].losses)


def test_seeds_differ_in_images_and_parameters(taken):
    first, second = taken
    assert not torch.equal(first.data.images, second.data.images)
    assert not torch.equal(next(first.model.parameters()), next(second.model.parameters()))


def test_generators_repeat_and_differ_between_studies_and_seeds(taken):
    def draw(snapshot, number):
        return torch.rand(4, generator=snapshot.generator(number)).tolist()

    assert draw(taken[0], 1) == draw(taken[0], 1)
    draws = [tuple(draw(snapshot, number)) for snapshot in taken for number in range(10)]
    assert len(set(draws)) == len(draws)


def test_batches_are_weights_where_the_gradients_are(taken):
    weights = taken[0].batches(BATCH, 5, taken[0].generator(0), replacement=False)
    assert weights.shape == (5, SAMPLES)
    assert weights.dtype == torch.float64
    assert sorted(set(weights.flatten().tolist())) == [0, 1 / BATCH]


@pytest.mark.parametrize(
    ("samples", "batch_size"),
    [(64, 7), (64, 1), (64, 12), (64, 128)],
    ids=["odd", "one", "no divisor", "more than samples"],
)
def test_batch_sizes_that_do_not_fit_are_refused(samples, batch_size):
    message = f"^batch_size is {batch_size}; accepted: an even divisor of samples, which is {samples}, below it$"
    with pytest.raises(ValueError, match=message):
        study.snapshots(1, samples, 1, learning_rate=0.05, batch_size=batch_size, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(device):
    message = f"^device is '{device}', but PyTorch finds no CUDA device; accepted here: 'cpu'$"
    with pytest.raises(ValueError, match=message):
        study.snapshots(1, SAMPLES, 1, learning_rate=0.05, batch_size=BATCH, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_sees_the_same_networks_and_batches(taken):
    (found,) = study.snapshots(1, SAMPLES, 5, learning_rate=0.05, batch_size=BATCH, device="cuda")
    torch.testing.assert_close(found.gradients.cpu(), taken[0].gradients, rtol=1e-6, atol=1e-10)
    weights = [s.batches(BATCH, 3, s.generator(1)).cpu() for s in (found, taken[0])]
    assert torch.equal(*weights)


def test_training_that_blows_up_names_step_and_task():
    with pytest.raises(
        FloatingPointError, match=r"^step 2: loss of task left, right, sum is not finite; lower the learning rate"
    ):
        study.snapshots(1, SAMPLES, 3, **{**SMALL, "learning_rate": 1e200})
    with pytest.raises(
        FloatingPointError, match=r"^step \d+: loss of task .*sum is not finite; lower the learning rate$"
    ):
        study.momentum_while_training(1, SAMPLES, [0.9], 30, **{**SMALL, "learning_rate": 1e100})


def test_training_that_blows_up_in_the_last_step_is_refused_too():
    with pytest.raises(FloatingPointError, match="is not finite"):
        study.snapshots(1, SAMPLES, 1, **{**SMALL, "learning_rate": 1e200})


# --- summaries


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        (list(range(10)), 4, [0, 3, 6, 9]),
        ([5, 6], 4, [5, 6]),
        ([5, 6, 7, 8], 4, [5, 6, 7, 8]),
        ([5, 6, 7], 2, [5, 7]),
        ([5], 4, [5]),
    ],
)
def test_spread(values, count, expected):
    assert study.spread(values, count) == expected


@pytest.mark.parametrize("count", [1, 3])
def test_examples_are_the_first_training_images(taken, count):
    figure, table = study.examples(SAMPLES, count)
    check(table, ["left", "right", "brightness", "sum"], count)
    data = taken[0].data
    assert table["left"].tolist() == data.targets["left"][:count].tolist()
    assert table["right"].tolist() == data.targets["right"][:count].tolist()
    assert (table["sum"] == table["left"] + table["right"]).all()
    np.testing.assert_allclose(table["brightness"], data.images[:count].mean((1, 2, 3)), rtol=1e-6)
    for axes, row in zip(figure.axes, table.itertuples(), strict=True):
        assert axes.get_title() == f"{row.left}, {row.right}; {row.sum}"
        np.testing.assert_array_equal(axes.images[0].get_array(), data.images[row.Index, 0])


def test_overview(taken):
    table = study.overview(taken, BATCH)
    check(table, ["task", "loss", "signal", "noise"], 3)
    assert table["task"].tolist() == TASKS
    np.testing.assert_allclose(table["loss"], (taken[0].losses + taken[1].losses) / 2)
    full = torch.stack([snapshot.gradients.mean(1) for snapshot in taken])
    np.testing.assert_allclose(table["signal"], full.square().sum(2).mean(0))
    np.testing.assert_allclose(
        study.overview(taken, 2 * BATCH)[["signal", "noise"]], table[["signal", "noise"]] / [1, 2]
    )


def test_powers(taken):
    signal, power = study.powers(taken[0], BATCH)
    rows = taken[0].gradients[1]
    torch.testing.assert_close(signal[1], rows.mean(0).square().sum())
    torch.testing.assert_close(power[1], (rows - rows.mean(0)).square().sum() / SAMPLES / BATCH)


# --- Eq. 2 and Section 5


def test_an_epoch_averages_to_the_full_loss_and_gradient_up_to_rounding(taken):
    table = study.epoch_identity(taken, BATCH)
    check(table, ["seed", "task", "loss", "gradient"], SEEDS * 3)
    assert table["task"].tolist() == TASKS * SEEDS
    assert (table[["loss", "gradient"]] < 1e-12).all(axis=None)


def test_the_epoch_identity_fails_for_batches_of_unequal_size(taken):
    """The check can fail: 64 samples in batches of 60 and 4 do not average to the full gradient."""
    table = study.epoch_identity(taken, 60)
    assert (table[["loss", "gradient"]] > 1e-3).all(axis=None)


def test_monte_carlo(taken):
    table = study.monte_carlo(taken, BATCH, [1, 4, 16], 300)
    check(table, ["seed", "task", "batches", "error", "expected"], SEEDS * 3 * 3)
    np.testing.assert_allclose(table["expected"], table["batches"] ** -0.5, rtol=1e-15)
    np.testing.assert_allclose(table["error"], table["expected"], rtol=0.1)
    slopes = summaries.slopes(table, "batches", "error", ["seed"])["slope"]
    np.testing.assert_allclose(slopes, -0.5, atol=0.03)


def test_noise_by_batch_size(taken):
    table = study.noise_by_batch_size(taken, [2, 8, 32], 1500)
    columns = ["seed", "task", "sampling", "batch", "power", "appendix", "factor", "ratio", "ratio_exact"]
    check(table, columns, SEEDS * 2 * 3 * 3)
    replaced = table["sampling"] == "with replacement"
    assert (table.loc[replaced, "factor"] == 1).all()
    np.testing.assert_allclose(table.loc[~replaced, "factor"], (64 - table.loc[~replaced, "batch"]) / 63, rtol=1e-15)
    np.testing.assert_allclose(table["ratio"], table["power"] / table["appendix"])
    np.testing.assert_allclose(table["ratio_exact"], table["ratio"] / table["factor"])
    np.testing.assert_allclose(
        table["appendix"], table.groupby(["seed", "task"])["appendix"].transform("max") * 2 / table["batch"]
    )
    np.testing.assert_allclose(table["ratio_exact"], 1, atol=0.1)
    # Half of all samples without replacement: half the noise that the appendix says.
    assert (table.loc[~replaced & (table["batch"] == 32), "ratio"] < 0.6).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([2, 64], "sizes go up to 64; accepted: below the number of samples, 64"),
        ([2, 100], "sizes go up to 100; accepted: below the number of samples, 64"),
        ([4], "sizes is [4]; accepted: two or more batch sizes"),
        ([4, 4], "sizes is [4, 4]; accepted: two or more batch sizes"),
        ([], "sizes is []; accepted: two or more batch sizes"),
    ],
)
def test_sizes_that_cannot_be_compared_are_refused(taken, sizes, message):
    with pytest.raises(ValueError) as refusal:
        study.noise_by_batch_size(taken, sizes, 3)
    assert str(refusal.value) == message


# --- momentum


def test_momentum_noise(taken):
    table = study.momentum_noise(taken, [0.0, 0.5, 0.8], BATCH, 300)
    columns = ["seed", "task", "gamma", "step", "ratio", "finite", "limit", "ratio_finite", "ratio_limit"]
    steps = {gamma: rows["step"].unique().tolist() for gamma, rows in table.groupby("gamma")}
    check(table, columns, SEEDS * 3 * sum(map(len, steps.values())))
    assert [(marks[0], marks[-1]) for marks in steps.values()] == [(1, 4), (1, 8), (1, 20)]
    assert all(marks == sorted(set(marks)) for marks in steps.values())
    for row in table.itertuples():
        assert math.isclose(row.finite, noise.momentum_power_factor(row.gamma, row.step) ** 0.5)
        assert math.isclose(row.limit, study.momentum_limit(row.gamma))
        assert math.isclose(row.ratio_finite, row.ratio / row.finite)
        assert math.isclose(row.ratio_limit, row.ratio / row.limit)
    np.testing.assert_allclose(table["ratio_finite"], 1, atol=0.12)
    # The first step is far below the limit that Eq. 8 prints: sqrt((1 - gamma)(1 + gamma)) of it.
    first = table[(table["step"] == 1) & (table["gamma"] == 0.8)]
    np.testing.assert_allclose(first["ratio_limit"], 0.6, atol=0.07)
    last = table[table.groupby("gamma")["step"].transform("max") == table["step"]]
    np.testing.assert_allclose(last["finite"], last["limit"], rtol=1e-3)


def test_momentum_limit():
    assert math.isclose(study.momentum_limit(0.9), math.sqrt(0.1 / 1.9))
    assert study.momentum_limit(0.0) == 1


def test_momentum_while_training(moving):
    check(moving, ["seed", "gamma", "step", "noise", "lag", "total", "signal", "predicted"], SEEDS * 3 * 12)
    assert moving.groupby(["seed", "gamma"])["step"].apply(list).tolist() == [list(range(1, 13))] * SEEDS * 3
    norms = np.sqrt(moving[["noise", "lag", "total"]])
    assert (norms["total"] <= (norms["noise"] + norms["lag"]) * (1 + 1e-12)).all()
    assert (norms["total"] >= (norms["noise"] - norms["lag"]).abs() * (1 - 1e-12)).all()


def test_there_is_no_lag_without_momentum_nor_at_the_first_step(moving):
    plain = moving[moving["gamma"] == 0]
    assert (plain["lag"] == 0).all()
    assert (plain["total"] == plain["noise"]).all()
    np.testing.assert_allclose(plain["predicted"], plain["noise"], rtol=1e-12)
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
    (snapshot,) = study.snapshots(1, SAMPLES, 0, **SMALL)  # the same initial network and images
    gradients = snapshot.gradients.mean(0)
    full = gradients.mean(0)
    index = torch.randint(SAMPLES, (BATCH,), generator=snapshot.generator(8))
    first = moving[(moving["seed"] == 0) & (moving["step"] == 1)].iloc[0]
    assert math.isclose(first["signal"], full.square().sum().item(), rel_tol=1e-10)
    assert math.isclose(first["noise"], (gradients[index].mean(0) - full).square().sum().item(), rel_tol=1e-10)


def test_there_is_no_lag_while_the_parameters_stand_still():
    table = study.momentum_while_training(1, SAMPLES, [0.9], 6, **{**SMALL, "learning_rate": 0.0})
    assert (table["lag"] < 1e-28 * table["signal"]).all()
    np.testing.assert_allclose(table["total"], table["noise"], rtol=1e-10)
    np.testing.assert_allclose(table["signal"], table["signal"][0], rtol=1e-12)


def test_predicted_noise_adds_the_noise_of_the_steps_by_their_squared_weights():
    """At parameters that stand still: Eq. 8 with the noise that each batch happened to have."""
    still = {**SMALL, "learning_rate": 0.0}
    plain, heavy = (study.momentum_while_training(1, SAMPLES, [gamma], 5, **still) for gamma in (0.0, 0.8))
    for t in range(1, 6):
        weights = 0.2 * 0.8 ** np.arange(t - 1, -1, -1) / (1 - 0.8**t)
        assert math.isclose(heavy["predicted"][t - 1], (weights**2 * plain["noise"][:t]).sum(), rel_tol=1e-9)
    # The noise itself has cross terms, which only their mean does not.
    assert not np.allclose(heavy["predicted"][1:], heavy["noise"][1:], rtol=1e-3)


def test_training_with_momentum_needs_a_momentum():
    with pytest.raises(ValueError, match=r"^gammas is \[\]; accepted: one or more, at least 0$"):
        study.momentum_while_training(1, SAMPLES, [], 3, **SMALL)


def shuffled_power(gamma, per_epoch, step):
    """Expected noise power of momentum after a step over that of one batch: the noise of an epoch's batches sums to 0,
    so that any two of them have the correlation -1/(per_epoch - 1)."""
    weights = (1 - gamma) * gamma ** np.arange(step - 1, -1, -1)
    power = 0.0
    for epoch in range(0, step, per_epoch):
        own = weights[epoch : epoch + per_epoch]
        power += (own**2).sum() - ((own.sum()) ** 2 - (own**2).sum()) / (per_epoch - 1)
    return power


def test_momentum_shuffled(taken):
    gammas = [0.0, 0.5, 0.8]
    table = study.momentum_shuffled(taken, gammas, BATCH, 400)
    check(table, ["seed", "task", "gamma", "ratio_limit"], SEEDS * 3 * len(gammas))
    for gamma in gammas:
        settled = round(4 / (1 - gamma))
        power = np.mean([shuffled_power(gamma, SAMPLES // BATCH, settled + step) for step in range(8)])
        found = table.loc[table["gamma"] == gamma, "ratio_limit"]
        np.testing.assert_allclose(found, math.sqrt(power) / study.momentum_limit(gamma), rtol=0.06)
    assert (table.loc[table["gamma"] == 0.8, "ratio_limit"] < 0.9).all()  # or Eq. 8 would hold here too


def test_momentum_of_batches_of_all_samples_is_refused(taken):
    with pytest.raises(ValueError, match="batch_size"):
        study.momentum_shuffled(taken, [0.5], SAMPLES, 3)


def test_momentum_table():
    settled = pd.DataFrame({"seed": [0, 1, 0, 1], "gamma": [0.5, 0.5, 0.9, 0.9], "ratio_limit": [1.0, 1.0, 2.0, 2.0]})
    table = study.momentum_table(settled, settled.assign(ratio_limit=lambda rows: rows["ratio_limit"] / 4))
    bounds = ("mean", "low", "high")
    check(table, ["gamma", *(f"{name}, {bound}" for name in ("independent", "shuffled") for bound in bounds)], 2)
    assert table.to_numpy().tolist() == [[0.5, 1, 1, 1, 0.25, 0.25, 0.25], [0.9, 2, 2, 2, 0.5, 0.5, 0.5]]


def test_error_parts_are_geometric_means_of_every_tenth_step():
    table = pd.DataFrame(
        [
            {"seed": seed, "gamma": 0.9, "step": step, "noise": 4.0**seed, "lag": 1.0, "total": 9.0, "signal": 2.0}
            for seed in (0, 1)
            for step in range(1, 21)
        ]
    )
    parts = study.error_parts(table)
    check(parts, ["gamma", "part", "step", "mean", "low", "high"], 3 * 2)
    assert sorted(parts["step"].unique()) == [10, 20]
    assert list(parts["part"].unique()) == ["noise", "lag", "signal"]
    np.testing.assert_allclose(parts.loc[parts["part"] == "noise", "mean"], 2)  # of 1 and 4
    np.testing.assert_allclose(parts.loc[parts["part"] == "signal", "mean"], 2)
    assert (parts["low"] > 0).all()
    np.testing.assert_allclose(parts["low"] * parts["high"], parts["mean"] ** 2)


def test_error_parts_leave_out_a_lag_of_zero(moving):
    parts = study.error_parts(moving)
    assert set(parts.loc[parts["gamma"] == 0, "part"]) == {"noise", "signal"}
    assert set(parts.loc[parts["gamma"] == 0.9, "part"]) == {"noise", "lag", "signal"}


# --- the Gaussian assumption


def test_gaussianity(taken):
    kurtosis, quantiles = study.gaussianity(taken, [1, 4], 20_000, directions=3)
    check(kurtosis, ["seed", "task", "direction", "batch", "kurtosis", "expected"], SEEDS * 3 * 2 * 2)
    check(quantiles, ["direction", "batch", "normal", "noise"], 2 * 2 * 25)
    single, four = (kurtosis.loc[kurtosis["batch"] == size, "expected"].to_numpy() for size in (1, 4))
    np.testing.assert_allclose(four, single / 4, rtol=1e-12)
    assert np.abs(single).max() > 0.3  # or the next line would say nothing
    np.testing.assert_allclose(kurtosis["kurtosis"], kurtosis["expected"], atol=0.2)
    for _, rows in quantiles.groupby(["direction", "batch"]):
        np.testing.assert_allclose(rows["normal"], np.linspace(-3, 3, 25), atol=1e-12)
        assert rows["noise"].is_monotonic_increasing
        # Standardised: the quartiles of what is near a Gaussian are near -0.67 and 0.67.
        middle = np.interp([-0.6745, 0.6745], rows["normal"], rows["noise"])
        np.testing.assert_allclose(middle, [-0.6745, 0.6745], atol=0.25)


def test_the_expected_kurtosis_in_the_direction_of_most_noise(taken):
    kurtosis, _ = study.gaussianity(taken, [1], 10, directions=1)
    found = kurtosis.query("seed == 0 and task == 'sum' and direction == 'most noise'")["expected"].item()
    centred = taken[0].gradients[2] - taken[0].gradients[2].mean(0)
    leading = torch.linalg.svd(centred, full_matrices=False)[2][0]
    values = (centred @ leading).numpy()
    assert math.isclose(found, np.mean(values**4) / np.mean(values**2) ** 2 - 3, rel_tol=1e-6)


# --- combinations and weights


def test_universality(taken):
    table = study.universality(taken, [1.0, 0.5, 2.0], 3.0)
    columns = ["seed", "task", "combination", "weight", "closed", "difference", "gradient"]
    check(table, columns, SEEDS * 4 * 3)
    assert (table["difference"] < 1e-12).all()
    assert (table["gradient"] < 1e-12).all()
    np.testing.assert_allclose(table["weight"], table["closed"], rtol=1e-12)
    logs = table.query("seed == 1 and combination == 'sum of logs'")["closed"]
    np.testing.assert_allclose(logs, 1 / taken[1].losses)


def test_universality_notices_a_wrong_closed_form(taken, monkeypatch):
    wrong = noise.Combination("wrong", lambda losses: losses.square().sum(), lambda losses: losses)
    monkeypatch.setattr(noise, "combinations", lambda sigma, p: (wrong,))
    table = study.universality(taken, [1.0, 1.0, 1.0], 2.0)
    np.testing.assert_allclose(table["difference"], 1)
    np.testing.assert_allclose(table["gradient"], 0.5)


def test_weight_table(taken):
    table = study.universality(taken, [1.0, 0.5, 2.0], 3.0)
    wide = study.weight_table(table)
    check(wide, ["combination", *TASKS], 4)
    assert wide["combination"].tolist() == table["combination"].unique().tolist()
    np.testing.assert_allclose(wide.loc[wide["combination"] == "uncertainty", TASKS], [[0.5, 2.0, 0.125]])
    np.testing.assert_allclose(wide.loc[1, "sum"], np.mean([1 / snapshot.losses[2].item() for snapshot in taken]))


def test_printed_conditions():
    table = study.printed_conditions()
    check(table, ["combination", "weight", "usable"], 4)
    assert table["usable"].tolist() == [True, False, False, False]
    np.testing.assert_allclose(table["weight"], [1, (1e-9) ** (-2 / 3) / 3, 3e-18, -1], rtol=1e-5)
    assert study.printed_conditions(distance=1.0)["usable"].tolist() == [True, True, True, False]


def pcgrad(first, second):
    """PCGrad of two gradients, mean over tasks: each loses its part against the other."""
    edited = [own - min(0, own @ other) / (other @ other) * other for own, other in ((first, second), (second, first))]
    return (edited[0] + edited[1]) / 2


@pytest.mark.parametrize("angle", [1, 60, 89, 91, 120, 150, 175])
def test_pcgrad_weights_equal_a_direct_computation(angle):
    table = study.pcgrad_weights([angle])
    check(table, ["angle", "method", "mean"], 2)
    found = table.loc[table["method"] == "PCGrad", "mean"].item()
    first = np.array([1.0, 0.0])
    second = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    weights = np.linalg.solve(np.column_stack([first, second]), pcgrad(first, second))
    np.testing.assert_allclose(weights, [found, found], rtol=1e-10)
    assert math.isclose(found, (1 - min(math.cos(math.radians(angle)), 0)) / 2, rel_tol=1e-10)
    assert math.isclose(table.loc[table["method"] == "mean", "mean"].item(), 0.5, rel_tol=1e-10)


def test_span_residual(taken):
    table = study.span_residual(taken)
    check(table, ["seed", "method", "residual"], SEEDS * 3)
    assert table["method"].tolist() == ["mean", "PCGrad", "GradDrop"] * SEEDS
    residual = table.set_index("method")["residual"]
    assert (residual[["mean", "PCGrad"]] < 1e-12).all()
    assert (residual["GradDrop"] > 0.1).all()
    assert (residual <= 1).all()


# --- estimators and MaxGNR


def test_estimators_are_centred_on_the_exact_values(taken):
    table = study.estimators(taken, 32, 0.9, 150, rate=0.99, chains=6)
    check(table, ["seed", "task", "estimator", "quantity", "ratio"], SEEDS * 3 * 2 * 2)
    by = table.set_index("quantity")["ratio"]
    np.testing.assert_allclose(by["noise"], 1, atol=0.06)
    np.testing.assert_allclose(by["signal"], 1, atol=0.3)
    means = table.groupby(["estimator", "quantity"])["ratio"].mean()
    assert len(means) == 4
    np.testing.assert_allclose(means, 1, atol=0.12)


def test_readings_have_names_of_their_own():
    names = [study.reading_name(*reading) for reading in study.readings()]
    assert names == [
        "maxmin, narrow",
        "maxmin, narrow, own noise",
        "maxmin, broad",
        "maxmin, broad, own noise",
        "product, narrow",
        "product, narrow, own noise",
        "product, broad",
    ]


def test_closed_forms_equal_the_numeric_optimum(taken):
    table = study.closed_forms(taken, BATCH)
    check(table, ["seed", "task", "reading", "closed", "numeric", "difference", "gnr"], SEEDS * 7 * 3)
    assert (table["difference"] < 1e-5).all()
    np.testing.assert_allclose(table["numeric"], table["closed"], rtol=1e-5)
    np.testing.assert_allclose(table.groupby(["seed", "reading"])["closed"].sum(), 3)
    ratios = table[table["reading"].str.startswith("maxmin")].groupby(["seed", "reading"])["gnr"]
    np.testing.assert_allclose(ratios.max(), ratios.min(), rtol=1e-6)


def test_the_numeric_optimum_does_not_know_the_closed_form(monkeypatch):
    signal, power = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([3.0, 2.0, 1.0]).double()
    monkeypatch.setattr(noise, "gnr_weights", None)
    for scalarisation, itgn, own_noise in study.readings():
        weights = study.numeric_gnr_weights(signal, power, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise)
        assert (weights > 0).all()
        assert math.isclose(weights.sum().item(), 3)


@pytest.mark.parametrize("scalarisation", ["maxmin", "product"])
def test_an_optimiser_that_does_not_converge_is_an_error(monkeypatch, scalarisation):
    failed = SimpleNamespace(success=False, message="ran out of patience", x=np.zeros(4))
    monkeypatch.setattr(study.optimize, "minimize", lambda *args, **options: failed)
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"^numeric optimiser: ran out of patience$"):
        study.numeric_gnr_weights(ones, ones, scalarisation=scalarisation, itgn="narrow", own_noise=False)


def test_label_noise(taken):
    amounts = [0.0, 0.5, 2.0]
    table = study.label_noise(taken, amounts, BATCH)
    check(table, ["seed", "reading", "amount", "weight", "relative", "noise", "signal"], SEEDS * 7 * 3)
    for snapshot in taken:
        rows = table[table["seed"] == snapshot.seed].groupby("amount").first()
        signal, power = study.powers(snapshot, BATCH)
        # The mean gradient of a squared error does not change ...
        np.testing.assert_allclose(rows["signal"], signal[2], rtol=1e-10)
        # ... and with J the gradient of a prediction p, the rows 2 (p - t -+ a) J of mean g have the spread
        # 4 E (p - t)^2 |J|^2 + 4 a^2 E |J|^2 - |g|^2.
        slopes = [study.shared_gradient(p, snapshot.model) for p in snapshot.model(snapshot.data.images)["sum"][:, 0]]
        square = torch.stack(slopes).square().sum(1).mean().item()
        np.testing.assert_allclose(rows["noise"], [power[2] + 4 * a**2 * square / BATCH for a in amounts], rtol=1e-10)
    none = table[table["amount"] == 0]
    assert (none["relative"] == 1).all()
    own = table["reading"].isin(["maxmin, narrow, own noise", "maxmin, broad, own noise"])
    np.testing.assert_allclose(table.loc[own, "relative"], 1, rtol=1e-10)
    assert (table.loc[~own & (table["amount"] == 2), "relative"] < 0.9).all()
    first = table.groupby(["seed", "reading"])["weight"].transform("first")
    np.testing.assert_allclose(table["relative"], table["weight"] / first)


def test_label_noise_leaves_the_data_alone(taken):
    before = taken[0].data.targets["sum"].clone()
    study.label_noise(taken[:1], [1.0], BATCH)
    assert torch.equal(taken[0].data.targets["sum"], before)


def test_cross_terms(taken):
    table = study.cross_terms(taken, BATCH)
    check(table, ["seed", "pair", "noise", "gradient", "narrow", "broad"], SEEDS * 3)
    assert table["pair"].tolist() == ["left, right", "left, sum", "right, sum"] * SEEDS
    assert (table[["noise", "gradient"]].abs() <= 1).all(axis=None)
    # |a + b|^2 / (|a|^2 + |b|^2) lies within 1 - |r| and 1 + |r|, on the side of the correlation r.
    assert ((table["narrow"] - 1).abs() <= table["noise"].abs() + 1e-12).all()
    assert (np.sign(table["narrow"] - 1) == np.sign(table["noise"])).all()
    largest = table[["noise", "gradient"]].abs().max(axis=1)
    assert ((table["broad"] - 1).abs() <= largest + 1e-12).all()


def test_cross_terms_by_hand(taken):
    """Left and right with the same gradients, sum with the opposite of theirs."""
    rows = taken[0].gradients[0]
    same = study.Snapshot(0, taken[0].data, taken[0].model, torch.stack([rows, rows, -rows]), taken[0].losses)
    table = study.cross_terms([same], BATCH)
    for column in ("noise", "gradient"):
        np.testing.assert_allclose(table[column], [1, -1, -1])
    for column in ("narrow", "broad"):
        np.testing.assert_allclose(table[column], [2, 0, 0], atol=1e-10)


def test_cross_terms_measure_the_disturbance_of_the_third_task(taken):
    """Power of the weighted sum of left's and right's disturbances of sum, over all batches of one, by hand."""
    snapshot = taken[1]
    table = study.cross_terms([snapshot], 1)
    for itgn in ("narrow", "broad"):
        weights = noise.gnr_weights(*study.powers(snapshot, 1), itgn=itgn)
        shift = snapshot.gradients.mean(1, keepdim=True) if itgn == "narrow" else 0.0
        left, right, _ = weights[:, None, None] * (snapshot.gradients - shift)
        together, apart = (left + right).square().sum(), left.square().sum() + right.square().sum()
        assert math.isclose(table[itgn][0], (together / apart).item(), rel_tol=1e-10)


# --- captions


def test_captions_state_the_numbers_of_their_tables():
    rows = pd.DataFrame({"step": [1, 36], "mean": [0.1, 0.2345]})
    assert study.momentum_alt(0.9, rows) == (
        "Momentum 0.9: the noise ratio goes from 0.10 at step 1 to 0.23 at step 36; the printed limit is 0.23."
    )
    late = pd.DataFrame(
        {"lag": [1.0, 4.0, 8.0, 8.0], "noise": [10.0, 10.0, 4.0, 4.0]},
        index=pd.MultiIndex.from_product([(0.5, 0.9), (0, 1)], names=["gamma", "seed"]),
    )
    assert (
        study.lag_finding(late).count(f"{geometric_interval([0.1, 0.4])} at γ = 0.5, 2.00 [2.00, 2.00] at γ = 0.9") == 1
    )
    ends = pd.DataFrame({"direction": list("aabb"), "normal": [-3.0, 3.0] * 2, "noise": [-2.0, 4.26, -3.0, 3.0]})
    assert study.quantile_alt(8, ends).endswith("reaches 4.3 in the direction of a, 3.0 in the direction of b.")


def test_the_estimator_caption_counts_intervals_around_the_exact_value():
    bars = pd.DataFrame({"quantity": ["noise", "noise", "signal"], "low": [0.98, 1.01, 0.5], "high": [1.02, 1.02, 1.7]})
    assert study.estimator_finding(bars) == (
        "2 of 3 intervals contain the exact value. The widest reaches 2.0% to either side for the noise and 60% for the"
        " signal."
    )


def test_the_weight_caption_counts_different_weightings(taken):
    forms = pd.DataFrame(
        {
            "seed": 0,
            "task": ["left", "sum"] * 3,
            "reading": ["p", "p", "q", "q", "r", "r"],
            "closed": [1.0, 2.0, 1.0, 2.0 + 1e-12, 2.5, 0.5],
        }
    )
    assert study.weight_finding(forms) == (
        "3 readings of one sentence give 2 different weightings. Over readings and seeds the weight of sum runs from"
        " 0.50 to 2.0."
    )
    # With the own noise counted, max-min is the same in both readings of the disturbance, and so is the product,
    # narrow, with or without it.
    assert study.weight_finding(study.closed_forms(taken, BATCH)).startswith(
        "7 readings of one sentence give 5 different weightings."
    )


def test_the_label_caption_goes_by_the_intervals_at_the_most_noise():
    changes = pd.DataFrame(
        {
            "reading": ["p", "q", "r", "s"] * 2,
            "amount": [1.0] * 4 + [2.0] * 4,
            "mean": [0.1] * 4 + [1.0, 0.5, 0.25, 0.9],
            "low": [0.1] * 4 + [1.0, 0.4, 0.2, 0.7],
            "high": [0.1] * 4 + [1.0, 0.6, 0.3, 1.1],
        }
    )
    assert study.label_finding(changes) == (
        "Noise in one task's labels leaves its weight where it was under 2 readings (p; s); under the other 2 the"
        " weight changes to between 0.25 and 0.50 of its value."
    )


# --- determinism

CALLS = {
    "overview": lambda taken: study.overview(taken, BATCH),
    "epoch_identity": lambda taken: study.epoch_identity(taken, BATCH),
    "monte_carlo": lambda taken: study.monte_carlo(taken, BATCH, [1, 2], 5),
    "noise_by_batch_size": lambda taken: study.noise_by_batch_size(taken, [1, 4], 5),
    "momentum_noise": lambda taken: study.momentum_noise(taken, [0.5], BATCH, 3),
    "momentum_shuffled": lambda taken: study.momentum_shuffled(taken, [0.5], BATCH, 3),
    "momentum_while_training": lambda taken: study.momentum_while_training(1, SAMPLES, [0.9], 3, **SMALL),
    "gaussianity": lambda taken: study.gaussianity(taken, [2], 20, directions=2)[0],
    "quantiles": lambda taken: study.gaussianity(taken, [2], 20, directions=2)[1],
    "universality": lambda taken: study.universality(taken, [1.0, 1.0, 1.0], 2.0),
    "span_residual": study.span_residual,
    "estimators": lambda taken: study.estimators(taken, BATCH, 0.9, 5, rate=0.9, chains=2),
    "closed_forms": lambda taken: study.closed_forms(taken[:1], BATCH),
    "label_noise": lambda taken: study.label_noise(taken[:1], [0.0, 1.0], BATCH),
    "cross_terms": lambda taken: study.cross_terms(taken, BATCH),
}


@pytest.mark.parametrize("name", CALLS)
def test_equal_calls_give_equal_tables_whatever_was_drawn_before(taken, name):
    torch.manual_seed(1)
    first = CALLS[name](taken)
    torch.rand(3)
    pd.testing.assert_frame_equal(first, CALLS[name](taken), check_exact=True)


def test_rows_of_a_seed_do_not_depend_on_the_other_seeds(taken):
    both = study.monte_carlo(taken, BATCH, [1, 2], 5)
    alone = study.monte_carlo(taken[1:], BATCH, [1, 2], 5)
    pd.testing.assert_frame_equal(both[both["seed"] == 1].reset_index(drop=True), alone, check_exact=True)


def test_quantiles_do_not_depend_on_the_sign_of_an_eigenvector(taken, monkeypatch):
    before = study.gaussianity(taken, [1, 4], 20, directions=2)[1]
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (eigh(matrix)[0], -eigh(matrix)[1]))
    after = study.gaussianity(taken, [1, 4], 20, directions=2)[1]
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 7}, "batch_size is 7; accepted: an even divisor"),
        ({"batch_sizes": [4]}, "batch_sizes is .4.; accepted: two or more"),
        ({"batch_sizes": [4, 4]}, "accepted: two or more, all different, below 64"),
        ({"batch_sizes": [4, 64]}, "accepted: two or more, all different, below 64"),
        ({"gammas": [0.9]}, "gammas is .0.9.; accepted: two or more"),
        ({"gammas": [0.9, 0.9]}, "accepted: two or more, all different"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(changed, message):
    fitting = {"samples": 64, "batch_size": 8, "batch_sizes": [1, 4], "gammas": [0.0, 0.5]}
    study.check_parameters(**fitting)
    with pytest.raises(ValueError, match=message):
        study.check_parameters(**{**fitting, **changed})
