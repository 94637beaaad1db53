"""The plan of the chapter on MTSGD: what each experiment reads, and what of it is missing."""

import pytest
from mtsgd_runs import SMOKE, broken, stored

from mtlrepro import files
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.scenes.streets.generate import generate
from mtlrepro.runs.store import Store
from mtlrepro.studies.mtsgd import grids, plan
from mtlrepro.studies.setting import Setting

CPU = {
    "3, Table 2": 2 * 5 + 3 * 5 + 2 * 3,  # single tasks; the central rows; the others
    "2, premise": 3 + 4,
    "3, Table 2 at the premise": 3 * 3,
    plan.RATES: 3 * 4 * 2 + 3 * 3,  # three methods at four rates, two seeds; three seeds at the best
    plan.PARTS: 4 * 3,
    plan.FRONT: 9 * 2 + 3,
    "3, matched decay": 2 * 3 + 2 * 2 * 3,  # without decay, and in both forms
    "3, Table 4": 6 * 3,
    "3, Table 3": 5 * 3,
    "4, AdamW": 3 * 3,
    "4, other methods": 6 * 2 * 3,
    plan.FACTORS: 2 * 2 * (6 + 3),  # two factors and methods: six rates, and three seeds at the best
}
SMALL = {
    "3, Table 2": 2 * 3 + 3 * 3 + 2 * 2,
    "2, premise": 3 + 4,
    "3, Table 2 at the premise": 3 * 2,
    plan.RATES: 3 * 2 * 2,  # at a known best, which is that of the scale, no more
    plan.PARTS: 4 * 2,
    plan.FRONT: 3 * 2 + 2,
    "3, matched decay": 2 * 2 + 2 * 2 * 2,
    "3, Table 4": 6 * 2,
    "3, Table 3": 5 * 2,
    "4, AdamW": 2,
    "4, other methods": 6 * 2,
    plan.FACTORS: 2 * 2 * (1 + 2),
}


def counted(setting):
    return {name: len(list(grid(setting))) for name, grid in plan.experiments(setting).items()}


def test_runs_of_each_experiment_where_nothing_is_stored(tmp_path):
    chosen = {"dataset": "streets", "network": "mtsgd", "store": Store(tmp_path)}
    assert counted(Setting(scale="cpu", seeds=3, comparison_seeds=5, **chosen)) == CPU
    assert counted(Setting(scale="smoke", seeds=2, comparison_seeds=3, **chosen)) == SMALL


def test_without_a_validation_split_there_are_the_articles_tables_and_no_choices(monkeypatch, tmp_path):
    """Cityscapes has no labels of its test split, so that its validation split is the one that is evaluated."""
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(plan, "READ", tuple(CPU))
    batch = generate(range(4), split="train", size=(48, 96))
    scenes = [{key: values[i] for key, values in batch.items()} for i in range(4)]
    for split in ("train", "val"):
        cityscapes.export(tmp_path / "source", scenes, split, focal=100.0, baseline=0.2)
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    root = {"dataset": "cityscapes", "data_root": str(tmp_path / "target")}
    parts = plan.plan(scale="paper", seeds=3, comparison_seeds=5, jobs=1, **root).parts
    assert [part.name for part in parts] == [name for name in CPU if not name.startswith("4")]
    own = Setting(scale="paper", network="mtsgd", store=Store(tmp_path), **root)
    runs = [run for grid in plan.experiments(own).values() for run in grid(own)]
    assert {(run.evaluate_on, run.classes, run.size) for run in runs} == {("test", 19, None)}
    # This is the article's own schedule, over which its decay has its own effect.
    assert grids.decays(own) == {"torch": 1e-4, "decoupled": 1e-4}


def test_what_results_decide_is_open_until_they_are_stored(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(plan, "READ", tuple(CPU))
    values = {"scale": "smoke", "dataset": "streets", "data_root": "", "jobs": 1, **plan.SMOKE}
    parts = plan.plan(**values).parts
    assert [part.name for part in parts if part.at_most] == [plan.RATES, plan.FRONT, plan.FACTORS]
    assert all(part.missing == part.runs for part in parts)
    counts = {part.name: part.runs for part in parts}
    assert counts["2, premise"] == 4  # joint SGD without a factor counts among the rows of Table 2
    assert counts["3, Table 2 at the premise"] == 5  # the first of its six belongs to the premise


def test_only_what_the_notebook_reads_is_planned(monkeypatch, tmp_path):
    """Its cells train nothing else, so that a page without the other experiments does not ask for their hours."""
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    parts = plan.plan(scale="smoke", dataset="streets", data_root="", jobs=1, **plan.SMOKE).parts
    assert [part.name for part in parts] == list(plan.READ)
    notebook = files.book("mtsgd.ipynb").read_text(encoding="utf-8")
    assert ("rates.load(" in notebook) == (plan.RATES in plan.READ)
    assert ("parts.load(" in notebook) == (plan.PARTS in plan.READ)
    assert ("weights.load(" in notebook) == (plan.FRONT in plan.READ)
    assert ("sensitivity.load(" in notebook) == (plan.FACTORS in plan.READ)
    assert ("decay.exhibit(" in notebook) == ("3, matched decay" in plan.READ)
    assert ("decay.table_exhibit(" in notebook) == ("3, Table 3" in plan.READ)
    assert (', \\"Table 4\\")' in notebook) == ("3, Table 4" in plan.READ)
    assert ("grids.adamw(" in notebook) == ("4, AdamW" in plan.READ)


def test_a_whole_store_leaves_nothing_to_train(tmp_path):
    setting = stored(tmp_path)
    assert counted(setting) == SMALL
    runs = [run for grid in plan.experiments(setting).values() for run in grid(setting)]
    assert not setting.missing(runs)


@pytest.mark.parametrize("known", [False, True])
def test_a_run_that_broke_off_is_not_planned_again(tmp_path, known):
    setting = Setting(**SMOKE, store=Store(tmp_path))
    lost = [grids.rate_search(setting)["joint SGD"][0], grids.adamw(setting)[0], grids.others(setting)[-1]]
    if known:
        broken(tmp_path, *lost)
    found = {run.hash for grid in plan.experiments(setting).values() for run in grid(setting)}
    assert {run.hash in found for run in lost} == {not known}
