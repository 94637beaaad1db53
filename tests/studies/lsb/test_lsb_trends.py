import json
from math import log

import numpy as np
import pandas as pd
import pytest

from mtlrepro.pages.figures import svg
from mtlrepro.studies.lsb import trends as lsb_trends
from mtlrepro.studies.lsb.grids import EIGHT, TASKS, Setting, trends
from mtlrepro.studies.lsb.trends import LEVEL


def rows(scales, method="LSB", seed=0, tasks=TASKS, weight=0.5):
    """Loss scales ``[epochs][tasks]`` of one run."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "seed": seed,
                "epoch": epoch,
                "task": task,
                "loss": scale / weight,
                "weight": weight,
                "scale": float(scale),
                "share": 100 * scale / sum(values),
            }
            for epoch, values in enumerate(scales, 1)
            for task, scale in zip(tasks, values, strict=True)
        ]
    )


# --- numbers


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([2.0, 2.0, 2.0], 0.0),
        ([1.0, 1.0, 8.0], log(8) * np.sqrt(2) / 3),  # Deviations -1/3, -1/3, 2/3 of ln 8
        ([0.1, 1.0, 10.0], log(10) * np.sqrt(2 / 3)),
    ],
)
def test_spread_by_hand(scales, expected):
    assert lsb_trends.spread(rows([scales]))["spread"].tolist() == pytest.approx([expected])


def test_spread_of_two_tasks_is_half_the_log_of_their_quotient():
    table = rows([[3.0, 12.0]], tasks=TASKS[:2])
    assert lsb_trends.spread(table)["spread"].item() == pytest.approx(log(4) / 2)


def test_spread_does_not_depend_on_a_common_factor():
    table = rows([[1.0, 2.0, 5.0], [3.0, 1.0, 2.0]])
    assert lsb_trends.spread(table.assign(scale=7 * table["scale"]))["spread"].tolist() == pytest.approx(
        lsb_trends.spread(table)["spread"].tolist()
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
    assert lsb_trends.balanced_from(run)["epoch"].tolist() == pytest.approx([first], nan_ok=True)


def test_runs_that_are_never_balanced_come_after_all_others():
    first = pd.DataFrame(
        {"method": ["a"] * 3 + ["b"] * 3 + ["c"] * 2, "epoch": [4, np.nan, 7, np.nan, 2, np.nan, 3, 6]}
    )
    assert lsb_trends.medians(first).to_dict() == {"a": 7, "b": np.inf, "c": 4.5}


def test_largest_share_of_the_last_epoch():
    table = pd.concat([rows([[9.0, 1.0, 1.0], [1.0, 1.0, 2.0]]), rows([[1.0] * 3] * 2, "GLS")])
    shares = lsb_trends.largest_shares(table).set_index("method")["share"]
    assert shares.to_dict() == pytest.approx({"LSB": 50, "GLS": 100 / 3})


def test_summary_and_finding_say_who_is_balanced_when():
    level, steep = [1.0, 1.0, 1.0], [1.0, 1.0, 9.0]
    table = pd.concat(
        [rows([steep, level, level], seed=seed) for seed in (0, 1)]
        + [rows([steep, steep, level if seed else steep], "DWA", seed) for seed in (0, 1)]
        + [rows([steep] * 3, "equal", seed) for seed in (0, 1)]
    )
    summary = lsb_trends.summary(table).set_index("method")
    assert summary["balanced from"].to_dict() == {"LSB": "2", "DWA": "3, 1 of 2 never", "equal": "never"}
    spread = log(9) * np.sqrt(2) / 3
    assert summary.loc["equal", "mean spread"] == f"{spread:.1f} ± 0"
    assert lsb_trends.finding(table).endswith(
        "median over seeds: LSB 2; never in half of the runs or more: DWA, equal."
    )


# --- claims


def runs(tasks, scales):
    """Three runs of each method with these loss scales, times a little noise of their own that keeps every order."""
    return pd.concat(
        [
            rows(np.array(values) * (1 + 0.01 * seed), method, seed, tasks)
            for method, values in scales.items()
            for seed in range(3)
        ]
    )


def test_claims_on_runs_that_go_as_the_supplement_says():
    steep, flat = [3.0, 1.0, 1.0], [1.0, 1.01, 1.0]
    table = runs(
        TASKS,
        {
            "equal": [steep] * 4,
            "DWA": [steep] * 4,
            "uncertainty": [steep, steep, [2.0, 1.0, 1.0], flat],
            "LSB": [steep, flat, flat, flat],
        },
    )
    claims = lsb_trends.claims(table)
    assert {claim.status for claim in claims} == {"holds"}
    assert len(claims) == 2 + 2 + 3
    assert {claim.source for claim in claims} == {"Section 5"}
    # spread of steep: ln 3 sqrt(2)/3; quotient of the means over four epochs, with 3 flat ones near 0
    (equal,) = (claim for claim in claims if "faster than equal" in claim.claim)
    flat_spread = log(1.01) * np.sqrt(2) / 3
    steep_spread = log(3) * np.sqrt(2) / 3
    assert equal.measured.value == pytest.approx((steep_spread + 3 * flat_spread) / 4 / steep_spread)


def test_claims_on_runs_that_go_the_other_way():
    steep, flat = [1.0, 3.0, 1.0], [1.0, 1.01, 1.0]
    scales = {"equal": [flat] * 4, "DWA": [flat] * 4, "uncertainty": [flat, flat, flat, steep], "LSB": [steep] * 4}
    claims = lsb_trends.claims(runs(TASKS, scales))
    assert {claim.status for claim in claims} == {"does not hold"}


def test_speed_against_gls_is_our_question():
    table = runs(
        EIGHT[:3], {"uncertainty": [[1.0, 3.0, 1.0]] * 2, "GLS": [[1.0, 1.1, 1.0]] * 2, "LSB": [[1.0, 1.2, 1.0]] * 2}
    )
    (gls,) = (claim for claim in lsb_trends.claims(table) if "faster than GLS" in claim.claim)
    assert (gls.source, gls.status) == ("our question", "does not hold")
    assert gls.measured.value == pytest.approx(log(1.2) / log(1.1))


def test_reach_of_uncertainty_weighting(monkeypatch):
    config = trends(Setting(), TASKS, ["uncertainty"])[0]
    table = pd.concat(
        [rows([[1.0, 1.0, 8.0]], "equal", weight=1 / 3), rows([[1.0, 1.0, 5.0]], "uncertainty", weight=2 / 3)]
    )
    history = [{"seconds": 2.0}, {"seconds": 3.0}]
    record = {"history": history, "provenance": {"images_per_second": 3199.9}, "config": {"batch_size": 8}}
    stored = type("Contents", (), {"records": {config.hash: record}})
    monkeypatch.setattr(lsb_trends, "Store", lambda store: stored)
    text = lsb_trends.reach(table, config)
    assert "after 2,000 steps at a learning rate of 0.001" in text
    assert "or divided a weight by about 7.4; the largest one is 2 times its start" in text
    assert text.endswith("the loss scales end a factor 8 apart.")


def test_reach_takes_the_median_seed_and_all_tasks(monkeypatch):
    """Quotients of three seeds under equal weights are 2, 4 and 100; weights of eight tasks begin at 1/8."""
    config = trends(Setting(), EIGHT, ["uncertainty"])[0]
    ends = [[1.0] * 7 + [last] for last in (2.0, 4.0, 100.0)]
    equal = pd.concat(rows([own], "equal", seed, tasks=EIGHT, weight=1 / 8) for seed, own in enumerate(ends))
    table = pd.concat([equal, rows([[1.0] * 8], "uncertainty", tasks=EIGHT, weight=3 / 8)])
    record = {
        "history": [{"seconds": 1.0}],
        "provenance": {"images_per_second": 8.0},
        "config": {"batch_size": 8},
    }
    stored = type("Contents", (), {"records": {config.hash: record}})
    monkeypatch.setattr(lsb_trends, "Store", lambda store: stored)
    text = lsb_trends.reach(table, config)
    assert "the largest one is 3 times its start" in text
    assert text.endswith("the loss scales end a factor 4 apart.")


def test_a_small_loss_of_eight_has_its_share_or_not():
    small = [1.0] * 8
    small[EIGHT.index("keypoints2d")] = 0.01
    level = [1.0] * 8
    scales = {"equal": [small] * 3, "uncertainty": [small, small, [0.9, *small[1:]]], "LSB": [small, level, level]}
    claims = {claim.claim: claim for claim in lsb_trends.claims(runs(EIGHT, scales))}
    ours = claims["LSB: keypoints, 2-D end with their share of the loss scales, in %"]
    assert (ours.claimed, ours.measured.value, ours.status) == (12.5, 12.5, "holds")
    theirs = claims["equal: keypoints, 2-D end with less than half their share, in %"]
    assert theirs.measured.value == pytest.approx(100 * 0.01 / 7.01)
    assert theirs.status == "holds"
    assert not [claim for claim in claims if "segmentation" in claim]


# --- records and figures


def test_history_reads_records(tmp_path, monkeypatch):
    configs = trends(Setting(seeds=2), TASKS, ["equal", "lsb"])
    numbers = {"losses": [2.0, 4.0, 2.0], "weights": [0.5] * 3, "loss_scales": [1.0, 2.0, 1.0]}
    record = {"history": [{"epoch": 1, **{name: dict(zip(TASKS, own, strict=True)) for name, own in numbers.items()}}]}
    stored = type("Contents", (), {"records": {config.hash: record for config in configs}})
    monkeypatch.setattr(lsb_trends, "Store", lambda store: stored)
    table = lsb_trends.history(configs, tmp_path)
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
    numbers = lsb_trends.drawn(table, ["LSB"])
    assert len(numbers) == 2 * 3
    # Geometric mean over seeds of 1, 1.01 and 1.02 times the first run's.
    assert numbers["scale"][0] == pytest.approx((1.01 * 1.02) ** (1 / 3))
    figure = lsb_trends.figure(table, ["equal", "LSB"])
    assert [axes.get_title() for axes in figure.axes] == ["equal", "LSB", "", ""]
    lines = figure.axes[3].get_lines()
    assert lines[0].get_ydata() == pytest.approx(numbers.query("task == 'segmentation'")["scale"])
    weights = figure.axes[1].get_lines()
    assert weights[0].get_ydata() == pytest.approx(numbers.query("task == 'segmentation'")["weight"])
    assert len(svg(figure)) < 60_000
    spreads = lsb_trends.spreads({3: table})
    assert (spreads["low"] <= spreads["mean"] + 1e-12).all()
    by_seed = lsb_trends.spread(table).query("method == 'LSB' and epoch == 2")["spread"]
    (last,) = spreads.query("method == 'LSB' and epoch == 2").to_dict("records")
    assert (last["low"], last["mean"], last["high"]) == pytest.approx((by_seed.min(), by_seed.mean(), by_seed.max()))
    panels = lsb_trends.spread_figure(spreads).axes
    assert [axes.get_title() for axes in panels] == ["three tasks"]
    own = spreads.query("method == 'LSB'")
    assert panels[0].get_lines()[1].get_ydata() == pytest.approx(own["mean"])
    bars = panels[0].collections[1].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == own[["low", "high"]].to_numpy().tolist()
    partly = pd.concat([spreads, lsb_trends.spreads({8: table[table["method"] == "LSB"]})])
    three, eight = lsb_trends.spread_figure(partly).axes
    assert eight.get_lines()[0].get_color() == three.get_lines()[1].get_color()
    compact = lsb_trends.by_epoch(spreads, ["mean", "low", "high"])
    assert compact.columns.tolist() == ["method", "tasks", "quantity", "1", "2"]
    assert len(compact) == 2 * 3
    (low,) = compact.query("method == 'LSB' and quantity == 'low'").to_dict("records")
    expected = spreads.query("method == 'LSB'")["low"].tolist()
    assert [low["1"], low["2"]] == pytest.approx(expected, rel=1e-4, abs=1e-12)
    json.dumps(compact.to_dict("list"))


def test_numbers_of_many_epochs_are_thinned_out():
    table = pd.DataFrame({"method": "LSB", "epoch": range(1, 21), "mean": range(1, 21)})
    compact = lsb_trends.by_epoch(table, ["mean"])
    assert compact.columns[2:].tolist() == ["1", "4", "7", "10", "13", "16", "19", "20"]
    assert compact.iloc[0, 2:].tolist() == [1, 4, 7, 10, 13, 16, 19, 20]
