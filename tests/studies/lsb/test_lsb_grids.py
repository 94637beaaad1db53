from hashlib import sha256

import pytest
import torch

from mtlrepro import files
from mtlrepro.data import datasets
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.studies import comparison
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.grids import EIGHT, FOUR, TASKONOMY_SIZES, TASKS
from mtlrepro.studies.setting import Setting

NAMED = {
    ("comparison", "cpu"): (90, "25137b9cd27f", 54),
    ("comparison", "gpu"): (90, "4aaaf3d87d4c", 90),
    ("single tasks", "cpu"): (15, "aca37519afde", 15),
    ("single tasks", "gpu"): (15, "500db449cb3f", 15),
    ("tuning", "cpu"): (36, "9c5a519d7628", 0),
    ("tuning", "gpu"): (36, "d80606a25021", 36),
    ("trends", "cpu"): (54, "b60dfc110d8e", 33),
    ("trends", "gpu"): (54, "fbabef320088", 18),
    ("priorities", "cpu"): (90, "97a5a23653e0", 0),
    ("priorities", "gpu"): (90, "d4f7df2a751a", 90),
    ("ablation", "cpu"): (33, "3c544468d672", 6),
    ("ablation", "gpu"): (33, "4e29a47719f4", 33),
}
"""Runs of each grid, the first digits of the sha256 of their sorted hashes, and how many the book has at least."""
GRIDS = {
    "comparison": lsb_grids.comparison,
    "single tasks": comparison.single_tasks,
    "tuning": lsb_grids.tuning,
    "trends": lsb_grids.all_trends,
    "priorities": lsb_grids.priorities,
    "ablation": lambda setting: [run for runs in lsb_grids.ablation(setting).values() for run in runs],
}


@pytest.fixture(scope="module")
def book():
    return Setting().store


@pytest.mark.parametrize(("name", "scale"), NAMED)
def test_grids_name_the_runs_of_the_book(name, scale, book):
    """The digests are of the hashes before grids were made of shared parts: no stored run is lost by a change."""
    setting = Setting(scale=scale, store=book)
    runs = {run.hash: run for run in GRIDS[name](setting)}
    count, digest, least = NAMED[name, scale]
    assert (len(runs), sha256("".join(sorted(runs)).encode()).hexdigest()[:12]) == (count, digest)
    broken = setting.broken_off(runs.values())
    assert sum(run in book or hash_ in broken for hash_, run in runs.items()) >= least


def test_tasks_go_with_the_data_sets_of_the_supplement():
    offered = {
        name: [len(tasks) for tasks in (TASKS, FOUR, EIGHT) if lsb_grids.offers(setting, tasks)]
        for name, setting in {
            "rooms": Setting(),
            "nyuv2": Setting(scale="paper", dataset="nyuv2", data_root="TARGET"),
            "taskonomy": Setting(scale="paper", dataset="taskonomy", data_root="TARGET"),
        }.items()
    }
    assert offered == {"rooms": [3, 4, 8], "nyuv2": [3], "taskonomy": [4, 8]}
    assert len(EIGHT) == len(set(EIGHT)) == 8


def test_pictures_are_kept_by_the_first_seed_alone():
    setting = Setting(seeds=2, comparison_seeds=2)
    runs = [*lsb_grids.comparison(setting), *lsb_grids.trends(setting, EIGHT), *lsb_grids.trends(setting, FOUR)]
    for run in runs:
        assert bool(run.pictures) == (run.seed == 0 and run.tasks != FOUR)
    assert {tuple(run.pictures["epochs"]) for run in runs if run.pictures} == {(20,), (2, 5, 20)}


def test_tuned_runs_keep_pictures_only_at_the_rate_of_the_scale():
    setting = Setting(seeds=1, comparison_seeds=1)
    rates = dict.fromkeys(lsb_grids.METHODS, 1e-3) | {"lsb": 3e-3}
    untuned, tuned = (lsb_grids.comparison(setting, networks=["full_sharing"], rates=one) for one in (None, rates))
    assert untuned[:-1] == tuned[:-1]
    assert (tuned[-1].method, tuned[-1].lr, tuned[-1].pictures) == ("lsb", 3e-3, {})


