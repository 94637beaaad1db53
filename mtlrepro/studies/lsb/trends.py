r"""Figures S-2 to S-4 of loss scale balancing (LSB): how level loss scales become, and what Section 5 says of it.

How far uncertainty weighting can get depends on the length of training. It minimises
:math:`\sum_k l_k / (2 \sigma_k^2) + \log \sigma_k`, over the network and over :math:`s_k = \log \sigma_k^2`, and
weighs by :math:`w_k = 1 / (2 \sigma_k^2)`. The derivative by :math:`s_k` is :math:`1/2 - w_k l_k`: it rests where
:math:`\sigma_k^2 = l_k`, and there every loss scale :math:`w_k l_k` is 1/2. To be at rest, its weights have to get to
:math:`1 / (2 l_k)` from :math:`1 / K`, the equal ones of K tasks: a way of :math:`|\log(K / (2 l_k))|` for a parameter
that AdamW moves by about its learning rate in a step, whatever the size of the gradient. Level loss scales need less,
the ratios of the weights alone. But while no weight is at rest, AdamW moves all of those with :math:`w_k l_k < 1/2` at
about the same pace and so hardly changes their ratios.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import (
    Interval,
    Kind,
    Verdict,
    bracketed_over,
    excess_interval,
    geometric_interval,
    number,
    over_seeds,
    percent_interval,
    range_interval,
)
from mtlrepro.balancers import LSB
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies.comparison import in_words
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb import method as lsb_method
from mtlrepro.studies.scores import METHODS, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.studies.trends import LEVEL
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

SOURCE = "Section 5"
OURS = "our question"
FINDING = 2
"""Number of the claim about loss scales in the box of claims."""
EQUAL, UNCERTAINTY, DWA, GLS, LSB_TITLE = (method_title(name) for name in ("equal", "uncertainty", "dwa", "gls", "lsb"))
OWN = f"{UNCERTAINTY}, own rate"
"""Uncertainty weighting with a learning rate of its own."""
KEPT_SMALL = (EQUAL, UNCERTAINTY, DWA)
"""Conventional methods of Section 5 but for GLS, whose weights are not those that the supplement takes it to have."""
SMALL = "keypoints2d"
"""Task whose loss is small in the supplement."""
EDGE = 1.05
"""Factor between the way that a weight can go and the one that it has to go, below which whether it can is open."""
NEARLY_ALL = 0.9
"""Share of one task in the sum of the loss scales with which it has taken over."""
SHOWN = (EQUAL, DWA, UNCERTAINTY, GLS, LSB_TITLE)
"""Methods whose weights and loss scales are drawn."""


@dataclass(frozen=True)
class Trends:
    """Runs of one set of tasks.

    Attributes:
        setting: At the scale of the runs.
        configs: The runs.
        history: As `studies.trends.history` gives it.
    """

    setting: Setting
    configs: Sequence[RunConfig]
    history: pd.DataFrame

    @property
    def tasks(self) -> str:
        """Their number in words."""
        return f"{in_words(len(self.configs[0].tasks))} tasks"

    @property
    def growth(self) -> float:
        """Growth of LSB's beta per epoch."""
        return next(lsb_grids.growth(run) for run in self.configs if run.method == "lsb")


def load(setting: Setting, tasks: Sequence[str]) -> Trends:
    """Runs of all methods at the largest scale at which those of these tasks are stored; missing ones are trained.

    Args:
        setting: What all experiments share.
        tasks: `TASKS`, `FOUR` or `EIGHT`.
    """
    configs = partial(lsb_grids.trends, tasks=tasks)
    at = setting.largest_stored(configs)
    at.trained(configs(at))
    return Trends(at, configs(at), studies_trends.history(at, configs(at)))


def load_slow(shown: Trends) -> Trends:
    """Runs of LSB at the growth of beta that it has with three tasks, at the scale of those of other growth.

    Args:
        shown: Runs of four or eight tasks.
    """
    configs = lsb_grids.growths(shown.setting, shown.configs[0].tasks)
    shown.setting.trained(configs)
    return Trends(shown.setting, configs, studies_trends.history(shown.setting, configs))


