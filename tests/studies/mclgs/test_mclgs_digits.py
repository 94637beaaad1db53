"""Batches and samples of the two-digit network."""

import numpy as np
import pytest
import torch

from mtlrepro.analysis.verdicts import correlation_interval
from mtlrepro.studies.mclgs import digits


def test_cosines_of_batches_by_hand():
    """Two tasks on four samples in the plane; batches of two are means of neighbours."""
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    gradients = torch.stack([first, second])
    single = digits.cosines(gradients, 1)
    assert single[digits.TASKS].tolist() == [0, 1, -1, 1]
    assert single[digits.CONTROL].tolist() == [0, 0, 1, 1, 0, -1]
    pairs = digits.cosines(gradients, 2)
    assert pairs[digits.TASKS].tolist() == pytest.approx([np.sqrt(0.5), 0])  # the last mean is zero
    assert pairs[digits.CONTROL].tolist() == pytest.approx([np.sqrt(0.5), 0])


@pytest.fixture(scope="module")
def found():
    return digits.snapshots(seeds=2, samples=64, late=60)


def test_the_mean_of_sample_gradients_is_the_batchs(found):
    again = digits.snapshots(seeds=1, samples=64, late=60)[0]
    assert torch.equal(again.early, found[0].early)
    assert found[0].early.shape[:2] == (3, 64)
    assert found[0].losses[1].mean() < found[0].losses[0].mean()


def test_shares_and_weights_by_size(found):
    table = digits.by_size(found, sizes=(1, 32))
    assert len(table) == 2 * 2 * 2
    assert table["conflicts, %"].between(0, 100).all() and table["weight"].between(0, 2).all()
    values = digits.cosines(found[1].early, 32)[digits.TASKS]
    own = table[(table["seed"] == 1) & (table["batch size"] == 32) & (table["compared"] == digits.TASKS)].iloc[0]
    assert own["conflicts, %"] == pytest.approx(100 * np.mean(values < 0))
    assert own["weight"] == pytest.approx(np.mean(1 + np.tanh(40 * values)))


def test_the_exhibit_and_the_claim(found):
    shown = digits.exhibit(found, sizes=(1, 8))
    assert shown.table["batch size"].tolist() == [1, 1, 8, 8]
    assert "With one sample and with the largest batch: two tasks, one batch" in shown.caption
    assert " 24 cosines of tasks and 21 of one task a seed" in shown.caption
    assert (shown.table["mean weight at a0 high"] <= 2).all()
    verdict, *more_often = digits.claims(found, sizes=(1, 8))
    assert [one.case for one in more_often] == ["batches of 1, two-digit network", "batches of 8, two-digit network"]
    shares = digits.by_size(found, (8,)).groupby("compared")["conflicts, %"].mean()
    assert more_often[1].measured.value == pytest.approx(shares[digits.CONTROL] - shares[digits.TASKS])
    correlations = digits.correlations(found)["loss in the end"]
    assert verdict.measured == correlation_interval(correlations) and (verdict.finding, verdict.limits) == (0, 5)