@pytest.mark.parametrize(("epochs", "drawn"), [(200, (2, 10, 200)), (20, (2, 5, 20)), (30, (2, 7, 30)), (2, (2, 2, 2))])
def test_epochs_of_the_error_maps(epochs, drawn):
    assert lsb_grids.map_epochs(epochs) == drawn


def test_priorities_are_shares_of_two_tasks():
    runs = lsb_grids.priorities(Setting(seeds=2))
    assert len(runs) == len({run.hash for run in runs}) == 3 * 2 * 5 * 2
    for run in runs:
        ((_, shares),) = run.method_options.items()
        assert sum(shares) == pytest.approx(1)
        assert len(run.tasks) == 2


def test_grids_train_what_they_are_for():
    setting = Setting()
    assert {run.evaluate_on for run in lsb_grids.tuning(setting)} == {"val"}
    assert {run.model for run in lsb_grids.tuning(setting)} == {"multi_decoder"}
    assert {run.model for run in lsb_grids.priorities(setting)} == {"full_sharing"}
    assert {run.model for run in lsb_grids.all_trends(setting)} == {"full_sharing"}
    others = [*lsb_grids.comparison(setting), *lsb_grids.priorities(setting), *lsb_grids.all_trends(setting)]
    assert {run.evaluate_on for run in others} == {"test"}
    assert {run.evaluate_every for run in others} == {5}


def test_the_papers_own_schedule_has_its_end_value():
    """1,000 epochs at the paper's rate end at beta 20, so a second reading would train the same runs twice."""
    assert "paper's end value" in lsb_grids.variants(20)
    assert [name for name in lsb_grids.variants(1000) if "end value" in name] == []
    assert len(lsb_grids.variants(1000)) == len(lsb_grids.variants(20)) - 2


def test_the_ablation_shares_its_plain_methods_with_the_comparison():
    setting = Setting()
    compared = {run.hash for run in lsb_grids.comparison(setting)}
    grids = lsb_grids.ablation(setting)
    assert {name for name, runs in grids.items() if {run.hash for run in runs} <= compared} == {"LSB", "GLS", "equal"}
    (end,) = {run.method_options["rate"] for run in grids["paper's end value"]}
    # beta(t) = rate * (t - 2), so in the last of 20 epochs it is 18 times the rate.
    assert 18 * end == pytest.approx(20, rel=1e-4)


def test_all_trends_are_those_of_the_tasks_of_a_data_set():
    setting = Setting(seeds=2)
    expected = [run for tasks in (TASKS, FOUR, EIGHT) for run in lsb_grids.trends(setting, tasks)]
    assert lsb_grids.all_trends(setting) == expected
    taskonomy = lsb_grids.all_trends(Setting(scale="paper", dataset="taskonomy", data_root="TARGET"))
    assert {run.tasks for run in taskonomy} == {FOUR, EIGHT}


@pytest.mark.parametrize(("scale", "name"), [("cpu", "front_rooms3.json"), ("gpu", "gpu_front_rooms3.json")])
def test_the_front_is_the_grid_of_the_book(scale, name):
    front = lsb_grids.front(Setting(scale=scale))
    assert {run.hash for run in front} == {run.hash for run in read_grid(files.book("grids", name))}
    assert [run.seed for run in front] == [0] * 36 + [1] * 36


def test_controls_replay_runs_of_the_comparison_with_the_same_seed():
    setting = Setting()
    compared = {run.replace(pictures={}).hash: run for run in lsb_grids.comparison(setting, ["lsb", "gls"])}
    replays = [run for run in lsb_grids.controls(setting) if run.method == "replay"]
    assert [compared[run.source].seed for run in replays] == [run.seed for run in replays] == [0, 1, 2, 0, 1, 2]
    assert {run.evaluate_on for run in lsb_grids.controls(setting)} == {"both"}
    assert len({run.hash for run in lsb_grids.controls(setting)}) == 3 * (2 + len(lsb_grids.TEMPERATURES) + 2)


