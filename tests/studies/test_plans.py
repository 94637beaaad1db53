"""Plans: what is missing, at which scale, and how long it takes."""

import math
from dataclasses import replace

import pytest
import torch
from run_cases import put
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
    plan = plans.plan(setting, grids)
    assert [(part.name, part.runs, part.missing, part.scale) for part in plan.parts] == [
        ("one", 3, 2, "cpu"),
        ("two", 3, 3, "cpu"),
    ]
    assert (plan.missing, plan.jobs, plan.store) == (5, "jobs", str(tmp_path))


def test_each_experiment_is_read_at_the_largest_scale_that_has_it(tmp_path):
    setting = Setting(seeds=3, comparison_seeds=3, store=keep(tmp_path))
    larger = replace(setting, scale="gpu")
    keep(tmp_path, *seeds(larger), *seeds(larger, method="lsb")[:2], *seeds(setting, method="lsb"))
    plan = plans.plan(setting, {"equal": seeds, "lsb": lambda one: seeds(one, method="lsb")})
    assert plan.missing == 0
    assert [(part.scale, part.note) for part in plan.parts] == [
        ("gpu", ""),
        ("cpu", "gpu scale is stored with 2 seeds, not shown"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_runs_that_cannot_be_trained_here_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 of 3 runs are not stored, and there is no CUDA device"):
        plans.plan(Setting(scale="gpu", store=keep(tmp_path)), {"equal": seeds})


def seconds(folder, run, value):
    put(folder, run, provenance={"seconds": value, "images_per_second": 1.0})


def test_stored_runs_of_the_size_tell_how_long_one_takes(tmp_path):
    """The quickest of a method, the median over methods for one that is not stored, nothing of another size."""
    setting = Setting(store=Store(tmp_path))
    for seed, taken in enumerate((300.0, 200.0)):
        seconds(tmp_path, setting.run(method="equal", seed=seed), taken)
    seconds(tmp_path, setting.run(method="gradnorm"), 600.0)
    seconds(tmp_path, setting.run(method="lsb", tasks=("depth",)), 7.0)
    wanted = [setting.run(method=method, seed=5) for method in ("equal", "gradnorm", "lsb")]
    assert plans.seconds(wanted, [setting.store]) == [200.0, 600.0, 400.0]


def test_the_benchmark_tells_it_where_no_run_is_stored(tmp_path):
    setting = Setting(store=Store(tmp_path))
    (known,) = plans.seconds([setting.run()], [setting.store])
    assert 60 < known < 3600
    (unknown,) = plans.seconds([setting.run(tasks=(*setting.run().tasks, "edges2d"))], [setting.store])
    assert math.isnan(unknown)


def test_runs_of_smoke_take_a_second(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    part = plans.part("all", seeds(setting), [setting.store], "smoke")
    assert part == Part(name="all", scale="smoke", runs=3, missing=3, hours=3 / 3600)
