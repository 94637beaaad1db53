"""The plan of the chapter on loss scale balancing."""

from dataclasses import replace

import pytest
import torch

from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb import costs, grids, plan
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
def test_a_scale_that_is_not_stored_and_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="runs are not stored, and there is no CUDA device"):
        plan.plan(**VALUES | {"scale": "gpu"})


@pytest.mark.parametrize(("dataset", "scale"), [("rooms", "cpu"), ("rooms", "smoke"), ("taskonomy", "paper")])
def test_every_run_of_the_table_of_costs_is_planned(dataset, scale, tmp_path):
    root = "" if dataset == "rooms" else "TARGET"
    setting = Setting(dataset=dataset, scale=scale, data_root=root, store=Store(tmp_path))
    planned = {run.hash for grid in plan.experiments(setting).values() for run in grid(setting)}
    second = {run.hash for run in grids.front(setting, [1])}  # read as far as it is stored
    for name, runs in costs.grids(setting).items():
        assert {run.hash for run in runs} - second <= planned, name


def test_more_seeds_than_are_stored_at_a_larger_scale_are_said(tmp_path):
    few = Setting(seeds=2, comparison_seeds=3)
    chosen = replace(few, seeds=5, comparison_seeds=10)
    notes = {part.name: part.note for part in plan.plan(**VALUES | {"seeds": 5, "comparison_seeds": 10}).parts}
    assert few.largest_stored(grids.priorities).scale == "gpu"
    assert chosen.largest_stored(grids.priorities).scale == "cpu"
    assert notes["6, priorities"] == "gpu scale is stored with 3 seeds, not shown"
