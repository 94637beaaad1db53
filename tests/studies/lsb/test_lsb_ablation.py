from math import log, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_stores import keep

from mtlrepro.studies.lsb import ablation as lsb_ablation
from mtlrepro.studies.lsb import method
from mtlrepro.studies.lsb.ablation import DEFAULT, END, LAGGED, LOOSE, PLAIN, STILL, Ablation
from mtlrepro.studies.lsb.grids import TASKS, ablation, variants
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.setting import Setting


def history(losses, weights, seed=0):
    """Long table of one run from `[epochs, tasks]` losses and weights."""
    losses, weights = np.asarray(losses, float), np.asarray(weights, float)
    index = pd.MultiIndex.from_product([[DEFAULT], [seed], range(1, len(losses) + 1), TASKS])
    table = pd.DataFrame({"loss": losses.ravel(), "weight": weights.ravel()}, index=index)
    table["scale"] = table["loss"] * table["weight"]
    table["share"] = 100 * table["scale"] / np.repeat((losses * weights).sum(axis=1), len(TASKS))
    return table.rename_axis(["method", "seed", "epoch", "task"]).reset_index()


def replayed(seed, rate, epochs=400):
    """A run whose losses are noise alone, with the weights that the balancer gives."""
    losses = np.exp(0.05 * np.random.default_rng(seed).normal(size=(epochs, len(TASKS))))
    table = pd.DataFrame(losses, columns=[*TASKS], index=range(1, epochs + 1))
    return history(losses, method.weights(table, rate=rate).to_numpy(), seed)


def test_falls_by_hand():
    losses = [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [2.0, 4.0, 1.0]]
    found = lsb_ablation.falls(history(losses, [[0.5, 1.0, 2.0]] * 3))
    two = log(2)
    assert found.to_numpy() == pytest.approx(
        np.array([[2 * two / 3, -two / 3, -two / 3], [-2 * two / 3, 4 * two / 3, -2 * two / 3]])
    )


def test_deviations_are_those_of_the_second_half():
    scales = np.array([[1.0, 1.0, 9.0]] * 2 + [[1.0, 1.0, 8.0], [1.0, 1.0, 1.0]])
    spread = log(8) * sqrt(2) / 3
    assert lsb_ablation.deviations(history(scales, np.ones((4, 3)))).tolist() == pytest.approx([spread / sqrt(2)])


def test_the_formula_is_what_the_balancer_does_to_noise():
    """White noise, with losses that do not respond: the closed form agrees with the balancer's own weights."""
    still = pd.concat([replayed(seed, 0.0) for seed in range(3)])
    for rate in (0.002, 0.01):
        loud = pd.concat([replayed(seed, rate) for seed in range(3)])
        measured, formula = lsb_ablation.amplification(loud, still, rate)
        assert measured.value == pytest.approx(formula, rel=0.05)
    # New noise in every epoch: rho = -1/2. At beta = 1 the weights balance an epoch earlier, noise is as it was.
    mean = np.mean([1 - beta + beta**2 for beta in 0.01 * (np.arange(201, 401) - 2)])
    assert formula == pytest.approx(sqrt(mean), rel=0.02)


def test_no_difficulty_amplifies_nothing():
    still = pd.concat([replayed(seed, 0.0, 40) for seed in range(2)])
    measured, formula = lsb_ablation.amplification(still, still, 0.0)
    assert (measured.value, measured.low, measured.high, formula) == pytest.approx((1, 1, 1, 1))
    table = lsb_ablation.amplifications({STILL: still, "x": still}, {"x": 0.0})
    assert table.to_dict("list") == {
        "variant": ["x"],
        "rate": [0.0],
        "measured": pytest.approx([1]),
        "low": pytest.approx([1]),
        "high": pytest.approx([1]),
        "formula": [1.0],
    }


