"""What the chapter on MCLGS reads and trains, in the order of what it cannot do without."""

from collections.abc import Iterable, Mapping
from typing import Any

from mtlrepro.pages.plan import Plan
from mtlrepro.studies import fronts, plans
from mtlrepro.studies.experiments import Grid
from mtlrepro.studies.mclgs import grids, rates
from mtlrepro.studies.mclgs.scores import ROOMS
from mtlrepro.studies.setting import Setting, check_prepared
from mtlrepro.training.config import RunConfig

SMOKE = {"seeds": 2, "comparison_seeds": 2}
"""Seeds at the scale `smoke`: the fewest of which there is an interval."""
ROOMS_SETS, STREET_SETS = ("rooms", "nyuv2"), ("rooms", "streets", "bdd100k")
"""Data sets of the poster's first table and of its second; `rooms` stands for scenes of both."""
TABLE, STREET_TABLE, UNPAIRED = "2, methods", "3, methods", "3, labels of different images"
STAR, CONTROLS = "4, star", "4, controls"
SCALED, GRADIENTS, WEIGHTS = "5, one loss scaled", "1 and 6, gradients of samples", "6, weights of samples"
"""Experiments by the section that shows them; `GRADIENTS` is of two sections."""
RATES, STREET_RATES = "2, learning rates", "3, learning rates"
FRONT, SGD = "7, fixed weights", "4, under SGD"
"""Experiments whose first runs choose which others there are."""
READ = (TABLE, STAR, CONTROLS, FRONT, GRADIENTS, WEIGHTS)
"""Experiments that the notebook reads; of the others not all runs are made yet, and their sections are to come."""
NETWORKS = {"nyuv2": "segnet_mtan", "streets": "detection", "bdd100k": "detection"}
"""Networks of data sets other than rooms."""


def setting_of(**parameters: Any) -> Setting:  # noqa: ANN401
    """Make the chapter's setting of the notebook's parameters, which are fields of `Setting`.

    Raises:
        ValueError: They do not go together.
    """
    return Setting(network=NETWORKS.get(parameters.get("dataset", "rooms"), ""), **parameters)


def plan(**parameters: Any) -> Plan:  # noqa: ANN401
    """Plan the chapter; see `pages.plan`.

    Args:
        **parameters: Those of the notebook, which are fields of `Setting`.

    Raises:
        ValueError: They do not go together, or `data_root` does not hold the data set.
    """
    setting = setting_of(**parameters)
    check_prepared(setting.dataset, setting.data_root, setting.splits)
    read = {name: grid for name, grid in experiments(setting).items() if name in READ}
    choosing: dict[str, Grid] = {
        RATES: search,
        STREET_RATES: lambda at: search(grids.streets(at)),
        FRONT: lambda at: [*grids.front(at, [0]), *equal(at)],
        SGD: lambda at: [*sgd_search(at), *grids.rate_search(at)["equal"]],
    }
    return plans.plan(setting, read, choosing)


def experiments(setting: Setting) -> dict[str, Grid]:
    """The chapter's experiments: part and name to what makes the grid of each.

    A run that broke off has its answer, and is not planned again.
    """
    found: dict[str, Grid] = {}
    dense, street = setting.dataset in ROOMS_SETS, setting.dataset in STREET_SETS
    if dense:
        found |= {
            TABLE: table,
            STAR: lambda at: [*equal(at), *_all(grids.star(at))],
            CONTROLS: lambda at: [*grids.star(at)[grids.CENTRE], *_all(grids.controls(at))],
        }
    if dense and setting.validated:
        found |= {RATES: tuned, FRONT: fixed_weights}
    if street:
        found |= {
            "3, single tasks": lambda at: grids.single_tasks(grids.streets(at)),
            STREET_TABLE: lambda at: table(grids.streets(at)),
        }
    if street and setting.dataset != "bdd100k":
        found[UNPAIRED] = unpaired
    if setting.dataset == "rooms":
        found |= {
            SGD: lambda at: [*under_sgd(at), *equal(at)],
            GRADIENTS: grids.compared,
            SCALED: lambda at: _all(grids.scaled(at)),
            WEIGHTS: lambda at: _all(grids.sampled(at)),
        }
    if street and setting.validated:
        found[STREET_RATES] = lambda at: tuned(grids.streets(at))
    return plans.unbroken(found)


