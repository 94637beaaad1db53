"""What runs cost: sizes from the table of scales, speeds from a stored benchmark."""

import json
from pathlib import Path

import pandas as pd

from mtlrepro import scales
from mtlrepro.bench_train import NETWORKS
from mtlrepro.config import RunConfig

BENCHMARK = Path(__file__).parents[2] / "book" / "results" / "bench-train.json"
"""What ``mtlrepro bench train --json FILE`` measured, with where it was measured."""


def speeds(path: Path = BENCHMARK) -> pd.DataFrame:
    """Read the benchmark's rows, see ``bench_train.train``."""
    return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["rows"])


def minutes(run: RunConfig, speeds: pd.DataFrame) -> float | None:
    """Core-minutes of training, without evaluation and start; None for what was not measured."""
    measured = speeds[(speeds["network"] == run.model) & (speeds["arm"] == "training")]
    if measured.empty or run.n_train is None or run.dataset != NETWORKS[run.model]:
        return None
    return float(run.n_train * run.epochs / measured["images/s"].iloc[0] / 60)


def rows() -> list[dict[str, str]]:
    """Give Markdown cells for the entries of ``scales``; networks that differ in their cost alone share a row."""
    table, measured = scales.table(), speeds()
    places = zip(table["scale"], table["data set"], table["network"], strict=True)
    table["cost"] = [_cost(scale, dataset, network, measured) for scale, dataset, network in places]
    same = [column for column in table if column not in ("network", "cost")]
    return [
        {
            "Scale": entry["scale"],
            "Data": entry["data set"],
            "Networks": ", ".join(f"`{name}`" for name in group["network"]),
            "Images": entry["image"],
            "Scenes, epochs, batch": f"{entry['scenes']}, {entry['epochs']}, {entry['batch']}",
            "Options": entry["options"],
            "Why": f"{entry['data because']}; {entry['network because']}",
            "Core-minutes a run": ", ".join(dict.fromkeys(group["cost"])),
        }
        for values, group in table.groupby(same, sort=False)
        for entry in [{column: str(value) for column, value in zip(same, values, strict=True)}]
    ]


def _cost(scale: scales.Scale, dataset: str, network: str, measured: pd.DataFrame) -> str:
    if scale == "smoke":
        return "seconds"
    cost = minutes(scales.config(scale, dataset=dataset, network=network), measured) if scale == "cpu" else None
    return "not measured" if cost is None else f"{cost:.1f}"
