"""Grids of the chapter on MTSGD: what each run is, and which runs experiments share."""

from dataclasses import replace

import pytest

from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.grids import JOINT, NO_CONFLICT, TABLE_2, TABLE_3, TABLE_4, Cell
from mtlrepro.studies.setting import Setting

CPU = Setting(scale="cpu", dataset="streets", network="mtsgd", seeds=3, comparison_seeds=5)


def hashes(runs):
    return [run.hash for run in runs]


def test_decay_of_the_articles_effect_by_hand():
    # Rates over the article's epochs: 100 x 0.01 + 50 x 0.001 + 50 x 0.0001 = 1.055, in 186 steps each: 196.23.
    # Ours: 10 x 0.02 + 5 x 0.002 + 5 x 0.0002 = 0.211, in 400 / 8 = 50 steps each: 10.55.
    coupled = 1e-4 * 196.23 / 10.55
    # Steps: 186 x 200 = 37,200 against 50 x 20 = 1,000.
    decoupled = 1e-4 * 37_200 / 1_000
    assert grids.decays(CPU) == pytest.approx({"torch": coupled, "decoupled": decoupled}, abs=5e-6)
    assert grids.decays(CPU) == {"torch": 0.00186, "decoupled": 0.00372}
    found = {(run.method, run.decay, run.weight_decay) for run in grids.decayed(CPU)}
    assert found == {(name, *one) for name in ("equal", "mtsgd") for one in grids.decays(CPU).items()}
    assert len(grids.decayed(CPU)) == 2 * 2 * 3


def test_a_longer_schedule_needs_less_decay():
    longer = replace(CPU, scale="gpu")
    # 800 / 32 = 25 steps in 30 epochs: 0.01 x 15 + 0.001 x 7 + 0.0001 x 8 = 0.1578.
    by_hand = {"torch": 1e-4 * 196.23 / (25 * 0.1578), "decoupled": 1e-4 * 37_200 / (25 * 30)}
    assert grids.decays(longer) == pytest.approx(by_hand, abs=5e-6)


def test_rows_of_the_tables_are_the_runs_that_they_name():
    assert [cell.threshold for cell in TABLE_2] == [None, -1, -0.75, -0.5, 0]
    for cell in (*TABLE_2, *TABLE_3, *TABLE_4):
        for run in cell.runs(CPU):
            assert (run.optimizer, run.lr, run.evaluate_on) == ("sgd", 0.02, "both")
            assert run.weight_decay == cell.decay
            assert run.method == ("equal" if cell.threshold is None else "mtsgd")
            assert run.method_options.get("threshold") == cell.threshold
            assert run.method_options.get("level", "channel") == cell.level
    runs = grids.runs_of(CPU, {*TABLE_2, *TABLE_3, *TABLE_4})
    assert len(set(hashes(runs))) == len(runs) == 3 * 5 + 13 * 3  # central rows have five seeds


