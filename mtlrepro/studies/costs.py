"""What runs and grids cost, from stored runs or from a stored benchmark."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from mtlrepro import files
from mtlrepro.bench.train import NETWORKS, configuration
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.runs.store import Store
from mtlrepro.studies.setting import Setting
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig

BENCHMARKS = {"cpu": "bench-train.json", "gpu": "bench-train-cuda.json"}
"""File of the book's results with what `mtlrepro bench train --json FILE` measured, by scale."""
NOT_KNOWN = "?"
BENCHMARK = "benchmark, training alone"
NOT_MEASURED = "not measured"

Scale = Literal["cpu", "gpu"]
Grids = Mapping[tuple[int, str], list[RunConfig]]
"""Part of a chapter and name of a grid to its runs."""


def benchmark(scale: Scale) -> dict[str, Any]:
    """Stored benchmark of a scale: its `rows` and their `provenance`."""
    stored: dict[str, Any] = json.loads(files.book("results", BENCHMARKS[scale]).read_text(encoding="utf-8"))
    return stored


def speeds(scale: Scale = "cpu") -> pd.DataFrame:
    """Read the benchmark's rows, see `bench.train.train`; those of networks that have changed since are left out.

    Args:
        scale: `cpu` or `gpu`.
    """
    rows = pd.DataFrame(benchmark(scale)["rows"])
    device = "cpu" if scale == "cpu" else "cuda"
    today = {network: configuration(network, scale, device).hash for network in NETWORKS}
    return rows[rows["run"] == rows["network"].map(today)].reset_index(drop=True)


def variant(run: RunConfig) -> str:
    """Say what the benchmark calls the way in which a run is trained."""
    return "training, CUDA graph" if run.cuda_graph else "training"


def minutes(run: RunConfig, speeds: pd.DataFrame) -> float | None:
    """Minutes of training on one core or one GPU, without evaluation and start; None for what was not measured.

    The benchmark has as many tasks as the network learns on its data set by default; for fewer its speed is a bound.

    Args:
        run: What is trained.
        speeds: Rows of a benchmark.
    """
    measured = speeds[(speeds["network"] == run.model) & (speeds["arm"] == variant(run))]
    if measured.empty or run.n_train is None or run.dataset != NETWORKS[run.model]:
        return None
    if len(run.tasks) > len(scales.config("cpu", dataset=run.dataset, network=run.model).tasks):
        return None
    return float(run.n_train * run.epochs / measured["images/s"].iloc[0] / 60)


# --- grids of a chapter -------------------------------------------------------------------------------


def table(grids: Grids, setting: Setting) -> pd.DataFrame:
    """Count runs and their cost; a run that several grids share belongs to the first.

    Args:
        grids: Part and name to runs.
        setting: Its store tells which runs are stored.

    Returns:
        One row a grid: `part`, `grid`, `runs` that it adds, `stored` ones, with those that broke off,
        `minutes` a run takes, and `source` of that number: stored runs, with their evaluation, else the stored
        benchmark of its network, for up to as many tasks, else NaN, `not measured`; `hours` of all its runs, one
        after another. Of stored runs that differ only in their seeds the quickest counts, since others may have had to
        share the machine.
    """
    seen: set[str] = set()
    rows = []
    for (part, name), runs in grids.items():
        new = {run.hash: run for run in runs if run.hash not in seen}
        seen |= new.keys()
        if new:
            configs = list(new.values())
            done = sum(run in setting.store for run in configs) + len(setting.broken_off(configs))
            cost, source = _minutes(configs, setting.store)
            rows.append((part, name, len(new), done, cost, source, len(new) * cost / 60))
    return pd.DataFrame(rows, columns=["part", "grid", "runs", "stored", "minutes", "source", "hours"])


def _minutes(runs: list[RunConfig], store: Store) -> tuple[float, str]:
    measured = [
        (run.replace(seed=0, pictures={}).hash, record["provenance"]["seconds"])
        for run in runs
        if (record := store.record(run)) is not None
    ]
    if measured:
        quickest = pd.DataFrame(measured, columns=["run", "seconds"]).groupby("run")["seconds"].min()
        return float(quickest.mean()) / 60, "stored runs"
    cost = minutes(runs[0], speeds("cpu" if runs[0].device == "cpu" else "gpu"))
    return (np.nan, NOT_MEASURED) if cost is None else (cost, BENCHMARK)


def overview(setting: Setting, grids: Callable[[Setting], Grids]) -> pd.DataFrame:
    """Count the runs of a chapter, their cost, and those stored at this and at larger scales.

    Args:
        setting: What all experiments share.
        grids: What makes the grids of a setting.

    Returns:
        What `table` gives, with a column `stored at SCALE` for each scale in the place of `stored`.
    """
    tables = {one.scale: table(grids(one), one) for one in setting.scales_from()}
    found = tables[setting.scale].drop(columns="stored")
    keys = ["part", "grid"]
    for scale, counted in tables.items():
        renamed = counted[[*keys, "stored"]].rename(columns={"stored": f"stored at {scale}"})
        found = found.merge(renamed, on=keys, how="left")
    return found.fillna({name: 0 for name in found if str(name).startswith("stored")})


def finding(table: pd.DataFrame) -> str:
    """Hours of all grids together, as far as they are known, in a sentence.

    Args:
        table: As `table` or `overview` gives it.
    """
    unknown = int(table["hours"].isna().sum())
    rest = f", without {unknown} of {len(table)} grids, whose cost is not known" if unknown else ""
    return f"{table['hours'].sum():.1f} hours for {table['runs'].sum()} runs, one after another{rest}."


def written(table: pd.DataFrame) -> pd.DataFrame:
    """Write the table as text, with a last row for all grids; hours add up where they are known.

    Args:
        table: As `table` or `overview` gives it.
    """
    counts = ["runs", *(str(name) for name in table if str(name).startswith("stored"))]
    text = (
        table.astype(dict.fromkeys(counts, int))
        .astype(str)
        .assign(
            minutes=[NOT_KNOWN if np.isnan(value) else f"{value:.1f}" for value in table["minutes"]],
            hours=[NOT_KNOWN if np.isnan(value) else f"{value:.2f}" for value in table["hours"]],
        )
    )
    totals = {name: f"{table[name].sum():.0f}" for name in counts} | {"hours": f"{table['hours'].sum():.1f}"}
    text.loc[len(text)] = pd.Series({"grid": "all", **totals}).reindex(text.columns, fill_value="")
    return text.rename(columns={"minutes": "minutes a run", "source": "measured on"})


def exhibit(setting: Setting, grids: Callable[[Setting], Grids], name: str) -> Exhibit:
    """Show what the grids of a chapter cost, and how much of them is stored.

    Args:
        setting: What all experiments share.
        grids: What makes the grids of a setting.
        name: Name of the table.
    """
    found = overview(setting, grids)
    machine = "core" if setting.run().device == "cpu" else "GPU"
    caption = f"All grids on one {machine}: {finding(found)} A run that several grids share counts in the first."
    return Exhibit(name=name, table=written(found), caption=caption)