def load_own_rate(setting: Setting, tasks: Sequence[str], rate: float) -> Trends:
    """Runs of uncertainty weighting with a learning rate of its own, as the method `OWN`, and of equal weighting.

    Args:
        setting: What all experiments share.
        tasks: `TASKS`, `FOUR` or `EIGHT`.
        rate: Learning rate of its parameters.
    """

    def configs(one: Setting) -> list[RunConfig]:
        return [*lsb_grids.own_rate(one, tasks, rate), *lsb_grids.equal_beside_own_rate(one, tasks)]

    at = setting.largest_stored(configs)
    at.trained(configs(at))
    history = studies_trends.history(at, configs(at))
    return Trends(at, configs(at), history.assign(method=history["method"].replace(UNCERTAINTY, OWN)))


def conditions(shown: Sequence[Trends]) -> str:
    """Growth of beta and size of the runs of several sets of tasks, as the end of a caption."""
    sizes = [f"{one.tasks} at {one.setting.scale} scale" for one in shown]
    return f"{growth_sentence(shown)}; {', '.join(sizes)}"


def growth_sentence(shown: Sequence[Trends]) -> str:
    """By how much LSB's beta grows with which tasks, as the end of a caption."""
    parts = [f"{one.growth:g} with {one.tasks}" for one in shown]
    return f"β of LSB grows per epoch by {', by '.join(parts)}"


# --- how far weights get ------------------------------------------------------------------------------


def ways(shown: Trends) -> pd.DataFrame:
    """How far each log weight of uncertainty weighting has to go to be at rest, and how far it can; see the module.

    Args:
        shown: With runs of uncertainty weighting; losses are those of the last epoch, as the balancer sees them.

    Returns:
        One row a run and task: `seed`, `task`, `needed`, `possible`, both as logarithms.

    Raises:
        KeyError: A run is not stored.
    """
    runs = {run.seed: run for run in shown.configs if run.method == "uncertainty"}
    records = shown.setting.records(runs.values())
    possible = {
        seed: (run.lr if run.balancer_lr is None else run.balancer_lr) * _steps(records[run.hash])
        for seed, run in runs.items()
    }
    table = shown.history[shown.history["method"].isin([UNCERTAINTY, OWN])]
    last = table[table["epoch"] == table["epoch"].max()]
    losses = last["scale"] / last["weight"]
    needed = np.log(last["task"].nunique() / (2 * losses)).abs()
    found: pd.DataFrame = last[["seed", "task"]].assign(needed=needed, possible=last["seed"].map(possible))
    return found


def _steps(record: Record) -> int:
    """Training steps of a stored run."""
    seconds: float = sum(entry["seconds"] for entry in record["history"])
    return round(float(record["provenance"]["images_per_second"]) * seconds / int(record["config"]["batch_size"]))


def within_reach(way: pd.DataFrame) -> bool:
    """Whether every weight of every run can get to where it is at rest, and with that to level loss scales.

    Args:
        way: As `ways` gives it.
    """
    return bool((way["needed"] <= way["possible"]).all())


def way_sentence(shown: Trends) -> str:
    """How far the weights of uncertainty weighting have to go to be at rest, could go and went, in a sentence."""
    way = ways(shown)
    task, needed, possible = max(
        zip(way["task"], way["needed"], way["possible"], strict=True), key=lambda row: float(row[1])
    )
    name = OWN if OWN in set(shown.history["method"]) else UNCERTAINTY
    factors = studies_trends.weight_factors(shown.history)
    went = over_seeds(factors.loc[factors["method"] == name, "factor"].clip(lower=1), excess_interval)
    margin = float(np.exp(abs(possible - needed)))
    edge = margin < EDGE
    allowed, asked = (number(float(np.exp(way)), 5 if edge else 3) for way in (possible, needed))
    return (
        f"To be at rest, where every loss scale is one half, {name} has to move the weight of {DISPLAYS[task].title} "
        f"by a factor {asked} from its start; learning rate times steps allow {allowed}, a factor "
        f"{number(margin, 5 if edge else 3)} {'more' if possible >= needed else 'less'}, so it "
        f"{'can' if within_reach(way) else 'cannot'} get there{', on a knife-edge' if edge else ''}, and a weight went "
        f"a factor {went} from the geometric mean of all."
    )


