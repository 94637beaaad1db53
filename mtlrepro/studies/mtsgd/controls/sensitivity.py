"""Whether the weights of the losses matter: the loss of disparity scaled, each method at its best learning rate."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, number, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import NOT_KNOWN, bracketed, columns, paired
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.controls import rates
from mtlrepro.studies.mtsgd.controls.rates import BASELINES, OURS, Chosen
from mtlrepro.studies.mtsgd.tables import AEPE, LABELS, MIOU, PAIRED, SCORES, SUBJECTS, TASKS, About, better, gained_in
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged

SGD, MTSGD = METHODS = "joint SGD", "MTSGD (0)"
"""Methods that are held against each other at every factor; see `grids.SEARCHED`."""
WEIGHTS = 6
"""Number of the claim about the weights of the losses in the box of claims."""
INSENSITIVE = 5.0
"""Change in % up to which a metric counts as insensitive to the weights of losses; ours, the article names none."""
UNIT = {MIOU: " %", AEPE: " px"}
UNBOUNDED = Interval(np.inf, np.inf, np.inf)

Factors = Mapping[tuple[float, str], Chosen]
"""Factor on the loss of disparity and method to the runs at the best of its learning rates."""


def load(setting: Setting) -> dict[tuple[float, str], Chosen]:
    """Read or train the runs of SGD and of MTSGD at each factor, each at its best learning rate.

    With a factor the rate is chosen by one seed, and has as many as the other experiments.

    Args:
        setting: What all runs share.
    """
    baseline = rates.validation_baseline(setting)
    plain = grids.rate_search(setting)
    unscaled = {(1.0, name): plain[name] for name in METHODS}
    found = {}
    for (factor, name), configs in {**unscaled, **grids.sensitivity(setting)}.items():
        rate, tried = rates.choose(setting, configs, baseline)
        if not rate:
            own = rates.broken_off(setting, configs)
        elif factor == 1:
            own = rates.at_rate(setting, name, rate)[: setting.seeds]
        else:
            own = [grids.at_factor(setting, name, factor, rate, seed) for seed in range(setting.seeds)]
        found[factor, name] = Chosen(_title(factor, name), rate, tried, *rates.evaluated(setting, own), len(configs))
    return found


def _title(factor: float, name: str) -> str:
    """Name of a row."""
    return name if factor == 1 else f"{name}, times {factor:g}"


def change(found: Factors, factor: float, name: str, metric: str) -> Interval | None:
    """By how much a metric differs from that at a factor of 1, in % of it.

    Args:
        found: As `load` gives it.
        factor: On the loss of disparity.
        name: A method.
        metric: Column of the runs.

    Returns:
        Mean over seeds with its paired 95 % interval, runs that diverged being left out; None of fewer than two pairs.
    """
    one, plain = (found[key, name].runs for key in (factor, 1.0))
    if one.empty or plain.empty:
        return None
    ratios = one.set_index("seed")[metric] / plain.set_index("seed")[metric]
    return paired(100 * (ratios.dropna() - 1))


def table(found: Factors) -> pd.DataFrame:
    """Metrics at each factor on the loss of disparity, and their changes: one row a method and factor.

    Args:
        found: As `load` gives it; where fewer than two pairs are left there is no row.
    """
    rows = []
    for (factor, name), own in sorted(found.items(), key=lambda item: METHODS.index(item[0][1])):
        if own.rate is None or change(found, factor, name, MIOU) is None:
            continue
        row: dict[str, object] = {"method": own.name, "rate": f"{own.rate:g}"}
        for metric, label in LABELS.items():
            row |= columns(label, over_seeds(own.runs[metric], mean_interval))
            if changed := change(found, factor, name, metric):
                row |= columns(f"change in {label.split(',')[0]}, %", changed)
        rows.append(row)
    return pd.DataFrame(rows)


def exhibit(found: Factors) -> Exhibit:
    """What each method reached at each factor, at the best of its learning rates, against a factor of 1.

    Args:
        found: As `load` gives it.
    """
    every = list(found.values())
    most = _factors(found)[-1]
    changes = (
        f"for {name} by {' and '.join(_percent(change(found, most, name, metric)) for metric in LABELS)}"
        for name in METHODS
    )
    answers = [
        f"Against {title} MTSGD at that factor {rates.answer(found[most, MTSGD].runs, found[factor, SGD].runs)}."
        for factor, title in ((most, "joint SGD at the same factor"), (1.0, "joint SGD without it"))
    ]
    caption = (
        f"The loss of disparity scaled, with the learning rate chosen anew at each factor. A factor of {most:g} "
        f"changes mIoU and AEPE, {', '.join(changes)}. {' '.join(answers)} {rates.edge(every)}"
        f"{diverged({one.name: one.lost for one in every if one.lost})} (Changes in % of the metric at a factor of 1; "
        "paired 95 %, not corrected, and without the spread of the choice; brackets of methods 95 %, of up to three "
        "seeds the range.)"
    )
    return Exhibit(name="sensitivity", table=table(found), caption=caption)


def _percent(changed: Interval | None) -> str:
    """Text of a change."""
    return f"{bracketed(changed, signed=True)} %"


def search_exhibit(setting: Setting, found: Factors) -> Exhibit:
    """What the search of learning rates found at each factor, by both metrics, between which Delta_m chooses.

    Args:
        setting: What all runs share; missing runs are trained.
        found: As `load` gives it, for the rate of each method without a factor.
    """
    baseline, plain = rates.validation_baseline(setting), grids.rate_search(setting)
    search = {(1.0, name): [run for run in plain[name] if run.seed == 0] for name in METHODS}
    tables, texts, lost = [], [], {}
    for (factor, name), configs in {**search, **grids.sensitivity(setting)}.items():
        title, left = _title(factor, name), setting.finite(configs)
        if len(left) < len(configs):
            lost[title] = len(configs) - len(left)
        if not left:
            continue
        values = rates.held_out(setting, left)
        table = pd.DataFrame({"method": title, "rate": [f"{run.lr:g}" for run in left]})
        table[f"{DELTA}, %"] = SCORES.delta_m(values, baseline).to_numpy()
        for metric, label in LABELS.items():
            table[label] = values[metric].to_numpy()
        tables.append(table)
        for _, row in table[[run.lr == found[1.0, name].rate for run in left]].iterrows():
            own = ", ".join(
                f"{label.split(',')[0]} {number(row[label])}{UNIT[metric]}" for metric, label in LABELS.items()
            )
            texts.append(f"{title}: {own}")
    caption = (
        "Every learning rate tried, with the loss of disparity as it is and scaled. At the rate that is the method's "
        f"best without a factor: {'; '.join(texts) or NOT_KNOWN}. The rate with the best {DELTA} is taken, which is "
        "over joint SGD without a factor at the rate of the tables; in it an error of disparity that grows without "
        f"bound outweighs segmentation.{diverged(lost)} (Validation split, the first seed.)"
    )
    return Exhibit(name="scaled_rates", table=pd.concat([pd.DataFrame(), *tables], ignore_index=True), caption=caption)


# --- verdicts -----------------------------------------------------------------------------------------


def untested() -> Verdict:
    """Say that the claim about the weights of losses is open where no validation split chooses learning rates."""
    return Verdict(
        "With MTSGD the weights of losses hardly matter",
        "Introduction",
        reading="change of a metric at factors on the loss of disparity, with learning rates chosen on a validation "
        "split, which is not there beside the one that is scored",
        finding=WEIGHTS,
    )


def claims(found: Factors) -> list[Verdict]:
    """Judge whether the weights of losses matter, for MTSGD and for joint SGD, and hold both against each other.

    A method of which a run diverged at a factor has changed without bound.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    reading = f"change against a factor of 1 in % of the metric, rates chosen by {DELTA}, mean over seeds {PAIRED}"
    for factor in _factors(found):
        case = f"loss of disparity times {factor:g}"
        article: About = {"source": "Introduction", "finding": WEIGHTS, "case": case}
        control: About = {"source": OURS, "kind": "ours", "limits": WEIGHTS, "case": case}
        ours: About = {"source": OURS, "kind": "ours", "limits": BASELINES, "case": case}
        for metric, task in TASKS.items():
            for name, whose, about in ((MTSGD, "MTSGD", article), (SGD, SGD, control)):
                claim = f"With {whose} the weights of losses hardly matter for {task}"
                changed = _judged(found, factor, name, metric)
                verdicts.append(
                    Verdict(claim, claimed=0.0, tolerance=INSENSITIVE, measured=changed, reading=reading, **about)
                )
        for claim, other in (
            ("MTSGD is better {} than joint SGD at the same factor, each at the best of its rates", factor),
            ("MTSGD is better {} than joint SGD whose weights undo the factor, each at the best of its rates", 1.0),
        ):
            one, plain = found[factor, MTSGD], found[other, SGD]
            for subject, metric in SUBJECTS.items():
                gained = None if one.lost or plain.lost else gained_in(metric, one.runs, plain.runs)
                own = ours if metric != DELTA else {**ours, "limits": 0}
                verdicts.append(better(claim.format(subject), gained, metric, **own))
    return verdicts


def _judged(found: Factors, factor: float, name: str, metric: str) -> Interval | None:
    """Change that is judged: without bound if a run diverged at the factor, none if one did at 1."""
    if found[1.0, name].lost:
        return None
    return UNBOUNDED if found[factor, name].lost else change(found, factor, name, metric)


def _factors(found: Factors) -> list[float]:
    """Factors beside 1, in their order."""
    return sorted({factor for factor, _ in found if factor != 1})
