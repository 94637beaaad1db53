import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro import files
from mtlrepro.balancers import create
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.store import Store
from mtlrepro.studies import first_grid
from mtlrepro.training import scales

BOOK = files.book()
GRID = files.book("grids", "first.json")
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
    configs = read_grid(GRID)
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


def test_caption_and_figure_say_what_the_runs_say(runs):
    shown = first_grid.spreads(runs, 0.05)
    assert "mIoU, %, 7.1 and 1.0 (F = 1.5e+02, corrected p < 0.001)" in shown.caption
    assert "3 seeds separate the methods on 1 of 3 metrics" in shown.caption
    assert "on 0 of 3 metrics (analysis of variance, 0.01 %" in first_grid.spreads(runs, 1e-4).caption
    assert [axes.get_xlabel().split(",")[0] for axes in shown.figure.axes] == [
        name for name, _, _ in first_grid.METRICS.values()
    ]
    dots, bar = shown.figure.axes[0].lines[:2]
    assert sorted(dots.get_xdata()) == [39, 40, 41]
    assert list(bar.get_xdata()) == [40, 40]


def test_means_name_direction_and_deviation(runs):
    exhibit = first_grid.means(runs)
    first, second = exhibit.shown.to_dict("records")
    assert first["method"] == "equal"
    assert first["mIoU, % (higher is better)"] == "40.0 ± 1.0"
    assert second["RMSE of depth, m (lower is better)"] == "1.00 ± 0.10"
    assert second["run, s"] == "60"
    assert exhibit.table["segmentation.miou, mean"].tolist() == [40, 30]
    assert exhibit.table["normal.mean_angle, deviation"].tolist() == [2, 2]


def test_missing_runs_are_refused_with_the_command(tmp_path):
    with pytest.raises(
        ValueError, match=r"lacks 15 of 15 runs; to train them, run: mtlrepro grid .*book/grids/first.json"
    ):
        first_grid.table(GRID, Store(tmp_path))


def test_stored_runs_are_all_there_and_start_from_imagenet():
    runs = first_grid.table(GRID, Store(BOOK / "results" / "runs"))
    assert runs["status"].tolist() == ["complete"] * 15
    assert runs["method"].tolist() == [method for method in METHODS for _ in range(3)]
    for hash_ in runs.index:
        record = json.loads((BOOK / "results" / "runs" / f"{hash_}.json").read_text())
        assert record["weights_source"].startswith("imagenet (IMAGENET1K_V1")
        assert "with changes" not in record["provenance"]["commit"]


def test_the_page_says_where_beta_ends():
    lsb = create("lsb", 3)
    run = next(run for run in read_grid(GRID) if run.method == "lsb")
    assert run.method_options == {}
    text = " ".join(cell.source for cell in nbformat.read(BOOK / "runs.ipynb", as_version=4).cells)
    assert f"rate of $\\beta$ per epoch, ${lsb.rate:g}$" in text
    assert f"ends at ${lsb.rate * (run.epochs - lsb.offset):g}$ after ${run.epochs}$ epochs" in text
