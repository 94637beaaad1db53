"""The runs of the chapter on MCLGS, and its plan."""

from collections import Counter
from hashlib import sha256

import pytest
from study_stores import keep, lose, metrics_of

from mtlrepro import files
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.mclgs import grids, plan, rates
from mtlrepro.studies.setting import Setting

VALUES = {"scale": "cpu", "dataset": "rooms", "data_root": "", "seeds": 3, "comparison_seeds": 5, "jobs": 1}


def every(by_name):
    return [run for runs in by_name.values() for run in runs]


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.fixture(scope="module")
def street(setting):
    return grids.streets(setting)


def test_runs_of_other_chapters_and_of_grid_files_are_shared(setting):
    """Single tasks, equal weights, the front, and the methods that were trained for this chapter alone."""
    assert sum(run in setting.store for run in grids.single_tasks(setting)) == 15
    methods = grids.methods(setting)
    stored = {name: sum(run in setting.store for run in runs) for name, runs in methods.items()}
    assert stored.items() >= {"mgda": 5, "pcgrad": 5, "graddrop": 5}.items()
    assert stored["equal"] >= 3
    assert {run.hash for run in grids.front(setting)} == {run.hash for run in lsb_grids.front(setting)}
    for scale, name in (("cpu", "rooms3_methods.json"), ("gpu", "gpu_rooms3_methods.json")):
        own = {run.hash for run in every(grids.methods(Setting(scale=scale)))}
        assert {run.hash for run in read_grid(files.book("grids", name))} <= own


def test_search_and_table_share_runs(setting):
    """Three rates with two seeds for every method and every single task; those of the scale are the table's."""
    search, table = grids.rate_search(setting), grids.methods(setting)
    for method, runs in search.items():
        assert Counter(run.lr for run in runs) == dict.fromkeys(grids.RATES, 2)
        assert [run for run in runs if run.lr == 1e-3] == table[method][:2]
        tuned = grids.methods(setting, dict.fromkeys(grids.METHODS, 3e-3))[method]
        assert [run for run in runs if run.lr == 3e-3] == tuned[:2] and len(tuned) == 5
    for task, runs in grids.single_search(setting).items():
        assert Counter(run.lr for run in runs) == dict.fromkeys(grids.RATES, 2)
        tuned = grids.single_tasks(setting, dict.fromkeys(setting.run().tasks, 3e-4))
        assert set(runs[:2]) <= set(tuned) and runs[0].tasks == (task,) and len(tuned) == 15


def test_no_task_is_trained_twice_by_itself_at_smoke():
    """The runs of the search at the learning rate of the scale, one for each task, are those of the table."""
    smoke = Setting(scale="smoke", seeds=2, comparison_seeds=2)
    searched = [run for run in every(grids.single_search(smoke)) if run.lr == smoke.run().lr]
    assert len(searched) == 3 and set(searched) <= set(grids.single_tasks(smoke))


@pytest.mark.parametrize(("scale", "looks"), [("smoke", [2, 4, 6, 8]), ("cpu", [*range(1, 21)])])
def test_gradients_of_mclgs_are_compared_in_and_after_the_curriculum(scale, looks):
    setting = Setting(scale=scale, seeds=2, comparison_seeds=2)
    for run in every(grids.star(setting)):
        assert [epoch for epoch in range(1, run.epochs + 1) if epoch % run.probe_every == 0] == looks


def test_streets_lack_the_combination_and_most_methods_have_fewer_seeds(street):
    table = grids.methods(street)
    assert {name: len(runs) for name, runs in table.items()} == {
        **dict.fromkeys(grids.STREET_METHODS, 3),
        "equal": 5,
        "mclgs": 5,
    }
    assert {(run.dataset, run.model, run.tasks) for run in every(table)} == {
        ("streets", "detection", ("detection", "segmentation"))
    }
    assert {run.evaluate_on for run in grids.single_tasks(street)} == {"both"}
    assert grids.streets(grids.streets(Setting(scale="smoke"))) == grids.streets(Setting(scale="smoke"))


def test_single_tasks_on_other_images_take_about_as_many_steps(street):
    """40 images for ten times the epochs, 360 for 13 instead of 12: 600 and 585 steps beside 600."""
    for run in grids.unpaired_single(street):
        ((task, (start, end)),) = run.labels.items()
        steps = round(400 * (end - start)) // 8 * run.epochs
        assert steps == {"segmentation": 600, "detection": 585}[task]
        last = {"segmentation": (60, 90), "detection": (7, 10)}[task]
        assert run.milestones == last
        assert run.evaluate_every * 4 == {"segmentation": 120, "detection": 12}[task]
    both = {(run.draw, run.unlabelled) for run in every(grids.unpaired(street))}
    assert both == {("union", "absent"), ("alternating", "absent"), ("union", "zero"), ("alternating", "zero")}


