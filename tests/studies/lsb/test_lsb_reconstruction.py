"""The parts of LSB that are reconstructed, and what the open reading of the difficulty changes."""

import numpy as np
import pandas as pd
import pytest
from study_stores import keep, metrics_of

from mtlrepro.runs.store import Store
from mtlrepro.studies import trends
from mtlrepro.studies.lsb import grids, method, reconstruction
from mtlrepro.studies.lsb.reconstruction import DRAWN, INSIDE, VARIANT
from mtlrepro.studies.setting import Setting

LOSSES = {"depth": (4.0, 2.0), "normal": (1.0, 1.0), "curvature": (2.0, 1.5), "reshading": (1.0, 0.9)}
"""Loss of each task in the first two epochs."""


@pytest.fixture
def setting(tmp_path):
    """Runs of two epochs, in which the difficulty is not yet on, with recorded weights that are far from level."""
    setting = Setting(scale="smoke", store=Store(tmp_path))
    for run in reconstruction.runs(setting):
        history = []
        for epoch in (1, 2):
            losses = {task: values[epoch - 1] for task, values in LOSSES.items()}
            weights = dict(zip(LOSSES, (1.0, 2.0, 4.0, 8.0), strict=True))
            scales = {task: weights[task] * losses[task] for task in LOSSES}
            history.append({"epoch": epoch, "losses": losses, "weights": weights, "loss_scales": scales})
        better = 1.0 + 0.01 * bool(run.method_options.get("outside"))
        keep(tmp_path, run, history=history, metrics=metrics_of(run, better))
    return setting


def test_alpha_keeps_the_total_and_not_the_size_of_the_step():
    """Losses 10 and 0.1: the total stays at 5.05; weights 0.25 and 25 make a step 36 times as long as 1/2 and 1/2."""
    before, after = reconstruction.step_sizes((10.0, 0.1)).to_dict("records")
    assert (before["total"], after["total"]) == pytest.approx((5.05, 5.05))
    assert (before["step"], after["step"]) == pytest.approx((0.5**0.5, np.hypot(0.2525, 25.25)))
    caption = reconstruction.step_sizes_exhibit().caption
    assert "stays at 5.05" in caption
    assert "from 0.707 to 25.3" in caption


def test_factors_of_both_readings_differ_by_one_number_for_all_tasks():
    losses = pd.DataFrame(np.random.default_rng(0).uniform(0.1, 3, size=(12, 4)))
    run = method.Recorded("lsb", {"rate": 0.5}, 0, losses, losses)
    assert reconstruction.common_factor(run) < 1e-12
    both = [method.weights(losses, rate=0.5, outside=choice) for choice in (False, True)]
    assert np.abs(both[1] / both[0] - 1).to_numpy().max() > 0.1


def test_loss_scales_drawn_without_difficulty_are_the_changes_of_the_losses(setting):
    history = trends.history(setting, reconstruction.usual(setting))
    drawn = reconstruction.drawn_without_difficulty(history)
    second = drawn[(drawn["epoch"] == 2) & (drawn["seed"] == 0)].set_index("task")
    changes = pd.Series({task: after / before for task, (before, after) in LOSSES.items()})
    np.testing.assert_allclose(second["share"].loc[changes.index], 100 * changes / changes.sum())
    assert trends.spread(drawn).query("epoch == 2")["spread"].tolist() == pytest.approx(
        [np.log(changes).std(ddof=0)] * 3
    )


def test_drawn_loss_scales_do_not_depend_on_beta(setting):
    """The weights that were recorded do not enter."""
    history = trends.history(setting, reconstruction.usual(setting))
    tilted = history.assign(scale=history["scale"] ** 3, weight=1.0)
    pd.testing.assert_series_equal(
        reconstruction.drawn_without_difficulty(history)["share"],
        reconstruction.drawn_without_difficulty(tilted)["share"],
    )


def test_claims_and_exhibit_hold_both_readings_side_by_side(setting):
    identity, inside, drawn, same = reconstruction.claims(setting)
    assert (identity.kind, identity.status) == ("identity", "holds")
    assert (inside.case, inside.status) == (INSIDE, "does not hold")
    assert (drawn.case, drawn.kind) == (DRAWN, "ours")
    assert drawn.measured.value < inside.measured.value
    assert same.measured.value == pytest.approx(1, rel=0.01)  # all metrics are better by 1 %
    assert same.status == "holds"
    shown = reconstruction.outside_exhibit(setting)
    assert set(shown.table["method"]) == {INSIDE, DRAWN, VARIANT}
    assert f"{DRAWN} {drawn.measured}" in shown.caption


def test_codes_are_compared_part_by_part():
    table = reconstruction.codes_exhibit().table
    assert table["part"].is_unique
    assert table.set_index("part").loc["d", "HTF-Net"] == table.set_index("part").loc["d", "nnU-Net fork"]
    assert "as coded" in table.set_index("part").loc["d", "GeMTL"]
    assert "As coded, by what looks like a slip of a variable" in reconstruction.codes_exhibit().caption


def test_both_readings_share_their_seeds_and_all_else():
    usual, outside = reconstruction.usual(Setting()), grids.outside(Setting())
    assert [run.seed for run in usual] == [run.seed for run in outside]
    assert {len(run.tasks) for run in (*usual, *outside)} == {4}
