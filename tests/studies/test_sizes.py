"""Sizes and costs of runs as the book shows them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtlrepro.bench.train import NETWORKS
from mtlrepro.studies import costs, sizes
from mtlrepro.training import scales

BOOK = Path(sizes.__file__).parents[2] / "book"


def test_minutes_by_hand():
    speeds = pd.DataFrame([{"network": "multi_decoder", "arm": "training", "images/s": 50.0}])
    run = scales.config("cpu")
    assert costs.minutes(run, speeds) == pytest.approx(run.n_train * run.epochs / 50 / 60)
    assert costs.minutes(scales.config("cpu", network="full_sharing"), speeds) is None


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_benchmark_measured_every_variant_of_its_networks(scale):
    speeds = costs.speeds(scale)
    assert set(speeds["network"]) >= {"full_sharing", "multi_decoder"}
    for network in set(speeds["network"]):
        dataset = NETWORKS[network]
        trained = costs.variant(scales.config(scale, dataset=dataset, network=network))
        assert set(speeds.loc[speeds["network"] == network, "arm"]) >= {"bare loop", trained, "steps alone"}


def test_a_network_that_has_changed_since_the_benchmark_is_not_measured(monkeypatch):
    stored = costs.benchmark("cpu")
    rows = [row | {"run": "0" * 12} if row["network"] == "multi_column" else row for row in stored["rows"]]
    monkeypatch.setattr(costs, "benchmark", lambda scale: stored | {"rows": rows})
    speeds = costs.speeds()
    assert set(pd.DataFrame(rows)["network"]) > set(speeds["network"])
    assert costs.minutes(scales.config("cpu", network="multi_column"), speeds) is None
    assert costs.minutes(scales.config("cpu"), speeds) > 0
    assert re.search(r"Not measured at .*: .*multi_column", sizes.costs("cpu").caption)


def test_the_speed_of_a_run_is_that_of_its_variant():
    speeds = pd.DataFrame(
        [
            {"network": "multi_decoder", "arm": "training", "images/s": 50.0},
            {"network": "multi_decoder", "arm": "training, CUDA graph", "images/s": 500.0},
            {"network": "detection", "arm": "training", "images/s": 40.0},
        ]
    )
    for network, rate in (("multi_decoder", 500), ("detection", 40)):
        run = scales.config("gpu", dataset=NETWORKS[network], network=network)
        assert costs.minutes(run, speeds) == pytest.approx(run.n_train * run.epochs / rate / 60)


def test_the_benchmark_of_the_howto_is_the_stored_one():
    text = (BOOK / "howto.md").read_text()
    shown = re.search(r"```text\n(network +arm +images/s.*?)\n```", text, re.DOTALL)[1].splitlines()[1:]
    stored = {(row.network, row.arm): row for row in costs.speeds().rename(columns={"images/s": "rate"}).itertuples()}
    assert len(shown) == len(stored) > 8
    for line in shown:
        network, arm, rate, speed, *waiting = re.split(r"\s{2,}", line.strip())
        row = stored[network, arm]
        assert (rate, speed) == (f"{row.rate:.1f}", f"{row.speed:.2f}")
        assert waiting == ([] if np.isnan(row.waiting) else [f"{row.waiting:.3f}"])


def test_costs_name_every_measured_network_and_where():
    exhibit = sizes.costs("cpu")
    absent = re.search(r"Not measured at their present size: (.*?)\.", exhibit.caption)
    missing = absent[1].split(", ") if absent else []
    assert sorted([*exhibit.table["network"], *missing]) == sorted(NETWORKS)
    for row in exhibit.table.to_dict("records"):
        run = scales.config("cpu", dataset=row["data"], network=row["network"])
        seconds = run.n_train * run.epochs / row["images/s"]
        assert row["core-minutes a run"] == pytest.approx(seconds / 60)
    assert re.search(r"torch \S+, commit [0-9a-f]{12};", exhibit.caption)
    assert exhibit.shown["core-minutes a run"].str.fullmatch(r"\d+\.\d").all()


def test_costs_on_a_gpu_are_those_of_captured_steps():
    stored = costs.speeds("gpu").set_index(["network", "arm"])["images/s"]
    exhibit = sizes.costs("gpu")
    for row in exhibit.table.to_dict("records"):
        run = scales.config("gpu", dataset=row["data"], network=row["network"])
        assert run.cuda_graph
        rate = stored[row["network"], "training, CUDA graph"]
        assert row["images/s"] == rate
        assert row["seconds a run"] == pytest.approx(run.n_train * run.epochs / rate)
        quotient = rate / stored[row["network"], "bare loop"]
        assert row["times as fast as a bare loop"] == pytest.approx(quotient, rel=0.05)
    assert re.search(r"NVIDIA \S+, torch \S+, commit [0-9a-f]{12};.* at once: [\d,]+ images/s", exhibit.caption)


def test_the_time_of_a_grid_leaves_pauses_out():
    runs = [("2026-01-01T00:01:00Z", 60), ("2026-01-01T00:01:30Z", 60), ("2026-01-01T02:00:00Z", 60)]
    stored = [
        {"config": {"device": "cuda"}, "provenance": {"date": date, "seconds": seconds}}
        for date, seconds in [*runs, ("2026-01-01T00:00:50Z", 5)]
    ]
    stored.append({"config": {"device": "cpu"}, "provenance": {"date": runs[0][0], "seconds": 999}})
    # Three runs of a minute and one of 5 s inside the first; the second begins 30 s before the first ends.
    caption = sizes.costs("gpu", stored).caption
    assert "The 4 stored runs on a GPU took 60 s each (median)" in caption
    assert caption.endswith(f"beside {185 / 150 - 1:.1f} others on average, 2.5 minutes in all.")


def test_every_size_and_every_setting_has_a_row_and_a_reason():
    data, networks = sizes.of_data().table, sizes.of_networks().table
    assert list(zip(data["data"], data["scale"], strict=True)) == [
        (dataset, scale) for dataset, sizes in scales.DATA.items() for scale in sizes
    ]
    cpu = networks[networks["scale"] == "cpu"]
    assert sorted(name for names in cpu["networks"] for name in names.split(", ")) == sorted(scales.NETWORKS)
    assert data["why"].all() and networks["why"].all()
    (lsb,) = cpu.loc[cpu["networks"].str.contains("multi_decoder"), "settings"]
    assert "weights imagenet" in lsb
    assert "dilate False" in lsb
