"""Learning rates searched alike: SGD, MTSGD and other methods, each at the best of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import NOT_KNOWN, bracketed, columns, fixed
from mtlrepro.studies.fronts import VALIDATION
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.grids import JOINT, Cell
from mtlrepro.studies.mtsgd.tables import (
    AEPE,
    AS_THEY_ARE,
    DECIMALS,
    LABELS,
    MEASURES,
    MIOU,
    SCORES,
    SIGNS,
    SUBJECTS,
    UNITS,
    About,
    better,
    delta_gain,
    differences,
    gained_in,
    title,
)
from mtlrepro.studies.rates import DIVERGED
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Name, Setting, diverged
from mtlrepro.training.config import RunConfig

OURS = "our question"
BALANCE, CLIPPING, BASELINES = 2, 3, 8
"""Numbers of the claims about balance, clipping and the baselines in the box of claims."""
QUESTIONS = (
    (
        "MTSGD at the best of the rates tried is better {} than joint SGD at the best of the same rates",
        "MTSGD (0)",
        "joint SGD",
        BASELINES,
    ),
    (
        "Balance alone at the best of the rates tried is better {} than joint SGD at the best of the same rates",
        "MTSGD (-1)",
        "joint SGD",
        BALANCE,
    ),
    (
        "Clipping at the best of the rates tried is better {} than balance alone at the best of the same rates",
        "MTSGD (0)",
        "MTSGD (-1)",
        CLIPPING,
    ),
    (
        "Equal weights under AdamW are better {} than MTSGD, each at the best of its rates",
        grids.ADAMW,
        "MTSGD (0)",
        BASELINES,
    ),
)
"""Claim with a place for what it is about, the two methods, and the number of the claim whose limits it shows."""
ANSWERED = (*grids.SEARCHED, grids.ADAMW)
"""Methods of which the caption says how they compare with joint SGD; the table has all."""


@dataclass(frozen=True)
class Chosen:
    """A method at the learning rate with the best Delta_m on the validation split.

    Attributes:
        name: What the method is called.
        rate: Its learning rate; None if it diverged at every one.
        tried: Rate to text of its Delta_m on the validation split, see `choose`.
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
        The rate, None if a run broke off at every one; and rate to text of what it reached: Delta_m in %, its mean and
        least and most over seeds, or `diverged`.
    """
    left = {config.hash for config in setting.finite(configs)}
    means: dict[float, float] = {}
    texts: dict[float, str] = {}
    for rate in dict.fromkeys(config.lr for config in configs):
        own = [config for config in configs if config.lr == rate]
        texts[rate] = DIVERGED
        if all(config.hash in left for config in own):
            scores = SCORES.delta_m(held_out(setting, own), baseline)
            means[rate] = float(scores.mean())
            texts[rate] = f"{fixed(scores.mean())} ({fixed(scores.min())} to {fixed(scores.max())})"
    return max(means, key=lambda rate: SCORES.sign * means[rate], default=None), texts


def held_out(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Metrics on the validation split, under the names of those on the test split.

    Args:
        setting: What all runs share; missing runs are trained.
        configs: Runs, of which none diverged.
    """
    values = fronts.evaluated(setting, configs)
    return values[[f"{VALIDATION}{name}" for name in SCORES.names]].set_axis(SCORES.names, axis=1)


def validation_baseline(setting: Setting) -> pd.Series:
    """Mean validation metrics of joint SGD at the rate of the scale over the seeds of the search, the zero of Delta_m.

    Raises:
        RuntimeError: All its runs diverged, see `Setting.reference`.
    """
    joint = setting.reference(title(JOINT), JOINT.runs(setting))
    return held_out(setting, joint[: grids.search_seeds(setting)]).mean()


def best(setting: Setting, searches: Mapping[Name, Sequence[RunConfig]]) -> dict[Name, float]:
    """Best learning rate of each search, by its name; a method that diverged at every one is left out.

    Args:
        setting: What all runs share.
        searches: Name to runs of a method at all rates.
    """
    baseline = validation_baseline(setting)
    rates = {name: choose(setting, configs, baseline)[0] for name, configs in searches.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}


