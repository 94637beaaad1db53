"""The curriculum: similarity and weight over training, other curricula, and what is left without the similarity.

The *gate* of a step is the mean weight of all pairs of tasks, sum_k W_k: by that factor the step of equal weights would
be longer if all pairs agreed alike. Delta_m is that over equal weights, in %, and differences are those of runs of the
same seed: Student's paired interval, 95 %, not corrected. Runs that diverged are left out and counted, and a claim
about what has lost one is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtlrepro.analysis.significance import detectable_difference, holm, paired_p_value
from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    mean_interval,
    over_seeds,
    percent_interval,
    range_interval,
)
from mtlrepro.balancers import MCLGS
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import NOT_KNOWN, bracketed, columns, fixed, paired
from mtlrepro.studies.mclgs import grids, rates
from mtlrepro.studies.mclgs.grids import CENTRE
from mtlrepro.studies.mclgs.scores import better, gains, scores_of
from mtlrepro.studies.scores import DELTA, Scores
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
SGD = OPTIMIZERS["sgd"]
"""Names of optimizers as readers see them."""
AT_THE_END, FIGURE = "The weight is 1 once the curriculum has ended, here in the middle of the run", "figure of weights"
"""What follows from the rule, and the place of the claim."""
BETTER = "With its curriculum MCLGS is better than equal weights"
NOT_THE_LENGTH = "MCLGS is better than weights as large that do not look at the gradients of their own steps"
AGAIN = "equal, trained again"
"""Equal weights of the same seeds, whose gradients other sections compare, so that they were trained once more."""
EQUAL_AT_BEST = "equal at its best rate"
"""Equal weights under SGD at the best of their own learning rates, where that is not the centre's."""
LAST_WEIGHTS = "weights of all pairs in the last epoch, mean [range]"
LESS_CENTRE = f"{DELTA} less centre, points"
"""Column of differences between curricula."""
EVEN = 1e-9
"""Gates that differ from 1 by no more are 1."""
DODGE = 0.25
"""Epochs by which the curves of pairs stand beside one another, so that their bars can be told apart."""
BANDS = (10, 90)
"""Percentiles of the weights of an epoch's steps that the figure shows."""


@dataclass(frozen=True)
class Runs:
    """Runs of one optimizer; where none of equal weights or of the centre is left, there are none, see `lost`.

    Attributes:
        optimizer: Its name.
        rate: Learning rate of the centre and of what is compared with it.
        scores: Metrics.
        equal: Equal weights at that learning rate, as `fronts.evaluated` gives them.
        runs: Name of a curriculum or control to its runs, likewise.
        lost: Name, `equal` among them, to how many of its runs diverged, or replay one that did, and are left out.
        gates: Name to the gates of each run: of every step, where the run kept them, else the means of the epochs.
        epochs: Of the centre, see `history`.
    """

    optimizer: str
    rate: float
    scores: Scores
    equal: pd.DataFrame
    runs: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]
    gates: Mapping[str, Sequence[np.ndarray]]
    epochs: pd.DataFrame

    def gained(self, one: str, other: str = "equal") -> pd.Series:
        """Delta_m of some runs less that of others of the same seed, in points of %; `equal` names equal weights."""
        runs = {"equal": self.equal, **self.runs}
        return gains(runs[one], runs[other], self.equal, self.scores)

    def judged(self, one: str, other: str = "equal") -> Interval | None:
        """Mean of `gained` with its paired interval; None if a run of either is left out."""
        lost = {one, other} & self.lost.keys()
        return None if lost or not self.runs else paired(self.gained(one, other))

    def paired(self, one: str, others: Sequence[str]) -> list[str]:
        """Those of some names that have two runs or more of the seeds of another one, the fewest for an interval."""
        if one not in self.runs:
            return []
        known = [name for name in others if name == "equal" or name in self.runs]
        return [name for name in known if len(self.gained(one, name)) > 1]

    def left_out(self) -> dict[str, int]:
        """See `lost`, with the optimizer in the names."""
        return {f"{name} under {self.optimizer}": count for name, count in self.lost.items()}


