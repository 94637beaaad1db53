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


def test_the_benchmark_measured_every_network():
    speeds = costs.speeds()
    for network in NETWORKS:
        assert set(speeds.loc[speeds["network"] == network, "arm"]) >= {"bare loop", "training", "steps alone"}


def test_the_benchmark_of_the_howto_is_the_stored_one():
    text = (BOOK / "howto.md").read_text()
    shown = re.search(r"```text\n(network +arm +images/s.*?)\n```", text, re.DOTALL)[1].splitlines()[1:]
    stored = {(row.network, row.arm): row for row in costs.speeds().rename(columns={"images/s": "rate"}).itertuples()}
    assert len(shown) == 11
    for line in shown:
        network, arm, rate, speed, *waiting = re.split(r"\s{2,}", line.strip())
        row = stored[network, arm]
        assert (rate, speed) == (f"{row.rate:.1f}", f"{row.speed:.2f}")
        assert waiting == ([] if np.isnan(row.waiting) else [f"{row.waiting:.3f}"])


def test_costs_name_every_measured_network_and_where():
    exhibit = sizes.costs("cpu")
    assert exhibit.table["network"].tolist() == list(NETWORKS)
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
