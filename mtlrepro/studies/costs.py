"""What runs and grids cost, from stored runs or from a stored benchmark."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from mtlrepro import files
from mtlrepro.bench.train import NETWORKS, configuration
from mtlrepro.data.datasets import part_of
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.runs.store import Store
from mtlrepro.studies.comparison import NOT_KNOWN
from mtlrepro.studies.experiments import Experiment, Grid, shown
from mtlrepro.studies.setting import Setting
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig

BENCHMARKS = {"cpu": "bench-train.json", "gpu": "bench-train-cuda.json"}
"""File of the book's results with what `mtlrepro bench train --json FILE` measured, by scale."""
STORED = "stored runs"
BENCHMARK = "benchmark, training alone"
NOT_MEASURED = "not measured"

Scale = Literal["cpu", "gpu"]
SIZE = ("dataset", "model", "model_options", "size", "n_train", "n_test", "epochs", "batch_size", "device")
"""Fields on which, with the number of tasks and the method, it depends how long a run takes."""


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
    images = set().union(*(part_of(run.n_train, run.labels.get(task, (0, 1))) for task in run.tasks))
    return float(len(images) * run.epochs / measured["images/s"].iloc[0] / 60)


def machine(runs: Iterable[RunConfig]) -> str:
    """Say what the time of runs is counted on: `GPU` or `core`."""
    return "GPU" if any(run.device == "cuda" for run in runs) else "core"


def seconds(runs: Sequence[RunConfig], stores: Iterable[Store]) -> pd.DataFrame:
    """Estimate how long runs take.

    Of stored runs of one size and method the quickest counts, since others may have had to share the machine. Where
    none has the method, the median over methods counts; where none has the size, the benchmark, without evaluation.

    Returns:
        One row a run: `seconds`, NaN where nothing tells, and `source` of that number.
    """
    quickest: dict[str, dict[str, float]] = {}
    for record in (record for store in stores for record in store.records.values() if runs):
        methods = quickest.setdefault(_size(record["config"]), {})
        method, taken = record["config"]["method"], float(record["provenance"]["seconds"])
        methods[method] = min(taken, methods.get(method, taken))
    rows = [_seconds(run, quickest.get(_size(run.to_dict()), {})) for run in runs]
    return pd.DataFrame(rows, columns=["seconds", "source"])


def _size(config: Mapping[str, Any]) -> str:
    return json.dumps([len(config["tasks"]), *(config.get(name) for name in SIZE)], sort_keys=True)


def _seconds(run: RunConfig, by_method: Mapping[str, float]) -> tuple[float, str]:
    if by_method:
        return by_method.get(run.method, float(np.median([*by_method.values()]))), STORED
    cost = minutes(run, speeds("cpu" if run.device == "cpu" else "gpu")) if run.model in NETWORKS else None
    return (np.nan, NOT_MEASURED) if cost is None else (60 * cost, BENCHMARK)


# --- grids of a chapter -------------------------------------------------------------------------------


def table(experiments: Iterable[Experiment]) -> pd.DataFrame:
    """Count runs and their cost.

    Returns:
        One row an experiment: its name as `runs of`, `scale`, `runs`, `stored` ones, `minutes` a run takes on average
        and the `source` of that number, `hours` of all its runs, one after another, and the `machine` they are of.
    """
    rows = []
    for one in experiments:
        store = one.setting.store
        costs = seconds(one.runs, [store])
        cost = float(costs["seconds"].mean(skipna=False)) / 60
        source = ", ".join(costs["source"].unique())
        stored = sum(run in store for run in one.runs)
        hours = len(one.runs) * cost / 60
        rows.append((one.name, one.setting.scale, len(one.runs), stored, cost, source, hours, machine(one.runs)))
    return pd.DataFrame(rows, columns=["runs of", "scale", "runs", "stored", "minutes", "source", "hours", "machine"])


def finding(table: pd.DataFrame) -> str:
    """Hours of all grids together, as far as they are known, in a sentence.

    Args:
        table: As `table` gives it.
    """
    unknown = int(table["hours"].isna().sum())
    rest = f", without {unknown} of {len(table)} grids, whose cost is not known" if unknown else ""
    hours = table.groupby("machine", sort=False)["hours"].sum()
    parts = " and ".join(f"{value:.1f} {name}-hours" for name, value in hours.items())
    return f"{parts} for {table['runs'].sum()} runs, one after another{rest}."


def written(table: pd.DataFrame) -> pd.DataFrame:
    """Write the table as text, with a last row that counts all runs.

    Args:
        table: As `table` gives it.
    """
    text = table.astype({"runs": str, "stored": str}).assign(
        minutes=[NOT_KNOWN if np.isnan(value) else f"{value:.1f}" for value in table["minutes"]],
        hours=[NOT_KNOWN if np.isnan(value) else f"{value:.2f}" for value in table["hours"]],
    )
    totals = {name: f"{table[name].sum()}" for name in ("runs", "stored")}
    text.loc[len(text)] = pd.Series({"runs of": "all", **totals}).reindex(text.columns, fill_value="")
    return text.rename(columns={"minutes": "minutes a run", "source": "measured on", "machine": "hours of a"})


def exhibit(
    setting: Setting, grids: Mapping[str, Grid], name: str, of: str = "All runs that this page reads"
) -> Exhibit:
    """Show what the runs that a chapter reads cost, and how many of them are stored.

    Args:
        setting: What all experiments share.
        grids: What an experiment is called, to what makes its grid.
        name: Name of the table.
        of: What it is of.
    """
    found = table(shown(setting, grids))
    caption = f"{of}: {finding(found)} A run that several parts share counts in the first."
    return Exhibit(name=name, table=written(found), caption=caption)