def load(setting: Setting) -> Runs:
    """Read the curricula and controls under the optimizer of the setting; missing runs are trained.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of equal weights or of the centre diverged, see `Setting.reference`.
    """
    by_name = {**grids.star(setting), **grids.controls(setting)}
    if setting.dataset == "rooms" and setting.stored(setting.unbroken(again := grids.compared(setting))):
        by_name[AGAIN] = again
    equal = grids.methods(setting)["equal"][: setting.seeds]
    setting.reference("equal weights", equal)
    setting.reference("MCLGS", by_name[CENTRE])
    return _load(setting, equal, by_name)


def load_centre(setting: Setting) -> Runs:
    """Read the similarities and weights of the centre with all seeds of the table, without other runs.

    Args:
        setting: What all runs share; missing runs are trained.
    """
    configs = grids.methods(setting)["mclgs"]
    left = setting.finite(configs)
    lost = {CENTRE: len(configs) - len(left)} if len(left) < len(configs) else {}
    gates = {CENTRE: [gate(setting, run) for run in left]}
    nothing = fronts.evaluated(setting, [])
    return Runs(
        OPTIMIZERS[configs[0].optimizer],
        configs[0].lr,
        scores_of(setting),
        nothing,
        {},
        lost,
        gates,
        history(setting, left),
    )


def load_sgd(setting: Setting) -> Runs:
    """Read the centre and its controls under SGD, at the best of the rates that were tried for the centre.

    Args:
        setting: What all runs share; missing runs are trained.
    """
    search = rates.of_sgd(setting)
    if "mclgs" in search.lost:
        nothing = fronts.evaluated(setting, [])
        lost = {CENTRE if name == "mclgs" else name: count for name, count in search.lost.items()}
        return Runs(SGD, np.nan, scores_of(setting), nothing, {}, lost, {}, history(setting, []))
    chosen = {"equal": search.rates["mclgs"], **search.rates}
    found = grids.sgd(setting, chosen)
    best, equal = found.pop("equal"), found.pop("equal, same rate")
    return _load(setting, equal, found if chosen["equal"] == chosen["mclgs"] else {**found, EQUAL_AT_BEST: best})


def _load(setting: Setting, equal: Sequence[RunConfig], by_name: Mapping[str, Sequence[RunConfig]]) -> Runs:
    every = {"equal": equal, **by_name}
    whole = {run.hash for run in setting.finite(run for configs in every.values() for run in configs)}
    left = {name: [run for run in configs if run.hash in whole] for name, configs in every.items()}
    lost = {name: len(every[name]) - len(configs) for name, configs in left.items()}
    told = bool(left["equal"] and left[CENTRE])
    runs = {name: fronts.evaluated(setting, configs) for name, configs in left.items() if configs and told}
    return Runs(
        OPTIMIZERS[equal[0].optimizer],
        equal[0].lr,
        scores_of(setting),
        runs.pop("equal", pd.DataFrame()),
        runs,
        {name: count for name, count in lost.items() if count},
        {name: [gate(setting, run) for run in left[name]] for name in runs if name != AGAIN},
        history(setting, left[CENTRE]),
    )


def gate(setting: Setting, run: RunConfig) -> np.ndarray:
    """Gates of a run's steps, `[steps]`; where steps were not kept, the means of the epochs.

    Args:
        setting: Holds the stored run.
        run: A run of a method that has weights.
    """
    if "weights" in run.observe:
        gates: np.ndarray = setting.store.step_weights(run).sum(1)
        return gates
    (record,) = setting.records([run]).values()
    return np.array([sum(entry["weights"].values()) for entry in record["history"]])


def pair_weights(weights: np.ndarray) -> np.ndarray:
    """Weights w_ij of the pairs (1, 2), (1, 3) and (2, 3) of three tasks from W_k = sum_j w_kj / 6.

    Args:
        weights: `[steps, 3]`, W of each step.

    Returns:
        `[steps, 3]`, w_ij = 3 (W_i + W_j - W_k).
    """
    total = weights.sum(1)
    found: np.ndarray = np.stack([3 * (total - 2 * weights[:, k]) for k in (2, 1, 0)], axis=1)
    return found


