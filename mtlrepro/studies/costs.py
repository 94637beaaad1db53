"""What runs cost: sizes from the table of scales, speeds from a stored benchmark."""

import json
from pathlib import Path

import pandas as pd

from mtlrepro import scales
from mtlrepro.bench_train import NETWORKS
from mtlrepro.config import RunConfig
from mtlrepro.runs.tables import flat

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


def cost_rows() -> list[dict[str, str]]:
    """Give Markdown cells for each network that was measured at ``cpu`` scale."""
    measured, found = speeds(), []
    for network, dataset in NETWORKS.items():
        cost = minutes(scales.config("cpu", dataset=dataset, network=network), measured)
        if cost is not None:
            speed = measured.loc[(measured["network"] == network) & (measured["arm"] == "training"), "images/s"].iloc[0]
            found.append(
                {
                    "Network": f"`{network}`",
                    "Data": dataset,
                    "Images/s": f"{speed:.0f}",
                    "Core-minutes a run": f"{cost:.1f}",
                }
            )
    return found


def origin() -> str:
    """Say where the benchmark was measured."""
    source = json.loads(BENCHMARK.read_text(encoding="utf-8"))["provenance"]
    return (
        f"Measured by `mtlrepro bench train` on one core of {source['processor'] or source['device']}, "
        f"torch {source['torch']}, commit `{source['commit']}`; training alone, without evaluation."
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
