"""The plan of the chapter on loss scale balancing."""

from dataclasses import replace

import pytest
import torch

from mtlrepro.studies.lsb import grids, plan
from mtlrepro.studies.setting import Setting

VALUES = {"scale": "cpu", "dataset": "rooms", "data_root": "", "seeds": 3, "comparison_seeds": 5, "jobs": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "nyuv2"}, "scale is 'cpu'; accepted with dataset 'nyuv2': paper"),
        ({"dataset": "nyuv2", "scale": "paper"}, "data_root is empty"),
        ({"seeds": 5, "comparison_seeds": 3}, "seeds is 5; accepted: up to comparison_seeds, 3"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plan.plan(**VALUES | values)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_scale_that_cannot_be_trained_is_planned_and_has_an_obstacle():
    found = plan.plan(**VALUES | {"scale": "gpu"})
    assert found.missing > 0
    assert "runs are not stored, and there is no CUDA device" in found.obstacle


def test_runs_with_tuned_rates_are_at_most_as_many_until_the_rates_are_known(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    parts = plan.plan(**VALUES | {"scale": "smoke", "seeds": 2, "comparison_seeds": 2}).parts
    assert [part.name for part in parts if part.at_most] == [plan.TUNED]
    assert not any(part.at_most for part in plan.plan(**VALUES).parts)


def test_a_folder_that_holds_no_prepared_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data_root is .*train holds no prepared split; make it with"):
        plan.plan(**VALUES | {"scale": "paper", "dataset": "nyuv2", "data_root": str(tmp_path)})


def test_more_seeds_than_are_stored_at_a_larger_scale_are_said(tmp_path):
    few = Setting(seeds=2, comparison_seeds=3)
    chosen = replace(few, seeds=5, comparison_seeds=10)
    notes = {part.name: part.note for part in plan.plan(**VALUES | {"seeds": 5, "comparison_seeds": 10}).parts}
    assert few.largest_stored(grids.priorities).scale == "gpu"
    assert chosen.largest_stored(grids.priorities).scale == "cpu"
    assert notes["6, priorities"] == "gpu scale is stored with 3 seeds, not shown"