def history(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """What runs of MCLGS on three tasks report, after each epoch with a look at their gradients.

    Args:
        setting: Holds the stored runs.
        configs: The runs, which keep `grids.OBSERVED`.

    Returns:
        One row a seed, epoch and pair of tasks: `seed`, `epoch`, `pair`; `p` at the start of the epoch; `similarity`,
        the pair's cosine on the probe batch after the epoch; `weight`, the mean of w_ij over the epoch's steps, with
        `low` and `high`, percentiles `BANDS`; and `update`, by how much the method would change the optimizer's next
        update of the shared parameters, in % of its length.
    """
    rows = []
    for config, record in zip(configs, setting.records(configs).values(), strict=True):
        weights = pair_weights(setting.store.step_weights(config))
        steps = len(weights) // config.epochs
        for entry in record["history"]:
            if (probe := entry["probe"]) is None:
                continue
            own = weights[steps * (entry["epoch"] - 1) : steps * entry["epoch"]]
            for number, (i, j) in enumerate(combinations(range(len(config.tasks)), 2)):
                low, high = np.percentile(own[:, number], BANDS)
                rows.append(
                    {
                        "seed": config.seed,
                        "epoch": entry["epoch"],
                        "pair": f"{config.tasks[i]}, {config.tasks[j]}",
                        "p": entry["observed"]["p"],
                        "similarity": probe["cosines"][i][j],
                        "weight": float(own[:, number].mean()),
                        "low": float(low),
                        "high": float(high),
                        "update": 100 * probe["update_change"]["shared"],
                    }
                )
    return pd.DataFrame(rows, columns=["seed", "epoch", "pair", "p", "similarity", "weight", "low", "high", "update"])


def weighed_down(gates: np.ndarray) -> float:
    """Share in % of the steps with a gate below 1 among those whose gate is not 1; 0 if there are none such."""
    early = gates[np.abs(gates - 1) > EVEN]
    return float(100 * (early < 1).mean()) if len(early) else 0.0


# --- exhibits -----------------------------------------------------------------------------------------


def weights_exhibit(found: Runs) -> Exhibit:
    """The poster's figure: similarity and weight of each pair of tasks over training.

    Args:
        found: As `load_centre` gives it; without a run of the centre there is no figure.
    """
    lost = diverged({"MCLGS": found.lost[CENTRE]} if CENTRE in found.lost else {})
    if found.epochs.empty:
        return Exhibit(name="weights_over_training", table=found.epochs, caption=f"No run of MCLGS is left.{lost}")
    table = found.epochs.groupby(["epoch", "pair"], sort=False, as_index=False)[
        ["p", "similarity", "weight", "low", "high"]
    ].mean()
    drawing = Figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    similar = table.rename(columns={"similarity": "mean"})[["epoch", "pair", "mean"]]
    figures.curves(left, similar, "epoch", by="pair")
    aside = table["pair"].map({pair: DODGE * (i - 1) for i, pair in enumerate(table["pair"].unique())})
    weights = table.rename(columns={"weight": "mean"}).assign(epoch=table["epoch"] + aside)
    figures.curves(right, weights, "epoch", by="pair")
    figures.level(left, 0.0, "")
    figures.level(right, 1.0, "")
    left.set_ylabel("similarity of gradients")
    right.set_ylabel("weight of the pair")
    for axes in (left, right):
        axes.set_xlabel("epoch")
    figures.legend(drawing, left, 3)
    first, last = (table[table["epoch"] == table["epoch"].agg(name)] for name in ("min", "max"))
    down = over_seeds([weighed_down(gates) for gates in found.gates[CENTRE]], percent_interval)
    caption = (
        "Similarity of the tasks' gradients on one fixed batch of training images after each epoch, and the weight of "
        f"each pair of tasks in the steps of the epoch. In epoch {first['epoch'].iloc[0]} the pairs have mean weights "
        f"of {fixed(first['weight'].min(), 2)} to {fixed(first['weight'].max(), 2)}, and the middle "
        f"{BANDS[1] - BANDS[0]} % of single steps reach from {fixed(first['low'].min(), 2)} to "
        f"{fixed(first['high'].max(), 2)}; in the last one the mean is {fixed(last['weight'].min(), 2)}. While the "
        f"curriculum lasts, the gate, which is the mean weight of all pairs, is below 1 in {bracketed(down)} % of the "
        f"steps, and above in the others.{lost} (Means over {found.epochs['seed'].nunique()} seeds; bars: {BANDS[0]} "
        f"to {BANDS[1]} % of the steps of a run, mean over seeds; brackets: "
        f"{bracketed_over(len(found.gates[CENTRE]))}.)"
    )
    return Exhibit(
        name="weights_over_training",
        table=table,
        caption=caption,
        figure=drawing,
        alt="Two panels over the epochs, with a curve for each pair of tasks: the similarity of their gradients, and "
        "their weight with bars, which is one from the middle of the run on.",
        uses=("scale", "comparison_seeds"),
    )


def star_exhibit(found: Runs) -> Exhibit:
    """Other curricula beside the centre.

    Args:
        found: As `load` gives it.
    """
    names = [name for name in found.paired(CENTRE, [*grids.STAR]) if len(found.gained(name)) > 1]
    rows = [_row(found, name) for name in names]
    own = paired(found.gained(CENTRE))
    more = ", ".join(row["curriculum"] for row in rows if row[f"{LESS_CENTRE} low"] > 0) or "none"
    less = ", ".join(row["curriculum"] for row in rows if row[f"{LESS_CENTRE} high"] < 0) or "none"
    caption = (
        f"Curricula of MCLGS: a0 = {MCLGS(1).a0:g} over half of the run is the centre, and one option is changed in "
        f"each other row. The centre less equal weights: {bracketed(own, signed=True)} points of {DELTA}. The interval "
        f"of the difference from the centre is above 0 for: {more}; below 0 for: {less}."
        f"{diverged(found.left_out())} (Brackets: paired 95 %, not corrected; of gates and shares "
        f"{bracketed_over(len(found.equal))}. {_over_equal(found)})"
    )
    return Exhibit(name="curricula", table=pd.DataFrame(rows), caption=caption)


def _row(found: Runs, name: str) -> dict[str, Any]:
    gates = found.gates[name]
    row: dict[str, Any] = {"curriculum": name}
    row |= columns("mean gate", over_seeds([float(own.mean()) for own in gates], mean_interval))
    row |= columns("early steps weighed down, %", over_seeds([weighed_down(own) for own in gates], percent_interval))
    row |= columns(f"{DELTA} against equal, %", mean_interval(found.gained(name)))
    gained = found.gained(name, CENTRE)
    row |= columns(LESS_CENTRE, mean_interval(gained))
    return row | {"would show, points": _would_show(gained)}


def _would_show(gained: pd.Series) -> float:
    """The smallest true difference that a test of so many pairs, by itself and at 5 %, shows with a power of 80 %."""
    return detectable_difference(len(gained)) * float(gained.std(ddof=1))


def _over_equal(found: Runs) -> str:
    """What Delta_m is over here, and of which seeds, in a sentence."""
    return (
        f"{DELTA} is over equal weights, of the first {len(found.equal)} seeds; in Section 2 it is over single tasks."
    )


def controls_table(parts: Sequence[Runs]) -> pd.DataFrame:
    """The centre against its controls, see `grids.CONTROLS`, and against equal weights, under each optimizer.

    Args:
        parts: As `load` and `load_sgd` give them.

    Returns:
        One row an optimizer and control: `optimizer`, `control`, `mean gate`; `centre less control, points` of Delta_m
        with `... low` and `... high`; `p` with Holm's correction over all rows; and `would show, points`, the smallest
        true difference that a test of so many pairs, by itself and at 5 %, shows with a power of 80 %. Controls
        without two pairs are left out.
    """
    rows = []
    for part in parts:
        for name in part.paired(CENTRE, [*grids.CONTROLS, "equal", AGAIN, EQUAL_AT_BEST]):
            gained = part.gained(CENTRE, name)
            mean = 1.0 if name in ("equal", AGAIN) else float(np.mean([own.mean() for own in part.gates[name]]))
            row: dict[str, Any] = {"optimizer": part.optimizer, "control": name, "mean gate": mean}
            row |= columns("centre less control, points", mean_interval(gained))
            rows.append(row | {"p": paired_p_value(gained), "would show, points": _would_show(gained)})
    table = pd.DataFrame(rows)
    return table.assign(p=holm(table["p"])) if rows else table


def controls_exhibit(parts: Sequence[Runs]) -> Exhibit:
    """Whether it is the similarity, or the length of steps.

    Args:
        parts: As `load` and `load_sgd` give them.
    """
    table = controls_table(parts)
    rows, texts = table.to_dict("records"), []
    for part in parts:
        own = ", ".join(_against(row) for row in rows if row["optimizer"] == part.optimizer)
        gates = [float(gates.mean()) for gates in part.gates.get(CENTRE, ())]
        about = f"{part.optimizer}, rate {part.rate:g}, mean gate of the centre"
        texts.append(f"{about} {np.mean(gates):.2f}: {own}" if own else f"{part.optimizer}: {NOT_KNOWN}")
    lost = {name: count for part in parts for name, count in part.left_out().items()}
    same = "".join(
        f" The row '{name}' has the steps of equal weights under {part.optimizer}, up to rounding; less these: "
        f"{bracketed(paired(part.gained(name)), signed=True)}."
        for part in parts
        for name in (grids.CONSTANT, AGAIN)
        if part.optimizer != SGD and part.paired(name, ["equal"])
    )
    caption = (
        f"The centre of MCLGS less its controls, and less equal weights, in points of {DELTA}. "
        f"{'; '.join(texts)}.{same}{diverged(lost)} Constant gate: the mean of the centre's; random gate: the gates of "
        "an epoch's steps in another order; shuffled weights: those of another seed's steps, likewise; ramp: of the "
        "gate to 1 with the same mean over the run, from 0, or from 2 where that mean is above 1, which need not end "
        "with the curriculum. (Controls have the learning rate of the centre; brackets: paired 95 %, not corrected; "
        "p: Holm over all rows; what would show: by a test by itself at 5 %, with a power of 80 %. The centre's runs "
        "are the sources of the shuffled weights, each of another seed's, so that these pairs are not quite "
        f"independent. {_over_equal(parts[0])})"
    )
    return Exhibit(name="similarity_or_length", table=table, caption=caption)


def _against(row: Mapping[Any, Any]) -> str:
    interval = Interval(*(float(row[f"centre less control, points{end}"]) for end in ("", " low", " high")))
    return f"{row['control']} {bracketed(interval, signed=True)}"


def updates_exhibit(parts: Sequence[Runs]) -> Exhibit:
    """How much of the optimizer's update the method changes, under each optimizer.

    Args:
        parts: As `load` and `load_sgd` give them; one without runs is left out.
    """
    lost = {name: count for part in parts for name, count in part.left_out().items() if name.startswith(CENTRE)}
    parts = [part for part in parts if part.runs]
    table = pd.concat(
        [
            part.epochs.groupby(["seed", "epoch"], as_index=False)["update"]
            .first()
            .groupby("epoch", as_index=False)["update"]
            .agg(mean="mean", low="min", high="max", seeds="count")
            .assign(optimizer=part.optimizer)
            for part in parts
        ],
        ignore_index=True,
    )
    drawing, axes = figures.canvas()
    figures.curves(axes, table, "epoch", by="optimizer")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("change of the next update, %")
    figures.legend(drawing, axes, 2)
    early = {part.optimizer: range_interval(early_updates(part)) for part in parts}
    texts = ", ".join(f"{name} {bracketed(interval)} %" for name, interval in early.items())
    caption = (
        "How far the optimizer's next update of the shared parameters with MCLGS's weights is from that with equal "
        f"ones, in % of the latter's length. While the curriculum lasts: {texts}.{diverged(lost)} (One step on a fixed "
        "batch from the momenta of the run: what earlier weights did to these is not in it. Bars and brackets: range "
        f"over {table['seeds'].max()} seeds.)"
    )
    return Exhibit(
        name="updates_changed",
        table=table,
        caption=caption,
        figure=drawing,
        alt="A curve for each optimizer over the epochs, which is zero from the end of the curriculum on.",
        uses=("scale", "seeds"),
    )


def early_updates(part: Runs) -> pd.Series:
    """Mean change of the update by seed, in %, over the epochs after which the curriculum goes on."""
    later = part.epochs.groupby(["seed", "pair"])["p"].shift(-1)
    lasting = part.epochs[later.fillna(0) > 0]
    return lasting.groupby("seed")["update"].mean()


# --- verdicts -----------------------------------------------------------------------------------------


def weights_claims(found: Runs) -> list[Verdict]:
    """Judge what the poster says about its figure of weights, and ask which way most steps are weighed.

    Args:
        found: As `load_centre` gives it.
    """
    last = found.epochs[found.epochs["epoch"] == found.epochs["epoch"].max()]["weight"]
    judged = CENTRE not in found.lost
    up = [100 - weighed_down(gates) for gates in found.gates[CENTRE]]
    return [
        Verdict(
            AT_THE_END,
            FIGURE,
            1.0,
            1e-6,
            range_interval(last) if judged else None,
            reading=LAST_WEIGHTS,
            kind="identity",
            finding=4,
        ),
        Verdict(
            "At most half of the early steps are weighed up",
            "our question",
            50.0,
            0.0,
            over_seeds(up, percent_interval) if judged else None,
            below=True,
            reading=f"% of the steps with a gate other than 1 whose gate is above 1 [{bracketed_over(len(up))}]",
            kind="ours",
            limits=5,
        ),
    ]


def claims(parts: Sequence[Runs]) -> list[Verdict]:
    """Judge whether the curriculum makes the result better, and ask if by the similarity, and which one is best.

    The constant gate is among the controls that are judged under SGD alone: Adam cancels a constant factor, so that
    there it is equal weights again.

    Args:
        parts: As `load` and `load_sgd` give them, SGD last.
    """
    first, found = parts[0], []
    for part in parts:
        equal = part.judged(CENTRE)
        found.append(better(BETTER, equal, source="Proposed method", case=part.optimizer, finding=5))
        for name in grids.CONTROLS:
            if name != grids.CONSTANT or part.optimizer == SGD:
                about = {"source": "our question", "kind": "ours", "case": f"{name}, {part.optimizer}"}
                found.append(better(NOT_THE_LENGTH, part.judged(CENTRE, name), finding=5, **about))
    for name in grids.STAR:
        if name != CENTRE and (name in first.runs or name in first.lost):
            claim, gained = (
                f"MCLGS with another curriculum, {name}, is better than the centre",
                first.judged(name, CENTRE),
            )
            found.append(better(claim, gained, source="our question", kind="ours"))
    if len(parts) > 1:
        whole = not any(CENTRE in part.lost or not part.runs for part in parts)
        gap = paired((early_updates(parts[0]) - early_updates(parts[1])).dropna()) if whole else None
        found.append(
            Verdict(
                f"Under {parts[0].optimizer} MCLGS changes less of the update than under {parts[1].optimizer}",
                "our question",
                0.0,
                0.0,
                gap,
                below=True,
                reading="difference of the changed share while the curriculum lasts, points of %, mean over seeds "
                "[paired 95 %]",
                kind="ours",
            )
        )
    return found
