"""Controls that the article lacks: learning rates searched alike, the step taken apart, fixed weights, other methods.

Rows are compared with joint SGD in runs of the same seed: paired 95 % intervals, not corrected. What was chosen was
chosen by the mean Delta_m on the validation split and is reported on the test split, from the same runs. Runs that
diverged are left out and counted: rows without two pairs are left out, and a claim about a row of which a run diverged
is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import NOT_KNOWN, bracketed, columns, fixed, paired
from mtlrepro.studies.fronts import VALIDATION, Front
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import (
    AEPE,
    LABELS,
    MIOU,
    PAIRED,
    SCORES,
    SIGNS,
    TASKS,
    About,
    better,
    differences,
    gain,
    title,
)
from mtlrepro.studies.rates import DIVERGED
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Name, Setting, diverged
from mtlrepro.training.config import RunConfig

TUNED = "fixed weights, tuned"
OURS = "our question"


@dataclass(frozen=True)
class Chosen:
    """A method at the learning rate with the best Delta_m on the validation split.

    Attributes:
        name: What the method is called.
        rate: Its learning rate; None if it diverged at every one.
        tried: Rate to text of its mean Delta_m on the validation split, `diverged` where a run did.
        runs: Runs at that rate, as `fronts.evaluated` gives them; none if it diverged at every one.
        lost: How many of them diverged and are left out; if it diverged at every rate, how many did of all.
        searched: Number of runs among which the rate was chosen.
    """

    name: str
    rate: float | None
    tried: Mapping[float, str]
    runs: pd.DataFrame
    lost: int
    searched: int


@dataclass(frozen=True)
class Controls:
    """All controls.

    Attributes:
        joint: Runs of joint SGD with the learning rate of the scale.
        clipped: Runs of MTSGD at a threshold of 0, likewise.
        length: Mean length of the latter's updates as a share of that of the plain mean.
        parts: MTSGD taken apart, and fixed weights, by name.
        tuned: Methods at learning rates of their own.
        front: Nine fixed weights.
        lost: Title of a row of the tables, or name of a part, to how many of its runs diverged and are left out, if any
            did.
    """

    joint: pd.DataFrame
    clipped: pd.DataFrame
    length: float
    parts: Mapping[str, pd.DataFrame]
    tuned: Sequence[Chosen]
    front: Front
    lost: Mapping[str, int]


# --- reading ------------------------------------------------------------------------------------------


def update_length(setting: Setting, configs: Sequence[RunConfig]) -> float:
    """Mean over epochs and runs of the length of MTSGD's update as a share of that of the plain mean.

    Args:
        setting: Holds the stored runs.
        configs: Runs of MTSGD.
    """
    records = setting.records(configs).values()
    return float(np.mean([entry["observed"]["length"] for record in records for entry in record["history"]]))


def choose(
    setting: Setting, configs: Sequence[RunConfig], baseline: pd.Series
) -> tuple[float | None, dict[float, str]]:
    """Choose the learning rate with the best mean Delta_m on the validation split.

    A rate at which a run broke off is out of the choice.

    Args:
        setting: What all runs share.
        configs: Runs of a method at all rates, as many seeds each.
        baseline: Validation metrics to compare with.

    Returns:
        The rate, None if a run broke off at every one; and rate to text of what it reached.
    """
    left = {config.hash for config in setting.finite(configs)}
    scores: dict[float, float] = {}
    for rate in dict.fromkeys(config.lr for config in configs):
        own = [config for config in configs if config.lr == rate]
        if all(config.hash in left for config in own):
            values = fronts.evaluated(setting, own)
            held_out = values[[f"{VALIDATION}{name}" for name in SCORES.names]].set_axis(SCORES.names, axis=1)
            scores[rate] = float(SCORES.delta_m(held_out, baseline).mean())
    best = max(scores, key=lambda rate: SCORES.sign * scores[rate], default=None)
    rates = dict.fromkeys(config.lr for config in configs)
    return best, {rate: fixed(scores[rate]) if rate in scores else DIVERGED for rate in rates}


def validation_baseline(setting: Setting) -> pd.Series:
    """Mean validation metrics of joint SGD with the learning rate of the scale, to which others are compared.

    Raises:
        RuntimeError: All its runs diverged, see `Setting.reference`.
    """
    values = fronts.evaluated(setting, setting.reference(title(JOINT), JOINT.runs(setting)))
    means = values[[f"{VALIDATION}{name}" for name in SCORES.names]].mean()
    return means.set_axis(SCORES.names)


def best_rates(setting: Setting) -> dict[str, float]:
    """Best learning rate of SGD and both ends of MTSGD, by name; a method that diverged at every one is left out.

    Args:
        setting: What all runs share.
    """
    return _best(setting, grids.rate_search(setting))


def best_factor_rates(setting: Setting) -> dict[tuple[float, str], float]:
    """Best learning rate at each factor on the loss of disparity, by factor and method; see `best_rates`.

    Args:
        setting: What all runs share.
    """
    return _best(setting, grids.sensitivity(setting))


def _best(setting: Setting, searches: Mapping[Name, Sequence[RunConfig]]) -> dict[Name, float]:
    baseline = validation_baseline(setting)
    rates = {name: choose(setting, configs, baseline)[0] for name, configs in searches.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}


def searched(setting: Setting) -> list[Chosen]:
    """SGD, both ends of MTSGD, equal weights under AdamW, and other methods, each at the best of its rates.

    Args:
        setting: What all runs share; missing runs are trained.
    """
    baseline = validation_baseline(setting)
    found = []
    for name, configs in grids.rate_search(setting).items():
        rate, tried = choose(setting, configs, baseline)
        own = _at(setting, name, rate, {}) if rate else _broken_off(setting, configs)
        found.append(Chosen(name, rate, tried, *_evaluated(setting, own), len(configs)))
    by_method: dict[str, list[RunConfig]] = {"AdamW, equal weights": grids.adamw(setting)}
    for config in grids.others(setting):
        by_method.setdefault(method_title(config.method), []).append(config)
    for name, configs in by_method.items():
        rate, tried = choose(setting, configs, baseline)
        own = [config for config in configs if config.lr == rate] if rate else _broken_off(setting, configs)
        found.append(Chosen(name, rate, tried, *_evaluated(setting, own), len(configs)))
    return found


def _at(setting: Setting, name: str, rate: float, scales: dict[str, float]) -> list[RunConfig]:
    """Runs of a method of the search at a learning rate, with the losses of some tasks scaled."""
    threshold = grids.SEARCHED[name]
    if not scales and rate == setting.run().lr:
        return Cell(threshold).runs(setting)[: setting.seeds]
    fields = {"loss_scales": scales} if scales else {}
    return [grids.at_rate(setting, threshold, rate, seed, **fields) for seed in range(setting.seeds)]


def _broken_off(setting: Setting, configs: Sequence[RunConfig]) -> list[RunConfig]:
    lost = setting.broken_off(configs)
    return [config for config in configs if config.hash in lost]


def _evaluated(setting: Setting, configs: Sequence[RunConfig]) -> tuple[pd.DataFrame, int]:
    """Metrics of the runs that did not diverge, and how many did."""
    runs = fronts.evaluated(setting, configs)
    return runs, len(configs) - len(runs)


def load_front(setting: Setting) -> Front:
    """Nine fixed weights, as far as they are stored.

    Args:
        setting: What all runs share.
    """
    return fronts.load(setting, grids.front(setting), JOINT.runs(setting), SCORES)


def load(setting: Setting) -> Controls:
    """Read all controls, and train what is missing.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of joint SGD, or of MTSGD at a threshold of 0, with which others are compared, diverged;
            see `Setting.reference`.
    """
    rows = {title(cell): cell.runs(setting) for cell in (JOINT, Cell(NO_CONFLICT))}
    joint, clipped = (setting.reference(name, runs) for name, runs in rows.items())
    length = update_length(setting, clipped)
    front = load_front(setting)
    parts = {
        "balance without mask": Cell(BALANCE_ALONE).runs(setting),
        **grids.lengths(setting),
        "rate divided by the length": grids.matched(setting, length),
        TUNED: grids.tuned_front(setting, front.tuned),
    }
    return Controls(
        joint=fronts.evaluated(setting, joint),
        clipped=fronts.evaluated(setting, clipped),
        length=length,
        parts={name: fronts.evaluated(setting, runs) for name, runs in parts.items()},
        tuned=searched(setting),
        front=front,
        lost=setting.lost({**rows, **parts}),
    )


# --- exhibits -----------------------------------------------------------------------------------------


def _rows(by_name: Mapping[str, pd.DataFrame], reference: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of the runs that have two seeds or more in common with those of a reference."""
    found = []
    for name, runs in by_name.items():
        row: dict[str, object] = {"method": name}
        gaps = {metric: SIGNS[metric] * differences(runs, reference, metric) for metric in LABELS}
        if min(map(len, gaps.values())) > 1:
            for metric, label in LABELS.items():
                row |= columns(label, over_seeds(runs[metric], mean_interval))
                row |= columns(f"gain in {label}", mean_interval(gaps[metric]))
            found.append(row)
    return found