# --- what the supplement says -------------------------------------------------------------------------


def claims(shown: Trends) -> list[Verdict]:
    """Judge Section 5 on the runs of one set of tasks, as far as their tasks are named there.

    Quotients are of runs of the same seed; their intervals are those of the logarithms. Section 5 compares the speed
    of LSB with that of uncertainty weighting alone; against other methods the question is ours. "Throughout the
    training" must hold in every run, but for one epoch.
    """
    table, epochs = shown.history, int(shown.history["epoch"].max())
    means = studies_trends.spread(table).groupby(["method", "seed"], sort=False)["spread"].mean().unstack(0)
    others = [name for name in METHODS.values() if name in means and name != LSB_TITLE]
    found = [_faster(means, name, shown.tasks) for name in sorted(others, key=lambda name: name != UNCERTAINTY)]
    found.append(_level(shown, "paper"))
    found += uncertainty_claims(shown)
    if "segmentation" in set(table["task"]):
        found += [
            Verdict(
                "Under equal weighting and DWA, segmentation has the largest loss scale throughout the training",
                SOURCE,
                100,
                100 / epochs,
                range_interval(_dominated(table, method, "segmentation")),
                reading="% of the epochs of every run, but for one epoch",
                case=f"{method}, {shown.tasks}",
                finding=FINDING,
            )
            for method in (EQUAL, DWA)
        ]
    return found + (_small_claims(table, shown.tasks) if SMALL in set(table["task"]) else [])


def _faster(means: pd.DataFrame, other: str, tasks: str) -> Verdict:
    """Whether LSB levels faster than another method, by mean spreads `[seeds, methods]`."""
    told = other == UNCERTAINTY
    return Verdict(
        f"LSB levels the loss scales faster than {other}{' weighting' if other in (EQUAL, UNCERTAINTY) else ''}",
        SOURCE if told else OURS,
        1,
        0,
        geometric_interval(means[LSB_TITLE] / means[other]),
        below=True,
        reading="quotient of the spreads of log loss scales, means over all epochs",
        case=tasks,
        kind="paper" if told else "ours",
        finding=FINDING if told else 0,
    )


