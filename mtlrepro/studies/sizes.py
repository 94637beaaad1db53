"""How large training runs and their networks are, and what they cost by a stored benchmark and by their records."""

from collections.abc import Iterable
from datetime import datetime

import numpy as np
import pandas as pd
import torch

from mtlrepro import models, tasks
from mtlrepro.bench.train import NETWORKS
from mtlrepro.models.base import MultiTaskModel
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.runs.tables import flat
from mtlrepro.studies.costs import Scale, benchmark, minutes, speeds, variant
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record


def network_of(run: RunConfig) -> MultiTaskModel:
    """Network of a run, without memory, so that no weights are needed."""
    options = {name: value for name, value in run.model_options.items() if name != "weights"}
    with torch.device("meta"):
        return models.create(run.model, tasks.create(run.tasks), **options)


def parameters(run: RunConfig) -> int:
    """Parameters of the network of a run."""
    return sum(parameter.numel() for parameter in network_of(run).parameters())


def costs(scale: Scale, records: Iterable[Record] = ()) -> Exhibit:
    """Show the cost of one run of each network that was measured at a scale; the caption names the others.

    Args:
        scale: Size of the runs, and with it the kind of device.
        records: Stored runs; the caption says what those on a GPU took, if there are any.
    """
    measured = speeds(scale)
    rows: list[dict[str, str | float]] = []
    for network, dataset in NETWORKS.items():
        run = scales.config(scale, dataset=dataset, network=network)
        cost = minutes(run, measured)
        if cost is None:
            continue
        speed = measured[(measured["network"] == network) & (measured["arm"] == variant(run))].iloc[0]
        row: dict[str, str | float] = {"network": network, "data": dataset, "images/s": float(speed["images/s"])}
        if scale == "cpu":
            row["core-minutes a run"] = cost
        else:
            row |= {"times as fast as a bare loop": float(speed["speed"]), "seconds a run": 60 * cost}
        rows.append(row)
    table = pd.DataFrame(rows)
    texts = {"images/s": "{:,.0f}".format} | dict.fromkeys(table.columns[3:], "{:.1f}".format)
    on_gpu = [record for record in records if record["config"]["device"] == "cuda"]
    absent = ", ".join(network for network in NETWORKS if network not in set(table["network"]))
    missing = [f"Not measured at their present size: {absent}."] if absent else []
    caption = " ".join([_origin(scale), *missing, *([_time_of_grids(on_gpu)] if on_gpu else [])])
    shown = table.assign(**{name: table[name].map(text) for name, text in texts.items()})
    return Exhibit(name=f"costs, {scale} scale", table=table, shown=shown, caption=caption)


def _origin(scale: Scale) -> str:
    """Say where the benchmark was measured, and what several runs at once gave."""
    source = benchmark(scale)["provenance"]
    device = source["device"] if scale == "gpu" else f"one core of {source['processor'] or source['device']}"
    measured = speeds(scale)
    last = measured[measured["arm"].str.endswith("at once")].iloc[-1]
    return (
        f"What one run costs at {scale} scale, measured by mtlrepro bench train on {device}, torch {source['torch']}, "
        f"commit {source['commit']}; training alone, without evaluation. {last['network']}, {last['arm']}: "
        f"{last['images/s']:,.0f} images/s, {last['speed']:.2f} times those of one run alone."
    )


def _time_of_grids(records: list[Record]) -> str:
    """Say what runs took: their number, their seconds, and the time during which at least one of them ran."""
    origins = [record["provenance"] for record in records]
    seconds = np.array([origin["seconds"] for origin in origins])
    ends = np.array([datetime.fromisoformat(origin["date"]).timestamp() for origin in origins])
    order = np.argsort(ends - seconds)
    begins, latest = (ends - seconds)[order], np.maximum.accumulate(ends[order])
    busy = (latest - np.maximum(begins, [begins[0], *latest[:-1]])).clip(min=0).sum()
    return (
        f"The {len(origins)} stored runs on a GPU took {np.median(seconds):.0f} s each (median) beside "
        f"{seconds.sum() / busy - 1:.1f} others on average, {busy / 60:.1f} minutes in all."
    )


def of_data() -> Exhibit:
    """Show the sizes of runs on each data set."""
    rows = [
        {
            "data": dataset,
            "scale": scale,
            "images": " x ".join(map(str, size.fields["size"])) if "size" in size.fields else "as prepared",
            "scenes": str(size.fields.get("n_train", "all")),
            "epochs": size.fields["epochs"],
            "batch": size.fields["batch_size"],
            "why": size.reason,
        }
        for dataset, sizes in scales.DATA.items()
        for scale, size in sizes.items()
    ]
    return Exhibit(name="sizes of data", table=pd.DataFrame(rows), caption="Sizes of runs on each data set, and why.")


def of_networks() -> Exhibit:
    """Show the settings of each network; networks with the same ones share a row."""
    families: dict[int, list[str]] = {}
    for network, sizes in scales.NETWORKS.items():
        families.setdefault(id(sizes), []).append(network)
    rows = [
        {
            "networks": ", ".join(names),
            "scale": scale,
            "settings": ", ".join(
                f"{key.removeprefix('model_options.')} {value}" for key, value in flat(size.fields).items()
            ),
            "why": size.reason,
        }
        for names in families.values()
        for scale, size in scales.NETWORKS[names[0]].items()
    ]
    caption = "Settings of each network, and why. Images, epochs and batch, if named, take the place of the data set's."
    return Exhibit(name="settings of networks", table=pd.DataFrame(rows), caption=caption)
