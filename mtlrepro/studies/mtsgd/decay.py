"""Weight decay: Table 3 of the article, with joint SGD as its control, and decay that a short run can feel.

Over few steps the article's number takes next to nothing from a weight. *Matched* decay is the one that, if nothing
else acted, would leave as much of a weight over our run as the article's leaves over its own schedule; see
`grids.decays`. There are two forms: coupled, a part of the gradient (Eq. 11), and decoupled, the decay of Eq. 1, which
acts once a step whatever the rate. Beside the losses both are stronger than the article's by as much as the learning
rates of our steps sum to less. At the article's own schedule the coupled form is the article's number, and has no runs
of its own. Differences are those of runs of the same seed: Student's paired interval, 95 %.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import bracketed, columns, paired
from mtlrepro.studies.mtsgd import grids, readings, tables
from mtlrepro.studies.mtsgd.grids import JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import DECIMALS, LABELS, MEASURES, MIOU, PAIRED, SIGNS, TASKS, About, Trained

DECAYS: Mapping[grids.Decay, str] = {
    "torch": "coupled, matched (Eq. 11)",
    "decoupled": "decoupled, matched (decay of Eq. 1)",
}
"""Forms of matched decay; the first is the one that we take the article to have, see `readings`."""
FELT = 0.5
"""Part of the article's effect of decay from which on runs with its number can tell what decay does."""
LEAST = 0.5
"""Part of the mIoU without decay that joint SGD has to keep with matched decay for that to be judged."""
FEWEST = 2
"""Runs of a row in a table, the fewest that have a spread."""
THRESHOLDS = (None, *grids.THRESHOLDS)
"""Those of the rows with the article's number and without decay; None is joint SGD."""
ENDS = (None, NO_CONFLICT)
"""Thresholds of the rows with matched decay; None is joint SGD."""
CLIPPED, UNCLIPPED = Cell(NO_CONFLICT, decay=0.0), Cell(grids.BALANCE_ALONE, decay=0.0)
"""Both ends of the thresholds without decay; the second is balance alone."""


def felt(amounts: Mapping[grids.Decay, float]) -> float:
    """Give the effect of the article's number for coupled decay here, as a share of that over its schedule.

    The effect is that on the logarithm of a weight on which nothing else acts.

    Args:
        amounts: Matched decay by form, see `grids.decays`.
    """
    return grids.PAPER_DECAY / amounts["torch"]


def breaks_down(trained: Trained, form: grids.Decay) -> bool:
    """Whether joint SGD loses most of what it learns without decay, so that a form tells nothing about several tasks.

    Args:
        trained: What `tables.load` gives.
        form: Of matched decay.
    """
    return bool(trained.decayed[form][None][MIOU].mean() < LEAST * trained.cells[Cell(None, decay=0.0)][MIOU].mean())


def rows(trained: Trained) -> dict[str, dict[float | None, pd.DataFrame]]:
    """Amount and form of decay to threshold (None: joint SGD) to runs: none, the article's number, matched.

    Of the article's number there are the seeds that are there without decay.

    Args:
        trained: What `tables.load` gives.
    """
    none = {one: trained.cells[Cell(one, decay=0.0)] for one in ENDS}
    number = {one: trained.cells[Cell(one)] for one in ENDS}
    number = {one: runs[runs["seed"].isin(none[one]["seed"])] for one, runs in number.items()}
    matched = {DECAYS[form]: dict(own) for form, own in trained.decayed.items()}
    return {"none": none, f"coupled, {grids.PAPER_DECAY:g}": number, **matched}


def table_exhibit(trained: Trained, amounts: Mapping[grids.Decay, float]) -> Exhibit:
    """Table 3 rerun, and whether the article's number can tell anything here.

    Args:
        trained: What `tables.load` gives.
        amounts: Matched decay by form.
    """
    shown = tables.table_exhibit(trained, "Table 3")
    if felt(amounts) >= FELT:
        return shown
    note = (
        f" With {100 * felt(amounts):.2g} % of the effect that decay has over the article's schedule, it can have "
        "little part in such a difference beside the scatter of runs, so that none is judged."
    )
    return replace(shown, caption=shown.caption + note)