def _level(shown: Trends, kind: Kind) -> Verdict:
    """Whether LSB makes loss scales level, by the spread of the second half of the epochs."""
    table = shown.history[shown.history["method"] == LSB_TITLE]
    late = studies_trends.spread(table[table["epoch"] > table["epoch"].max() // 2])
    return Verdict(
        "LSB equalizes the loss scales",
        SOURCE if kind == "paper" else OURS,
        round(LEVEL, 3),
        0,
        studies_trends.spread_interval(late.groupby("seed")["spread"].mean()),
        below=True,
        reading="spread of log loss scales, mean over the second half of the epochs",
        case=f"{shown.tasks}, β growing by {shown.growth:g} per epoch",
        kind=kind,
        finding=FINDING if kind == "paper" else 0,
    )


def growth_claims(shown: Trends, slow: Trends) -> list[Verdict]:
    """Ask what the growth of beta does with four or eight tasks: whether loss scales are level, and one takes over.

    Args:
        shown: What `load` gives.
        slow: What `load_slow` gives for it.
    """
    return [_level(slow, "ours"), *(_taken_over(one) for one in (shown, slow))]


def _taken_over(shown: Trends) -> Verdict:
    """Whether one task comes to have nearly all of the loss scales of LSB in a run."""
    found = takeovers(shown.history[shown.history["method"] == LSB_TITLE])
    count = float(found.sum())
    return Verdict(
        "Under LSB no task comes to have nearly all of the loss scales",
        OURS,
        0,
        0,
        Interval(count, count, count),
        reading=f"number of {len(found)} runs with more than {NEARLY_ALL:.0%} in an epoch of the second half",
        case=f"{shown.tasks}, β growing by {shown.growth:g} per epoch",
        kind="ours",
    )


def uncertainty_claims(shown: Trends) -> list[Verdict]:
    """Judge that uncertainty weighting levels the loss scales gradually, and that it does after many epochs.

    Neither can be tested where a weight cannot get to rest within the run, see `ways`. Spreads also change under equal
    weighting, as losses fall at different paces, so that what uncertainty weighting does is the quotient of both
    changes in runs of the same seed. Where the tasks include the small loss of keypoints, the supplement says that
    conventional methods keep it small, so the questions are ours.

    Args:
        shown: Runs of uncertainty weighting and of equal weighting.
    """
    table, epochs = shown.history, int(shown.history["epoch"].max())
    name = OWN if OWN in set(table["method"]) else UNCERTAINTY
    case = f"{shown.tasks}, own learning rate" if name == OWN else shown.tasks
    spreads = studies_trends.spread(table).set_index(["method", "seed", "epoch"])["spread"].unstack("epoch")
    last = spreads[epochs]
    changes = last / spreads[2]
    reached = within_reach(ways(shown))
    told = SMALL not in set(table["task"])
    about: dict[str, Any] = {"source": SOURCE, "finding": FINDING} if told else {"source": OURS, "kind": "ours"}
    needs = "needs learning rate × steps of |log(K / 2l)|, the way to rest"
    return [
        Verdict(
            "Under uncertainty weighting the loss scales converge gradually",
            claimed=1,
            tolerance=0,
            measured=geometric_interval(changes[name] / changes[EQUAL]) if reached else None,
            below=True,
            reading="spread of log loss scales, that of the last epoch over that of the second, over the same quotient "
            f"of equal weighting in runs of one seed; {needs}",
            case=case,
            **about,
        ),
        Verdict(
            "Under uncertainty weighting the loss scales reach a similar level after many epochs",
            claimed=round(LEVEL, 3),
            tolerance=0,
            measured=studies_trends.spread_interval(last[name]) if reached else None,
            below=True,
            reading=f"spread of log loss scales after the last epoch; {needs}",
            case=case,
            **about,
        ),
        Verdict(
            "Uncertainty weighting ends with more level loss scales than equal weighting",
            OURS,
            1,
            0,
            geometric_interval(last[name] / last[EQUAL]),
            below=True,
            reading="quotient of the spreads of log loss scales after the last epoch",
            case=case,
            kind="ours",
        ),
    ]


def _dominated(table: pd.DataFrame, method: str, task: str) -> pd.Series:
    """Per cent of the epochs in which a task has the largest loss scale, by seed."""
    scales = table[table["method"] == method].pivot_table("scale", ["seed", "epoch"], "task")
    return 100 * (scales.idxmax(axis=1) == task).groupby("seed").mean()


def _small_claims(table: pd.DataFrame, tasks: str) -> list[Verdict]:
    """The share of a small loss: kept small throughout by other methods, balanced by LSB within a quarter of its share.

    The supplement says that GLS, as equal weighting, is trained with fixed weights. It is not: the gradient of a
    product of losses weighs each by the inverse of its loss. On raw losses, as fixed and equal weights would scale
    them, the sentence can be judged for GLS; with the weights that GLS has, the share is what these make of it.
    """
    fair = 100 / table["task"].nunique()
    title = DISPLAYS[SMALL].title
    small = table[table["task"] == SMALL].set_index(["method", "seed", "epoch"])
    shares = small["share"]
    raw = (small["scale"] / small["weight"]).div(
        (table["scale"] / table["weight"]).groupby([table["method"], table["seed"], table["epoch"]]).sum()
    )
    largest = shares.groupby(["method", "seed"], sort=False).max()
    plain = 100 * raw.groupby(["method", "seed"], sort=False).max()
    claim = f"Conventional methods keep the loss of {title} on a small scale throughout the training"
    scaled = "largest share in the loss scales of any epoch, in %; small: less than half an equal share"

    def kept(case: str, own: pd.Series, reading: str = scaled, *, told: bool = True) -> Verdict:
        return Verdict(
            claim,
            SOURCE if told else OURS,
            fair / 2,
            0,
            percent_interval(own),
            below=True,
            reading=reading,
            case=case,
            kind="paper" if told else "ours",
            finding=FINDING if told else 0,
        )

    methods = [str(name) for name in shares.index.unique("method")]
    found = [kept(name, largest[name]) for name in KEPT_SMALL if name in methods]
    if GLS in methods:
        raw_reading = "largest share in the raw losses of any epoch, in %; small: less than half an equal share"
        found.append(kept(GLS, plain[GLS], raw_reading))
        found.append(
            Verdict(
                f"GLS's own weights give {title} an equal share of the loss scales",
                OURS,
                fair,
                fair / 4,
                percent_interval(largest[GLS]),
                reading="largest share in the loss scales of any epoch, in %, within a quarter of an equal share",
                case=tasks,
                kind="ours",
            )
        )
    others = [name for name in methods if name not in (*KEPT_SMALL, GLS, LSB_TITLE)]
    found += [kept(name, largest[name], told=False) for name in others]
    if LSB_TITLE in methods:
        own = shares[LSB_TITLE]
        late = own[own.index.get_level_values("epoch") > _half(table)]
        outside = 100 * ((late - fair).abs() > fair / 4).groupby("seed").mean()
        found.append(
            Verdict(
                f"LSB trains {title} in a balanced manner with the other losses",
                SOURCE,
                50,
                0,
                range_interval(outside),
                below=True,
                reading="% of the epochs of the second half in which its share in the loss scales is not within a "
                f"quarter of an equal share, mean [range] of {len(outside)} runs; balanced: in less than half of them",
                case=tasks,
                finding=FINDING,
            )
        )
    return found


# --- exhibits -----------------------------------------------------------------------------------------


def balance_exhibit(shown: Trends) -> Exhibit:
    """How level the loss scales of one set of tasks are.

    Args:
        shown: What `load` gives.
    """
    table = shown.history
    factors = studies_trends.weight_factors(table).groupby("method")["factor"].max()
    near = f"DWA's weights stay within a factor {number(float(factors[DWA]))} of equal ones. " if DWA in factors else ""
    caption = (
        f"How level the loss scales become with {shown.tasks}, and how far weights move for it. "
        f"{studies_trends.finding(table)} {near}{way_sentence(shown)} (Spread: standard deviation over tasks of the "
        f"log loss scales, level below {LEVEL:.2f}; {growth_sentence([shown])}; brackets: "
        f"{bracketed_over(table['seed'].nunique())}.)"
    )
    return Exhibit(name=f"balance_{table['task'].nunique()}", table=studies_trends.summary(table), caption=caption)


def own_rate_exhibit(shown: Sequence[Trends]) -> Exhibit:
    """How level uncertainty weighting with a learning rate of its own makes the loss scales.

    Args:
        shown: What `load_own_rate` gives for each set of tasks.
    """
    parts = [
        studies_trends.summary(one.history[one.history["method"] == OWN]).assign(method=one.tasks) for one in shown
    ]
    sentences = " ".join(f"With {one.tasks}: {way_sentence(one)}" for one in shown)
    return Exhibit(
        name="own_rate_balance",
        table=pd.concat(parts).rename(columns={"method": "tasks"}),
        caption=f"Uncertainty weighting with a learning rate of its own. {sentences} (Spread, brackets and seeds as in "
        "the tables above; three tasks in the multi-decoder network.)",
    )


def growths(shown: Trends, slow: Trends) -> pd.DataFrame:
    """Spreads of LSB at two growths of beta, trained and replayed on the losses of equal weighting.

    Args:
        shown: What `load` gives for four or eight tasks.
        slow: What `load_slow` gives for it.

    Returns:
        Loss scales as in `studies.trends.history`, with four methods: `trained` and `replayed` at both growths.
    """
    fast = shown.history[shown.history["method"] == LSB_TITLE]
    parts = [
        own.assign(method=f"trained, {rate:g}") for own, rate in ((fast, shown.growth), (slow.history, slow.growth))
    ]
    equal = shown.history[shown.history["method"] == EQUAL]
    for rate in (shown.growth, slow.growth):
        for seed, run in equal.groupby("seed"):
            losses = run.assign(loss=run["scale"] / run["weight"]).pivot(index="epoch", columns="task", values="loss")
            scales = losses * lsb_method.weights(losses, rate=rate)
            long = scales.reset_index().melt("epoch", var_name="task", value_name="scale")
            parts.append(long.assign(method=f"replayed, {rate:g}", seed=seed))
    return pd.concat([part[["method", "seed", "epoch", "task", "scale"]] for part in parts], ignore_index=True)


def takeovers(table: pd.DataFrame) -> pd.Series:
    """Whether a task has nearly all of the loss scales in an epoch of the second half, by seed.

    Args:
        table: `seed`, `epoch`, `task` and `scale` of runs of one method.
    """
    scales = table.pivot(index=["seed", "epoch"], columns="task", values="scale")
    largest = (scales.max(axis=1) / scales.sum(axis=1))[lambda own: own.index.get_level_values("epoch") > _half(table)]
    found: pd.Series = largest.groupby("seed").max() > NEARLY_ALL
    return found


def _half(table: pd.DataFrame) -> int:
    return int(table["epoch"].max()) // 2


def growths_finding(tables: dict[int, pd.DataFrame]) -> str:
    """Spread of the second half of the epochs at each growth, and in how many runs one task takes over, in sentences.

    Args:
        tables: Number of tasks to what `growths` gives.
    """
    sentences = []
    for count, table in tables.items():
        late = studies_trends.spread(table[table["epoch"] > table["epoch"].max() // 2])
        means = late.groupby(["method", "seed"], sort=False)["spread"].mean()
        parts = [f"{name} {studies_trends.spread_interval(means[name])}" for name in means.index.unique("method")]
        taken = [
            f"{takeovers(own).sum()} of {own['seed'].nunique()} ({name})"
            for name, own in table.groupby("method", sort=False)
        ]
        sentences.append(
            f"With {in_words(count)} tasks the mean spread of the second half is: {'; '.join(parts)}. One task comes "
            f"to have more than {NEARLY_ALL:.0%} of the sum in {', '.join(taken)}."
        )
    return " ".join(sentences)


def growths_exhibit(pairs: Sequence[tuple[Trends, Trends]]) -> Exhibit:
    """Spread over the epochs at two growths of beta, a panel for each set of tasks.

    Args:
        pairs: What `load` and `load_slow` give for each set of tasks.
    """
    tables = {len(shown.configs[0].tasks): growths(shown, slow) for shown, slow in pairs}
    rows = studies_trends.spreads(tables)
    shown, slow = pairs[0]
    epochs, tasks = int(shown.history["epoch"].max()), shown.history["task"].nunique()
    ends = [LSB(tasks, rate=rate).beta(epochs) for rate in (shown.growth, slow.growth)]
    return Exhibit(
        name="growths",
        table=studies_trends.by_epoch(rows, ["mean", "low", "high"]),
        caption="How level LSB makes the loss scales at two growths of β, in training and in a replay of the losses "
        f"of equal weighting, which do not respond to weights. {growths_finding(tables)} (Lines: means over seeds; "
        f"bars: all seeds; dashed: level, {LEVEL:.2f}; brackets: 95 %; β ends at {ends[0]:.2g} or {ends[1]:.2g}.)",
        figure=studies_trends.spread_figure(rows),
        alt="Spread of log loss scales against the epoch, a line for each growth of beta, trained and replayed, a "
        "panel for each set of tasks, with a dashed line where they count as level.",
        uses=("scale", "seeds"),
        form="drawing",
        rtol=1e-4,
    )
