"""The curriculum and its controls, on stores of runs that were never trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from curriculum_stores import STEPS, put_plain, put_steps
from study_stores import lose

from mtlrepro.balancers.mclgs import similarity_weights
from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import curriculum, grids, plan
from mtlrepro.studies.setting import Setting

EVEN_GATES = {curriculum.EQUAL_AT_BEST: [np.ones(8)] * 3}
CENTRE = 1.2
"""How good the centre is; other curricula are 1.1, controls 1.15, equal weights 1."""


@pytest.fixture
def setting(tmp_path):
    setting = Setting(scale="smoke", seeds=3, comparison_seeds=3, store=Store(tmp_path))
    for optimizer, fields, changed in (("adamw", {}, 10.0), ("sgd", {**grids.SGD, "lr": 1e-2}, 40.0)):
        by_name = grids.star(setting, **fields) if optimizer == "adamw" else {}
        by_name[grids.CENTRE] = grids.star(setting, **fields)[grids.CENTRE]
        for name, runs in by_name.items():
            for run in runs:
                value = (CENTRE if name == grids.CENTRE else 1.1) + 0.01 * run.seed
                put_steps(tmp_path, run, value, changed=changed + run.seed)
        for runs in grids.controls(setting, **fields).values():
            for run in runs:
                put_plain(tmp_path, run, 1.15 + 0.01 * run.seed**2, [0.35, 0.35, 0.35])
    equal = [run for run in grids.sgd(setting, dict.fromkeys(grids.CENTRAL, 1e-2)).values() for run in run]
    for run in [*grids.methods(setting)["equal"], *(run for run in equal if run.method == "equal")]:
        put_plain(tmp_path, run, 1.0 + 0.01 * run.seed)
    return setting


def test_weights_of_pairs_come_back_from_those_of_tasks():
    gramian = torch.tensor([[1.0, 0.1, -0.2], [0.1, 1.0, 0.05], [-0.2, 0.05, 1.0]], dtype=torch.float64)
    weights = similarity_weights(gramian, 5.0).numpy()
    expected = 1 + np.tanh(5 * np.array([0.1, -0.2, 0.05]))
    assert curriculum.pair_weights(weights[None])[0] == pytest.approx(expected)
    assert weights.sum() == pytest.approx(expected.mean())


def test_shares_of_steps_that_are_weighed_down():
    assert curriculum.weighed_down(np.array([1.0, 0.5, 1.5, 1.7, 1.0])) == pytest.approx(100 / 3)
    assert curriculum.weighed_down(np.ones(4)) == 0


def test_history_of_the_centre(setting):
    found = curriculum.load(setting)
    first = found.epochs[(found.epochs["epoch"] == 1) & (found.epochs["seed"] == 0)].set_index("pair")
    pairs = ["segmentation, depth", "segmentation, normal", "depth, normal"]
    assert first.index.tolist() == pairs
    means = np.mean([[1.2, 1.8, 0.6], [0.6, 0.6, 1.2]], axis=0)  # 3 (W_i + W_j - W_k) of both steps
    assert first["weight"].tolist() == pytest.approx(means)
    assert first["similarity"].tolist() == [0.2, -0.1, 0.3]
    assert found.gates[grids.CENTRE][0][:2].tolist() == pytest.approx([sum(step) for step in STEPS])
    assert (found.epochs[found.epochs["epoch"] > 4]["weight"] - 1).abs().max() < 1e-12
    assert curriculum.early_updates(found).tolist() == pytest.approx([10, 11, 12])


def test_the_figure_of_weights_reads_the_table_alone_with_all_its_seeds(setting, tmp_path):
    """Curricula and controls need not be stored, and the seeds are those of the comparison."""
    methods = grids.methods(setting)
    for runs in [*grids.star(setting).values(), *grids.controls(setting).values()]:
        for run in set(runs) - set(methods["mclgs"]):
            (tmp_path / f"{run.hash}.json").unlink()
    fewer = replace(setting, seeds=2)
    found = curriculum.load_centre(fewer)
    assert sorted(found.epochs["seed"].unique()) == [0, 1, 2]
    exhibit = curriculum.weights_exhibit(found)
    assert "(Means over 3 seeds; bars: 10 to 90 % of the steps of a run, mean over seeds;" in exhibit.caption
    assert exhibit.uses == ("scale", "comparison_seeds")


def test_most_steps_are_those_with_a_gate_on_one_side(setting, monkeypatch):
    """Two of three steps with a gate below 1, and one of three."""
    found = curriculum.load_centre(setting)
    for gates, share, status in (([0.5, 0.6, 1.2], 100 / 3, "holds"), ([0.5, 1.5, 1.2], 200 / 3, "does not hold")):
        one = replace(found, gates={grids.CENTRE: [np.array(gates)] * 3})
        verdicts = {verdict.claim: verdict for verdict in curriculum.weights_claims(one)}
        assert verdicts["At most half of the early steps are weighed up"].measured.value == pytest.approx(share)
        assert verdicts["At most half of the early steps are weighed up"].status == status


def test_a_weight_that_is_not_1_at_the_end_is_told(setting):
    found = curriculum.load_centre(setting)
    longer = replace(found, epochs=found.epochs.assign(weight=0.99))
    assert {one.claim: one.status for one in curriculum.weights_claims(longer)}[
        curriculum.AT_THE_END
    ] == "does not hold"


def test_a_figure_of_weights_without_runs_says_so(setting, tmp_path):
    centre = grids.methods(setting)["mclgs"]
    lose(tmp_path, *centre[1:], *grids.methods(setting)["equal"])
    found = curriculum.load_centre(setting)
    assert (
        "Runs that diverged are left out: 2 of MCLGS. (Means over 1 seeds" in curriculum.weights_exhibit(found).caption
    )
    assert {one.status for one in curriculum.weights_claims(found)} == {"cannot be tested here"}
    lose(tmp_path, centre[0])
    found = curriculum.load_centre(setting)
    shown = curriculum.weights_exhibit(found)
    assert shown.figure is None and shown.caption.startswith("No run of MCLGS is left. Runs that diverged are left")
    assert {one.status for one in curriculum.weights_claims(found)} == {"cannot be tested here"}


def test_exhibits_of_the_curriculum(setting):
    parts = [curriculum.load(setting), curriculum.load_sgd(setting)]
    weights = curriculum.weights_exhibit(parts[0])
    assert "In epoch 1 the pairs have mean weights of 0.90 to 1.20, and the middle 80 % of single" in weights.caption
    assert "in the last one the mean is 1.00. While the curriculum lasts, the gate," in weights.caption
    assert "is below 1 in 50.0 [50.0, 50.0] % of the steps" in weights.caption
    assert weights.caption.endswith("of a run, mean over seeds; brackets: the range over 3 seeds.)")
    assert len(weights.table) == 8 * 3
    star = curriculum.star_exhibit(parts[0])
    assert star.table["curriculum"].tolist() == [*grids.STAR][:3]
    assert star.table["mean gate"].tolist() == pytest.approx([1.0] * 3)
    assert star.table["Δm less centre, points"].iloc[0] == 0
    assert "from the centre is above 0 for: none; below 0 for: a0 = 1, a0 = 4." in star.caption
    controls = curriculum.controls_exhibit(parts)
    assert len(controls.table) == 2 * 5
    assert controls.table["mean gate"].tolist() == pytest.approx([1.05, 1.05, 1.05, 1.05, 1.0] * 2)
    assert "SGD, rate 0.01, mean gate of the centre 1.00: constant gate +" in controls.caption
    same = "The row 'constant gate' has the steps of equal weights under AdamW, up to rounding; less these: +"
    assert same in controls.caption and controls.caption.count("up to rounding") == 1
    assert (controls.table["would show, points"] >= 0).all() and (star.table["would show, points"][1:] >= 0).all()
    updates = curriculum.updates_exhibit(parts)
    assert updates.table.groupby("optimizer")["mean"].max().tolist() == pytest.approx([11, 41])


def test_equal_weights_that_were_trained_once_more_have_a_row_where_they_are_stored(setting, tmp_path):
    """Their gradients are compared elsewhere, which changes nothing of a run; here they are 5 % worse."""
    assert curriculum.AGAIN not in curriculum.load(setting).runs
    for run in grids.compared(setting):
        put_plain(tmp_path, run, 0.95 + 0.01 * run.seed)
    found = curriculum.load(setting)
    rows = curriculum.controls_table([found]).set_index("control")["centre less control, points"]
    assert rows[curriculum.AGAIN] > rows["equal"] > 0
    assert (
        "The row 'equal, trained again' has the steps of equal weights under AdamW, up to rounding; less these: -"
        in (curriculum.controls_exhibit([found]).caption)
    )
    assert all(curriculum.AGAIN not in one.case for one in curriculum.claims([found]))


def test_gains_are_over_equal_weights_and_paired(setting):
    """20 % better on what is better when higher, 1 - 1/1.2 on errors; depth has errors alone."""
    found = curriculum.load(setting)
    baseline = 1.01  # the mean of the seeds
    gained = found.gained(grids.CENTRE)
    good, plain = CENTRE + 0.01, 1.01
    up, down = (good - plain) / baseline, baseline_error(plain) - baseline_error(good)
    expected = 100 * np.mean([up, down, np.mean([down, down, up, up, up])])
    assert gained[1] == pytest.approx(expected, rel=1e-3)
    assert gained.index.tolist() == [0, 1, 2]


def baseline_error(value):
    """An error of 1 / value relative to the mean of the errors of equal weights."""
    return (1 / value) / np.mean([1 / (1 + 0.01 * seed) for seed in range(3)])


def test_claims_of_the_curriculum(setting):
    parts = [curriculum.load(setting), curriculum.load_sgd(setting)]
    verdicts = [*curriculum.weights_claims(curriculum.load_centre(setting)), *curriculum.claims(parts)]
    statuses = {(one.claim, one.case): one.status for one in verdicts}
    assert statuses[curriculum.AT_THE_END, ""] == "holds"
    assert statuses["At most half of the early steps are weighed up", ""] == "holds"
    controls = {case: status for (claim, case), status in statuses.items() if claim == curriculum.NOT_THE_LENGTH}
    assert controls == {
        f"{name}, {optimizer}": "holds"
        for optimizer in ("AdamW", "SGD")
        for name in grids.CONTROLS
        if (name, optimizer) != (grids.CONSTANT, "AdamW")  # Adam makes equal weights of it
    }
    assert {statuses[curriculum.BETTER, optimizer] for optimizer in ("AdamW", "SGD")} == {"holds"}
    assert statuses["MCLGS with another curriculum, a0 = 4, is better than the centre", ""] == "does not hold"
    assert statuses["Under AdamW MCLGS changes less of the update than under SGD", ""] == "holds"
    assert {one.finding for one in verdicts} == {0, 4, 5}
    assert {one.claim: one.kind for one in verdicts if one.limits} == {
        "At most half of the early steps are weighed up": "ours"
    }


def test_equal_weights_have_a_row_at_their_best_rate_where_it_is_another_one(setting, tmp_path):
    """At `smoke` one rate is tried, so that the search is stood in for."""
    part = curriculum.load_sgd(setting)
    best = part.equal.assign(**{name: 1.3 * part.equal[name] for name in ("segmentation.miou",)})
    parts = [replace(part, runs={**part.runs, curriculum.EQUAL_AT_BEST: best}, gates={**part.gates, **EVEN_GATES})]
    rows = curriculum.controls_table(parts).set_index("control")
    assert curriculum.EQUAL_AT_BEST not in set(curriculum.controls_table([part])["control"])
    centre = [f"centre less control, points{end}" for end in ("",)]
    assert rows.loc[curriculum.EQUAL_AT_BEST, centre].item() < rows.loc["equal", centre].item()


# --- runs that diverged


def test_a_further_seed_that_diverges_is_counted_with_its_replays_and_not_judged(setting, tmp_path):
    """The shuffled weights of seed 1 are those of seed 2; all other controls replay the run of their own seed."""
    fields = {**grids.SGD, "lr": 1e-2}
    lose(tmp_path, grids.star(setting, **fields)[grids.CENTRE][2])
    part = curriculum.load_sgd(setting)
    assert part.lost == {grids.CENTRE: 1, **dict.fromkeys(grids.CONTROLS, 1)}
    assert part.runs[grids.SHUFFLED]["seed"].tolist() == [0, 2]
    assert part.runs[grids.CONSTANT]["seed"].tolist() == [0, 1] == sorted(part.epochs["seed"].unique())
    parts = [curriculum.load(setting), part]
    controls = curriculum.controls_exhibit(parts)
    assert "Runs that diverged are left out: 1 of centre under SGD, 1 of constant gate under SGD" in controls.caption
    assert len(controls.table) == 5 + 4  # one pair of shuffled weights is left, which has no interval
    statuses = {(one.claim, one.case): one.status for one in curriculum.claims(parts)}
    assert statuses[curriculum.NOT_THE_LENGTH, "random gate, AdamW"] == "holds"
    assert statuses[curriculum.NOT_THE_LENGTH, "random gate, SGD"] == "cannot be tested here"


def test_another_curriculum_that_diverges_is_counted(setting, tmp_path):
    lose(tmp_path, *grids.star(setting)["a0 = 4"][1:])
    found = curriculum.load(setting)
    star = curriculum.star_exhibit(found)
    assert star.table["curriculum"].tolist() == [grids.CENTRE, "a0 = 1"]
    assert "Runs that diverged are left out: 2 of a0 = 4 under AdamW. (" in star.caption
    statuses = {(one.claim, one.case): one.status for one in curriculum.claims([found])}
    assert statuses["MCLGS with another curriculum, a0 = 4, is better than the centre", ""] == "cannot be tested here"


def test_under_an_optimizer_at_whose_rates_mclgs_diverges_nothing_is_judged(setting, tmp_path):
    lose(tmp_path, *grids.sgd_search(setting)["mclgs"])
    part = curriculum.load_sgd(setting)
    assert part.lost == {grids.CENTRE: 1} and not part.runs and part.epochs.empty
    parts = [curriculum.load(setting), part]
    controls = curriculum.controls_exhibit(parts)
    assert set(controls.table["optimizer"]) == {"AdamW"} and "; SGD: ?. The row 'constant gate'" in controls.caption
    assert "Runs that diverged are left out: 1 of centre under SGD. Constant gate:" in controls.caption
    updates = curriculum.updates_exhibit(parts)
    assert set(updates.table["optimizer"]) == {"AdamW"}
    assert "Runs that diverged are left out: 1 of centre under SGD. (One" in updates.caption
    statuses = {(one.claim, one.case): one.status for one in curriculum.claims(parts)}
    assert statuses[curriculum.NOT_THE_LENGTH, "random gate, AdamW"] == "holds"
    assert statuses[curriculum.NOT_THE_LENGTH, "random gate, SGD"] == "cannot be tested here"
    assert statuses[curriculum.BETTER, "SGD"] == "cannot be tested here"
    assert statuses["Under AdamW MCLGS changes less of the update than under SGD", ""] == "cannot be tested here"
    for run in setting.missing(grids.rate_search(setting)["equal"]):
        put_plain(tmp_path, run, 0.5)
    assert not setting.missing(plan.under_sgd(setting))


def test_a_centre_with_one_run_has_no_intervals(setting, tmp_path):
    lose(tmp_path, *grids.star(setting)[grids.CENTRE][1:])
    found = curriculum.load(setting)
    star = curriculum.star_exhibit(found)
    assert star.table.empty and "The centre less equal weights: ? points" in star.caption
    assert "2 of MCLGS. (Means over 1 seeds" in curriculum.weights_exhibit(found).caption
    assert curriculum.controls_exhibit([found]).table.empty
    statuses = {one.claim: one.status for one in curriculum.weights_claims(curriculum.load_centre(setting))}
    assert statuses["At most half of the early steps are weighed up"] == "cannot be tested here"
    lose(tmp_path, grids.star(setting)[grids.CENTRE][0])
    with pytest.raises(RuntimeError, match=r"^MCLGS: of 3 seeds 3 diverged, "):
        curriculum.load(setting)
