"""What an epoch costs, MCLGS before and after the end of its curriculum, and what all runs of the chapter cost.

Seconds of training an epoch, without evaluation, as the records have them. Other work may have shared the machine, so
each run counts by its quickest epoch; and a method is held against equal weights in pairs of one seed and part of the
run that were trained on the same processor.
"""

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
from mtlrepro.training.records import Record

TOLERANCE = 0.1
"""By how much an epoch may cost more and count as no more costly, as a share."""
DURING, AFTER = "MCLGS, during the curriculum", "MCLGS, after it"
TIMES = "times equal"


def epochs(setting: Setting) -> pd.DataFrame:
    """Seconds of the quickest epoch of each run of the table that did not diverge.

    Runs get slower or faster as they go on, whatever their method. So MCLGS counts by part of the run, during its
    curriculum and after it, and equal weights count by the same parts too.

    Args:
        setting: Holds the stored runs of the table.

    Returns:
        One row a run, part and processor: `method`, of MCLGS `DURING` or `AFTER`; `seed`; `part`, the epochs; and of
        those that were trained on `processor`, named with the device, the least `seconds`.
    """
    methods = grids.methods(setting)
    ends = {int(np.ceil(run.method_options["length"] * run.epochs)) for run in methods["mclgs"]}
    halves = [slice(end) for end in ends] + [slice(end, None) for end in ends]
    parts = {"equal": [slice(None), *halves], "mclgs": halves}
    found: list[dict[str, Any]] = []
    for method, configs in methods.items():
        runs = setting.unbroken(configs)
        for run, record in zip(runs, setting.records(runs).values(), strict=True):
            seconds = [entry["seconds"] for entry in record["history"]]
            where = _processors(record)
            for part in parts.get(method, [slice(None)]):
                name = method_title(method)
                if method == "mclgs":
                    name = DURING if part.start is None else AFTER
                own = pd.Series(seconds[part]).groupby(where[part]).min()
                about = {"method": name, "seed": run.seed, "part": str(part)}
                found += [{**about, "processor": processor, "seconds": value} for processor, value in own.items()]
    return pd.DataFrame(found, columns=["method", "seed", "part", "processor", "seconds"])


def _processors(record: Record) -> list[str]:
    """Processor and device of each epoch of a run, which several processes may have trained one after another."""
    last = record["provenance"]
    legs = last.get("legs", [{"first_epoch": 1, **last}])
    ends = [*(leg["first_epoch"] for leg in legs[1:]), len(record["history"]) + 1]
    return [
        f"{leg['processor']}, {leg['device']}"
        for leg, end in zip(legs, ends, strict=True)
        for _ in range(leg["first_epoch"], end)
    ]


def times_equal(found: pd.DataFrame) -> pd.DataFrame:
    """Seconds of an epoch over those of equal weights, in pairs of one seed, processor and part of the run.

    Args:
        found: As `epochs` gives it.

    Returns:
        One row a pair: `method`, `seed`, and `times equal`; the quickest, where a run has several processors.
    """
    plain = found[found["method"] == method_title("equal")]
    others = found[found["method"] != method_title("equal")]
    pairs = others.merge(plain, on=["seed", "processor", "part"], suffixes=("", " of equal"))
    pairs = pairs.sort_values("seconds", kind="stable").drop_duplicates(["method", "seed"]).sort_index()
    return pairs.assign(**{TIMES: pairs["seconds"] / pairs["seconds of equal"]})[["method", "seed", TIMES]]


def exhibit(setting: Setting) -> Exhibit:
    """Seconds of an epoch by method, over those of equal weights.

    Args:
        setting: Holds the stored runs of the table.
    """
    pairs = times_equal(epochs(setting))
    rows: list[dict[str, Any]] = []
    for name, own in pairs.groupby("method", sort=False):
        rows.append({"method": name, **columns(TIMES, over_seeds(own[TIMES], mean_interval)), "pairs": len(own)})
    during, after = (_bracketed(pairs, part) for part in (DURING, AFTER))
    methods = grids.methods(setting)
    lost = {method_title(method): n for method, n in setting.lost(methods).items()}
    paired = (pairs["method"] == AFTER).sum()
    caption = (
        f"Seconds of training an epoch over those of equal weights. An epoch of MCLGS takes {during} times as long "
        f"while the curriculum lasts, and {after} times once p is 0, when one backward pass is exact.{diverged(lost)} "
        "(Quickest epoch of each run, since other work may have shared the machine, in the same part of the run; pairs "
        f"of one seed on the same processor, of MCLGS {paired} of {len(methods['mclgs'])} seeds; methods without any "
        "are left out; brackets: 95 %, of up to three the range.)"
    )
    return Exhibit(name="cost_of_an_epoch", table=pd.DataFrame(rows), caption=caption)


def _bracketed(pairs: pd.DataFrame, method: str) -> str:
    values = pairs[pairs["method"] == method][TIMES]
    return bracketed(over_seeds(values, mean_interval), 2) if len(values) else NOT_KNOWN


def runs_exhibit(setting: Setting) -> Exhibit:
    """Show what all runs of the chapter cost, those that it reads and those of the parts that are to come."""
    return studies_costs.exhibit(
        setting, plan.experiments(setting), "costs", of="All runs, of this page and of its parts to come"
    )


def claims(setting: Setting) -> list[Verdict]:
    """Whether MCLGS costs no more than equal weights once its curriculum has ended; not judged if a run diverged.

    Args:
        setting: Holds the stored runs of the table.
    """
    pairs = times_equal(epochs(setting))
    after = pairs[pairs["method"] == AFTER][TIMES]
    judged = len(after) and not {"equal", "mclgs"} & setting.lost(grids.methods(setting)).keys()
    return [
        Verdict(
            "Once p is 0, an epoch of MCLGS costs no more than one of equal weights",
            "our question",
            1.0,
            TOLERANCE,
            over_seeds(after, mean_interval) if judged else None,
            below=True,
            reading="ratio of the quickest epochs of runs of one seed on one processor, mean [95 %, of up to three the "
            "range]",
            kind="ours",
        )
    ]
