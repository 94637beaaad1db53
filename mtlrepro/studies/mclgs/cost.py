"""What an epoch costs, MCLGS before and after the end of its curriculum, and what all runs of the chapter cost.

Seconds of training an epoch, without evaluation, as the records have them. Other runs may have shared the machine, so
each run counts by its median epoch, and each method by its quickest run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import costs as studies_costs
from mtlrepro.studies.comparison import NOT_KNOWN, fixed
from mtlrepro.studies.mclgs import grids, plan
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

TOLERANCE = 0.1
"""By how much two costs may differ and count as equal, as a share."""
DURING, AFTER = "MCLGS, during the curriculum", "MCLGS, after it"


def seconds(setting: Setting) -> dict[str, float]:
    """Seconds of training an epoch by method; MCLGS counts twice, during its curriculum and after it.

    Runs that diverged are left out, and so are methods without others.

    Args:
        setting: Holds the stored runs of the table.

    Raises:
        RuntimeError: All runs of equal weights diverged, see `Setting.reference`.
    """
    found: dict[str, float] = {}
    setting.reference("equal weights", grids.methods(setting)["equal"])
    for method, configs in grids.methods(setting).items():
        runs = setting.unbroken(configs)
        if not runs:
            continue
        if method == "mclgs":
            ends = [int(np.ceil(run.method_options["length"] * run.epochs)) for run in runs]
            found[DURING] = _quickest(setting, runs, [slice(end) for end in ends])
            found[AFTER] = _quickest(setting, runs, [slice(end, None) for end in ends])
        else:
            found[method_title(method)] = _quickest(setting, runs, [slice(None)] * len(runs))
    return found


def _quickest(setting: Setting, runs: Sequence[RunConfig], parts: Sequence[slice]) -> float:
    records = setting.records(runs).values()
    return min(
        float(np.median([entry["seconds"] for entry in record["history"][part]]))
        for record, part in zip(records, parts, strict=True)
    )


def table(found: Mapping[str, float]) -> pd.DataFrame:
    """One row a method: `method`, `seconds an epoch`, and `times equal`, that over the seconds of equal weights.

    Args:
        found: As `seconds` gives it.
    """
    plain = found[method_title("equal")]
    rows: list[dict[str, Any]] = [
        {"method": name, "seconds an epoch": value, "times equal": value / plain} for name, value in found.items()
    ]
    return pd.DataFrame(rows)


def exhibit(setting: Setting) -> Exhibit:
    """Seconds of training an epoch by method.

    Args:
        setting: Holds the stored runs of the table.
    """
    rows = table(seconds(setting))
    times = rows.set_index("method")["times equal"].to_dict()
    during, after = (fixed(times[part], 2) if part in times else NOT_KNOWN for part in (DURING, AFTER))
    lost = {method_title(method): n for method, n in setting.lost(grids.methods(setting)).items()}
    caption = (
        f"Seconds of training an epoch. MCLGS takes {during} times as long as equal weights "
        f"while its curriculum lasts, and {after} times once p is 0, when one backward pass is "
        f"exact.{diverged(lost)} (Quickest run of each method, its median epoch; the machine may have been shared.)"
    )
    return Exhibit(name="cost_of_an_epoch", table=rows, caption=caption)


def runs_exhibit(setting: Setting) -> Exhibit:
    """Show what all runs of the chapter cost, those of its plan, which are to come."""
    return studies_costs.exhibit(setting, plan.experiments(setting), "costs", of="All runs planned")


def claims(setting: Setting) -> list[Verdict]:
    """Whether MCLGS costs as much as equal weights once its curriculum has ended.

    Args:
        setting: Holds the stored runs of the table.
    """
    found = seconds(setting)
    ratio = found[AFTER] / found[method_title("equal")] if AFTER in found else None
    return [
        Verdict(
            "Once p is 0, an epoch of MCLGS costs as much as one of equal weights",
            "our question",
            1.0,
            TOLERANCE,
            None if ratio is None else Interval(ratio, ratio, ratio),
            reading="ratio of the median epochs of the quickest runs",
            kind="ours",
        )
    ]