def exhibit(trained: Trained, amounts: Mapping[grids.Decay, float]) -> Exhibit:
    """No decay, the article's number and matched decay, for joint SGD and MTSGD alike.

    Args:
        trained: What `tables.load` gives.
        amounts: Matched decay by form.
    """
    by_amount = rows(trained)
    found: list[dict[str, Any]] = []
    for amount, by_threshold in by_amount.items():
        for threshold, runs in by_threshold.items():
            if len(runs) < FEWEST:
                continue
            row: dict[str, Any] = {"decay": amount, "method": tables.title(Cell(threshold))}
            for metric, label in LABELS.items():
                row |= columns(label, over_seeds(runs[metric], mean_interval))
            found.append(row)
    gains = "; ".join(
        f"{tables.title(Cell(one))}, {name.split(',')[0]}: {_gains(by_amount['none'][one], by_amount[name][one])}"
        for name in (DECAYS[form] for form in trained.decayed)
        for one in ENDS
    )
    left = {"torch": readings.shrinkage()["coupled"], "decoupled": readings.shrinkage()["decoupled"]}
    alone = " and ".join(
        f"{100 * left[form]:.2g} % of a weight with {DECAYS[form].split(',')[0]} decay of {amounts[form]:g}"
        for form in trained.decayed
    )
    stronger = (
        f" Since our learning rates sum to less, either form pulls {1 / felt(amounts):.2g} times as hard beside the "
        "losses as the article's does."
    )
    names = [tables.title(Cell(one, decay=amount)) for one in ENDS for amount in (0.0, grids.PAPER_DECAY)]
    names += [tables.decayed_title(form, one) for form in trained.decayed for one in ENDS]
    caption = (
        "Weight decay for joint SGD, the control that the article lacks, and MTSGD. What training without it gains "
        f"over matched decay, in points of mIoU and px of AEPE: {gains}. Decay alone would leave {alone}, as over the "
        f"article's schedule.{stronger if 'torch' in trained.decayed else ''}"
        f"{trained.left_out(names)} (Positive: better without; paired 95 %, not corrected; all of the seeds in common, "
        "which in other tables are more for some rows; brackets of rows 95 %, of up to three seeds the range.)"
    )
    return Exhibit(name="decay", table=pd.DataFrame(found), caption=caption)


