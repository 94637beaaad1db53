import math

import numpy as np
import pytest
from noise_cases import SEEDS, TASKS, check

from mtlrepro import noise
from mtlrepro.studies.noise import combinations


def test_universality(snapshots):
    table = combinations.universality(snapshots, [1.0, 0.5, 2.0], 3.0)
    columns = ["seed", "task", "combination", "weight", "closed", "difference", "gradient"]
    check(table, columns, SEEDS * 4 * 3)
    assert (table["difference"] < 1e-12).all()
    assert (table["gradient"] < 1e-12).all()
    np.testing.assert_allclose(table["weight"], table["closed"], rtol=1e-12)
    logs = table.query("seed == 1 and combination == 'sum of logs'")["closed"]
    np.testing.assert_allclose(logs, 1 / snapshots[1].losses)


def test_universality_notices_a_wrong_closed_form(snapshots, monkeypatch):
    wrong = noise.Combination("wrong", lambda losses: losses.square().sum(), lambda losses: losses)
    monkeypatch.setattr(noise, "combinations", lambda sigma, p: (wrong,))
    table = combinations.universality(snapshots, [1.0, 1.0, 1.0], 2.0)
    np.testing.assert_allclose(table["difference"], 1)
    np.testing.assert_allclose(table["gradient"], 0.5)


def test_weight_table(snapshots):
    table = combinations.universality(snapshots, [1.0, 0.5, 2.0], 3.0)
    wide = combinations.weight_table(table).table
    check(wide, ["combination", *TASKS], 4)
    assert wide["combination"].tolist() == table["combination"].unique().tolist()
    np.testing.assert_allclose(wide.loc[wide["combination"] == "uncertainty", TASKS], [[0.5, 2.0, 0.125]])
    np.testing.assert_allclose(wide.loc[1, "sum"], np.mean([1 / snapshot.losses[2].item() for snapshot in snapshots]))


def test_printed_conditions():
    table = combinations.printed_conditions()
    check(table, ["combination", "weight", "usable"], 4)
    assert table["usable"].tolist() == [True, False, False, False]
    np.testing.assert_allclose(table["weight"], [1, (1e-9) ** (-2 / 3) / 3, 3e-18, -1], rtol=1e-5)
    assert combinations.printed_conditions(distance=1.0)["usable"].tolist() == [True, True, True, False]


def pcgrad(first, second):
    """PCGrad of two gradients, mean over tasks: each loses its part against the other."""
    edited = [own - min(0, own @ other) / (other @ other) * other for own, other in ((first, second), (second, first))]
    return (edited[0] + edited[1]) / 2


@pytest.mark.parametrize("angle", [1, 60, 89, 91, 120, 150, 175])
def test_pcgrad_weights_equal_a_direct_computation(angle):
    table = combinations.pcgrad_weights([angle])
    check(table, ["angle", "method", "mean"], 2)
    found = table.loc[table["method"] == "PCGrad", "mean"].item()
    first = np.array([1.0, 0.0])
    second = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    weights = np.linalg.solve(np.column_stack([first, second]), pcgrad(first, second))
    np.testing.assert_allclose(weights, [found, found], rtol=1e-10)
    assert math.isclose(found, (1 - min(math.cos(math.radians(angle)), 0)) / 2, rel_tol=1e-10)
    assert math.isclose(table.loc[table["method"] == "mean", "mean"].item(), 0.5, rel_tol=1e-10)


def test_span_residual(snapshots):
    table = combinations.span_residual(snapshots)
    check(table, ["seed", "method", "residual"], SEEDS * 3)
    assert table["method"].tolist() == ["mean", "PCGrad", "GradDrop"] * SEEDS
    residual = table.set_index("method")["residual"]
    assert (residual[["mean", "PCGrad"]] < 1e-12).all()
    assert (residual["GradDrop"] > 0.1).all()
    assert (residual <= 1).all()
