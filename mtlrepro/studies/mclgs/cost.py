"""What an epoch costs, MCLGS before and after the end of its curriculum, and what all runs of the chapter cost.

Seconds of training an epoch, without evaluation, as the records have them. Other work may have shared the machine, so
each run counts by its quickest epoch; and a method is held against equal weights in pairs of runs of one seed that were
trained on the same processor.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import costs as studies_costs
from mtlrepro.studies.comparison import NOT_KNOWN, bracketed, columns
from mtlrepro.studies.mclgs import grids, plan
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

TOLERANCE = 0.1
"""By how much an epoch may cost more and count as no more costly, as a share."""
DURING, AFTER = "MCLGS, during the curriculum", "MCLGS, after it"
TIMES = "times equal"


def epochs(setting: Setting) -> pd.DataFrame:
    """Seconds of the quickest epoch of each run of the table that did not diverge.

    Args:
        setting: Holds the stored runs of the table.

    Returns:
        One row a run, of MCLGS two, `DURING` and `AFTER` its curriculum: `method`, `seed`, `processor` with the device,
        and `seconds`.

    Raises:
        RuntimeError: All runs of equal weights diverged, see `Setting.reference`.
    """
    setting.reference("equal weights", grids.methods(setting)["equal"])
    found: list[dict[str, Any]] = []
    for method, configs in grids.methods(setting).items():
        for run in setting.unbroken(configs):
            found += [{"method": name, "seed": run.seed, **own} for name, own in _epochs(setting, run, method).items()]
    return pd.DataFrame(found)


def _epochs(setting: Setting, run: RunConfig, method: str) -> dict[str, dict[str, Any]]:
    """Quickest epoch and processor of one run by name of the method, of MCLGS by the part of its run."""
    (record,) = setting.records([run]).values()
    seconds = [entry["seconds"] for entry in record["history"]]
    parts: dict[str, Sequence[float]] = {method_title(method): seconds}
    if method == "mclgs":
        end = int(np.ceil(run.method_options["length"] * run.epochs))
        parts = {DURING: seconds[:end], AFTER: seconds[end:]}
    where = record["provenance"]
    processor = f"{where['processor']}, {where['device']}"
    return {name: {"processor": processor, "seconds": min(own)} for name, own in parts.items()}


def times_equal(found: pd.DataFrame) -> pd.DataFrame:
    """Seconds of an epoch over those of equal weights, in pairs of one seed and processor.

    Args:
        found: As `epochs` gives it.

    Returns:
        One row a pair: `method`, `seed`, and `times equal`.
    """
    plain = found[found["method"] == method_title("equal")]
    others = found[found["method"] != method_title("equal")]
    pairs = others.merge(plain, on=["seed", "processor"], suffixes=("", " of equal"))
    return pairs.assign(**{TIMES: pairs["seconds"] / pairs["seconds of equal"]})[["method", "seed", TIMES]]


def lengthened(found: pd.DataFrame) -> pd.Series:
    """Seconds of an epoch of MCLGS during its curriculum over those after it, in the same run, by seed."""
    by_part = [found[found["method"] == part].set_index("seed")["seconds"] for part in (DURING, AFTER)]
    return by_part[0] / by_part[1]


def exhibit(setting: Setting) -> Exhibit:
    """Seconds of an epoch by method, over those of equal weights.

    Args:
        setting: Holds the stored runs of the table.
    """
    found = epochs(setting)
    pairs = times_equal(found)
    rows: list[dict[str, Any]] = []
    for name, own in pairs.groupby("method", sort=False):
        rows.append({"method": name, **columns(TIMES, over_seeds(own[TIMES], mean_interval)), "pairs": len(own)})
    ratios = lengthened(found)
    own_length = bracketed(over_seeds(ratios, mean_interval), 2) if len(ratios) else NOT_KNOWN
    after = pairs[pairs["method"] == AFTER][TIMES]
    beside = bracketed(over_seeds(after, mean_interval), 2) if len(after) else NOT_KNOWN
    lost = {method_title(method): n for method, n in setting.lost(grids.methods(setting)).items()}
    caption = (
        f"Seconds of training an epoch over those of equal weights. In runs of MCLGS an epoch takes {own_length} times "
        f"as long while the curriculum lasts as after it; once p is 0, when one backward pass is exact, it takes "
        f"{beside} times as long as one of equal weights.{diverged(lost)} (Quickest epoch of each run, since other "
        "work may have shared the machine; pairs of one seed on the same processor, methods without any being left "
        "out; brackets: 95 %, of up to three the range.)"
    )
    return Exhibit(name="cost_of_an_epoch", table=pd.DataFrame(rows), caption=caption)


def runs_exhibit(setting: Setting) -> Exhibit:
    """Show what all runs of the chapter cost, those that it reads and those of the parts that are to come."""
    return studies_costs.exhibit(
        setting, plan.experiments(setting), "costs", of="All runs, of this page and of its parts to come"
    )


def claims(setting: Setting) -> list[Verdict]:
    """Whether MCLGS costs no more than equal weights once its curriculum has ended.

    Args:
        setting: Holds the stored runs of the table.
    """
    pairs = times_equal(epochs(setting))
    after = pairs[pairs["method"] == AFTER][TIMES]
    return [
        Verdict(
            "Once p is 0, an epoch of MCLGS costs no more than one of equal weights",
            "our question",
            1.0,
            TOLERANCE,
            over_seeds(after, mean_interval) if len(after) else None,
            below=True,
            reading="ratio of the quickest epochs of runs of one seed on one processor, mean [95 %, of up to three the "
            "range]",
            kind="ours",
        )
    ]