def parts_exhibit(found: Controls) -> Exhibit:
    """MTSGD taken apart, against joint SGD.

    Args:
        found: As `load` gives it.
    """
    rows = _rows({title(Cell(NO_CONFLICT)): found.clipped, **found.parts}, found.joint)
    own, balance, mask = (
        bracketed(gain(runs, found.joint, MIOU), signed=True)
        for runs in (found.clipped, found.parts["balance without mask"], found.parts["mask without balance"])
    )
    caption = (
        f"MTSGD at a threshold of 0 taken apart, and fixed weights tuned on the validation split "
        f"({found.front.weights_in_words(found.front.tuned)}). Its steps have {100 * found.length:.0f} % of the "
        f"plain length, before momentum. Against joint SGD its mIoU changes by {own} points, with balance alone by "
        f"{balance}, and with the mask alone by {mask}.{diverged(found.lost)} (Gains: positive "
        "where better than joint SGD, paired 95 %, not "
        "corrected; brackets of rows 95 %, of up to three seeds the range.)"
    )
    return Exhibit(name="taken_apart", table=pd.DataFrame(rows), caption=caption)


def tuned_exhibits(found: Controls) -> list[Exhibit]:
    """What each method reached at each learning rate, and at the best of them against joint SGD at its best.

    Args:
        found: As `load` gives it.
    """
    tried = [
        {
            "method": one.name,
            "learning rates": ", ".join(f"{rate:g}: {text}" for rate, text in one.tried.items()),
            "best": DIVERGED if one.rate is None else one.rate,
            "runs": one.searched,
        }
        for one in found.tuned
    ]
    edges = [one.name for one in found.tuned if len(one.tried) > 1 and one.rate in (min(one.tried), max(one.tried))]
    edge = f"The best rate lies at the edge for {', '.join(edges)}." if edges else "No best rate lies at the edge."
    search = Exhibit(
        name="rates",
        table=pd.DataFrame(tried),
        caption=f"{DELTA} against joint SGD at every learning rate that was tried, in %. {edge} (Validation split.)",
    )
    reference = found.tuned[0]
    rates = {one.name: one.rate for one in found.tuned}
    rows = _rows({one.name: one.runs for one in found.tuned[1:]}, reference.runs)
    ahead = [one.name for one in found.tuned[1:] if (gained := _delta(one, reference)) and gained.low > 0]
    left_out = diverged({one.name: one.lost for one in found.tuned if one.lost})
    own = (
        f", {reference.rate:g}: its mIoU is {fixed(reference.runs[MIOU].mean())} % and its AEPE "
        f"{fixed(reference.runs[AEPE].mean(), 3)} px"
        if reference.rate
        else f", {NOT_KNOWN}"
    )
    caption = (
        f"Methods at their best learning rate against joint SGD at its own{own}. Clearly "
        f"better by {DELTA}: {', '.join(ahead) or 'none'}.{left_out} (Gains: paired 95 %, not corrected.)"
    )
    rows = [{**row, "rate": rates[str(row["method"])]} for row in rows]
    return [search, Exhibit(name="tuned", table=pd.DataFrame(rows), caption=caption)]