def test_the_star_changes_one_option_at_a_time(setting):
    star = grids.star(setting)
    centre = star[grids.CENTRE][0].method_options
    assert centre == {"length": 0.5}
    for name, runs in star.items():
        options = runs[0].method_options
        assert [run.seed for run in runs] == [0, 1, 2]
        assert sum({**centre, **options}[key] != centre.get(key) for key in options) == (name != grids.CENTRE)
    assert star[grids.CENTRE] == grids.methods(setting)["mclgs"][:3]
    a0, last = (star[name][0].balancer_options(50) for name in ("a0 = 4", "the whole run"))
    assert (a0["a0"], a0["delta_a"]) == (4, pytest.approx(0.4))
    assert last["delta_a"] == pytest.approx(2)


@pytest.mark.parametrize("fields", [{}, {**grids.SGD, "lr": 0.03}])
def test_controls_name_runs_of_the_centre(setting, fields):
    """Those of the same seed, but the shuffled weights are another run's."""
    sources = [run.hash for run in grids.star(setting, **fields)[grids.CENTRE]]
    controls = grids.controls(setting, **fields)
    for name, runs in controls.items():
        expected = sources[1:] + sources[:1] if name == grids.SHUFFLED else sources
        assert [run.source for run in runs] == expected
        assert {(run.optimizer, run.lr) for run in runs} == {(fields.get("optimizer", "adamw"), fields.get("lr", 1e-3))}
    assert list(controls) == list(grids.CONTROLS)
    assert [run.source for run in grids.replayed(setting)] == [run.hash for run in grids.star(setting)[grids.CENTRE]]


