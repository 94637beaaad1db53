from math import log, sqrt

import numpy as np
import pandas as pd
import pytest

from mtlrepro.studies import lsb_ablation, lsb_method
from mtlrepro.studies.lsb_ablation import DEFAULT, END, STILL
from mtlrepro.studies.lsb_grids import TASKS
from mtlrepro.studies.lsb_scores import METRICS


def history(losses, weights, seed=0):
    """Long table of one run from ``[epochs, tasks]`` losses and weights."""
    rows = [
        {"method": "LSB", "seed": seed, "epoch": t + 1, "task": task, "weight": w, "scale": w * loss}
        for t, (ws, ls) in enumerate(zip(weights, losses, strict=True))
        for task, w, loss in zip(TASKS, ws, ls, strict=True)
    ]
    return pd.DataFrame(rows)


def replayed(seed, rate, epochs=400):
    """A run whose losses are noise alone, with the weights that the balancer gives."""
    losses = np.exp(0.05 * np.random.default_rng(seed).normal(size=(epochs, len(TASKS))))
    table = pd.DataFrame(losses, columns=[*TASKS], index=range(1, epochs + 1))
    return history(losses, lsb_method.weights(table, rate=rate).to_numpy(), seed)


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


def test_distance_of_weights_by_hand_without_common_factors():
    ones = np.ones((4, 3))
    far = ones.copy()
    far[2:, 0] = 2.0
    trends = {DEFAULT: [], "same": [], "far": []}
    for seed in range(2):
        trends[DEFAULT].append(history(ones, ones, seed))
        trends["same"].append(history(ones, 5 * ones * np.exp(1e-9), seed))
        trends["far"].append(history(ones, far * (1 if seed else 3), seed))
    joined = {name: pd.concat(parts) for name, parts in trends.items()}
    table = lsb_ablation.distances(joined, ["far"])
    # log 2 in one of three tasks, less the mean: 2/3, -1/3, -1/3
    assert table["distance"].tolist() == pytest.approx([log(2) * sqrt(2) / 3])


def metrics(offset, seeds=3):
    """Runs whose depth metrics are better than 1 by some per cent, those of other tasks equal."""
    rows = []
    for seed in range(seeds):
        gain = 1 + (offset + 0.1 * (seed - 1)) / 100
        values = dict.fromkeys(METRICS, 1.0) | {"depth.delta1": gain, "depth.rmse": 2 - gain}
        rows.append({"seed": seed, **values})
    return pd.DataFrame(rows)


def grids(**offsets):
    return {DEFAULT: metrics(0.0), **{name.replace("_", " "): metrics(offset) for name, offset in offsets.items()}}


def level(share=1 / 3):
    scales = np.array([[1.0, 1.0, 1.0], [share, (1 - share) / 2, (1 - share) / 2]])
    return pd.concat([history(scales, np.ones((2, 3)), seed) for seed in range(3)])


def test_table_against_the_default():
    scores = lsb_ablation.scored(grids(good=3.0, bad=-3.0))
    assert scores.groupby("variant", sort=False)["score"].mean().tolist() == pytest.approx([0, 1, -1])
    table = lsb_ablation.table(scores, dict.fromkeys([DEFAULT, "good", "bad"], level())).set_index("variant")
    assert table["p"].to_dict() == {DEFAULT: "", "good": "0.10", "bad": "0.10"}
    assert table.loc["good", "Δm, %"].startswith("1.0 ± ")
    assert table["largest share, %"].tolist() == ["33"] * 3
    text = lsb_ablation.finding(scores)
    assert "better: good; worse: bad. With so few seeds no exact p is below 0.10." in text
    labels = [label.get_text() for label in lsb_ablation.figure(scores).axes[0].get_yticklabels()]
    assert labels == [DEFAULT, "good", "bad"]


def test_claims_about_parts_and_the_end_value():
    runs = grids(no_alpha=-3.0, no_difficulty=-3.0, lagged_GLS=3.0, GLS=-3.0, equal=-3.0)
    runs[END] = metrics(-3.0)
    trends = dict.fromkeys(runs, level()) | {END: level(0.98)}
    claims = {claim.claim: claim for claim in lsb_ablation.claims(lsb_ablation.scored(runs), trends)}
    statuses = [claim.status for claim in claims.values()]
    assert statuses == ["holds", "holds", "does not hold", "holds", "holds", "holds"]
    assert claims[f"{END}: one task ends with nearly all of the loss scales, in %"].measured.value == pytest.approx(98)
