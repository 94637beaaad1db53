"""What the chapter on MTSGD reads and trains, in the order of what it cannot do without."""

from collections.abc import Iterable
from typing import Any

from mtlrepro.pages.plan import Plan
from mtlrepro.studies import plans
from mtlrepro.studies.experiments import Grid
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.controls import parts, rates, weights
from mtlrepro.studies.mtsgd.grids import NO_CONFLICT, TABLE_2, TABLE_3, TABLE_4, Cell
from mtlrepro.studies.setting import Setting, check_prepared
from mtlrepro.training.config import RunConfig

SMOKE = {"seeds": 2, "comparison_seeds": 2}
"""Seeds at the scale `smoke`: the fewest of which there is an interval."""
RATES, FRONT, FACTORS = "4, learning rates", "4, fixed weights", "4, sensitivity to weights"
"""Experiments whose first runs choose which others there are."""
PARTS = "4, step taken apart"
READ = (
    "3, Table 2",
    "2, premise",
    "3, Table 2 at the premise",
    RATES,
    PARTS,
    FRONT,
    "3, matched decay",
    "3, Table 4",
    "3, Table 3",
    "4, AdamW",
    FACTORS,
)
"""Experiments that the notebook reads; the runs of the others are not made yet, and they are to come."""


def plan(**parameters: Any) -> Plan:  # noqa: ANN401
    """Plan the chapter; see `pages.plan`.

    Args:
        **parameters: Those of the notebook, which are fields of `Setting`.

    Raises:
        ValueError: They do not go together, or `data_root` does not hold the data set.
    """
    setting = Setting(network="mtsgd", **parameters)
    check_prepared(setting.dataset, setting.data_root, setting.splits)
    choosing = plans.unbroken({RATES: _rate_search, FRONT: _front_search, FACTORS: _factor_search})
    read = {name: grid for name, grid in experiments(setting).items() if name in READ}
    return plans.plan(setting, read, choosing)


def experiments(setting: Setting) -> dict[str, Grid]:
    """The chapter's experiments: part and name to what makes the grid of each, in the order of their use.

    A run that broke off has its answer, and is not planned again.
    Those of the controls choose by the validation split, and are left out where there is none.

    Args:
        setting: What all experiments share.
    """
    chosen: dict[str, Grid] = {RATES: searched, PARTS: lengths, FRONT: front}
    others: dict[str, Grid] = {"4, AdamW": grids.adamw, "4, other methods": grids.others, FACTORS: sensitivity}
    found: dict[str, Grid] = {
        "3, Table 2": lambda at: [*grids.single_tasks(at), *grids.runs_of(at, TABLE_2)],
        "2, premise": lambda at: [run for runs in grids.premise(at).values() for run in runs],
        "3, Table 2 at the premise": lambda at: grids.scaled(at, range(at.seeds)),
        **(chosen if setting.validated else {}),
        "3, matched decay": lambda at: [*grids.runs_of(at, grids.UNDECAYED), *grids.decayed(at)],
        "3, Table 4": lambda at: grids.runs_of(at, TABLE_4),
        "3, Table 3": lambda at: grids.runs_of(at, TABLE_3),
        **(others if setting.validated else {}),
    }
    return plans.unbroken(found)


def _rate_search(setting: Setting) -> list[RunConfig]:
    """Runs at every learning rate."""
    return [run for runs in grids.rate_search(setting).values() for run in runs]


def searched(setting: Setting) -> list[RunConfig]:
    """Runs at every learning rate, and further seeds at the best; before it is known, as if it were the last.

    Args:
        setting: What all experiments share.
    """
    search = _rate_search(setting)
    best = dict.fromkeys(grids.SEARCHED, grids.rates(setting)[-1])
    if _known(setting, grids.JOINT.runs(setting), search):
        best = rates.best(setting, grids.rate_search(setting))
    further = [
        grids.at_rate(setting, grids.SEARCHED[name], rate, seed)
        for name, rate in best.items()
        for seed in range(setting.seeds)
        if rate != setting.run().lr
    ]
    return [*search, *further]


def _known(setting: Setting, reference: Iterable[RunConfig], tried: Iterable[RunConfig] = ()) -> bool:
    """Whether runs and those that they are compared with are stored, but for what broke off; not all of the latter."""
    left = setting.unbroken(reference)
    return bool(left) and setting.stored([*left, *setting.unbroken(tried)])


def lengths(setting: Setting) -> list[RunConfig]:
    """MTSGD taken apart, and with a rate that makes up for its shorter updates; before these are known, half as long.

    Args:
        setting: What all experiments share.
    """
    clipped = Cell(NO_CONFLICT).runs(setting)
    known = _known(setting, clipped)
    length = parts.update_length(setting) if known else 0.5
    return [
        *(run for runs in grids.lengths(setting).values() for run in runs),
        *grids.matched(setting, length),
    ]


def _front_rate(setting: Setting) -> float:
    """Learning rate of fixed weights, the best of joint SGD, see `Weights`; before it is known, the last."""
    search = grids.rate_search(setting)["joint SGD"]
    if not _known(setting, grids.JOINT.runs(setting), search):
        return search[-1].lr
    return rates.best(setting, {"joint SGD": search}).get("joint SGD", setting.run().lr)


def _front_search(setting: Setting) -> list[RunConfig]:
    """Fixed weights, among which the point is tuned."""
    return grids.front(setting, _front_rate(setting))


def front(setting: Setting) -> list[RunConfig]:
    """Fixed weights, and the point tuned on the validation split; before it is known, the first.

    Args:
        setting: What all experiments share.
    """
    points = _front_search(setting)
    rate, tuned = points[0].lr, points[0].method_options["weights"]
    equal = rates.at_rate(setting, "joint SGD", rate)
    if _known(setting, equal, points):
        tuned = weights.load_front(setting, rate).tuned
    return [*points, *grids.tuned_front(setting, rate, tuned)]


def _factor_search(setting: Setting) -> list[RunConfig]:
    """Runs with the loss of disparity scaled, at every learning rate."""
    return [run for runs in grids.sensitivity(setting).values() for run in runs]


def sensitivity(setting: Setting) -> list[RunConfig]:
    """Runs with the loss of disparity scaled, and further seeds at the best rate; before it is known, the last.

    Args:
        setting: What all experiments share.
    """
    search = grids.sensitivity(setting)
    tried = _factor_search(setting)
    known = _known(setting, grids.JOINT.runs(setting), tried)
    best = rates.best(setting, search) if known else {key: runs[-1].lr for key, runs in search.items()}
    further = [
        grids.at_factor(setting, name, factor, rate, seed)
        for (factor, name), rate in best.items()
        for seed in range(setting.seeds)
    ]
    return [*tried, *further]
