"""What runs cost: sizes from the table of scales, speeds from a stored benchmark."""

import json
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from mtlrepro import files
from mtlrepro.bench.train import NETWORKS
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import flat
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig

BENCHMARKS = {
    scale: files.PROJECT / "book" / "results" / file
    for scale, file in (("cpu", "bench-train.json"), ("gpu", "bench-train-cuda.json"))
}
"""What ``mtlrepro bench train --json FILE`` measured, with where it was measured, by scale."""
ARMS = {"cpu": "training", "gpu": "training, CUDA graph"}
"""What runs of a scale do, as the benchmark calls it."""


def speeds(scale: str = "cpu") -> pd.DataFrame:
    """Read the benchmark's rows, see ``bench_train.train``.

    Args:
        scale: ``cpu`` or ``gpu``.
    """
    return pd.DataFrame(json.loads(BENCHMARKS[scale].read_text(encoding="utf-8"))["rows"])


def minutes(run: RunConfig, speeds: pd.DataFrame, arm: str = "training") -> float | None:
    """Minutes of training on one core or one GPU, without evaluation and start; None for what was not measured.

    Args:
        run: what is trained.
        speeds: rows of a benchmark.
        arm: row of the benchmark whose speed counts.
    """
    measured = speeds[(speeds["network"] == run.model) & (speeds["arm"] == arm)]
    if measured.empty or run.n_train is None or run.dataset != NETWORKS[run.model]:
        return None
    return float(run.n_train * run.epochs / measured["images/s"].iloc[0] / 60)


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
