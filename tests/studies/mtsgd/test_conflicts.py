"""Conflict told from noise, on gradients that were drawn."""

import numpy as np
import pytest
from scipy import stats
from slice_cases import compare

from mtlrepro.studies.mtsgd import conflicts
from mtlrepro.studies.mtsgd.conflicts import BETWEEN, TOGETHER
from mtlrepro.studies.mtsgd.premise import Premise
from mtlrepro.studies.setting import Setting

SETTING = Setting(scale="smoke", dataset="streets", network="mtsgd", seeds=2, comparison_seeds=2)
MORE = "The mask drops more between two tasks than between two halves of one task's batch"
MOST = "Most of what the mask drops is due to the tasks, not to the noise of batches"
CHANCE = "The two tasks conflict in more slices than gradients without any relation"


def shown(**fields):
    runs = [{epoch: compare(seed=10 * seed + epoch, batches=6, **fields) for epoch in (1, 4)} for seed in range(2)]
    return Premise(SETTING, {1.0: runs})


def statuses(found, claim):
    return {one.case: one.status for one in conflicts.claims(found) if one.claim == claim}


def test_tasks_with_opposite_directions_conflict_beyond_their_noise():
    found = shown(signal=4.0, agreement=-0.9)
    assert set(statuses(found, MORE).values()) == {"holds"}
    assert set(statuses(found, MOST).values()) == {"holds"}
    assert set(statuses(found, CHANCE).values()) == {"holds"}
    between, alone = conflicts.dropped(found.plain[0][1], "channel", "3x3", 0.0)
    assert between > 95 and alone < 1


def test_tasks_without_any_relation_are_told_from_noise_but_do_not_conflict():
    """Each task has a direction of its own, at a right angle to the other's: half of the slices go, by chance."""
    found = shown(signal=4.0)
    assert statuses(found, MORE)["3x3 kernels by channel, threshold 0"] == "holds"
    assert statuses(found, MOST)["3x3 kernels by channel, threshold 0"] == "holds"
    verdicts = [one for one in conflicts.claims(found) if one.claim == CHANCE]
    assert {one.status for one in verdicts if "by channel" in one.case} <= {"inconclusive", "does not hold"}
    assert all(abs(one.measured.value) < 4 for one in verdicts if "by channel" in one.case)
    assert "it would drop 50 %" in conflicts.noise_exhibit(found).caption
    agreeing = statuses(shown(signal=4.0, agreement=0.9), CHANCE)
    assert agreeing["3x3 kernels by channel"] == "does not hold"


def test_noise_alone_is_no_conflict():
    found = shown()
    told = statuses(found, MOST)
    for kind in ("1x1", "3x3"):
        assert told[f"{kind} kernels by channel, threshold 0"] == "does not hold"
    table = conflicts.noise(found.plain)
    own = table[(table["level"] == "channel") & (table["threshold"] == 0)]
    np.testing.assert_allclose(own["part"], 1, atol=0.06)


def test_tasks_that_agree_leave_the_mask_nothing_to_drop():
    found = shown(signal=10.0, agreement=1.0)
    assert statuses(found, MOST)["3x3 kernels by parameter, threshold 0"] == "cannot be tested here"
    table = conflicts.noise_exhibit(found).table.set_index(["level", "kernels", "threshold"])
    assert table.loc[("parameter", "3x3", "0"), "part of noise"] == "nothing dropped"
    assert len(table) == 12  # a table of more rows is folded


def test_one_task_agrees_with_itself_where_it_has_a_direction():
    table = conflicts.conflicts([{1: compare(signal=4.0, batches=6)}])
    own = table[(table["kernels"] == "3x3") & (table["level"] == "channel")].set_index("pair")["mean"]
    assert own["segmentation, two halves"] < 1 and own["disparity, two halves"] < 1
    assert own[BETWEEN] == pytest.approx(50, abs=4) and own[TOGETHER] == pytest.approx(50, abs=4)
    single = table[(table["kernels"] == "1x1") & (table["pair"] == BETWEEN)].set_index("level")["mean"]
    assert single["channel"] == single["element"]


def test_random_directions_survive_as_expected():
    found = shown()
    table = conflicts.survival_exhibit(found).table
    own = table[table["level"] == "channel"].set_index(["epoch", "pair"])
    assert TOGETHER in own.index.get_level_values("pair")  # the pair that training sees
    for name in ("kept at -0.75, %", "at -0.5, %", "at 0, %"):
        assert own.loc[(4, BETWEEN), name] == pytest.approx(own.loc[(4, "random directions"), name], abs=2)
    in_nine_dimensions = stats.beta.sf(0.25, 4, 4)
    assert own.loc[(4, "random directions"), "at -0.5, %"] == pytest.approx(100 * in_nine_dimensions)


def test_pictures_have_one_frame_an_epoch_and_start_at_the_last():
    for exhibit in (conflicts.conflicts_exhibit(shown()), conflicts.survival_exhibit(shown())):
        assert list(exhibit.frames) == ["epoch 1", "epoch 4"] and exhibit.start == "epoch 4"
