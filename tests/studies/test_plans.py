"""Plans: what is missing, at which scale, and how long it takes."""

from dataclasses import replace

import pytest
import torch
from study_stores import keep

from mtlrepro.pages.plan import Part
from mtlrepro.runs.store import Store
from mtlrepro.studies import plans
from mtlrepro.studies.setting import Setting


def seeds(setting, **changes):
    return [setting.run(seed=seed, **changes) for seed in range(setting.seeds)]


def test_a_run_that_several_experiments_share_counts_in_the_first(tmp_path):
    setting = Setting(seeds=3, comparison_seeds=3, store=keep(tmp_path))
    keep(tmp_path, setting.run(seed=0))
    grids = {"one": seeds, "two": lambda one: [*seeds(one), *seeds(one, method="lsb")], "three": seeds}
    plan = plans.plan(setting, grids, {})
    assert [(part.name, part.runs, part.missing, part.scale) for part in plan.parts] == [
        ("one", 3, 2, "cpu"),
        ("two", 3, 3, "cpu"),
    ]
    assert (plan.missing, plan.jobs, plan.store) == (5, "jobs", str(tmp_path))


def test_each_experiment_is_read_at_the_largest_scale_that_has_it(tmp_path):
    setting = Setting(seeds=3, comparison_seeds=3, store=keep(tmp_path))
    larger = replace(setting, scale="gpu")
    keep(tmp_path, *seeds(larger), *seeds(larger, method="lsb")[:2], *seeds(setting, method="lsb"))
    plan = plans.plan(setting, {"equal": seeds, "lsb": lambda one: seeds(one, method="lsb")}, {})
    assert plan.missing == 0
    assert [(part.scale, part.note) for part in plan.parts] == [
        ("gpu", ""),
        ("cpu", "gpu scale is stored with 2 seeds, not shown"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_runs_that_cannot_be_trained_here_are_an_obstacle_of_the_plan(tmp_path):
    plan = plans.plan(Setting(scale="gpu", store=keep(tmp_path)), {"equal": seeds}, {})
    assert plan.missing == 3
    assert plan.obstacle.startswith("scale is 'gpu', but 3 of 3 runs are not stored, and there is no CUDA device")


def test_runs_that_results_choose_are_at_most_as_many_until_these_are_stored(tmp_path):
    setting = Setting(seeds=3, comparison_seeds=3, store=keep(tmp_path))
    grids = {"search": lambda one: seeds(one, method="lsb")}
    (part,) = plans.plan(setting, grids, {"search": seeds}).parts
    assert (part.at_most, part.note) == (True, plans.OPEN)
    keep(tmp_path, *seeds(setting))
    (part,) = plans.plan(setting, grids, {"search": seeds}).parts
    assert (part.missing, part.at_most, part.note) == (3, False, "")


def test_runs_of_smoke_take_a_second(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    part = plans.part("all", seeds(setting), [setting.store], "smoke")
    assert part == Part(name="all", scale="smoke", runs=3, missing=3, hours=3 / 3600)