def _delta(one: Chosen, reference: Chosen) -> Interval | None:
    """Delta_m of one method against another in runs of the same seed, in %; None without two pairs."""
    if reference.runs.empty:
        return None
    baseline = reference.runs[SCORES.names].mean()
    values = [SCORES.delta_m(runs, baseline).set_axis(runs["seed"]) for runs in (one.runs, reference.runs)]
    return paired(SCORES.sign * (values[0] - values[1]).dropna())


def front_table(found: Controls) -> pd.DataFrame:
    """Hold methods against the front and its tuned point, see `fronts.summary`.

    Args:
        found: As `load` gives it.
    """
    return fronts.summary(fronts.against(found.front, _held(found), found.parts[TUNED]), SCORES.sign)


def _held(found: Controls) -> dict[str, pd.DataFrame]:
    """Methods that are held against the front, to their runs."""
    methods = {title(JOINT): found.joint, title(Cell(NO_CONFLICT)): found.clipped}
    return methods | {one.name: one.runs for one in found.tuned if one.name not in grids.SEARCHED}


def front_exhibit(found: Controls) -> Exhibit:
    """Methods against nine fixed weights.

    Args:
        found: As `load` gives it.
    """
    table = front_table(found)
    gains = fronts.gains(table)
    own = gains.get(title(Cell(NO_CONFLICT)))
    lost = {**found.lost, **{one.name: one.lost for one in found.tuned if one.lost}}
    held = {name: count for name, count in lost.items() if name == TUNED or name in _held(found)}
    caption = (
        f"Methods against fixed weights of both tasks. {found.front.missing()} Tuned on the validation split: "
        f"{found.front.weights_in_words(found.front.tuned)}. MTSGD at a threshold of 0 less the tuned weights: "
        f"{bracketed(own, signed=True)} % of {DELTA}.{diverged(held)} (Improvements over equal "
        "weights; paired 95 %, not corrected; "
        "fixed weights, joint SGD and MTSGD at the learning rate of the tables, other methods at the best of theirs.)"
    )
    return Exhibit(name="against_front", table=table, shown=fronts.shown(found.front, table), caption=caption)


