"""Replays of LSB by hand, its identities on right and on wrong weights, and what noise in losses does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from study_stores import keep

from mtlrepro.analysis.verdicts import geometric_interval
from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb import method as lsb_method
from mtlrepro.studies.lsb.method import IDENTITIES, Recorded
from mtlrepro.studies.setting import Setting


def table(values, tasks="abc"):
    values = np.asarray(values, dtype=float)
    return pd.DataFrame(values, pd.RangeIndex(1, len(values) + 1, name="epoch"), list(tasks[: values.shape[1]]))


def falling(epochs=12, seed=0):
    """Noisy losses of three tasks that fall at different rates from different heights."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal((epochs, 3))
    trend = np.outer(np.arange(epochs), [-0.02, -0.1, -0.3]) + np.log([3.0, 0.5, 20.0])
    return table(np.exp(trend + noise))


def lsb_run(seed=0, **changes):
    losses = falling(seed=seed)
    return replace(Recorded("lsb", {}, seed, losses, lsb_method.weights(losses)), **changes)


# --- records


def test_losses_and_weights_are_read_from_a_record(tmp_path):
    config = Setting(scale="smoke").run(method="lsb", seed=3)
    losses = [dict.fromkeys(config.tasks, 2.0), dict(zip(config.tasks, [1.0, 0.5, 0.25], strict=True))]
    weights = [dict.fromkeys(config.tasks, 1 / 3)] * 2
    history = [
        {"epoch": n + 1, "losses": one, "weights": other}
        for n, (one, other) in enumerate(zip(losses, weights, strict=True))
    ]
    (run,) = lsb_method.recorded(Setting(scale="smoke", store=keep(tmp_path, config, history=history)), [config])
    assert (run.method, run.options, run.seed) == ("lsb", {}, 3)
    assert list(run.losses.columns) == list(run.weights.columns) == list(config.tasks)
    assert run.losses.to_numpy().tolist() == [[2.0, 2.0, 2.0], [1.0, 0.5, 0.25]]
    assert run.losses.index.tolist() == [1, 2]
    assert (run.weights == 1 / 3).all(axis=None)