def test_amplification_is_drawn_and_told():
    rows = pd.DataFrame(
        {"variant": ["a", "b"], "rate": [0.1, 1.0], "measured": [1.5, 9.0], "low": [1.0, 8.0], "high": [2.0, 10.0]}
    ).assign(formula=[1.25, 12.0])
    assert "a 1.50 [1.00, 2.00], formula 1.25; b 9.00" in lsb_ablation.amplification_finding(rows)
    (axes,) = lsb_ablation.amplification_figure(rows).axes
    drawn = [line.get_xdata().tolist() for line in axes.get_lines()]
    assert drawn[0] == [1.5, 9.0] and drawn[-1] == [1.25, 12.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    (bars,) = (collection.get_segments() for collection in axes.collections)
    assert [bar[:, 0].tolist() for bar in bars] == [[1.0, 2.0], [8.0, 10.0]]


# --- two readings of the schedule


def test_rates_are_those_of_variants_with_difficulty_and_epochs_as_periods():
    growth = {DEFAULT: 0.02, "no alpha": 0.02, "rate 0.2": 0.2, END: 1.0, LOOSE: 1.0}
    assert lsb_ablation.rates(22, variants(22)) == growth
    assert lsb_ablation.rates(22, [END, STILL, "period 2", PLAIN]) == {END: 1.0}


def test_readings_by_hand():
    scales = np.array([[9.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 2.0, 1.0], [3.0, 1.0, 1.0]])
    weights = np.array([[1.0, 7.0, 1.0], [1.0, 1.0, 9.0], [1.0, 1.0, 2.0], [1.0, 4.0, 8.0]])
    runs = pd.concat([history(scales / weights, weights, seed) for seed in range(2)])
    (row,) = lsb_ablation.readings({END: runs}, {END: 0.5}).to_dict("records")
    assert row["last beta"] == pytest.approx(0.5 * (4 - 2))
    assert (row["largest share, %"], row["largest share, % low"]) == pytest.approx(((50 + 60) / 2, 55))
    assert row["weights apart, factor"] == pytest.approx(sqrt(2 * 8))
    assert row["epochs with another leader, %"] == pytest.approx(
        50
    )  # The first task leads again in the last of two epochs.
    text = lsb_ablation.reading_finding(lsb_ablation.readings({DEFAULT: runs, END: runs}, {DEFAULT: 0.5, END: 1.0}), 2)
    assert f"{END}, β up to 2: largest share 55 % [55, 55], weights a factor 4 apart" in text
    assert text.endswith("(Brackets: the range over 2 seeds.)")


# --- distances


def metrics(offset, seeds=3):
    """Runs whose depth metrics are better than 1 by some per cent, those of other tasks equal."""
    rows = []
    for seed in range(seeds):
        gain = 1 + (offset + 0.1 * (seed - 1)) / 100
        values = dict.fromkeys(TABLE_S3.names, 1.0) | {"depth.delta1": gain, "depth.rmse": 2 - gain}
        rows.append({"seed": seed, **values})
    return pd.DataFrame(rows)


def test_distances_by_hand_without_common_factors():
    ones = np.ones((4, 3))
    far = ones.copy()
    far[2:, 0] = 2.0
    trends = {
        DEFAULT: pd.concat([history(ones, ones, seed) for seed in range(2)]),
        "far": pd.concat([history(ones, far * (1 if seed else 3), seed) for seed in range(2)]),
    }
    own = metrics(0.0, 2)[["seed", *TABLE_S3.names]]
    runs = {DEFAULT: own, "far": own.assign(**{name: own[name] + 0.1 * own[name].mean() for name in TABLE_S3.names})}
    table = lsb_ablation.distances(trends, runs, [DEFAULT, "far"]).set_index(["pair", "seeds"])
    own, same, other = (DEFAULT + ", LSB", "different"), ("LSB, far", "same"), ("LSB, far", "different")
    assert table.index.tolist() == [own, same, other], "same seeds beside same, different beside different"
    # log 2 in one of three tasks, less the mean: 2/3, -1/3, -1/3
    far_off = 100 * log(2) * sqrt(2) / 3
    assert table["weights, %"].to_dict() == pytest.approx({own: 0, same: far_off, other: far_off})
    assert table.loc[[same], ["metrics, %", "metrics, % low", "metrics, % high"]].to_numpy() == pytest.approx(10)
    # Two of six metrics differ by 0.001, their means are 0.9995 and 1.0005.
    chance = 100 * np.hypot(0.001 / 0.9995, 0.001 / 1.0005) / sqrt(6)
    assert table["metrics, %"][own] == pytest.approx(chance)
    assert table["metrics, %"][other] == pytest.approx(sqrt(10**2 + chance**2), rel=1e-3)
    text = lsb_ablation.distance_finding(table.reset_index())
    assert text == (
        "LSB in two different seeds is 0.0 % apart in weights and 0.1 % in metrics. LSB, far: weights 32.7 % in the "
        "same seed and 32.7 % in different ones, metrics 10.0 % and 10.0 %."
    )


# --- scores and claims


def grids(**offsets):
    return {DEFAULT: metrics(0.0), **{name.replace("_", " "): metrics(offset) for name, offset in offsets.items()}}


def level(share=1 / 3):
    """Runs of two epochs, level in the first, with this share of one task in the second."""
    scales = np.array([[1.0, 1.0, 1.0], [share, (1 - share) / 2, (1 - share) / 2]])
    return pd.concat([history(scales, np.ones((2, 3)), seed) for seed in range(3)])


def test_differences_are_those_of_runs_of_one_seed():
    """The seeds spread by 0.1 / 3 in both samples alike, so the difference of a pair does not vary at all."""
    compared = lsb_ablation.differences(lsb_ablation.scored(grids(good=3.0))).set_index("variant")
    assert compared.loc["good"].tolist() == pytest.approx([1, 1, 1, 0.25, 0.25])
    gains = (2.0, 3.0, 4.0)
    apart = pd.concat([metrics(gain).iloc[[seed]] for seed, gain in enumerate(gains)])
    found = lsb_ablation.differences(lsb_ablation.scored({DEFAULT: metrics(0.0), "good": apart}))
    half = stats.t.ppf(0.975, 2) / 3 / sqrt(3)
    assert found[["difference", "low", "high"]].to_numpy()[0].tolist() == pytest.approx([1, 1 - half, 1 + half])


def test_spreads_and_shares_of_few_seeds_are_ranges_and_of_more_lie_in_their_domain():
    """The largest of three shares is at least a third, and Student's interval of three such runs would begin below."""
    tops = (0.001, 0.2, 3.0, 0.1)
    runs = [history([[1.0, 1.0, 1.0 + top]] * 3, np.ones((3, 3)), seed) for seed, top in enumerate(tops)]
    for count in (3, 4):
        own = pd.concat(runs[:count])
        score = pd.DataFrame({"variant": DEFAULT, "seed": range(count), "score": 0.0})
        row = lsb_ablation.table(score, {DEFAULT: own}).iloc[0]
        if count == 3:
            ends = row[["largest share, % low", "largest share, % high"]].tolist()
            assert ends == pytest.approx([100 * 1.001 / 3.001, 100 * 4 / 6])
        assert 100 / 3 <= row["largest share, % low"] < row["largest share, %"] < row["largest share, % high"] <= 100


def test_table_against_the_default():
    scores = lsb_ablation.scored(grids(good=3.0, bad=-3.0))
    assert scores.groupby("variant", sort=False)["score"].mean().tolist() == pytest.approx([0, 1, -1])
    trends = dict.fromkeys([DEFAULT, "good", "bad"], level()) | {"bad": level(0.5)}
    table = lsb_ablation.table(scores, trends).set_index("variant")
    for bound in ("", " low", " high"):
        gained = table[f"Δm, points of %{bound}"].to_dict()
        assert gained == pytest.approx({DEFAULT: 0, "good": 1, "bad": -1}, abs=1e-9)
    shares = table["largest share, %"].to_dict()
    assert shares == pytest.approx({DEFAULT: 100 / 3, "good": 100 / 3, "bad": 50})
    assert table.loc["bad", "last spread"] == pytest.approx(log(2) * sqrt(2) / 3)
    assert table["last total over first"].tolist() == pytest.approx([1 / 3] * 3)
    text = lsb_ablation.finding(lsb_ablation.differences(scores))
    assert text == (
        "By the paired interval of Δm, better than LSB: good; worse: bad. Better in every pair of runs: good; "
        "worse: bad: the exact p is then the smallest with so few seeds, 0.25."
    )
    wide = pd.DataFrame({"variant": ["x"], "difference": [-9.0], "low": [-20.0], "high": [2.0], "p": [0.25]})
    text = lsb_ablation.finding(wide.assign(p_reachable=0.25))
    assert "better than LSB: none; worse: none. Better in every pair of runs: none; worse: x:" in text
    dots = lsb_ablation.figure(scores).axes[0].get_lines()[0::2]
    assert [line.get_xdata().tolist() for line in dots[:3]] == [
        scores.loc[scores["variant"] == name, "score"].tolist() for name in (DEFAULT, "good", "bad")
    ]
    labels = [label.get_text() for label in lsb_ablation.figure(scores).axes[0].get_yticklabels()]
    assert labels == [DEFAULT, "good", "bad"]


def test_claims_about_parts_the_end_value_and_noise():
    offsets = {"no_alpha": -3.0, "no_difficulty": -3.0, "lagged_GLS": 3.0, "GLS": -3.0}
    mixed = pd.concat([metrics(gain).iloc[[seed]] for seed, gain in enumerate((-3.0, 3.0, 0.0))])
    runs = grids(**offsets) | {"equal": mixed, END: metrics(-3.0)}
    still = pd.concat([replayed(seed, 0.0) for seed in range(3)])
    loud = pd.concat([replayed(seed, 0.05) for seed in range(3)])
    trends = dict.fromkeys([*runs], level()) | {STILL: still, DEFAULT: loud, "rate 0.2": still, END: level(0.98)}
    broken = pd.DataFrame({"variant": [LOOSE] * 3, "seed": range(3), "epoch": 7, "lowest": 1e-16, "highest": 1e3})
    claims = lsb_ablation.claims(Ablation(runs, trends, broken), {DEFAULT: 0.05, "rate 0.2": 0.2})
    (little,) = (claim for claim in claims if "less than a point" in claim.claim)
    assert (little.case, little.claimed, little.tolerance) == (STILL, 0, 1)
    assert little.measured.value == pytest.approx(-1)
    statuses = {claim.case: claim.status for claim in claims if claim is not little}
    assert {(claim.kind, claim.source, claim.finding) for claim in claims} == {("ours", "our question", 0)}
    assert statuses == {
        "no alpha": "holds",
        STILL: "holds",
        LAGGED: "does not hold",
        PLAIN: "holds",
        "equal": "inconclusive",
        END: "holds",
        LOOSE: "holds",
        DEFAULT: "holds",
        "rate 0.2": "does not hold",
    }
    (share,) = (claim for claim in claims if claim.case == END)
    assert share.measured.value == pytest.approx(98)


# --- records


def failed(losses, error):
    entries = [{"loss_scales": dict(zip(TASKS, values, strict=True))} for values in losses]
    return {"status": "failed", "error": error, "history": entries}


def test_load_tells_variants_apart_and_does_not_try_broken_runs_again(tmp_path, monkeypatch):
    grids = ablation(Setting(seeds=2))
    loose = grids[LOOSE][1].hash
    retried = grids["rate 0.2"][0].hash
    totals = [[1.0, 1.0, 1.0], [2e5, 2e5, 1e5], [1e-9, 1e-9, 2e-9]]
    keep(tmp_path, grids[LOOSE][1], **failed(totals, "FloatingPointError: epoch 4: not finite"))
    store = keep(tmp_path, grids["rate 0.2"][0], **failed([], "OutOfMemoryError: epoch 1"))
    asked = []

    def history(setting, runs):
        return pd.DataFrame([{"run": run.hash, "method": "LSB", "seed": run.seed} for run in runs])

    def trained(self, runs):
        asked.extend(run.hash for run in runs)
        return pd.DataFrame({"hash": asked, "metric": 1.0}).set_index("hash")

    monkeypatch.setattr(lsb_ablation.studies_trends, "history", history)
    monkeypatch.setattr(Setting, "trained", trained)
    found = lsb_ablation.load(Setting(seeds=2, store=store))
    assert loose not in asked and retried in asked
    assert list(found.runs) == list(found.histories) == [name for name in grids if name != LOOSE]
    for name, runs in found.runs.items():
        assert runs.index.tolist() == found.histories[name]["run"].tolist() == [run.hash for run in grids[name]]
        assert set(found.histories[name]["method"]) == {name}
    (row,) = found.broken.to_dict("records")
    assert row == {
        "variant": LOOSE,
        "seed": 1,
        "epoch": 4,
        "lowest": pytest.approx(4e-9),
        "highest": pytest.approx(5e5),
    }
    assert lsb_ablation.break_finding(found.broken) == (
        f"{LOOSE}: numbers are no longer finite in epoch 4 (runs: 1), after sums of the loss scales between 4e-09 and "
        "5e+05."
    )
    assert lsb_ablation.break_finding(found.broken.iloc[:0]) == "All runs end with finite numbers."


# --- what would decide


def scores_of(values):
    rows = [(name, seed, score) for name, own in values.items() for seed, score in enumerate(own)]
    return pd.DataFrame(rows, columns=["variant", "seed", "score"])


def test_seeds_that_would_decide_are_of_paired_differences():
    """Scores spread by 100 over seeds, differences by 1: 1, 2, 3 take 5 pairs, and a mean of 0 no number of them."""
    base = np.array([-100.0, 0.0, 100.0])
    scores = scores_of({"LSB": base, "GLS": base + np.array([1, 2, 3]), "equal": base + np.array([-1, 0, 1])})
    table = lsb_ablation.deciding(scores).set_index("variant")
    assert table["seeds"].to_dict() == {"GLS": 5, "equal": np.inf}
    assert table.loc["GLS", "difference"] == pytest.approx(2)
    half = stats.t.ppf(0.975, 2) / 3**0.5
    assert table.loc["GLS", ["low", "high"]].tolist() == pytest.approx([2 - half, 2 + half])


def test_difficulty_is_compared_with_none_where_beta_is_large_enough():
    base = np.array([0.0, 10.0, 20.0])
    values = {
        "LSB": base + 0.1,
        "no difficulty": base,
        "rate 0.2": base + np.array([3, 3.1, 2.9]),
        "no alpha": base - 5,
    }
    growth = {"LSB": 0.02, "rate 0.2": 0.2, "no alpha": 0.02}
    table = lsb_ablation.difficulty(scores_of(values), growth, 30)
    assert table["variant"].tolist() == ["LSB", "rate 0.2"]
    assert table["last beta"].tolist() == pytest.approx([0.56, 5.6])
    assert table["difference"].tolist() == pytest.approx([0.1, 3])
    verdicts = lsb_ablation.difficulty_claims(table)
    assert [(one.place, one.status, one.kind) for one in verdicts] == [
        ("LSB, β up to 0.56", "holds", "ours"),
        ("rate 0.2, β up to 5.6", "holds", "ours"),
    ]
    table.loc[1, ["difference", "low", "high"]] = [-3, -4, -2]
    assert lsb_ablation.difficulty_claims(table)[1].status == "does not hold"


def test_the_book_has_runs_in_which_the_difficulty_is_on():
    setting = Setting().largest_stored(lsb_ablation.unbroken)
    found = lsb_ablation.load(setting)
    growth = lsb_ablation.rates(setting.epochs, found.histories)
    shown = lsb_ablation.difficulty_exhibit(found, growth, setting.epochs)
    assert shown.table["last beta"].max() == pytest.approx(20, rel=1e-3)
    assert "β up to 5.6 " in shown.caption
    assert len(lsb_ablation.deciding_exhibit(found).table) == len(found.runs) - 1