def test_difficulty_outside_the_weight_differs_from_the_trends_in_that_alone():
    setting = Setting()
    usual = lsb_grids.trends(setting, FOUR, ["lsb"])
    for run, other in zip(lsb_grids.outside(setting), usual, strict=True):
        assert run.replace(method_options=other.method_options) == other
        assert run.method_options == {**other.method_options, "outside": True}


def test_uncertainty_weighting_has_its_own_rate_with_the_networks_rate_unchanged():
    setting = Setting()
    search = lsb_grids.own_rate_search(setting)
    assert len({run.hash for run in search}) == len(lsb_grids.OWN_RATES) * 2
    assert {(run.lr, run.model, run.evaluate_on) for run in search} == {(1e-3, "multi_decoder", "both")}
    for rate in lsb_grids.OWN_RATES:
        three = lsb_grids.own_rate(setting, TASKS, rate)
        assert {run.hash for run in three[:2]} <= {run.hash for run in search}, "search and report share runs"
        assert [run.seed for run in three] == [0, 1, 2]
        for tasks in (FOUR, EIGHT):
            for plain, own in zip(
                lsb_grids.trends(setting, tasks, ["uncertainty"]), lsb_grids.own_rate(setting, tasks, rate), strict=True
            ):
                assert own == plain.replace(balancer_lr=rate)


@pytest.fixture(scope="module")
def targets():
    """Targets of rooms at the size of `cpu`, one row of numbers a task."""
    batch = datasets.load("rooms", "train", keys=[*TASKONOMY_SIZES], n=64, size=(64, 96)).batch(range(64))
    return {task: batch[task].double().flatten() for task in TASKONOMY_SIZES}


@pytest.mark.parametrize(("task", "clip"), [("edges2d", 0.08), ("keypoints2d", 0.005)])
def test_sizes_of_targets_of_the_image_are_those_where_taskonomys_models_clip(task, clip, targets):
    assert clip / float(torch.quantile(targets[task], 0.999)) == pytest.approx(TASKONOMY_SIZES[task], rel=0.2)


@pytest.mark.parametrize(
    ("task", "spread", "within"), [("edges2d", 1070, 2), ("edges3d", 239, 2), ("keypoints2d", 100, 5)]
)
def test_sizes_of_targets_are_within_the_stated_factor_of_a_public_loaders_spreads(task, spread, within, targets):
    factor = spread / 65535 / float(targets[task].std())
    assert 1 / within < factor / TASKONOMY_SIZES[task] < within
    assert task != "edges3d" or factor == pytest.approx(TASKONOMY_SIZES[task], rel=0.2)


def test_eight_tasks_of_rooms_have_taskonomys_sizes_and_four_need_none():
    for tasks, sizes in ((EIGHT, TASKONOMY_SIZES), (FOUR, {})):
        runs = lsb_grids.trends(Setting(), tasks)
        assert {tuple(run.loss_scales.items()) for run in runs} == {tuple(sizes.items())}
        assert [run.method_options for run in runs if run.method == "lsb"] == [{"rate": 0.5}] * 3
        assert {run.method for run in runs if run.method_options} == {"lsb"}
        assert [run.method_options for run in lsb_grids.growths(Setting(), tasks)] == [{}] * 3


def test_taskonomys_growth_is_stated_by_its_scale_and_the_other_is_asked_for():
    setting = Setting(scale="paper", dataset="taskonomy", data_root="TARGET")
    for tasks in (FOUR, EIGHT):
        fast = [run for run in lsb_grids.trends(setting, tasks) if run.method == "lsb"]
        slow = lsb_grids.growths(setting, tasks)
        assert {lsb_grids.growth(run) for run in fast} == {0.5}
        assert {lsb_grids.growth(run) for run in slow} == {0.02}
