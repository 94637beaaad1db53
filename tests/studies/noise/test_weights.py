import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from noise_cases import BATCH, SEEDS, check

from mtlrepro import noise
from mtlrepro.analysis.verdicts import mean_interval
from mtlrepro.models import digits as models
from mtlrepro.studies.noise import digits, weights


def test_readings_have_names_of_their_own():
    names = [weights.reading_name(*reading) for reading in weights.readings()]
    assert names == [
        "maxmin, narrow",
        "maxmin, narrow, own noise",
        "maxmin, broad",
        "maxmin, broad, own noise",
        "product, narrow",
        "product, narrow, own noise",
        "product, broad",
        "product, broad, own noise",
    ]


def test_closed_forms_equal_the_numeric_optimum(snapshots):
    table = weights.closed_forms(snapshots, BATCH)
    check(table, ["seed", "task", "reading", "closed", "numeric", "difference", "gnr"], SEEDS * 8 * 3)
    assert (table["difference"] < 1e-5).all()
    np.testing.assert_allclose(table["numeric"], table["closed"], rtol=1e-5)
    np.testing.assert_allclose(table.groupby(["seed", "reading"])["closed"].sum(), 3)
    ratios = table[table["reading"].str.startswith("maxmin")].groupby(["seed", "reading"])["gnr"]
    np.testing.assert_allclose(ratios.max(), ratios.min(), rtol=1e-6)


def test_the_numeric_optimum_does_not_know_the_closed_form(monkeypatch):
    signal, power = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([3.0, 2.0, 1.0]).double()
    monkeypatch.setattr(noise, "gnr_weights", None)
    for scalarisation, itgn, own_noise in weights.readings():
        numeric = weights.numeric_gnr_weights(
            signal, power, scalarisation=scalarisation, itgn=itgn, own_noise=own_noise
        )
        assert (numeric > 0).all()
        assert math.isclose(numeric.sum().item(), 3)


@pytest.mark.parametrize("scalarisation", ["maxmin", "product"])
def test_an_optimiser_that_does_not_converge_is_an_error(monkeypatch, scalarisation):
    failed = SimpleNamespace(success=False, message="ran out of patience", x=np.zeros(4))
    monkeypatch.setattr(weights.optimize, "minimize", lambda *args, **options: failed)
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"^numeric optimiser: ran out of patience$"):
        weights.numeric_gnr_weights(ones, ones, scalarisation=scalarisation, itgn="narrow", own_noise=False)


def test_label_noise(snapshots):
    amounts = [0.0, 0.5, 2.0]
    table = weights.label_noise(snapshots, amounts, BATCH)
    check(table, ["seed", "reading", "amount", "weight", "relative", "noise", "signal"], SEEDS * 8 * 3)
    for snapshot in snapshots:
        rows = table[table["seed"] == snapshot.seed].groupby("amount").first()
        signal, power = digits.powers(snapshot, BATCH)
        # The mean gradient of a squared error does not change ...
        np.testing.assert_allclose(rows["signal"], signal[2], rtol=1e-10)
        # ... and with J the gradient of a prediction p, the rows 2 (p - t -+ a) J of mean g have the spread
        # 4 E (p - t)^2 |J|^2 + 4 a^2 E |J|^2 - |g|^2.
        slopes = [models.shared_gradient(p, snapshot.model) for p in snapshot.model(snapshot.data.images)["sum"][:, 0]]
        square = torch.stack(slopes).square().sum(1).mean().item()
        np.testing.assert_allclose(rows["noise"], [power[2] + 4 * a**2 * square / BATCH for a in amounts], rtol=1e-10)
    none = table[table["amount"] == 0]
    assert (none["relative"] == 1).all()
    own = table["reading"].isin(["maxmin, narrow, own noise", "maxmin, broad, own noise"])
    np.testing.assert_allclose(table.loc[own, "relative"], 1, rtol=1e-10)
    assert (table.loc[~own & (table["amount"] == 2), "relative"] < 0.9).all()
    first = table.groupby(["seed", "reading"])["weight"].transform("first")
    np.testing.assert_allclose(table["relative"], table["weight"] / first)


def test_label_noise_leaves_the_data_alone(snapshots):
    before = snapshots[0].data.targets["sum"].clone()
    weights.label_noise(snapshots[:1], [1.0], BATCH)
    assert torch.equal(snapshots[0].data.targets["sum"], before)