def shown_at(setting: Setting, *names: str) -> Setting | None:
    """Find the setting at which some experiments are shown together: the largest scale at which all are stored.

    Args:
        setting: What all experiments share.
        *names: Names of experiments.

    Returns:
        The setting, that asked for if no scale has all their runs; None where the data set lacks one of them.
    """
    found = experiments(setting)
    if any(name not in found for name in names):
        return None
    return setting.largest_stored(lambda at: [run for name in names for run in found[name](at)])


def _all(by_name: Mapping[Any, Iterable[RunConfig]]) -> list[RunConfig]:
    return [run for runs in by_name.values() for run in runs]


def table(setting: Setting) -> list[RunConfig]:
    """Every method and single tasks at the learning rate of the scale."""
    return [*grids.single_tasks(setting), *_all(grids.methods(setting))]


def unpaired(setting: Setting) -> list[RunConfig]:
    """Runs of both tasks and of each by itself, with labels on different images."""
    street = grids.streets(setting)
    return [*_all(grids.unpaired(street)), *grids.unpaired_single(street)]


def search(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates of methods and single tasks.

    One that broke off has its answer, and is not planned again.
    """
    return setting.unbroken([*_all(grids.rate_search(setting)), *_all(grids.single_search(setting))])


def sgd_search(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates under SGD; see `search`."""
    return setting.unbroken(_all(grids.sgd_search(setting)))


def equal(setting: Setting) -> list[RunConfig]:
    """Equal weights with the seeds that experiments have at least, against which fixed weights are scored."""
    return grids.methods(setting)["equal"][: setting.seeds]


def tuned(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates, and further seeds at the best; before they are known, at the last.

    Args:
        setting: What all experiments share.
    """
    tried = search(setting)
    of_methods = dict.fromkeys(grids.METHODS, tried[-1].lr)
    of_tasks = dict.fromkeys(setting.run().tasks, tried[-1].lr)
    if setting.stored(tried):
        of_methods, of_tasks = rates.of_methods(setting).rates, rates.of_single_tasks(setting).rates
    return [*tried, *_all(grids.methods(setting, of_methods)), *grids.single_tasks(setting, of_tasks)]


def under_sgd(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates under SGD, and the experiment at the best; before they are known, the last.

    Args:
        setting: What all experiments share.
    """
    tried = sgd_search(setting)
    chosen = dict.fromkeys(grids.CENTRAL, tried[-1].lr) if tried else {}
    if setting.stored([*tried, *setting.unbroken(grids.rate_search(setting)["equal"])]):
        chosen = rates.of_sgd(setting).rates
    if "mclgs" not in chosen:
        return tried
    chosen = {"equal": chosen["mclgs"], **chosen}
    return [*tried, *_all(grids.sgd(setting, chosen))]


def fixed_weights(setting: Setting) -> list[RunConfig]:
    """The first seed of the front, its tuned point, MCLGS's mean weights, and the methods that are held against them.

    Before the point is known, which is tuned on the validation split, the first of the front stands for it.

    Args:
        setting: What all experiments share.
    """
    first = grids.front(setting, [0])
    weights = first[0].method_options["weights"]
    if setting.stored(setting.unbroken([*first, *equal(setting)])):
        weights = fronts.load(setting, grids.front(setting), equal(setting), ROOMS).tuned
    methods = [run for runs in grids.methods(setting).values() for run in runs[: setting.seeds]]
    return [*first, *grids.tuned_front(setting, weights), *grids.replayed(setting), *methods]