def _gains(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say by how much some runs are better than others of the same seeds in mIoU and in AEPE."""
    gains = (bracketed(tables.gain(one, other, metric), DECIMALS[metric], signed=True) for metric in LABELS)
    return " and ".join(gains)


def pairs(trained: Trained, amounts: Mapping[grids.Decay, float]) -> tables.Pairs:
    """Rows that differ in decay or, at the same decay, in the method, the second being the reference.

    Rows with the article's number are among them where that number is felt.

    Args:
        trained: What `tables.load` gives.
        amounts: Matched decay by form.
    """
    found: tables.Pairs = {}
    for clip in THRESHOLDS if felt(amounts) >= FELT else ():
        plain = Cell(clip, decay=0.0)
        found[tables.title(plain), tables.title(Cell(clip))] = (trained.cells[plain], trained.cells[Cell(clip)])
    for form, by_threshold in trained.decayed.items():
        for one, runs in by_threshold.items():
            plain = Cell(one, decay=0.0)
            found[tables.title(plain), tables.decayed_title(form, one)] = (trained.cells[plain], runs)
    for first, second, both in _methods(trained).values():
        found[first, second] = both
    both = trained.cells[CLIPPED], trained.cells[UNCLIPPED]
    found[tables.title(CLIPPED), tables.title(UNCLIPPED)] = both
    return found


def tests_exhibit(trained: Trained, amounts: Mapping[grids.Decay, float]) -> Exhibit:
    """Paired differences of rows with and without decay, a family of their own.

    Args:
        trained: What `tables.load` gives.
        amounts: Matched decay by form.
    """
    broken = [tables.decayed_title(form, one) for form in trained.decayed if breaks_down(trained, form) for one in ENDS]
    compared = pairs(trained, amounts)
    return tables.pairs_exhibit(trained, compared, "decay_differences", "rows with and without decay", broken)


def _methods(trained: Trained) -> dict[grids.Decay | None, tuple[str, str, tuple[pd.DataFrame, pd.DataFrame]]]:
    """Form of matched decay (None: no decay) to the names of MTSGD at 0 and of joint SGD, and their runs."""
    named: dict[grids.Decay | None, dict[float | None, tuple[str, pd.DataFrame]]] = {
        None: {one: (tables.title(Cell(one, decay=0.0)), trained.cells[Cell(one, decay=0.0)]) for one in ENDS}
    }
    for form, own in trained.decayed.items():
        named[form] = {one: (tables.decayed_title(form, one), own[one]) for one in ENDS}
    return {
        form: (rows[NO_CONFLICT][0], rows[None][0], (rows[NO_CONFLICT][1], rows[None][1]))
        for form, rows in named.items()
    }


# --- verdicts -----------------------------------------------------------------------------------------


def claims(trained: Trained, amounts: Mapping[grids.Decay, float]) -> list[Verdict]:
    """Judge what decay does, and whether MTSGD is better than joint SGD, and clipping than balance, at the same decay.

    The article claims that MTSGD is better without decay, which we take to be coupled. The other form, joint SGD, and
    whether MTSGD gains more than joint SGD are our controls.

    Args:
        trained: What `tables.load` gives.
        amounts: Matched decay by form; where the article's number has less than `FELT` of its effect, runs with it
            cannot tell what decay does.
    """
    found = []
    for clip in THRESHOLDS if felt(amounts) >= FELT else ENDS:
        case = "" if clip is None else f"threshold {clip:g}"
        own = _better_without(trained, clip, Cell(clip), case)
        found += (
            own if felt(amounts) >= FELT else [replace(one, measured=None, reading=_untold(), limits=0) for one in own]
        )
    for form in trained.decayed:
        for clip in ENDS:
            case = DECAYS[form] if clip is None else f"threshold {clip:g}, {DECAYS[form]}"
            found += _told(trained, form, _better_without(trained, clip, form, case))
    for form in trained.decayed:
        for metric, task in TASKS.items():
            claim = f"MTSGD gains more at {task} by training without weight decay than joint SGD does"
            about: About = {"source": "our question", "kind": "ours", "case": f"threshold 0, {DECAYS[form]}"}
            about["limits"] = 4
            names = [tables.decayed_title(form, one) for one in ENDS]
            names += [tables.title(Cell(one, decay=0.0)) for one in ENDS]
            gained = trained.judged(paired(_gained_more(trained, form, metric)), *names)
            reading = f"{MEASURES[metric]} that joint SGD gains more than MTSGD, mean over seeds {PAIRED}"
            found += _told(trained, form, [replace(tables.better(claim, gained, metric, **about), reading=reading)])
    for same, (one, other, (first, second)) in _methods(trained).items():
        about = {"source": "our question", "kind": "ours", "limits": 8, "case": "both without weight decay"}
        if same is not None:
            about = {"source": "our question", "kind": "ours", "case": f"decay {DECAYS[same]}"}
        for metric, task in TASKS.items():
            claim = f"MTSGD at a threshold of 0 is better at {task} than joint SGD"
            gained = trained.judged(tables.gain(first, second, metric), one, other)
            own = [tables.better(claim, gained, metric, **about)]
            found += own if same is None else _told(trained, same, own)
    return [*found, *_printed(trained)]


def _printed(trained: Trained) -> list[Verdict]:
    """Judge MTSGD without decay as the article's tables do: against joint SGD with it, and against balance."""
    plain: About = {"source": "Tables 2 and 3", "finding": 8, "case": f"joint SGD with {grids.PAPER_DECAY:g}"}
    mask: About = {"source": "Section 4.4, Table 3", "finding": 3, "case": "both without weight decay"}
    better = "MTSGD at a threshold of 0 without weight decay is better at {} than joint SGD with it"
    clipping = "Clipping at a threshold of 0 improves {} over balance alone"
    return [
        tables.better(
            claim.format(task),
            trained.judged(
                tables.gain(trained.cells[CLIPPED], trained.cells[other], metric),
                tables.title(CLIPPED),
                tables.title(other),
            ),
            metric,
            **about,
        )
        for claim, other, about in ((better, JOINT, plain), (clipping, UNCLIPPED, mask))
        for metric, task in TASKS.items()
    ]


def _told(trained: Trained, form: grids.Decay, verdicts: list[Verdict]) -> list[Verdict]:
    """Leave verdicts about a form under which joint SGD breaks down without what was measured; no claim is limited."""
    if not breaks_down(trained, form):
        return verdicts
    why = (
        f"what decay costs where joint SGD still learns; here it keeps less than {100 * LEAST:g} % of its mIoU without "
        "decay"
    )
    return [replace(one, measured=None, reading=why, limits=0) for one in verdicts]


def _untold() -> str:
    return (
        f"what the article's number changes; here it has less than {100 * FELT:g} % of its effect over the article's "
        "schedule, too little to judge"
    )


def _better_without(trained: Trained, clip: float | None, other: Cell | grids.Decay, case: str) -> list[Verdict]:
    """Judge whether joint SGD (None) or MTSGD at a threshold is better without decay than a row or form with it."""
    plain = Cell(clip, decay=0.0)
    if isinstance(other, Cell):
        amount, name, runs = "the article's number", tables.title(other), trained.cells[other]
    else:
        amount, name, runs = "matched decay", tables.decayed_title(other, clip), trained.decayed[other][clip]
    about: About = {"source": "our question", "kind": "ours", "limits": 4, "case": case}
    if clip is not None and other != "decoupled":
        about = {"source": "Section 4.4, Table 3", "finding": 4, "case": case}
    method = "Joint SGD" if clip is None else "MTSGD"
    return [
        tables.better(
            f"{method} is better at {task} without weight decay than with {amount}",
            trained.judged(tables.gain(trained.cells[plain], runs, metric), tables.title(plain), name),
            metric,
            **about,
        )
        for metric, task in TASKS.items()
    ]


def _gained_more(trained: Trained, form: grids.Decay, metric: str) -> pd.Series:
    """By how much more MTSGD at a threshold of 0 gains without decay than joint SGD does, by seed; positive: more."""
    gains = {
        one: SIGNS[metric] * tables.differences(trained.cells[Cell(one, decay=0.0)], trained.decayed[form][one], metric)
        for one in ENDS
    }
    return (gains[NO_CONFLICT] - gains[None]).dropna()