def load(setting: Setting, searches: Mapping[str, Sequence[RunConfig]]) -> list[Chosen]:
    """Each method at the best of its learning rates, joint SGD first.

    Args:
        setting: What all runs share; missing runs are trained.
        searches: Name of each method to its runs at all rates, beside `grids.rate_search`, whose methods get further
            seeds at the best.
    """
    baseline = validation_baseline(setting)
    found = []
    for name, configs in {**grids.rate_search(setting), **searches}.items():
        rate, tried = choose(setting, configs, baseline)
        if not rate:
            own = broken_off(setting, configs)
        elif name in grids.SEARCHED:
            own = at_rate(setting, name, rate)
        else:
            own = [config for config in configs if config.lr == rate]
        found.append(Chosen(name, rate, tried, *evaluated(setting, own), len(configs)))
    return found


def at_rate(setting: Setting, name: str, rate: float) -> list[RunConfig]:
    """All seeds of a method of `grids.SEARCHED` at a learning rate.

    Args:
        setting: What all runs share.
        name: Of the method.
        rate: Its learning rate; at that of the scale there are the runs of Table 2, and all their seeds.
    """
    threshold = grids.SEARCHED[name]
    if rate == setting.run().lr:
        return Cell(threshold).runs(setting)
    return [grids.at_rate(setting, threshold, rate, seed) for seed in range(setting.seeds)]