def test_a_run_that_is_not_stored_is_refused(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    with pytest.raises(KeyError, match=f"run {setting.run().hash} is not stored"):
        lsb_method.recorded(setting, [setting.run()])


# --- replays


def test_replay_by_hand():
    """Losses (4, 1), then (2, 1), at rate 1/2: totals 5/2 and 15/8, so their ratio is 3/4 and beta(3) = 1/2."""
    found = lsb_method.replay(table([[4, 1], [2, 1], [1, 1]]), rate=0.5)
    assert found["epoch"].tolist() == [1, 1, 2, 2, 3, 3]
    assert found["task"].tolist() == ["a", "b"] * 3
    d = np.sqrt([2 / 3, 4 / 3])
    alpha = 2 / d.sum()
    third = alpha * d / 2 * 15 / 8 / [2, 1]
    expected = {
        "loss": [4, 1, 2, 1, 1, 1],
        "weight": [1 / 2, 1 / 2, 5 / 16, 5 / 4, *third],
        "scale": [2, 1 / 2, 5 / 8, 5 / 4, *third],
        "share": [4 / 5, 1 / 5, 1 / 3, 2 / 3, *(third / third.sum())],
        "beta": [0, 0, 0, 0, 1 / 2, 1 / 2],
        "difficulty": [1, 1, 1, 1, *d],
        "alpha": [1, 1, 1, 1, alpha, alpha],
    }
    for column, values in expected.items():
        np.testing.assert_allclose(found[column], values, rtol=1e-12, err_msg=column)


def test_largest_shares_are_named():
    found = lsb_method.replay(table([[4, 1], [2, 1], [1, 1]]), rate=0.0)
    assert lsb_method.largest_shares(found) == "epoch 1: a, 80%; epoch 2: b, 67%; epoch 3: b, 67%"


@pytest.mark.parametrize("priority", [None, [0.6, 0.3, 0.1]])
def test_replayed_weights_are_those_of_training_and_made_of_their_parts(priority):
    losses = falling()
    found = lsb_method.replay(losses, 0.7, priority)
    wide = {name: found.pivot(index="epoch", columns="task", values=name) for name in found.columns[2:]}
    options = {} if priority is None else {"priority": priority}
    np.testing.assert_allclose(wide["weight"], lsb_method.weights(losses, rate=0.7, **options), rtol=1e-12)
    pi = np.full(3, 1 / 3) if priority is None else np.array(priority)
    total = wide["scale"].sum(axis=1).shift()
    made = (wide["alpha"] * wide["difficulty"] * pi / losses.shift()).mul(total, axis=0)
    np.testing.assert_allclose(wide["weight"].iloc[1:], made.iloc[1:], rtol=1e-12)
    ratio = (losses.shift() / losses.shift(2)).div(total / total.shift(), axis=0)
    np.testing.assert_allclose(wide["difficulty"].iloc[2:], (ratio ** wide["beta"]).iloc[2:], rtol=1e-11)


def test_methods_that_step_within_an_epoch_are_refused():
    with pytest.raises(ValueError, match="method is 'pcgrad'; accepted: one with weights that change once per epoch"):
        lsb_method.weights(falling(), "pcgrad")


@pytest.mark.parametrize(
    ("tasks", "labels"),
    [(2, ["1/2", "0.8"]), (3, ["1/3", "0.5", "0.8"]), (8, ["1/8", "0.5", "0.8"])],
)
def test_priorities_start_equal_and_rise(tasks, labels):
    found = lsb_method.first_priorities(tasks)
    assert list(found) == labels
    assert next(iter(found.values())) == 1 / tasks
    assert sorted(found.values()) == list(found.values())


def test_replays_hold_each_rate_with_each_priority():
    losses = falling()
    found = lsb_method.replays(losses, [0.0, 0.5])
    assert list(found.groupby(["rate", "priority"], sort=False).groups) == [
        (rate, priority) for rate in (0.0, 0.5) for priority in ("1/3", "0.5", "0.8")
    ]
    one = found[(found["rate"] == 0.5) & (found["priority"] == "0.8")].drop(columns=["rate", "priority"])
    pd.testing.assert_frame_equal(one.reset_index(drop=True), lsb_method.replay(losses, 0.5, [0.8, 0.1, 0.1]))


def test_pictures_draw_the_replays_on_the_same_scale():
    replayed = lsb_method.replays(falling(), [0.0, 0.5])
    pictures = lsb_method.pictures(replayed)
    assert list(pictures)[:2] == [("0", "1/3"), ("0", "0.5")]
    assert len({alt for _, alt in pictures.values()}) == len(pictures) == 6
    assert len({figure.axes[0].get_ylim() for figure, _ in pictures.values()}) == 1
    for (rate, priority), (figure, _) in pictures.items():
        own = replayed[(replayed["rate"] == float(rate)) & (replayed["priority"] == priority)]
        left, right = figure.axes
        for line, task in zip(left.lines, "abc", strict=True):
            assert line.get_label() == task
            curve = own[own["task"] == task]
            np.testing.assert_array_equal(line.get_xdata(), curve["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), curve["weight"])
        shares = np.sum([line.get_ydata() for line in right.lines[:3]], axis=0)
        np.testing.assert_allclose(shares, 1)
        targets = sorted(line.get_ydata()[0] for line in right.lines[3:])
        first = lsb_method.first_priorities(3)[priority]
        np.testing.assert_allclose(targets, sorted({first, (1 - first) / 2}))


def test_steps_are_the_largest_change_from_the_third_epoch_on():
    rows = [(0.0, "1/2", epoch, "a", w) for epoch, w in enumerate([100, 1, 1, 4, 2], start=1)]
    rows += [(0.0, "1/2", epoch, "b", w) for epoch, w in enumerate([1, 1, 2, 2, 10], start=1)]
    replayed = pd.DataFrame(rows, columns=["rate", "priority", "epoch", "task", "weight"])
    (row,) = lsb_method.steps(replayed.sort_values("epoch", kind="stable")).itertuples(index=False)
    assert row[:2] == (0.0, "1/2")
    assert row.factor == pytest.approx(5)


def test_the_finding_states_shares_and_steps():
    replayed = lsb_method.replays(falling(), [0.0, 0.5])
    text = lsb_method.replay_finding(replayed)
    steps = lsb_method.steps(replayed).set_index(["rate", "priority"])["factor"]
    first = replayed[(replayed["task"] == "a") & (replayed["epoch"] >= 2) & (replayed["rate"] == 0)]
    assert f"{first[first['priority'] == '0.8']['share'].mean():.2f} at priority 0.8" in text
    assert f"{steps[0.0, '1/3']:.3g} at rate 0, {steps[0.5, '1/3']:.3g} at rate 0.5." in text


# --- identities


def constant_weights(losses, method="lsb", **options):
    """Equal weights in place of LSB's: wrong in everything but the start."""
    if method != "lsb":
        return REAL_WEIGHTS(losses, method, **options)
    return pd.DataFrame(1 / losses.shape[1], losses.index, losses.columns)


REAL_WEIGHTS = lsb_method.weights


@pytest.mark.parametrize(
    ("source", "error"), IDENTITIES.values(), ids=[error.__name__ for _, error in IDENTITIES.values()]
)
def test_identities_hold_for_lsb(source, error):
    assert error(lsb_run()) < 1e-11


@pytest.mark.parametrize("name", ["scale_invariance", "balance", "lagged_gls", "lag", "equal_difficulty"])
def test_identities_of_replays_fail_for_other_weights(monkeypatch, name):
    run = lsb_run()
    monkeypatch.setattr(lsb_method, "weights", constant_weights)
    assert getattr(lsb_method, name)(run) > 0.1


def test_identities_of_records_fail_by_as_much_as_a_weight_is_wrong():
    run = lsb_run()
    wrong = run.weights.copy()
    wrong.iloc[0, 1] *= 1.5
    assert lsb_method.start(replace(run, weights=wrong)) == pytest.approx(0.5)
    assert lsb_method.same_weights(replace(run, weights=wrong)) == pytest.approx(1 / 3)
    doubled = run.weights.copy()
    doubled.iloc[-1] *= 2
    assert lsb_method.conservation(replace(run, weights=doubled)) == pytest.approx(1)
    assert lsb_method.conservation(replace(run, weights=run.weights.shift(-1).ffill())) > 0.01


def test_recorded_options_are_those_of_the_replay():
    losses = falling()
    options = {"rate": 0.5, "priority": [1.0, 2.0, 3.0]}
    run = Recorded("lsb", options, 0, losses, lsb_method.weights(losses, **options))
    assert lsb_method.same_weights(run) == 0
    assert lsb_method.same_weights(replace(run, options={})) > 0.1


def test_claims_are_judged_in_every_run():
    runs = [lsb_run(seed) for seed in range(3)]
    assert [verdict.status for verdict in lsb_method.claims(runs)] == ["holds"] * len(IDENTITIES)
    assert {verdict.kind for verdict in lsb_method.claims(runs)} == {"identity"}
    runs[2] = replace(runs[2], weights=2 * runs[2].weights)
    statuses = {
        error.__name__: one.status for (_, error), one in zip(IDENTITIES.values(), lsb_method.claims(runs), strict=True)
    }
    assert {name for name, status in statuses.items() if status != "holds"} == {"start", "same_weights"}


# --- noise


def test_difficulties_are_changes_of_log_losses_less_their_mean_over_tasks():
    losses = falling()
    found = lsb_method.difficulties(losses)
    changes = np.log(losses).diff().shift().iloc[2:]
    assert found.index.tolist() == list(range(3, 13))
    np.testing.assert_allclose(found, changes.sub(changes.mean(axis=1), axis=0), atol=1e-12)


def test_noise_of_a_loss_that_swings():
    """Log losses of +-s: the change is 2 s either way, less its mean over two tasks s; neighbours are opposite."""
    s, epochs = 0.25, 18
    losses = table(np.exp([[s * (-1) ** n, 0.0] for n in range(epochs)]))
    found = lsb_method.noise([Recorded("lsb", {}, 7, losses, losses)])
    assert found["epochs"].unique().tolist() == ["3 to 10", "11 to 18"]
    assert found["seed"].unique().tolist() == [7]
    np.testing.assert_allclose(found["mean"], 0, atol=1e-12)
    np.testing.assert_allclose(found["ratio"], 0, atol=1e-11)
    np.testing.assert_allclose(found["deviation"], s * np.sqrt(8 / 7), rtol=1e-9)
    np.testing.assert_allclose(found["correlation"], -1, rtol=1e-9)


def test_noise_that_is_new_in_every_epoch_correlates_by_minus_a_half_whatever_the_trend():
    generator = np.random.default_rng(0)
    logs = 0.05 * generator.standard_normal((2000, 2)) + np.outer(np.arange(2000), [-0.01, -0.002])
    found = lsb_method.noise([Recorded("lsb", {}, 0, table(np.exp(logs)), table(logs))])
    np.testing.assert_allclose(found["correlation"], -0.5, atol=0.05)
    np.testing.assert_allclose(found["mean"], [-0.004, 0.004] * 2, atol=2e-4)
    # The difference of two tasks and two epochs has twice the variance of either, half of it after the mean is taken.
    np.testing.assert_allclose(found["deviation"], 0.05, rtol=0.05)


def measured_noise():
    rows = []
    for seed, ratio in enumerate([0.1, 0.125, 0.15]):
        for epochs in ("3 to 11", "12 to 20"):
            rows += [(seed, epochs, "a", 0.01, 0.05, ratio, -0.4), (seed, epochs, "b", 0.01, 0.1, 2 * ratio, -0.5)]
    return pd.DataFrame(rows, columns=["seed", "epochs", "task", "mean", "deviation", "ratio", "correlation"])


def test_the_table_of_noise_averages_over_seeds():
    found = lsb_method.noise_table(measured_noise())
    assert list(zip(found["epochs"], found["task"], strict=True)) == [
        (epochs, task) for epochs in ("3 to 11", "12 to 20") for task in "ab"
    ]
    first = found.iloc[0]
    ratio = geometric_interval([0.1, 0.125, 0.15])
    assert first[["mean over deviation", "mean over deviation low", "mean over deviation high"]].tolist() == (
        pytest.approx([ratio.value, ratio.low, ratio.high])
    )
    assert first[["correlation", "correlation low"]].tolist() == pytest.approx([-0.4] * 2)
    assert (first["β that doubles"], first["factor at the last β"]) == pytest.approx((np.log(2) / 0.05, np.e))


def test_the_finding_on_noise_is_about_the_second_half():
    measured = measured_noise()
    measured.loc[measured["epochs"] == "3 to 11", ["deviation", "ratio", "correlation"]] = 0.9
    text = lsb_method.noise_finding(lsb_method.noise_table(measured))
    assert "In epochs 12 to 20 the mean log difficulty is 0.12 to 0.25 of its deviations, and neighbouring" in text
    assert "correlate by -0.5 to -0.4, where noise that is new in every epoch gives -0.5" in text
    assert "doubles a weight at β = 6.9 to 14, and makes it 2.7 to 7.4 times as large at β = 20" in text


@pytest.mark.parametrize(("shift", "status"), [(0.0, "holds"), (0.75, "inconclusive"), (9.0, "does not hold")])
def test_noise_is_judged_by_the_task_that_stands_out_most(shift, status):
    measured = measured_noise()
    measured["ratio"] += shift
    verdict = lsb_method.noise_claim(measured)
    assert verdict.status == status
    assert verdict.measured.value == pytest.approx(0.25 + shift, rel=0.03)
    assert verdict.measured.low > 0
    assert (verdict.kind, verdict.finding) == ("ours", 0)


def test_the_figure_of_noise_draws_its_table():
    curves = lsb_method.noise_curves(lsb_run())
    losses, difficulties = (axes.lines[:3] for axes in lsb_method.noise_figure(curves).axes)
    for lines, quantity in ((losses, "loss"), (difficulties, "log difficulty")):
        for line, task in zip(lines, "abc", strict=True):
            own = curves[(curves["quantity"] == quantity) & (curves["task"] == task)]
            np.testing.assert_array_equal(line.get_xydata(), own[["epoch", "value"]])
    np.testing.assert_array_equal(losses[0].get_ydata(), falling()["a"])
