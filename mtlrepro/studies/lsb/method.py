"""Loss scale balancing (LSB) on the losses of stored runs: its identities, replays, and the noise in its difficulty.

Nothing here computes LSB's weights: losses go epoch by epoch to the balancer that also trains,
:class:`mtlrepro.balancers.LSB`. In a replay the losses are given, so they do not respond to the weights.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtlrepro import balancers
from mtlrepro.analysis.verdicts import (
    Verdict,
    correlation_interval,
    geometric_interval,
    number,
    range_interval,
)
from mtlrepro.balancers.loss_weighting import EpochWeighting
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, MARKERS, legend
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies.comparison import columns
from mtlrepro.studies.lsb.grids import END_BETA, TASKONOMY_RATE
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

RATES = (0.0, 0.02, 0.05, 0.5, 1.1)
"""Growth of beta per epoch: none, the supplement's three, and one that ends at its largest beta after 20 epochs."""

RATIO, DOUBLES, LAST = "mean over deviation", "β that doubles", "factor at the last β"
"""Columns of `noise_table`."""
NEW = -0.5
"""Correlation of neighbouring changes where the noise of every epoch is new."""

Identity = Callable[["Recorded"], float]


@dataclass(frozen=True)
class Recorded:
    """What a stored run says of its loss weighting.

    Attributes:
        method: Name of the balancer.
        options: Its options.
        seed: Of the run.
        losses: Raw mean training losses, `[epochs, tasks]`; the index counts epochs from 1.
        weights: In force in each epoch, `[epochs, tasks]`.
    """

    method: str
    options: dict[str, Any]
    seed: int
    losses: pd.DataFrame
    weights: pd.DataFrame


def recorded(setting: Setting, configs: Iterable[RunConfig]) -> list[Recorded]:
    """Read stored runs.

    Raises:
        KeyError: A run is not stored.
    """
    found = []
    for record in setting.records(configs).values():
        config = record["config"]
        epochs = pd.Index([entry["epoch"] for entry in record["history"]], name="epoch")
        tables = (
            pd.DataFrame([entry[name] for entry in record["history"]], epochs, config["tasks"])
            for name in ("losses", "weights")
        )
        found.append(Recorded(config["method"], config["method_options"], config["seed"], *tables))
    return found


# --- replays ------------------------------------------------------------------------------------------