# --- sensitivity to weights ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Sensitivity:
    """SGD and MTSGD at several factors on the loss of disparity, each at its best learning rate.

    Attributes:
        runs: Factor and method to its runs at that rate; none where it diverged at every one.
        rates: Factor and method to the rate, where there is one.
        tried: Factor and method to rate to text, see `choose`.
        lost: Factor and method to how many of these runs diverged and are left out, if any did; where it diverged at
            every rate, how many did of all.
    """

    runs: Mapping[tuple[float, str], pd.DataFrame]
    rates: Mapping[tuple[float, str], float]
    tried: Mapping[tuple[float, str], Mapping[float, str]]
    lost: Mapping[tuple[float, str], int]

    def gain(self, factor: float, one: str, other: str, metric: str) -> Interval | None:
        """By how much a method is better than another at a factor, see `tables.gain`; None if a run of one diverged."""
        if {(factor, one), (factor, other)} & self.lost.keys():
            return None
        return gain(self.runs[factor, one], self.runs[factor, other], metric)


def load_sensitivity(setting: Setting) -> Sensitivity:
    """Read or train the runs at each factor; the rate is chosen with one seed and rerun with the others.

    Args:
        setting: What all runs share.
    """
    baseline = validation_baseline(setting)
    plain = grids.rate_search(setting).items()
    search = {(1.0, name): runs for name, runs in plain if grids.SEARCHED[name] != BALANCE_ALONE}
    runs: dict[tuple[float, str], pd.DataFrame] = {}
    rates: dict[tuple[float, str], float] = {}
    tried: dict[tuple[float, str], Mapping[float, str]] = {}
    lost: dict[tuple[float, str], int] = {}
    for key, configs in {**search, **grids.sensitivity(setting)}.items():
        factor, name = key
        rate, tried[key] = choose(setting, configs, baseline)
        own = _broken_off(setting, configs)
        if rate:
            rates[key] = rate
            own = _at(setting, name, rate, {"disparity": factor} if factor != 1 else {})
        runs[key], count = _evaluated(setting, own)
        lost |= {key: count} if count else {}
    return Sensitivity(runs, rates, tried, lost)


