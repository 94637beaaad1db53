"""The curriculum, its controls and single samples, on runs of `smoke` that are trained."""

import numpy as np
import pytest

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import curriculum, grids, samples
from mtlrepro.studies.setting import Setting


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return Setting(scale="smoke", seeds=2, comparison_seeds=2, store=store)


def test_controls_have_the_gates_of_the_centre(setting, monkeypatch):
    """Replays of steps have the mean gate of each epoch of a run, the constant gate has that of the whole run."""
    monkeypatch.setattr(grids, "STAR", {grids.CENTRE: {}})
    found = curriculum.load(setting)
    centre, weights = found.gates[grids.CENTRE], found.epochs
    by_epoch = [gates.reshape(8, -1).mean(1) for gates in centre]
    for seed, other in ((0, 1), (1, 0)):
        assert found.gates[grids.RANDOM][seed] == pytest.approx(by_epoch[seed])
        assert found.gates[grids.SHUFFLED][seed] == pytest.approx(by_epoch[other])
        assert found.gates[grids.CONSTANT][seed] == pytest.approx(np.full(8, centre[seed].mean()))
        assert found.gates[grids.RAMP][seed].mean() == pytest.approx(centre[seed].mean(), abs=0.02)
    assert np.ptp(np.concatenate(centre)) > 0.1
    assert (weights[weights["epoch"] > 4]["weight"] - 1).abs().max() < 1e-9
    assert weights[weights["epoch"] < 4]["update"].min() > 0 == weights[weights["epoch"] > 4]["update"].max()
    exhibits = [
        curriculum.weights_exhibit(found),
        curriculum.star_exhibit(found),
        curriculum.controls_exhibit([found]),
        curriculum.updates_exhibit([found]),
    ]
    assert len({exhibit.name for exhibit in exhibits}) == len(exhibits)
    statuses = {one.claim: one.status for one in curriculum.weights_claims(curriculum.load_centre(setting))}
    assert statuses[curriculum.AT_THE_END] == "holds"


def test_samples_of_trained_runs(setting):
    found = samples.load(setting)
    assert found.epochs == [1, 4, 8]
    table = samples.of_samples(found)
    assert len(table) == 2 * 2 * 4  # two batches of four in each of two runs
    assert table[samples.END].between(0, 100).all()
    assert table.groupby("seed")[samples.END].mean().tolist() == pytest.approx([56.25] * 2)  # of 8 samples
    assert table["weight"].between(0, 2).all()
    for exhibit in (samples.hardness_exhibit(found), samples.conflicts_exhibit(found), samples.training_exhibit(found)):
        assert exhibit.caption
    assert len(samples.claims(found)) == 5
