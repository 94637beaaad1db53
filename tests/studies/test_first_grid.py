import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_cases import Held
from scipy import stats

from mtlrepro.balancers import create
from mtlrepro.bench.train import NETWORKS
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.studies import costs, first_grid
from mtlrepro.training import scales

BOOK = Path(first_grid.__file__).parents[2] / "book"
METHODS = ("equal", "uncertainty", "dwa", "gls", "lsb")


@pytest.fixture
def runs():
    """Two methods, three seeds; the first metric separates methods, the others do not."""
    rows = []
    for method, place in (("equal", 40.0), ("lsb", 30.0)):
        for seed, step in enumerate((-1.0, 0.0, 1.0)):
            row = {"method": method, "seed": seed, "segmentation.miou": place + step, "depth.rmse": 1 + step / 10}
            rows.append(row | {"normal.mean_angle": 20 + 2 * step, "seconds": 60.0})
    return pd.DataFrame(rows)


def test_the_grid_is_the_cpu_scale():
    configs = read_grid(first_grid.GRID)
    expected = [
        scales.config("cpu", method=method, seed=seed, evaluate_every=5, probe_every=5)
        for method in METHODS
        for seed in range(3)
    ]
    assert configs == expected


def test_spread_by_hand(runs):
    spread = first_grid.spread(runs).set_index("metric")
    first = spread.loc["mIoU, %"]
    assert first["between methods"] == pytest.approx(np.sqrt(50))
    assert first["between seeds"] == pytest.approx(1)
    assert first["ratio"] == pytest.approx(np.sqrt(50))
    # by hand: 3 sum (mean - 35)^2 / 1 = 150 over the pooled variance 1
    assert first["F"] == pytest.approx(150)
    assert first["p"] == pytest.approx(stats.f.sf(150, 1, 4))
    assert first["p, Holm"] == pytest.approx(3 * first["p"])
    assert spread.loc["RMSE of depth, m", "between methods"] == 0
    assert spread.loc["RMSE of depth, m", "between seeds"] == pytest.approx(0.1)


def test_finding_and_figure_say_what_the_runs_say(runs):
    text = first_grid.finding(runs)
    assert "mIoU, %, 7.1 and 1.0 (F = 1.5e+02, corrected p < 0.001)" in text
    assert "3 seeds separate the methods on 1 of 3 metrics" in text
    drawing = first_grid.figure(runs)
    assert [axes.get_xlabel().split(",")[0] for axes in drawing.axes] == [
        name for name, _, _ in first_grid.METRICS.values()
    ]
    dots, bar = drawing.axes[0].lines[:2]
    assert sorted(dots.get_xdata()) == [39, 40, 41]
    assert list(bar.get_xdata()) == [40, 40]


def test_means_name_direction_and_deviation(runs):
    first, second = first_grid.means(runs).to_dict("records")
    assert first["Method"] == "`equal`"
    assert first["mIoU, % (higher is better)"] == "40.0 ± 1.0"
    assert second["RMSE of depth, m (lower is better)"] == "1.00 ± 0.10"
    assert second["Run, s"] == "60"


def test_missing_runs_are_refused_with_the_command(tmp_path):
    with pytest.raises(
        ValueError, match=r"lacks 15 of 15 runs; to train them, run: mtlrepro grid book/grids/first.json"
    ):
        first_grid.table(tmp_path)


def test_stored_runs_are_all_there_and_start_from_imagenet():
    runs = first_grid.table()
    assert runs["status"].tolist() == ["complete"] * 15
    assert runs["method"].tolist() == [method for method in METHODS for _ in range(3)]
    for hash_ in runs.index:
        record = json.loads((first_grid.RESULTS / f"{hash_}.json").read_text())
        assert record["weights_source"].startswith("imagenet (IMAGENET1K_V1")
        assert "with changes" not in record["provenance"]["commit"]


def test_the_page_says_where_beta_ends():
    lsb = create("lsb", 3)
    run = next(run for run in read_grid(first_grid.GRID) if run.method == "lsb")
    assert run.method_options == {}
    text = " ".join((BOOK / "runs.md").read_text().split())
    assert f"rate of $\\beta$ per epoch, {lsb.rate:g}" in text
    assert f"ends at {lsb.rate * (run.epochs - lsb.offset):g} after {run.epochs} epochs" in text


# --- costs


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
    rows = costs.cost_rows()
    assert [row["Network"] for row in rows] == [f"`{name}`" for name in NETWORKS]
    for row in rows:
        run = scales.config("cpu", dataset=row["Data"], network=row["Network"].strip("`"))
        seconds = run.n_train * run.epochs / float(row["Images/s"])
        assert float(row["Core-minutes a run"]) == pytest.approx(seconds / 60, rel=0.1)
    assert re.search(r"torch \S+, commit `[0-9a-f]{12}`;", costs.origin())


def test_costs_on_a_gpu_are_those_of_captured_steps():
    stored = costs.speeds("gpu").set_index(["network", "arm"])["images/s"]
    for row in costs.cost_rows("gpu"):
        network = row["Network"].strip("`")
        run = scales.config("gpu", dataset=row["Data"], network=network)
        assert run.cuda_graph
        rate = stored[network, "training, CUDA graph"]
        assert row["Images/s"] == f"{rate:,.0f}"
        assert float(row["Seconds a run"]) == pytest.approx(run.n_train * run.epochs / rate, abs=0.05)
        assert row["Against a bare loop"] == f"{rate / stored[network, 'bare loop']:.1f} times as fast"
    assert re.search(r"NVIDIA \S+, torch \S+, commit `[0-9a-f]{12}`;.* at once: [\d,]+ images/s", costs.origin("gpu"))


def test_the_time_of_a_grid_leaves_pauses_out():
    runs = [("2026-01-01T00:01:00Z", 60), ("2026-01-01T00:01:30Z", 60), ("2026-01-01T02:00:00Z", 60)]
    stored = {
        str(i): {"config": {"device": "cuda"}, "provenance": {"date": date, "seconds": seconds}}
        for i, (date, seconds) in enumerate([*runs, ("2026-01-01T00:00:50Z", 5)])
    }
    stored["cpu"] = {"config": {"device": "cpu"}, "provenance": {"date": runs[0][0], "seconds": 999}}
    # Three runs of a minute and one of 5 s inside the first; the second begins 30 s before the first ends.
    found = costs.grid_time(Held(records=stored))
    assert found.startswith("The 4 stored runs at this scale took 60 s each (median)")
    assert found.endswith(f"beside {185 / 150 - 1:.1f} others on average, 2.5 minutes in all.")


def test_every_size_and_every_setting_has_a_row_and_a_reason():
    data, networks = costs.data_rows(), costs.network_rows()
    assert [(row["Data"], row["Scale"]) for row in data] == [
        (dataset, scale) for dataset, sizes in scales.DATA.items() for scale in sizes
    ]
    assert sorted(
        name for row in networks if row["Scale"] == "cpu" for name in row["Networks"].split("<br>")
    ) == sorted(scales.NETWORKS)
    assert all(row["Why"] for row in [*data, *networks])
    (lsb,) = (row for row in networks if row["Scale"] == "cpu" and "multi_decoder" in row["Networks"])
    assert "weights imagenet" in lsb["Settings"]
    assert "dilate False" in lsb["Settings"]