def sensitivity_table(found: Sensitivity) -> pd.DataFrame:
    """Metrics at each factor on the loss of disparity, one row a factor and method with two runs or more.

    Args:
        found: As `load_sensitivity` gives it.
    """
    rows = []
    for (factor, name), runs in found.runs.items():
        if len(runs) < 2:
            continue
        row: dict[str, object] = {"loss of disparity times": factor, "method": name, "rate": found.rates[factor, name]}
        for metric, label in LABELS.items():
            row |= columns(label, over_seeds(runs[metric], mean_interval))
        row["tried"] = ", ".join(f"{rate:g}: {text}" for rate, text in found.tried[factor, name].items())
        rows.append(row)
    return pd.DataFrame(rows)


def changes(found: Sensitivity, name: str, metric: str) -> Interval:
    """Largest change of a metric over the factors, relative to that at 1, in %: the mean, least and most of the seeds.

    A seed whose run diverged at a factor, or at 1, has an infinite change.

    Args:
        found: As `load_sensitivity` gives it.
        name: A method.
        metric: Column of the runs.
    """
    seeds = sorted({seed for runs in found.runs.values() for seed in runs["seed"]})
    values = {key: runs.set_index("seed")[metric].reindex(seeds) for key, runs in found.runs.items()}
    by_seed = [
        100 * (own / values[1.0, name] - 1).abs()
        for (factor, method), own in values.items()
        if method == name and factor != 1
    ]
    largest = pd.concat(by_seed, axis=1).fillna(np.inf).max(axis=1)
    return Interval(float(largest.mean()), float(largest.min()), float(largest.max()))


def sensitivity_exhibit(found: Sensitivity) -> Exhibit:
    """SGD and MTSGD with the loss of disparity scaled.

    Args:
        found: As `load_sensitivity` gives it.
    """
    texts = [
        f"{name} {label.split(',')[0]} {bracketed(changes(found, name, metric), 0)} %"
        for name in ("joint SGD", "MTSGD (0)")
        for metric, label in LABELS.items()
    ]
    lost = diverged({f"{name} at a factor of {factor:g}": count for (factor, name), count in found.lost.items()})
    caption = (
        f"How much a factor on the loss of disparity matters, with the learning rate chosen anew at each. Largest "
        f"change against a factor of 1: {'; '.join(texts)}.{lost} (Brackets: the range over seeds, of "
        f"which one that diverges has an infinite change; {DELTA} at the rates that were tried: validation split.)"
    )
    return Exhibit(name="sensitivity", table=sensitivity_table(found), caption=caption)


# --- verdicts -----------------------------------------------------------------------------------------


