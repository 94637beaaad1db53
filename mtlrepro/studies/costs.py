"""What runs and grids cost: sizes from the table of scales, speeds from stored runs or from a stored benchmark."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from mtlrepro import files
from mtlrepro.bench.train import NETWORKS
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import flat
from mtlrepro.studies.setting import Setting
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig

BENCHMARKS = {
    scale: files.PROJECT / "book" / "results" / file
    for scale, file in (("cpu", "bench-train.json"), ("gpu", "bench-train-cuda.json"))
}
"""What ``mtlrepro bench train --json FILE`` measured, with where it was measured, by scale."""
ARMS = {"cpu": "training", "gpu": "training, CUDA graph"}
"""What runs of a scale do, as the benchmark calls it."""
NOT_KNOWN = "?"
BENCHMARK = "benchmark, training alone"
NOT_MEASURED = "not measured"

Grids = Mapping[tuple[int, str], list[RunConfig]]
"""Part of a chapter and name of a grid to its runs."""


def speeds(scale: str = "cpu") -> pd.DataFrame:
    """Read the benchmark's rows, see ``bench_train.train``.

    Args:
        scale: ``cpu`` or ``gpu``.
    """
    return pd.DataFrame(json.loads(BENCHMARKS[scale].read_text(encoding="utf-8"))["rows"])


def minutes(run: RunConfig, speeds: pd.DataFrame, arm: str = "training") -> float | None:
    """Minutes of training on one core or one GPU, without evaluation and start; None for what was not measured.

    The benchmark has as many tasks as the network learns on its data set by default; for fewer its speed is a bound.

    Args:
        run: what is trained.
        speeds: rows of a benchmark.
        arm: row of the benchmark whose speed counts.
    """
    measured = speeds[(speeds["network"] == run.model) & (speeds["arm"] == arm)]
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
        One row a grid: ``part``, ``grid``, ``runs`` that it adds, ``stored`` ones, with those that broke off,
        ``minutes`` a run takes, and ``source`` of that number: stored runs, with their evaluation, else the stored
        benchmark of its network, for up to as many tasks, else NaN, ``not measured``; ``hours`` of all its runs, one
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
        (replace(run, seed=0, pictures={}).hash, record["provenance"]["seconds"])
        for run in runs
        if (record := store.record(run)) is not None
    ]
    if measured:
        quickest = pd.DataFrame(measured, columns=["run", "seconds"]).groupby("run")["seconds"].min()
        return float(quickest.mean()) / 60, "stored runs"
    scale = "cpu" if runs[0].device == "cpu" else "gpu"
    cost = minutes(runs[0], speeds(scale), ARMS[scale])
    return (np.nan, NOT_MEASURED) if cost is None else (cost, BENCHMARK)


def overview(setting: Setting, grids: Callable[[Setting], Grids]) -> pd.DataFrame:
    """Count the runs of a chapter, their cost, and those stored at this and at larger scales.

    Args:
        setting: What all experiments share.
        grids: What makes the grids of a setting.

    Returns:
        What `table` gives, with a column ``stored at SCALE`` for each scale in the place of ``stored``.
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


# --- tables of the pages ------------------------------------------------------------------------------


def cost_rows(scale: Literal["cpu", "gpu"] = "cpu") -> list[dict[str, str]]:
    """Give Markdown cells for each network that was measured at a scale."""
    measured, arm, found = speeds(scale), ARMS[scale], []
    for network, dataset in NETWORKS.items():
        cost = minutes(scales.config(scale, dataset=dataset, network=network), measured, arm)
        if cost is not None:
            own = measured[(measured["network"] == network) & (measured["arm"] == arm)].iloc[0]
            row = {"Network": f"`{network}`", "Data": dataset, "Images/s": f"{own['images/s']:,.0f}"}
            if scale == "cpu":
                row["Core-minutes a run"] = f"{cost:.1f}"
            else:
                row["Against a bare loop"] = f"{own['speed']:.1f} times as fast"
                row["Seconds a run"] = f"{60 * cost:.1f}"
            found.append(row)
    return found


def origin(scale: str = "cpu") -> str:
    """Say where the benchmark was measured, and what several runs at once gave."""
    source = json.loads(BENCHMARKS[scale].read_text(encoding="utf-8"))["provenance"]
    place = source["device"] if scale == "gpu" else f"one core of {source['processor'] or source['device']}"
    last = speeds(scale).iloc[-1]
    return (
        f"Measured by `mtlrepro bench train` on {place}, "
        f"torch {source['torch']}, commit `{source['commit']}`; training alone, without evaluation. "
        f"`{last['network']}`, {last['arm']}: {last['images/s']:,.0f} images/s, "
        f"{last['speed']:.2f} times those of one run alone."
    )


def grid_time(store: Store, device: str = "cuda") -> str:
    """Say what the stored runs of a kind of device took: their number, their seconds, and the time the grid ran.

    Runs overlap where several share a device; the grid's time is that in which at least one of them ran.
    """
    origins = [record["provenance"] for record in store.records.values() if record["config"]["device"] == device]
    seconds = np.array([origin["seconds"] for origin in origins])
    ends = np.array([datetime.fromisoformat(origin["date"]).timestamp() for origin in origins])
    order = np.argsort(ends - seconds)
    begins, latest = (ends - seconds)[order], np.maximum.accumulate(ends[order])
    busy = (latest - np.maximum(begins, [begins[0], *latest[:-1]])).clip(min=0).sum()
    return (
        f"The {len(origins)} stored runs at this scale took {np.median(seconds):.0f} s each (median) beside "
        f"{seconds.sum() / busy - 1:.1f} others on average, {busy / 60:.1f} minutes in all."
    )


def data_rows() -> list[dict[str, str]]:
    """Give Markdown cells for the sizes of each data set."""
    return [
        {
            "Data": dataset,
            "Scale": scale,
            "Images": f"{size.fields['size'][0]} x {size.fields['size'][1]}"
            if "size" in size.fields
            else "as prepared",
            "Scenes": str(size.fields.get("n_train", "all")),
            "Epochs": str(size.fields["epochs"]),
            "Batch": str(size.fields["batch_size"]),
            "Why": size.reason,
        }
        for dataset, sizes in scales.DATA.items()
        for scale, size in sizes.items()
    ]


def network_rows() -> list[dict[str, str]]:
    """Give Markdown cells for the settings of each network; networks with the same ones share a row."""
    families: dict[int, list[str]] = {}
    for network, sizes in scales.NETWORKS.items():
        families.setdefault(id(sizes), []).append(network)
    return [
        {
            "Networks": "<br>".join(names),
            "Scale": scale,
            "Settings": ", ".join(f"{key.removeprefix('model_options.')} {value}" for key, value in _flat(size)),
            "Why": size.reason,
        }
        for names in families.values()
        for scale, size in scales.NETWORKS[names[0]].items()
    ]


def _flat(size: scales.Size) -> list[tuple[str, object]]:
    return list(flat(size.fields).items())
