import json
from math import log

import numpy as np
import pandas as pd
import pytest
from loss_histories import TASKS, rows, runs
from study_stores import keep

from mtlrepro.analysis.verdicts import Interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import svg
from mtlrepro.runs.store import Store
from mtlrepro.studies import trends
from mtlrepro.studies.setting import Setting
from mtlrepro.studies.trends import LEVEL


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([2.0, 2.0, 2.0], 0.0),
        ([1.0, 1.0, 8.0], log(8) * np.sqrt(2) / 3),  # Deviations -1/3, -1/3, 2/3 of ln 8
        ([0.1, 1.0, 10.0], log(10) * np.sqrt(2 / 3)),
    ],
)
def test_spread_by_hand(scales, expected):
    assert trends.spread(rows([scales]))["spread"].tolist() == pytest.approx([expected])


def test_spread_of_two_tasks_is_half_the_log_of_their_quotient():
    table = rows([[3.0, 12.0]], tasks=TASKS[:2])
    assert trends.spread(table)["spread"].item() == pytest.approx(log(4) / 2)


def test_spread_does_not_depend_on_a_common_factor():
    table = rows([[1.0, 2.0, 5.0], [3.0, 1.0, 2.0]])
    assert trends.spread(table.assign(scale=7 * table["scale"]))["spread"].tolist() == pytest.approx(
        trends.spread(table)["spread"].tolist()
    )


@pytest.mark.parametrize(
    ("spreads", "first"),
    [
        ([0.1, 0.1, 0.1], 1),
        ([1.0, 0.1, 0.1], 2),
        ([0.1, 1.0, 0.1], 3),
        ([0.1, 0.1, 1.0], np.nan),
        ([1.0, 1.0, LEVEL], np.nan),
    ],
)
def test_balanced_to_the_end(spreads, first):
    run = pd.DataFrame({"method": "LSB", "seed": 0, "epoch": [1, 2, 3], "spread": spreads})
    assert trends.balanced_from(run)["epoch"].tolist() == pytest.approx([first], nan_ok=True)


def test_runs_that_are_never_balanced_come_after_all_others():
    first = pd.DataFrame(
        {"method": ["a"] * 3 + ["b"] * 3 + ["c"] * 2, "epoch": [4, np.nan, 7, np.nan, 2, np.nan, 3, 6]}
    )
    assert trends.medians(first).to_dict() == {"a": 7, "b": np.inf, "c": 4.5}


def test_largest_share_of_the_last_epoch():
    table = pd.concat([rows([[9.0, 1.0, 1.0], [1.0, 1.0, 2.0]]), rows([[1.0] * 3] * 2, "GLS")])
    shares = trends.largest_shares(table).set_index("method")["share"]
    assert shares.to_dict() == pytest.approx({"LSB": 50, "GLS": 100 / 3})


def test_summary_and_finding_say_who_is_balanced_when():
    level, steep = [1.0, 1.0, 1.0], [1.0, 1.0, 9.0]
    table = pd.concat(
        [rows([steep, level, level], seed=seed) for seed in (0, 1)]
        + [rows([steep, steep, level if seed else steep], "DWA", seed) for seed in (0, 1)]
        + [rows([steep] * 3, "equal", seed) for seed in (0, 1)]
    )
    summary = trends.summary(table).set_index("method")
    assert summary["balanced from epoch"].to_dict() == {"LSB": "2", "DWA": "3, 1 of 2 never", "equal": "never"}
    spread = log(9) * np.sqrt(2) / 3
    names = [f"mean spread{bound}" for bound in ("", " low", " high")]
    assert summary.loc["equal", names].tolist() == pytest.approx([spread] * 3)
    assert set(summary["largest factor of a weight high"]) == {1}
    assert summary.loc["LSB", [f"largest share, %{bound}" for bound in ("", " low", " high")]].tolist() == (
        pytest.approx([100 / 3] * 3)
    )
    many = pd.concat(rows([[1.0, 1.0, 1.0 + 0.01 * seed**3]], seed=seed) for seed in range(5))
    assert trends.summary(many)["largest share, % low"].item() >= 100 / 3
    start = "With three tasks, loss scales stay level to the end under"
    assert trends.finding(table) == f"{start} LSB from epoch 2 (the last 2 of 3); not under DWA, equal."
    assert trends.finding(table[table["method"] == "LSB"]) == f"{start} LSB from epoch 2 (the last 2 of 3)."
    assert trends.finding(table[table["method"] != "LSB"]) == f"{start} no method."