@pytest.mark.parametrize(("scale", "times"), [("smoke", 2), ("cpu", 10), ("gpu", 10)])
def test_runs_are_scored_as_often_as_a_figure_draws(scale, times):
    """Runs of Table 2 are drawn over their epochs; the others are scored after the last one alone."""
    setting = replace(CPU, scale=scale)
    drawn = [*grids.runs_of(setting, TABLE_2), *grids.single_tasks(setting), *grids.scaled(setting, [0])]
    assert {run.epochs // run.evaluate_every for run in drawn} == {times}
    others = [*grids.runs_of(setting, (*TABLE_3, *TABLE_4)), *grids.decayed(setting), *grids.matched(setting, 0.5)]
    others += [*grids.adamw(setting), *grids.others(setting)]
    for by_name in (grids.lengths(setting), grids.sensitivity(setting)):
        others += [run for runs in by_name.values() for run in runs]
    assert {run.epochs // run.evaluate_every for run in others} == {1}


def test_central_rows_keep_predictions_once_and_gradients_of_three_seeds():
    central = [cell for cell in (*TABLE_2, *TABLE_3, *TABLE_4) if cell.central]
    assert central == [JOINT, Cell(-1.0), Cell(0.0)]
    for cell in central:
        runs = cell.runs(CPU)
        assert [bool(run.pictures) for run in runs] == [True, False, False, False, False]
        assert [bool(run.gradients) for run in runs] == [True, True, True, False, False]
        assert runs[0].gradients["epochs"] == [1, 10, 20] and runs[0].pictures["epochs"] == [20]
    rest = [run for cell in (*TABLE_2, *TABLE_3, *TABLE_4) if not cell.central for run in cell.runs(CPU)]
    assert not any(run.pictures or run.gradients for run in rest)
    assert [run.tasks for run in grids.single_tasks(CPU) if run.pictures] == [("segmentation",), ("disparity",)]


def test_experiments_share_runs():
    joint = hashes(JOINT.runs(CPU))
    premise = {factor: hashes(runs) for factor, runs in grids.premise(CPU).items()}
    assert list(premise) == [1, 3, 10, 30, 100]
    assert premise[1.0] == joint[:3]
    scaled = hashes(grids.scaled(CPU, range(3)))
    assert premise[30.0] == scaled[:1] and len(scaled) == 9
    search = grids.rate_search(CPU)
    for name, cell in {"joint SGD": JOINT, "MTSGD (-1)": Cell(-1.0), "MTSGD (0)": Cell(0.0)}.items():
        assert [run.lr for run in search[name]] == [0.006, 0.006, 0.02, 0.02, 0.06, 0.06, 0.2, 0.2]
        assert hashes(search[name])[2:4] == hashes(cell.runs(CPU))[:2]
    weights = grids.sensitivity(CPU)
    assert list(weights) == [(10, "joint SGD"), (10, "MTSGD (0)"), (100, "joint SGD"), (100, "MTSGD (0)")]
    assert [run.loss_scales for run in weights[10.0, "MTSGD (0)"]] == [{"disparity": 10}] * 6


def test_a_rate_of_the_scale_that_is_not_among_the_usual_ones_is_tried_too():
    assert grids.rates(CPU) == (0.006, 0.02, 0.06, 0.2)
    assert grids.rates(replace(CPU, scale="gpu")) == (0.006, 0.01, 0.02, 0.06, 0.2)


def test_the_step_taken_apart():
    found = {name: runs[0].method_options for name, runs in grids.lengths(CPU).items()}
    assert found == {
        "mask without balance": {"threshold": 0, "balance": False},
        "length restored by slice": {"threshold": 0, "restore_norm": True},
        "length restored by step": {"threshold": 0, "restore_norm": "step"},
    }
    # Half as long steps need twice the rate; 0.02 / 0.3 is cut to two digits.
    assert {run.lr for run in grids.matched(CPU, 0.5)} == {0.04}
    assert {run.lr for run in grids.matched(CPU, 0.3)} == {0.067}
    assert {run.method_options["threshold"] for run in grids.matched(CPU, 0.5)} == {NO_CONFLICT}


def test_fixed_weights_and_other_methods():
    front = grids.front(CPU, 0.06)
    assert [run.method_options["weights"] for run in front[:9]] == [[i / 10, (10 - i) / 10] for i in range(1, 10)]
    assert [run.seed for run in front] == [0] * 9 + [1] * 9
    tuned = grids.tuned_front(CPU, 0.06, (0.3, 0.7))
    assert tuned[0] == front[2] and [run.seed for run in tuned] == [0, 1, 2]
    assert {(run.lr, run.evaluate_every, run.evaluate_on) for run in front} == {(0.06, 20, "both")}
    assert {run.lr for run in grids.adamw(CPU)} == {3e-4, 1e-3, 3e-3}
    others = grids.others(CPU)
    assert {(run.method, run.lr) for run in others} == {(name, lr) for name in grids.OTHERS for lr in (0.02, 0.06)}
    graphs = {run.method for run in grids.others(replace(CPU, scale="gpu")) if not run.cuda_graph}
    assert graphs == {"torchjd:UPGrad"}
