"""Whether the weights of the losses matter: the loss of disparity scaled, each method at its best learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import bracketed, columns
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.controls import rates
from mtlrepro.studies.mtsgd.controls.rates import BASELINES, OURS
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE
from mtlrepro.studies.mtsgd.tables import LABELS, TASKS, About, better, gain
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged

INSENSITIVE = 5.0
"""Change in % up to which a metric counts as insensitive to the weights of losses; ours, the article names none."""


@dataclass(frozen=True)
class Sensitivity:
    """SGD and MTSGD at several factors on the loss of disparity, each at its best learning rate.

    Attributes:
        runs: Factor and method to its runs at that rate; none where it diverged at every one.
        rates: Factor and method to the rate, where there is one.
        tried: Factor and method to rate to text, see `rates.choose`.
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


def load(setting: Setting) -> Sensitivity:
    """Read or train the runs at each factor; the rate is chosen with one seed and rerun with the others.

    Args:
        setting: What all runs share.
    """
    baseline = rates.validation_baseline(setting)
    plain = grids.rate_search(setting).items()
    search = {(1.0, name): runs for name, runs in plain if grids.SEARCHED[name] != BALANCE_ALONE}
    runs: dict[tuple[float, str], pd.DataFrame] = {}
    best: dict[tuple[float, str], float] = {}
    tried: dict[tuple[float, str], Mapping[float, str]] = {}
    lost: dict[tuple[float, str], int] = {}
    for key, configs in {**search, **grids.sensitivity(setting)}.items():
        factor, name = key
        rate, tried[key] = rates.choose(setting, configs, baseline)
        own = rates.broken_off(setting, configs)
        if rate:
            best[key] = rate
            if factor == 1:
                own = rates.at_rate(setting, name, rate)[: setting.seeds]
            else:
                own = [grids.at_factor(setting, name, factor, rate, seed) for seed in range(setting.seeds)]
        runs[key], count = rates.evaluated(setting, own)
        lost |= {key: count} if count else {}
    return Sensitivity(runs, best, tried, lost)


def table(found: Sensitivity) -> pd.DataFrame:
    """Metrics at each factor on the loss of disparity, one row a factor and method with two runs or more.

    Args:
        found: As `load` gives it.
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
        found: As `load` gives it.
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


def exhibit(found: Sensitivity) -> Exhibit:
    """SGD and MTSGD with the loss of disparity scaled.

    Args:
        found: As `load` gives it.
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
    return Exhibit(name="sensitivity", table=table(found), caption=caption)


# --- verdicts -----------------------------------------------------------------------------------------


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


def claims(found: Sensitivity) -> list[Verdict]:
    """Judge the claim that weights of losses hardly matter, and MTSGD against joint SGD at each factor.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    for metric, task in TASKS.items():
        for factor in sorted({factor for factor, _ in found.runs if factor != 1}):
            gained = found.gain(factor, "MTSGD (0)", "joint SGD", metric)
            claim = f"With a scaled loss of disparity MTSGD is better at {task} than joint SGD, each at its best rate"
            about: About = {"source": OURS, "kind": "ours", "case": f"times {factor:g}", "limits": BASELINES}
            verdicts.append(better(claim, gained, metric, **about))
        verdicts.append(
            Verdict(
                f"With MTSGD the weights of losses hardly matter for {task}",
                "Introduction",
                INSENSITIVE,
                0.0,
                changes(found, "MTSGD (0)", metric),
                below=True,
                reading="largest change of the metric over factors on the loss of disparity, % [range over seeds]",
                finding=6,
            )
        )
    return verdicts
