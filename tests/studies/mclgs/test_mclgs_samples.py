"""Single samples, on gradients that were made up."""

from dataclasses import replace

import numpy as np
import pytest
from study_stores import keep, lose, metrics_of

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import grids, samples
from mtlrepro.studies.mclgs.samples import ONE_TASK, TASKS_BATCH, TASKS_OTHER, TASKS_SAMPLE
from mtlrepro.studies.setting import Setting
from mtlrepro.training.cosines import Cosines, names
from mtlrepro.training.gradients import Gradients

TASKS = ["a", "b"]
ANGLES = [86, 88, 89, 91, 94]
"""Near enough to 90 degrees that no weight is 0 or 2 up to rounding."""


def cosines(angles, losses, seed=0):
    """Gradients of unit length in the plane.

    Args:
        angles: Angle in degrees of each sample's gradient of the second task; those of the first task are 0.
        losses: Of each sample, of both tasks alike.
        seed: Of the numbers of the images.
    """
    b = len(angles)
    turned = np.radians([[0.0] * b, angles])
    vectors = np.stack([np.cos(turned), np.sin(turned)], axis=-1)
    products = np.einsum("tbx,sax->tbsa", vectors, vectors)
    batch = np.einsum("tbsa->ts", products) / b**2
    whole = np.zeros((1, 6, 6))
    whole[0, :2, :2] = batch
    return Cosines(
        np.array(TASKS),
        np.array(names(TASKS)),
        np.arange(b)[None] + 10 * seed,
        whole,
        products[None],
        np.array([losses, losses], dtype=float)[None],
    )


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """Samples whose tasks agree less have larger losses in the end, the opposite of what they had at first."""
    setting = Setting(scale="smoke", seeds=3, comparison_seeds=3, store=Store(tmp_path))
    angles = {0: ANGLES, 1: [85, 88, 89, 91, 94], 2: [86, 87, 89, 92, 94]}
    by_hash = {}
    for run in grids.compared(setting):
        values = metrics_of(run, 1.0)
        keep(tmp_path, run, metrics=values, validation_metrics=values)
        own = angles[run.seed]
        by_hash[run.hash] = {
            1: Gradients(None, cosines(own, [5, 4, 3, 2, 1], run.seed)),
            8: Gradients(None, cosines(own, [1, 2, 3, 4, 5], run.seed)),
        }
    for name, runs in grids.sampled(setting).items():
        for run in runs:
            values = metrics_of(run, {"equal": 1.0, samples.BY_BATCH: 1.1, samples.BY_SAMPLE: 1.3}[name])
            keep(tmp_path, run, metrics=values, validation_metrics=values)
    monkeypatch.setattr(Store, "gradients", lambda self, run: by_hash[run.hash])
    return setting


@pytest.fixture
def found(setting):
    return samples.load(setting)


def test_weights_of_samples_follow_the_rule():
    weights = samples.sample_weights(cosines([0, 60, 90, 180], [1] * 4), p=2.0)
    assert weights[0] == pytest.approx(1 + np.tanh(2 * np.array([1, 0.5, 0, -1])))


def test_hard_samples_are_those_with_a_large_loss_in_the_end(found):
    table = samples.of_samples(found)
    assert len(table) == 3 * 5
    assert table[table["seed"] == 1]["index"].tolist() == [10, 11, 12, 13, 14]
    measured = samples.hardness(table)
    assert measured[samples.END].tolist() == pytest.approx([-1] * 3)
    assert measured[samples.THEN].tolist() == pytest.approx([1] * 3)
    assert measured["weighed down, %"].tolist() == pytest.approx([40] * 3)
    assert measured["of the hardest, %"].tolist() == [100] * 3


def test_how_hard_a_sample_is_does_not_depend_on_the_scale_of_a_loss(found):
    """Each task counts by the ranks of its losses: here 20 to 100 % of five samples, in opposite orders."""
    first = found.cosines[0][1]
    losses = np.array([[[1.0, 2.0, 3.0, 4.0, 5.0], [9e6, 8e6, 7e6, 6e6, 5e6]]])
    changed = replace(found, cosines={0: {1: replace(first, losses=losses), 8: first}})
    assert samples.of_samples(changed)[samples.THEN].tolist() == pytest.approx([60] * 5)
    unlabelled = replace(first, losses=np.where(losses == 3, np.nan, losses))
    assert len(samples.of_samples(replace(found, cosines={0: {1: unlabelled, 8: first}}))) == 4