BALANCE, BASELINES = 2, 8
"""Numbers of the claims about balance and about the baselines in the box of claims."""
QUESTIONS = (
    ("MTSGD at its best learning rate is better at {} than joint SGD at its own", "MTSGD (0)", "joint SGD", BASELINES),
    (
        "Balance alone at its best learning rate is better at {} than joint SGD at its own",
        "MTSGD (-1)",
        "joint SGD",
        BALANCE,
    ),
    (
        "Equal weights under AdamW are better at {} than MTSGD at its best rate",
        "AdamW, equal weights",
        "MTSGD (0)",
        BASELINES,
    ),
)
"""Claim with a place for the task, the two methods, and the number of the claim whose limits it shows."""
PARTS = {
    "mask without balance": "The mask without balance is better at {} than with it",
    "length restored by slice": "MTSGD with its length restored by slice is better at {} than without",
    "length restored by step": "MTSGD with its length restored by step is better at {} than without",
    "rate divided by the length": "MTSGD with its rate divided by the length of its steps is better at {} than without",
}
"""Part of `Controls.parts` that is compared with MTSGD at a threshold of 0, to the claim with a place for the task."""
INSENSITIVE = 5.0
"""Change in % up to which a metric counts as insensitive to the weights of losses; ours, the article names none."""


def untested(why: str) -> Verdict:
    """Say that the claim about the weights of losses is open.

    Args:
        why: What keeps it from being tested, a clause that goes on about runs with searched learning rates.
    """
    return Verdict(
        "With MTSGD the weights of losses hardly matter",
        "Introduction",
        reading="largest change of a metric over factors on the loss of disparity, with the learning rate chosen on a "
        f"validation split, {why}",
        finding=6,
    )


def claims(found: Controls, factors: Sensitivity) -> list[Verdict]:
    """Judge what the controls say about the article, and its claim that weights of losses hardly matter.

    Args:
        found: As `load` gives it.
        factors: As `load_sensitivity` gives it.
    """
    verdicts: list[Verdict] = []
    best = {one.name: one for one in found.tuned}
    for metric, task in TASKS.items():
        for claim, one, other, limits in QUESTIONS:
            broken = best[one].lost or best[other].lost
            gained = None if broken else gain(best[one].runs, best[other].runs, metric)
            verdicts.append(better(claim.format(task), gained, metric, source=OURS, kind="ours", limits=limits))
        for name, claim in PARTS.items():
            lost = {name, title(Cell(NO_CONFLICT))} & found.lost.keys()
            gained = None if lost else gain(found.parts[name], found.clipped, metric)
            verdicts.append(better(claim.format(task), gained, metric, source=OURS, kind="ours"))
    clipped = title(Cell(NO_CONFLICT))
    own = None if {TUNED, clipped} & found.lost.keys() else fronts.gains(front_table(found)).get(clipped)
    verdicts.append(
        Verdict(
            "MTSGD is better than fixed weights tuned on the validation split",
            OURS,
            0.0,
            0.0,
            None if own is None else Interval(-own.value, -own.high, -own.low),
            below=True,
            reading=f"{DELTA} of the tuned weights less MTSGD's at a threshold of 0, %, at one learning rate {PAIRED}",
            kind="ours",
            limits=BASELINES,
        )
    )
    for metric, task in TASKS.items():
        for factor in sorted({factor for factor, _ in factors.runs if factor != 1}):
            gained = factors.gain(factor, "MTSGD (0)", "joint SGD", metric)
            claim = f"With a scaled loss of disparity MTSGD is better at {task} than joint SGD, each at its best rate"
            about: About = {"source": OURS, "kind": "ours", "case": f"times {factor:g}", "limits": BASELINES}
            verdicts.append(better(claim, gained, metric, **about))
        verdicts.append(
            Verdict(
                f"With MTSGD the weights of losses hardly matter for {task}",
                "Introduction",
                INSENSITIVE,
                0.0,
                changes(factors, "MTSGD (0)", metric),
                below=True,
                reading="largest change of the metric over factors on the loss of disparity, % [range over seeds]",
                finding=6,
            )
        )
    return verdicts