def test_gaps_of_magnitude_are_factors_on_one_loss(setting):
    runs = grids.scaled(setting)
    assert {key: run.loss_scales for key, (run, *_) in runs.items()} == {
        (factor, method): {} if factor == 1 else {"depth": factor}
        for factor in (1, 10, 100)
        for method in grids.SCALED_METHODS
    }
    assert runs[1.0, "mclgs"] == grids.methods(setting)["mclgs"][:3]


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_plan_is_in_order_of_priority(scale, monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    setting = plan.setting_of(**VALUES | {"scale": scale})
    parts = plan.experiments(setting)
    assert [name[0] for name in parts] == [*"2442733341563"]
    assert [*parts][:3] == ["2, methods", "4, star", "4, controls"]
    assert all(grid(setting) for grid in parts.values())


def test_the_plan_takes_less_than_its_budget(monkeypatch):
    """In core-hours at `cpu`, all parts together; where the number of runs depends on results, at most so many."""
    monkeypatch.setattr(plan, "READ", tuple(plan.experiments(plan.setting_of(**VALUES))))
    found = plan.plan(**VALUES)
    assert sum(part.hours for part in found.parts) < 20
    assert {part.name for part in found.parts if part.at_most} <= {plan.RATES, plan.STREET_RATES, plan.SGD}


def test_the_notebook_plans_what_it_reads():
    """Parts of which no cell asks are not planned, so that no rerun trains them."""
    assert [part.name for part in plan.plan(**VALUES).parts] == [*plan.READ]
    source = files.book("mclgs.ipynb").read_text()
    constants = {name: value for name, value in vars(plan).items() if name.isupper() and isinstance(value, str)}
    asked = {value for name, value in constants.items() if f"plan.{name}" in source}
    assert asked == set(plan.READ)


def test_seeds_of_other_parts_are_no_more_than_those_of_the_table():
    with pytest.raises(ValueError, match="seeds is 4; accepted: up to comparison_seeds, 3"):
        plan.setting_of(seeds=4, comparison_seeds=3)


@pytest.mark.parametrize(
    ("dataset", "parts"),
    [("nyuv2", {"2", "4"}), ("bdd100k", {"3"})],
)
def test_real_sets_have_the_parts_of_their_table(dataset, parts):
    setting = plan.setting_of(**VALUES | {"scale": "paper", "dataset": dataset, "data_root": "TARGET"})
    found = plan.experiments(setting)
    assert {name[0] for name in found} == parts
    runs = [run for grid in found.values() for run in grid(setting)]
    assert {run.evaluate_on for run in runs} == {"test"}
    assert {run.dataset for run in runs} == {dataset}
    assert {run.model for run in runs} == {"segnet_mtan" if dataset == "nyuv2" else "detection"}


def test_parts_are_shown_where_the_data_set_has_all_of_them():
    setting = Setting(scale="smoke", seeds=2, comparison_seeds=2)
    assert plan.shown_at(setting, plan.STAR, plan.SGD) == setting
    real = plan.setting_of(**VALUES | {"scale": "paper", "dataset": "nyuv2", "data_root": "TARGET"})
    assert plan.shown_at(real, plan.STAR, plan.CONTROLS) == real
    assert plan.shown_at(real, plan.STAR, plan.SGD) is plan.shown_at(real, plan.UNPAIRED) is None


def test_experiments_have_the_runs_against_which_they_are_shown(setting):
    """So that all that a section reads is planned, whatever the scale at which others are shown."""
    found, equal = plan.experiments(setting), grids.methods(setting)["equal"]
    for name in (plan.STAR, plan.SGD, plan.FRONT):
        assert set(equal[:3]) <= set(found[name](setting))
    assert set(grids.methods(setting)["cagrad"][:3]) <= set(found[plan.FRONT](setting))


def test_streets_alone_have_their_table(tmp_path):
    setting = plan.setting_of(**VALUES | {"dataset": "streets"})
    assert {name[0] for name in plan.experiments(setting)} == {"3"}
    assert grids.streets(setting) == setting


# --- choices


def good(run):
    """All methods are best at the rate of the scale, MCLGS at the other one."""
    if run.method == "mclgs":
        return 3.0 if run.lr < 1e-3 else 2.0
    return 1.0 if run.lr < 1e-3 else 2.0


@pytest.fixture
def chosen(tmp_path):
    """A setting in whose store every search is done; segmentation by itself broke off at the rate of the scale."""
    setting = Setting(scale="smoke", seeds=2, comparison_seeds=3, store=Store(tmp_path))
    runs = [*every(grids.rate_search(setting)), *every(grids.single_search(setting)), *every(grids.sgd_search(setting))]
    for run in {one.hash: one for one in runs}.values():
        values = metrics_of(run, good(run) + 0.01 * run.seed)
        keep(tmp_path, run, metrics=values, validation_metrics=values)
    return setting


def test_rates_are_chosen_on_validation(chosen):
    low, high = 1e-5, 1e-2
    assert rates.of_methods(chosen).rates == {**dict.fromkeys(grids.METHODS, high), "mclgs": low}
    assert rates.of_single_tasks(chosen).rates == dict.fromkeys(chosen.run().tasks, high)
    alone = rates.single_exhibit(chosen, "alone").table
    assert alone["task"].tolist() == list(chosen.run().tasks) and set(alone["best"]) == {high}
    assert rates.of_sgd(chosen).rates == {"equal": high, "mclgs": high}
    tuned = plan.tuned(chosen)
    assert {run.lr for run in tuned if run.method == "mclgs" and run.seed == 2} == {low}
    assert {run.lr for run in tuned if run.method == "cagrad" and run.seed == 2} == {high}


def test_a_rate_at_which_a_run_broke_off_is_out(chosen):
    """It would break off again, so it is neither planned nor trained; the table says that the rate diverged."""
    (lost,) = [run for run in grids.rate_search(chosen)["mclgs"] if run.lr == 1e-5]
    folder = chosen.store.folder
    (folder / f"{lost.hash}.json").unlink()
    keep(folder, lost, status="failed", error="FloatingPointError: epoch 1", hash=lost.hash)
    search = rates.of_methods(chosen)
    assert lost not in plan.search(chosen) and chosen.store.failure(lost)
    assert search.rates["mclgs"] == 1e-2
    shown = search.exhibit("rates")
    assert "that was tried over equal weights at the rate of the scale, in %." in shown.caption
    table = shown.table.set_index("method")
    assert table.loc["MCLGS", "1e-05"] == "diverged"
    assert "diverged" not in set(table.loc["equal"])


def test_a_method_that_diverges_at_every_rate_has_none_and_is_not_planned_at_another(chosen):
    folder = chosen.store.folder
    lose(folder, *grids.rate_search(chosen)["mgda"])
    search = rates.of_methods(chosen)
    assert search.lost == {"mgda": 2} and "mgda" not in search.rates
    assert "At every rate diverged, and are left out: MGDA. (Validation split" in search.exhibit("rates").caption
    assert "mgda" not in {run.method for run in plan.tuned(chosen)}
    lose(folder, *grids.rate_search(chosen)["equal"])
    with pytest.raises(RuntimeError, match=r"^the baseline of the search of learning rates: of 1 seeds 1 diverged"):
        rates.of_methods(chosen)


def test_names_of_runs_are_kept():
    """The sha256 of the sorted hashes of all runs at `cpu`: a change would leave trained runs without a reader."""
    setting = Setting()
    street = grids.streets(setting)
    runs = [
        *every(grids.methods(setting)),
        *every(grids.star(setting)),
        *every(grids.controls(setting)),
        *every(grids.methods(street)),
        *every(grids.unpaired(street)),
        *grids.unpaired_single(street),
    ]
    hashes = sorted({run.hash for run in runs})
    assert (len(hashes), sha256("".join(hashes).encode()).hexdigest()[:12]) == (105, "88d5d69e29fe")