def broken_off(setting: Setting, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Those of the runs that diverged.

    Args:
        setting: What all runs share.
        configs: Runs.
    """
    lost = setting.broken_off(configs)
    return [config for config in configs if config.hash in lost]


def evaluated(setting: Setting, configs: Sequence[RunConfig]) -> tuple[pd.DataFrame, int]:
    """Metrics of the runs that did not diverge, see `fronts.evaluated`, and how many did.

    Args:
        setting: What all runs share; missing runs are trained.
        configs: Runs.
    """
    runs = fronts.evaluated(setting, configs)
    return runs, len(configs) - len(runs)


# --- exhibits -----------------------------------------------------------------------------------------


def beside(by_name: Mapping[str, pd.DataFrame], reference: pd.DataFrame) -> list[dict[str, object]]:
    """Rows of a table: both metrics of each method, and its gains over a reference in runs of the same seed.

    Delta_m is over the mean of the reference.

    Args:
        by_name: Method to its runs. Those with fewer than two seeds in common with the reference are left out.
        reference: Runs to compare with.
    """
    found = []
    for name, runs in by_name.items():
        together = delta_gain(runs, reference)
        if together is None:
            continue
        row: dict[str, object] = {"method": name}
        for metric, label in LABELS.items():
            row |= columns(label, over_seeds(runs[metric], mean_interval))
            gained = f"gain in {label.split(',')[0]}, {UNITS[metric]}"  # of a percentage these are points
            row |= columns(gained, mean_interval(SIGNS[metric] * differences(runs, reference, metric)))
        row |= {**columns(f"gain in {DELTA}, %", together), "pairs": len(differences(runs, reference, MIOU))}
        found.append(row)
    return found


def answer(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say at what a method is better or worse than another, and by how much: a clause that begins with *is*.

    Where the interval spans zero, or there are no two pairs, it is open.

    Args:
        one: Runs of the method.
        other: Runs of the other, of the same seeds.
    """
    parts = []
    for about, metric in SUBJECTS.items():
        gained = gained_in(metric, one, other)
        word = "open"
        if gained and gained.low > 0:
            word = "better"
        elif gained and gained.high < 0:
            word = "worse"
        amount = bracketed(gained, DECIMALS.get(metric, 1), signed=True)
        parts.append(f"{word} {about} ({amount} {MEASURES[metric]})")
    return f"is {', '.join(parts[:-1])} and {parts[-1]}"


def _search_exhibit(found: Sequence[Chosen]) -> Exhibit:
    """What each method reached at each learning rate."""
    tried = [
        {
            "method": one.name,
            "learning rates": ", ".join(f"{rate:g}: {text}" for rate, text in one.tried.items()),
            "best": DIVERGED if one.rate is None else one.rate,
            "runs": one.searched,
        }
        for one in found
    ]
    caption = (
        f"{DELTA} over joint SGD at the rate of the tables, in %, at every learning rate tried. {edge(found)} "
        "(Validation split, means and ranges over seeds.)"
    )
    return Exhibit(name="rates", table=pd.DataFrame(tried), caption=caption)


def edge(found: Sequence[Chosen]) -> str:
    """Say for which methods the best learning rate lies at the edge of those tried, in a sentence.

    Args:
        found: As `load` gives it.
    """
    edges = [one.name for one in found if len(one.tried) > 1 and one.rate in (min(one.tried), max(one.tried))]
    if not edges:
        return "No best rate lies at the edge of those tried."
    return f"The best rate lies at the edge of those tried for {', '.join(edges)}: a better one may lie beyond."


def exhibits(found: Sequence[Chosen]) -> tuple[Exhibit, Exhibit]:
    """What each method reached at each learning rate, and at the best of them against joint SGD at its best.

    Args:
        found: As `load` gives it.
    """
    reference = found[0]
    rates = {one.name: f"{one.rate:g}" for one in found if one.rate}
    left_out = diverged({one.name: one.lost for one in found if one.lost})
    own = NOT_KNOWN
    if reference.rate:
        miou, aepe = (over_seeds(reference.runs[metric], mean_interval) for metric in (MIOU, AEPE))
        own = f"{reference.rate:g}: mIoU {bracketed(miou)} %, AEPE {bracketed(aepe, 3)} px"
    answers = [f"{one.name} {answer(one.runs, reference.runs)}" for one in found[1:] if one.name in ANSWERED]
    rows = beside({one.name: one.runs for one in found[1:]}, reference.runs)
    table = pd.DataFrame([{"method": row["method"], "rate": rates[str(row["method"])], **row} for row in rows])
    pairs = " or ".join(str(count) for count in sorted({row["pairs"] for row in rows}, key=str)) or "no"
    caption = (
        f"Methods at the best of their learning rates against joint SGD at its own ({own}). {'; '.join(answers)}. "
        f"{edge(found)}{left_out} (Gains over {pairs} pairs: positive where better, paired 95 %, not corrected, and "
        "without the spread of the choice; brackets of methods 95 %, of up to three seeds the range.)"
    )
    shown = table.drop(columns="pairs", errors="ignore")  # which make it too wide for a page
    return _search_exhibit(found), Exhibit(name="tuned", table=table, shown=shown, caption=caption)


# --- verdicts -----------------------------------------------------------------------------------------


def judgement(metric: str, limits: int = 0) -> About:
    """What all our questions about runs without a factor on a loss have in common.

    Args:
        metric: What they are about; the article's claims are about tasks, so that Delta_m is no limit of them.
        limits: Number of the claim whose limits they show; 0: none.
    """
    return {"source": OURS, "kind": "ours", "case": AS_THEY_ARE, "limits": 0 if metric == DELTA else limits}


def claims(found: Sequence[Chosen]) -> list[Verdict]:
    """Judge what learning rates of their own say about the article.

    Args:
        found: As `load` gives it; questions about methods that are not among these are not asked.
    """
    best_of = {one.name: one for one in found}
    verdicts = []
    for claim, one, other, limits in QUESTIONS:
        if not {one, other} <= best_of.keys():
            continue
        broken = best_of[one].lost or best_of[other].lost
        for about, metric in SUBJECTS.items():
            gained = None if broken else gained_in(metric, best_of[one].runs, best_of[other].runs)
            verdicts.append(better(claim.format(about), gained, metric, **judgement(metric, limits)))
    return verdicts