def test_factors_of_weights_are_from_their_mean_and_without_a_common_factor():
    table = rows([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).assign(weight=[0.5, 0.5, 0.5, 2.0, 4.0, 16.0])
    geometric = 128 ** (1 / 3)
    assert trends.weight_factors(table)["factor"].tolist() == pytest.approx([16 / geometric])
    common = table.assign(weight=7 * table["weight"])
    assert trends.weight_factors(common)["factor"].tolist() == pytest.approx([16 / geometric])


def test_interval_of_spreads_is_that_of_their_logarithms_or_the_range():
    found = trends.spread_interval([0.1, 0.2, 0.4])
    assert found.value == pytest.approx(0.2)
    assert found.low > 0
    assert trends.spread_interval([0.0, 0.2]) == Interval(0.1, 0.0, 0.2)


def test_captions_say_what_is_drawn_what_to_see_and_the_conditions():
    table = runs(TASKS, {"equal": [[1.0, 2.0, 3.0]] * 2, "LSB": [[1.0, 2.0, 3.0], [2.0, 2.0, 2.1]]})
    for exhibit in (
        trends.curves_exhibit({3: table}, ["equal", "LSB"], "curves", "β grows"),
        trends.spreads_exhibit({3: table}, "spreads", "β grows"),
    ):
        stay = "With three tasks, loss scales stay level to the end under LSB from epoch 2 (the last 1 of 2)"
        assert f"{stay}; not under equal." in exhibit.caption
        assert exhibit.caption.endswith("in the median seed; β grows.)")


# --- records and figures


def test_history_reads_records(tmp_path):
    setting = Setting(store=Store(tmp_path))
    configs = [setting.run(method=method, seed=seed) for method in ("equal", "lsb") for seed in (0, 1)]
    numbers = {"losses": [2.0, 4.0, 2.0], "weights": [0.5] * 3, "loss_scales": [1.0, 2.0, 1.0]}
    entries = [{"epoch": 1, **{name: dict(zip(TASKS, own, strict=True)) for name, own in numbers.items()}}]
    keep(tmp_path, *configs, history=entries)
    table = trends.history(setting, configs)
    assert table.drop_duplicates(["method", "seed"])[["method", "seed"]].to_numpy().tolist() == [
        ["equal", 0],
        ["equal", 1],
        ["LSB", 0],
        ["LSB", 1],
    ]
    assert table["task"].tolist() == [*TASKS] * 4
    assert table[["loss", "weight", "scale", "share"]].to_numpy()[:3].tolist() == [
        [2.0, 0.5, 1.0, 25.0],
        [4.0, 0.5, 2.0, 50.0],
        [2.0, 0.5, 1.0, 25.0],
    ]


def test_figures_draw_their_tables():
    table = runs(TASKS, {"equal": [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], "LSB": [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]})
    numbers = trends.curves(table, ["LSB"])
    assert len(numbers) == 2 * 3
    # Geometric mean over seeds of 1, 1.01 and 1.02 times the first run's.
    assert numbers["scale"][0] == pytest.approx((1.01 * 1.02) ** (1 / 3))
    figure = trends.curves_figure(table, ["equal", "LSB"])
    assert [axes.get_title() for axes in figure.axes] == ["equal", "LSB", "", ""]
    lines = figure.axes[3].get_lines()
    assert lines[0].get_ydata() == pytest.approx(numbers.query("task == 'segmentation'")["scale"])
    weights = figure.axes[1].get_lines()
    assert weights[0].get_ydata() == pytest.approx(numbers.query("task == 'segmentation'")["weight"])
    assert len(svg(figure)) < 60_000
    spreads = trends.spreads({3: table})
    assert (spreads["low"] <= spreads["mean"] + 1e-12).all()
    by_seed = trends.spread(table).query("method == 'LSB' and epoch == 2")["spread"]
    (last,) = spreads.query("method == 'LSB' and epoch == 2").to_dict("records")
    assert (last["low"], last["mean"], last["high"]) == pytest.approx((by_seed.min(), by_seed.mean(), by_seed.max()))
    panels = trends.spread_figure(spreads).axes
    assert [axes.get_title() for axes in panels] == ["three tasks"]
    own = spreads.query("method == 'LSB'")
    assert panels[0].get_lines()[1].get_ydata() == pytest.approx(own["mean"])
    bars = panels[0].collections[1].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == own[["low", "high"]].to_numpy().tolist()
    partly = pd.concat([spreads, trends.spreads({8: table[table["method"] == "LSB"]})])
    three, eight = trends.spread_figure(partly).axes
    assert eight.get_lines()[0].get_color() == three.get_lines()[1].get_color()
    compact = trends.by_epoch(spreads, ["mean", "low", "high"])
    assert compact.columns.tolist() == ["method", "tasks", "quantity", "1", "2"]
    assert len(compact) == 2 * 3
    (low,) = compact.query("method == 'LSB' and quantity == 'low'").to_dict("records")
    expected = spreads.query("method == 'LSB'")["low"].tolist()
    assert [low["1"], low["2"]] == pytest.approx(expected, rel=1e-4, abs=1e-12)
    json.dumps(compact.to_dict("list"))


def test_numbers_of_many_epochs_are_thinned_out():
    table = pd.DataFrame({"method": "LSB", "epoch": range(1, 21), "mean": range(1, 21)})
    compact = trends.by_epoch(table, ["mean"])
    assert compact.columns[2:].tolist() == ["1", "4", "7", "10", "13", "16", "19", "20"]
    assert compact.iloc[0, 2:].tolist() == [1, 4, 7, 10, 13, 16, 19, 20]


def test_curves_of_different_lengths_end_where_they_end():
    long, short = (pd.DataFrame({"tasks": n, "epoch": range(1, n + 1), "mean": 1.5}) for n in (30, 20))
    compact = trends.by_epoch(pd.concat([long, short]), ["mean"]).set_index("tasks").drop(columns="quantity")
    assert compact.columns.tolist() == ["1", "6", "11", "16", "20", "21", "26", "30"]
    assert compact.loc[30].tolist() == [1.5, 1.5, 1.5, 1.5, "", 1.5, 1.5, 1.5]
    assert compact.loc[20].tolist() == [1.5, 1.5, 1.5, 1.5, 1.5, "", "", ""]
    Exhibit(name="x", table=compact.reset_index(), caption="Curves.")