def weights(losses: pd.DataFrame, method: str = "lsb", **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """Weights that a balancer has in force in each epoch when it is told these losses.

    Args:
        losses: `[epochs, tasks]`.
        method: Balancer whose weights change once per epoch.
        options: Its options.

    Raises:
        ValueError: the method has no such weights.
    """
    balancer = balancers.create(method, losses.shape[1], **options)
    if not isinstance(balancer, EpochWeighting):
        raise ValueError(f"method is {method!r}; accepted: one with weights that change once per epoch")
    found = []
    for values in losses.to_numpy():
        found.append(balancer.weights.tolist())
        balancer.end_epoch(torch.tensor(values))
    return pd.DataFrame(found, losses.index, losses.columns)


def replay(losses: pd.DataFrame, rate: float = 0.02, priority: Sequence[float] | None = None) -> pd.DataFrame:
    """Feed losses to LSB.

    The balancer keeps no difficulty. It is read off a copy that takes the same step with `conserve=False`, where
    alpha is 1: `d_k = w_k(t) l_k(t-1) / (pi_k L(t-1))`; alpha is the ratio of both weights.

    Args:
        losses: `[epochs, tasks]`.
        rate: Growth of beta per epoch.
        priority: Of each task; equal if not given.

    Returns:
        One row an epoch and task: `epoch`, `task`, `loss`, `weight`, `scale` (weight times loss), `share`
        (of the sum of loss scales) and what made the weight: `beta`, `difficulty` and `alpha`, in the first two
        epochs 0, 1 and 1.
    """
    balancer = balancers.LSB(losses.shape[1], priority=None if priority is None else list(priority), rate=rate)
    pi = balancer.weights
    difficulty, alpha = torch.ones_like(pi), torch.ones_like(pi)
    parts = []
    for epoch, values in zip(losses.index, torch.tensor(losses.to_numpy()), strict=True):
        scale = balancer.weights * values
        columns = {"loss": values, "weight": balancer.weights, "scale": scale, "share": scale / scale.sum()}
        columns |= {"difficulty": difficulty, "alpha": alpha}
        beta = balancer.beta(epoch) if epoch >= 3 else 0.0
        parts.append(pd.DataFrame({"epoch": epoch, "task": losses.columns, "beta": beta, **columns}))
        free = deepcopy(balancer)
        free.conserve = False
        for one in (balancer, free):
            one.end_epoch(values)
        difficulty = free.weights * values / (pi * scale.sum())
        alpha = balancer.weights / free.weights
    return pd.concat(parts, ignore_index=True)


def largest_shares(replayed: pd.DataFrame) -> str:
    """Name the task with the largest share of the total loss in each epoch of a replay, and that share."""
    rows = replayed.loc[replayed.groupby("epoch")["share"].idxmax()]
    return "; ".join(f"epoch {row['epoch']}: {row['task']}, {row['share']:.0%}" for _, row in rows.iterrows())


def first_priorities(tasks: int) -> dict[str, float]:
    """Priorities of the first task by label, from equal ones upward; the other tasks share the rest equally."""
    return {f"1/{tasks}": 1 / tasks, **{f"{value:g}": value for value in (0.5, 0.8) if value > 1 / tasks}}


def replays(losses: pd.DataFrame, rates: Sequence[float] = RATES) -> pd.DataFrame:
    """Replay at several rates of beta and priorities of the first task.

    Returns:
        The rows of :func:`replay` with `rate` and `priority`, the latter as text.
    """
    others = losses.shape[1] - 1
    parts = []
    for rate in rates:
        for label, first in first_priorities(losses.shape[1]).items():
            found = replay(losses, rate, [first] + [(1 - first) / others] * others)
            parts.append(found.assign(rate=rate, priority=label))
    return pd.concat(parts, ignore_index=True)


def pictures(replayed: pd.DataFrame) -> dict[tuple[str, str], tuple[Figure, str]]:
    """Draw each replay: rate of beta and priority as texts, to drawing and its alternative text.

    Args:
        replayed: As :func:`replays` gives it.
    """
    limits = (replayed["weight"].min() / 2, replayed["weight"].max() * 2)
    found = {}
    for (rate, label), own in replayed.groupby(["rate", "priority"], sort=False):
        last = own[own["epoch"] == own["epoch"].max()]
        ends = ", ".join(f"{row['task']} {number(row['weight'])}" for _, row in last.iterrows())
        alt = f"Weights and shares of loss scales, beta rate {rate:g}, first priority {label}; last weights: {ends}."
        found[f"{rate:g}", str(label)] = _picture(own, limits), alt
    return found


def _picture(own: pd.DataFrame, limits: tuple[float, float]) -> Figure:
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    _lines(left, own, "weight")
    _lines(right, own, "share")
    for target in own[own["epoch"] == own["epoch"].min()]["weight"].unique():  # w(1) = pi
        right.axhline(target, color="0.4", linestyle="--", linewidth=1)
    left.set(yscale="log", ylim=limits, xlabel="epoch", ylabel="weight")
    right.set(ylim=(0, 1), xlabel="epoch", ylabel="share of the total loss")
    legend(figure, left, 4)
    return figure


def steps(replayed: pd.DataFrame) -> pd.DataFrame:
    """Largest factor by which a weight changes from one epoch to the next, from the third epoch on, up or down.

    Returns:
        One row a rate and priority: `rate`, `priority`, `factor`.
    """
    rows = replayed[replayed["epoch"] >= 3]
    changes = np.log(rows["weight"]).groupby([rows["rate"], rows["priority"], rows["task"]]).diff().abs()
    rows = rows.assign(factor=np.exp(changes))
    return rows.groupby(["rate", "priority"], sort=False)["factor"].max().reset_index()


def replay_finding(replayed: pd.DataFrame) -> str:
    """What priorities do without beta, and beta with equal priorities, in sentences."""
    equal, task, still = (replayed[column].iloc[0] for column in ("priority", "task", "rate"))
    first = replayed[(replayed["task"] == task) & (replayed["rate"] == still) & (replayed["epoch"] >= 2)]
    shares = first.groupby("priority", sort=False)["share"].mean()
    found = steps(replayed)
    factors = found[found["priority"] == equal].set_index("rate")["factor"]
    return (
        "Weights that LSB would have set, and shares of the total loss, for given losses. "
        f"At rate {still:g}, the mean share of {task} is "
        + ", ".join(f"{share:.2f} at priority {name}" for name, share in shares.items())
        + ". With equal priorities, a weight changes between two epochs, from the third on, by a factor of up to "
        + ", ".join(f"{factor:.3g} at rate {rate:g}" for rate, factor in factors.items())
        + ". (The losses are those of a run with equal weights and do not respond; dashed: the priorities.)"
    )


# --- identities ---------------------------------------------------------------------------------------


def _largest(errors: Any) -> float:  # noqa: ANN401
    return float(np.abs(np.asarray(errors)).max())


def _spread(table: pd.DataFrame) -> float:
    """Largest ratio of two numbers of a row, less one."""
    return _largest(table.max(axis=1) / table.min(axis=1) - 1)


def _shares(scales: pd.DataFrame) -> pd.DataFrame:
    return scales.div(scales.sum(axis=1), axis=0)


def start(run: Recorded) -> float:
    """Weights of the first epoch against equal ones: largest relative error; for runs with equal priorities."""
    return _largest(run.weights.iloc[0] * run.weights.shape[1] - 1)


def same_weights(run: Recorded) -> float:
    """Recorded weights against the replay of the recorded losses: largest relative error."""
    return _largest(weights(run.losses, run.method, **run.options) / run.weights - 1)


def conservation(run: Recorded) -> float:
    """Recorded sum of w_k(t) l_k(t-1) against L(t-1), t >= 2: largest relative error."""
    kept = (run.weights.iloc[1:].to_numpy() * run.losses.iloc[:-1].to_numpy()).sum(axis=1)
    totals = (run.weights * run.losses).sum(axis=1)
    return _largest(kept / totals.iloc[:-1] - 1)


def scale_invariance(run: Recorded) -> float:
    """Shares from t = 2 on, if one task's loss is multiplied by 1000: largest difference over all tasks, at rate 1."""
    plain = _shares(run.losses * weights(run.losses, rate=1.0))
    found = []
    for task in run.losses:
        scaled = run.losses.assign(**{str(task): 1000 * run.losses[task]})
        change = _shares(scaled * weights(scaled, rate=1.0)) - plain
        found.append(_largest(change.iloc[1:]))
    return max(found)


def balance(run: Recorded) -> float:
    """At beta = 0, w_k(t) l_k(t-1) / pi_k is the same for all tasks, t >= 2: largest spread; pi is unequal."""
    priority = np.arange(1, run.losses.shape[1] + 1)
    scales = weights(run.losses, rate=0.0, priority=priority.tolist()) * run.losses.shift()
    return _spread(scales.iloc[1:].div(priority))


def lagged_gls(run: Recorded) -> float:
    """At beta = 0 and equal priorities, weights of LSB over those of GLS with last epoch's losses: largest spread."""
    return _spread(weights(run.losses, rate=0.0) / weights(run.losses, "lagged_gls"))


def lag(run: Recorded) -> float:
    """At beta(t) = 1, w_k(t) l_k(t-2) is the same for all tasks, t >= 3: largest spread, in up to 20 epochs."""
    found = []
    for t in np.unique(np.geomspace(3, len(run.losses), 20).astype(int)):
        values = weights(run.losses.iloc[:t], rate=1 / (t - 2)).iloc[[-1]] * run.losses.iloc[t - 3]
        found.append(_spread(values))
    return max(found)


def equal_difficulty(run: Recorded) -> float:
    """If all losses fall alike, shares are the priorities from t = 2 on: largest difference, at rate 1.

    All tasks get the first one's recorded losses, times 1, 10, 100, ...
    """
    tasks = run.losses.shape[1]
    priority = np.arange(1, tasks + 1) / (tasks * (tasks + 1) / 2)
    alike = run.losses.assign(**{str(task): 10.0**k * run.losses.iloc[:, 0] for k, task in enumerate(run.losses)})
    scales = alike * weights(alike, rate=1.0, priority=priority.tolist())
    return _largest(_shares(scales).iloc[1:] - priority)


# Claim to its source and to the function that measures by how much a run misses it.
IDENTITIES: dict[str, tuple[str, Identity]] = {
    "Training starts from equal weights": ("Section 3", start),
    "Recorded weights are those that a replay of the recorded losses gives": ("our records", same_weights),
    "The next weights keep the total: Σ w(t) l(t−1) = L(t−1)": ("reconstruction", conservation),
    "One loss in units a thousand times smaller changes no share from t = 2 on": ("reconstruction", scale_invariance),
    "Without difficulty, loss scales on last epoch's losses are as the priorities": ("reconstruction", balance),
    "Without difficulty, the direction is that of GLS with last epoch's losses": ("reconstruction", lagged_gls),
    "At β = 1 the weights balance, up to one factor, the losses of the epoch before last": ("reconstruction", lag),
    "Where all losses fall alike, shares are the priorities at any β": ("reconstruction", equal_difficulty),
}


def claims(runs: Sequence[Recorded]) -> list[Verdict]:
    """Judge the identities of this module on stored runs of LSB with equal priorities: exact up to rounding in each."""
    return [
        Verdict(
            claim,
            source,
            0,
            1e-9,
            range_interval([error(run) for run in runs]),
            reading="largest error in any run, relative or in a share",
            kind="identity",
        )
        for claim, (source, error) in IDENTITIES.items()
    ]


# --- how much of the difficulty is noise --------------------------------------------------------------


def difficulties(losses: pd.DataFrame) -> pd.DataFrame:
    """Log difficulty per unit of beta, less its mean over tasks, which alpha takes out, `[epochs - 2, tasks]`."""
    found = replay(losses, rate=1 / len(losses))  # so that no power is too large
    found = found[found["epoch"] >= 3].assign(log=lambda rows: np.log(rows["difficulty"]) / rows["beta"])
    wide = found.pivot(index="epoch", columns="task", values="log")[list(losses.columns)]
    return wide.sub(wide.mean(axis=1), axis=0)


def noise(runs: Sequence[Recorded]) -> pd.DataFrame:
    """Tell what is steady in the difficulty of a task from what changes between epochs, in each half of a training.

    If the noise of a log loss is independent between epochs, that of its change is not: changes of neighbouring epochs
    correlate by -1/2.

    Returns:
        One row a run, half and task: `seed`, `epochs` as text, `task`; `mean` over epochs and `deviation` of
        the log difficulty per unit of beta; `ratio`, the size of the mean over the deviation; `correlation` of
        neighbouring epochs.
    """
    rows = []
    for run in runs:
        table = difficulties(run.losses)
        for half in (table.iloc[: len(table) // 2], table.iloc[len(table) // 2 :]):
            epochs = f"{half.index[0]} to {half.index[-1]}"
            for task, own in half.items():
                ratio = abs(own.mean()) / own.std()
                rows.append((run.seed, epochs, task, own.mean(), own.std(), ratio, own.autocorr()))
    return pd.DataFrame(rows, columns=["seed", "epochs", "task", "mean", "deviation", "ratio", "correlation"])


def noise_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds what :func:`noise` gives.

    Returns:
        One row a half and task: `epochs`, `task`, `mean` and `deviation` of the log difficulty; `mean over deviation`,
        its size, and `correlation` of neighbouring epochs, both with `... low` and `... high` of the 95 % interval over
        seeds; `β that doubles`, at which one deviation changes a weight by a factor of 2; and `factor at the last β`
        of the paper's main schedule.
    """
    rows = []
    for (epochs, task), own in measured.groupby(["epochs", "task"], sort=False):
        deviation = float(own["deviation"].mean())
        row = {"epochs": epochs, "task": task, "mean": own["mean"].mean(), "deviation": deviation}
        row |= columns(RATIO, geometric_interval(own["ratio"]))
        row |= columns("correlation", correlation_interval(own["correlation"]))
        rows.append({**row, DOUBLES: np.log(2) / deviation, LAST: np.exp(END_BETA * deviation)})
    return pd.DataFrame(rows)


def noise_finding(table: pd.DataFrame) -> str:
    """How large the noise is, in sentences.

    Args:
        table: As :func:`noise_table` gives it.
    """
    late = table[table["epochs"] == table["epochs"].iloc[-1]]
    ends = {name: f"{late[name].min():.2g} to {late[name].max():.2g}" for name in (RATIO, "correlation", DOUBLES, LAST)}
    return (
        f"In epochs {late['epochs'].iloc[0]} the mean log difficulty is {ends[RATIO]} of its deviations, and "
        f"neighbouring epochs correlate by {ends['correlation']}, where noise that is new in every epoch gives "
        f"{NEW:g}. One deviation doubles a weight at β = {ends[DOUBLES]}, and makes it {ends[LAST]} times as large at "
        f"β = {END_BETA:g}."
    )


def noise_claim(measured: pd.DataFrame) -> Verdict:
    """Judge whether the mean difficulty stands out from its noise, by the task where it does so most.

    Args:
        measured: As :func:`noise` gives it.
    """
    late = measured[measured["epochs"] == measured["epochs"].iloc[-1]]
    return Verdict(
        "Noise prevails in the difficulty late in training",
        "our question",
        1,
        0,
        geometric_interval(late.groupby("seed")["ratio"].max()),
        below=True,
        reading="mean of the log difficulty over its deviation, largest of all tasks, second half of the epochs",
        kind="ours",
    )


def noise_curves(run: Recorded) -> pd.DataFrame:
    """Losses and log difficulties of a run.

    Returns:
        One row a quantity, epoch and task: `quantity` (`loss` or `log difficulty`), `epoch`, `task`,
        `value`.
    """
    parts = {"loss": run.losses, "log difficulty": difficulties(run.losses)}
    found = [table.reset_index().melt("epoch", var_name="task").assign(quantity=name) for name, table in parts.items()]
    return pd.concat(found, ignore_index=True)[["quantity", "epoch", "task", "value"]]


def noise_figure(curves: pd.DataFrame) -> Figure:
    """Draw losses and log difficulties beside each other.

    Args:
        curves: As :func:`noise_curves` gives it.
    """
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, (_, rows) in zip((left, right), curves.groupby("quantity", sort=False), strict=True):
        _lines(axes, rows, "value")
    left.set(yscale="log", xlabel="epoch", ylabel="mean training loss")
    right.set(xlabel="epoch", ylabel="log difficulty / β")
    right.axhline(0, color="0.4", linestyle="--", linewidth=1)
    legend(figure, left, 4)
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """Draw a column against `epoch`, one line a task."""
    for place, (task, own) in enumerate(rows.groupby("task", sort=False)):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        axes.plot(own["epoch"], own[column], color=colour, marker=marker, markevery=(place, 3), label=str(task))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


# --- exhibits -----------------------------------------------------------------------------------------


def regimes_exhibit(run: Recorded) -> Exhibit:
    """The first epochs of a run, replayed."""
    first = replay(run.losses).query("epoch <= 4")
    caption = (
        "The first epochs of a run, with the losses and what LSB makes of them. Largest share of the total loss: "
        f"{largest_shares(first)}. (Full sharing, seed {run.seed}.)"
    )
    return Exhibit(name="regimes", table=first, caption=caption)


def replays_exhibit(run: Recorded) -> Exhibit:
    """Weights and shares under LSB for the losses of a run, a frame a growth of beta and a priority."""
    replayed = replays(run.losses)
    columns = ["rate", "priority", "task", "epoch", "weight"]
    return Exhibit(
        name="replays",
        table=studies_trends.by_epoch(replayed[columns], ["weight"]),
        caption=replay_finding(replayed),
        frames=pictures(replayed),
        sliders=("growth of β per epoch", f"priority of {run.losses.columns[0]}"),
        start=(f"{TASKONOMY_RATE:g}", str(replayed["priority"].iloc[0])),
        uses=("scale",),
        form="drawing",
        rtol=1e-4,
    )


def difficulty_exhibit(runs: Sequence[Recorded]) -> Exhibit:
    """Losses and log difficulties of the first of some runs; the caption has all."""
    curves = noise_curves(runs[0])
    return Exhibit(
        name="difficulty",
        table=curves,
        caption="Losses, and log difficulties per unit of β. "
        f"{noise_finding(noise_table(noise(runs)))} (Drawn: seed {runs[0].seed}.)",
        figure=noise_figure(curves),
        alt="Two panels over epochs, a line for each task: on the left mean training losses on a logarithmic scale; on "
        "the right log difficulties per unit of beta, with a dashed line at zero.",
        uses=("scale",),
        form="drawing",
    )


def noise_exhibit(runs: Sequence[Recorded]) -> Exhibit:
    """What is steady in the difficulty, and what changes between epochs; see :func:`noise_table`."""
    epochs, tasks = runs[0].losses.shape
    table = noise_table(noise(runs))
    caption = (
        "What is steady in the log difficulty per unit of β, and what changes between epochs, in both halves of "
        f"training. {noise_finding(table)} (Brackets: 95 % over {len(runs)} seeds. At "
        f"β = {END_BETA:g} the paper's main schedule ends; here β ends at {balancers.LSB(tasks).beta(epochs):.2g}.)"
    )
    return Exhibit(name="noise", table=table, shown=table.drop(columns=LAST), caption=caption)