def test_cross_terms(snapshots):
    table = weights.cross_terms(snapshots, BATCH)
    check(table, ["seed", "pair", "noise", "gradient", "narrow", "broad"], SEEDS * 3)
    assert table["pair"].tolist() == ["left, right", "left, sum", "right, sum"] * SEEDS
    assert (table[["noise", "gradient"]].abs() <= 1).all(axis=None)
    # |a + b|^2 / (|a|^2 + |b|^2) lies within 1 - |r| and 1 + |r|, on the side of the correlation r.
    assert ((table["narrow"] - 1).abs() <= table["noise"].abs() + 1e-12).all()
    assert (np.sign(table["narrow"] - 1) == np.sign(table["noise"])).all()
    largest = table[["noise", "gradient"]].abs().max(axis=1)
    assert ((table["broad"] - 1).abs() <= largest + 1e-12).all()


def test_cross_terms_by_hand(snapshots):
    """Left and right with the same gradients, sum with the opposite of theirs."""
    rows = snapshots[0].gradients[0]
    same = digits.Snapshot(
        0, snapshots[0].data, snapshots[0].model, torch.stack([rows, rows, -rows]), snapshots[0].losses
    )
    table = weights.cross_terms([same], BATCH)
    for column in ("noise", "gradient"):
        np.testing.assert_allclose(table[column], [1, -1, -1])
    for column in ("narrow", "broad"):
        np.testing.assert_allclose(table[column], [2, 0, 0], atol=1e-10)


def test_cross_terms_measure_the_disturbance_of_the_third_task(snapshots):
    """Power of the weighted sum of left's and right's disturbances of sum, over all batches of one, by hand."""
    snapshot = snapshots[1]
    table = weights.cross_terms([snapshot], 1)
    for itgn in ("narrow", "broad"):
        optimal = noise.gnr_weights(*digits.powers(snapshot, 1), itgn=itgn)
        shift = snapshot.gradients.mean(1, keepdim=True) if itgn == "narrow" else 0.0
        left, right, _ = optimal[:, None, None] * (snapshot.gradients - shift)
        together, apart = (left + right).square().sum(), left.square().sum() + right.square().sum()
        assert math.isclose(table[itgn][0], (together / apart).item(), rel_tol=1e-10)


def test_the_weight_caption_counts_different_weightings(snapshots):
    forms = pd.DataFrame(
        {
            "seed": 0,
            "task": ["left", "sum"] * 3,
            "reading": ["p", "p", "q", "q", "r", "r"],
            "closed": [1.0, 2.0, 1.0, 2.0 + 1e-12, 2.5, 0.5],
        }
    )
    assert weights.weight_finding(forms) == (
        "3 readings of one sentence give 2 different weightings. Over readings and seeds the weight of sum runs from"
        " 0.50 to 2.0."
    )
    # With the own noise counted, max-min is the same in both readings of the disturbance, and so is the product,
    # narrow, with or without it.
    assert weights.weight_finding(weights.closed_forms(snapshots, BATCH)).startswith(
        "8 readings of one sentence give 6 different weightings."
    )


def test_the_label_caption_goes_by_the_intervals_at_the_most_noise():
    changes = pd.DataFrame(
        {
            "reading": ["p", "q", "r", "s"] * 2,
            "amount": [1.0] * 4 + [2.0] * 4,
            "mean": [0.1] * 4 + [1.0, 0.5, 0.25, 0.9],
            "low": [0.1] * 4 + [1.0, 0.4, 0.2, 0.7],
            "high": [0.1] * 4 + [1.0, 0.6, 0.3, 1.1],
        }
    )
    assert weights.label_finding(changes) == (
        "Noise in one task's labels leaves its weight where it was under 2 readings (p; s); under the other 2 the"
        " weight changes to between 0.25 and 0.50 of its value."
    )


def test_a_weight_lies_between_zero_and_the_number_of_tasks():
    values = pd.Series([2.99, 0.5, 2.5])
    found = weights.weight_interval(values)
    assert mean_interval(values).high > 3 > found.high
    assert 0 < found.low < found.value


def test_the_table_of_cross_terms_has_an_interval_for_each_pair():
    rows = [(0, 0.5, 0.9, 2.0, 1.0), (1, 0.5, -0.9, 0.5, 1.0)]
    cross = pd.DataFrame(
        [dict(zip(["seed", "noise", "gradient", "narrow", "broad"], row, strict=True), pair="a, b") for row in rows]
    )
    (row,) = weights.cross_table(cross).table.to_dict("records")
    assert math.isclose(row["correlation of noises low"], row["correlation of noises high"])
    assert -1 < row["cosine of gradients low"] < row["cosine of gradients"] < row["cosine of gradients high"] < 1
    assert math.isclose(row["factor, narrow"], 1)  # of 2 and 1/2
