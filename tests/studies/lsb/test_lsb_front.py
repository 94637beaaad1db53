"""LSB against fixed weights, on a store of runs that were never trained."""

from itertools import count

import numpy as np
import pytest
from study_stores import keep, metrics_of

from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb import front as lsb_front
from mtlrepro.studies.lsb import grids
from mtlrepro.studies.setting import Setting

VALUES = {"lsb": 4.0, "gls": 1.5, "equal": 1.0, "rlw": 1.0, "uw-so": 1.5, "replay": 3.0}
"""How good the runs of each method are, on all metrics alike; fixed weights are about 2, best where they are equal."""
BEST = [0.25, 0.25, 0.5]
"""Weights that are best on the validation split."""


def value(run, noise):
    if run.method == "fixed":
        return 2.5 - sum(weight * weight for weight in run.method_options["weights"])
    return VALUES[run.method] + 0.01 * next(noise) % 1


def history(run):
    weights = dict(zip(run.tasks, (0.5, 1.0, 2.5), strict=True))
    return [
        {"epoch": epoch, "losses": dict.fromkeys(run.tasks, 1.0), "weights": weights, "loss_scales": weights}
        for epoch in range(1, run.epochs + 1)
    ]


def stored(folder, points):
    """A setting whose store has so many runs of the front, three a seed, and all that it is held against."""
    setting, noise = Setting(scale="smoke", store=Store(folder)), count(1)
    first = [*grids.front(setting, (0, 1))[:points], *grids.controls(setting), *grids.replay_sources(setting)]
    best = grids.tuned_front(setting, tuple(BEST))
    for run in {one.hash: one for one in [*first, *best]}.values():
        good = value(run, noise)
        on = {"metrics": metrics_of(run, good)}
        if run.evaluate_on == "both":
            best_there = run.method_options in ({"temperature": 4.0}, {"weights": BEST})
            on["validation_metrics"] = metrics_of(run, good + best_there)
        keep(folder, run, history=history(run), **on)
    return setting


@pytest.fixture
def setting(tmp_path):
    return stored(tmp_path, points=4)


@pytest.fixture
def found(setting):
    return lsb_front.load(setting)


def test_what_is_loaded_is_chosen_on_validation(found):
    assert found.front.seeds == [0]
    assert found.front.tuned == tuple(BEST)
    replayed = {"LSB's mean weights", "GLS's mean weights"}
    assert set(found.methods) == {"LSB", "GLS", "UW-SO, T = 4", "random weights", "equal", *replayed}
    assert len(found.searched["UW-SO, T = 4"]) == 9
    assert found.weights == {"LSB": [0.5, 1.0, 2.5], "GLS": [0.5, 1.0, 2.5]}
    assert all(len(own) == 3 for own in found.methods.values())


def test_claims_follow_the_runs(tmp_path):
    """LSB, 4, is above its replay, 3, and the tuned weights, about 2; GLS, 1.5, is below both."""
    verdicts = lsb_front.claims(lsb_front.load(stored(tmp_path, points=6)))
    statuses = {one.claim: one.status for one in verdicts}
    assert statuses["LSB is better than fixed weights tuned on the validation split"] == "holds"
    assert statuses["LSB is further beyond the front than its points are beyond each other"] == "holds"
    assert statuses["LSB is better than its own mean weights held fixed"] == "holds"
    assert statuses["GLS is better than its own mean weights held fixed"] == "does not hold"
    assert statuses["GLS is further beyond the front than its points are beyond each other"] == "does not hold"
    assert {one.kind for one in verdicts} == {"ours"}
    assert all("not corrected for several comparisons" in one.reading for one in verdicts)


def test_one_seed_of_the_front_does_not_tell_how_far_its_points_are_beyond_each_other(found):
    statuses = {one.claim: one.status for one in lsb_front.claims(found)}
    for method in ("LSB", "GLS"):
        claim = f"{method} is further beyond the front than its points are beyond each other"
        assert statuses[claim] == "cannot be tested here"


def test_shares_of_points_are_percentages(found):
    table = lsb_front.table(found)
    assert table[["as far", "as far low", "as far high"]].stack().between(0, 100).all()
    assert np.isfinite(table.drop(columns="method").to_numpy(float)).all()


def test_exhibits_say_what_is_missing_and_what_was_searched(setting, found):
    shown = lsb_front.table_exhibit(found)
    assert "Fixed weights: 3 points, seed 0; runs of further seeds that are not stored: 2." in shown.caption
    assert not [column for column in shown.shown if column.endswith((" low", " high")) and "less" not in column]
    assert "UW-SO, T = 4 9 (" in shown.caption
    assert "tuned fixed weights 3 (" in shown.caption
    triangle = lsb_front.triangle_exhibit(found)
    assert len(triangle.table) == 3
    planes = lsb_front.planes_exhibit(found)
    assert planes.table["pair"].nunique() == 3
    assert set(planes.table["seed"]) == {0}
    assert lsb_front.tuned_runs(setting) == grids.tuned_front(setting, tuple(BEST))


def test_the_section_can_be_shown_where_its_runs_are_stored(setting):
    assert setting.stored(lsb_front.runs(setting))
    assert len(lsb_front.runs(setting)) == 3 + 21 + 6