def test_conflicts_of_tasks_and_of_samples(found):
    """Two of five samples have conflicting tasks; those of one task do not conflict, nor do the means of a batch."""
    table = samples.conflicts(found)
    own = table[(table["seed"] == 0) & (table["epoch"] == 1)].set_index("compared")["conflicts, %"]
    assert own[TASKS_SAMPLE] == pytest.approx(40)
    assert own[TASKS_OTHER] == pytest.approx(40)
    assert own[ONE_TASK] == 0
    assert own[TASKS_BATCH] == 0
    values = np.cos(np.radians(ANGLES))
    means = table[(table["seed"] == 0) & (table["epoch"] == 1)].set_index("compared")["cosine"]
    assert means[TASKS_SAMPLE] == pytest.approx(values.mean())


def test_exhibits_of_samples(found):
    shown = samples.hardness_exhibit(found)
    assert "Rank correlations: 1.00 [1.00, 1.00] and -1.00 [-1.00, -1.00]." in shown.caption
    assert (
        "weighed down are 40.0 [40.0, 40.0] % of the samples, and 100.0 [100.0, 100.0] % of the 20 %" in shown.caption
    )
    conflicts = samples.conflicts_exhibit(found)
    assert len(conflicts.table) == 2 * 4
    assert "two tasks, the same sample 40.0 %" in conflicts.caption
    training = samples.training_exhibit(found)
    assert training.table["runs"].tolist() == ["equal", samples.BY_BATCH, samples.BY_SAMPLE]
    assert "By sample less by batch: +" in training.caption


def test_claims_of_samples(found):
    statuses = {one.claim: one.status for one in samples.claims(found)}
    assert set(statuses.values()) == {"holds"} and len(statuses) == 5
    assert {one.finding for one in samples.claims(found)} == {0, 5} == {one.limits for one in samples.claims(found)}
    by_claim = {one.claim: one for one in samples.claims(found)}
    assert by_claim["Of the hardest samples more are weighed down than of all"].measured.value == pytest.approx(-60)
    conflicts = by_claim["On two samples, two tasks conflict more often than one task"].measured
    shares = samples.conflicts(found).query("epoch == 1").pivot(index="seed", columns="compared", values="conflicts, %")
    assert conflicts.value == pytest.approx((shares[ONE_TASK] - shares[TASKS_OTHER]).mean())
    for claim, other in (
        ("With weights by sample MCLGS is better than equal weights", "equal"),
        ("Weights by sample are better than by batch", samples.BY_BATCH),
    ):
        assert by_claim[claim].measured.value == pytest.approx(-samples._gained(found, samples.BY_SAMPLE, other).mean())


def test_without_runs_the_same_claims_are_not_judged(found):
    nothing = samples.claims(None)
    assert [one.claim for one in nothing] == [one.claim for one in samples.claims(found)]
    assert {one.status for one in nothing} == {"cannot be tested here"}


def test_runs_that_diverged_are_counted_and_not_judged(setting, tmp_path):
    lose(tmp_path, grids.compared(setting)[0], *grids.sampled(setting)[samples.BY_SAMPLE][1:])
    found = samples.load(setting)
    assert sorted(found.cosines) == [1, 2]
    told = f"Runs that diverged are left out: 1 of {samples.COMPARED}. ("
    assert told in samples.hardness_exhibit(found).caption and told in samples.conflicts_exhibit(found).caption
    training = samples.training_exhibit(found)
    assert training.table["runs"].tolist() == ["equal", samples.BY_BATCH]
    assert "By sample less by batch: ? points of Δm. Runs that diverged are left out: 2 of MCLGS by" in training.caption
    assert {one.status for one in samples.claims(found)} == {"cannot be tested here"}
