import math

import pytest
from noise_cases import BATCH

from mtlrepro import noise
from mtlrepro.analysis.verdicts import number
from mtlrepro.studies.noise import digits, intuition


def test_clouds_lie_around_the_full_gradient_and_momentum_closer(snapshots):
    table = intuition.clouds(snapshots[0], "left", BATCH, 0.8, 400)
    assert table.columns.tolist() == ["cloud", "along", "across"]
    assert table.groupby("cloud").size().to_dict() == {"one batch": 400, "momentum": 400}
    spread = table.groupby("cloud")[["along", "across"]].std()
    for name, centre in (("along", 1), ("across", 0)):
        means = table.groupby("cloud")[name].mean()
        assert (abs(means - centre) < 5 * spread[name] / 20).all()
        kept = spread.loc["momentum", name] / spread.loc["one batch", name]
        expected = noise.momentum_power_factor(0.8) ** 0.5 / (1 - 0.8**20)
        assert math.isclose(kept, expected, rel_tol=0.15)
    assert spread.loc["one batch", "across"] > spread.loc["one batch", "along"]


@pytest.mark.parametrize("task", digits.TASKS)
def test_the_picture_states_noise_over_signal(snapshots, task):
    signal, power = digits.powers(snapshots[1], BATCH)
    ratio = (power / signal).sqrt()[digits.TASKS.index(task)].item()
    caption = intuition.picture(snapshots[1], task, BATCH, 0.9, 20).caption
    assert f"is {number(ratio, 2)} times the length" in caption
    assert "keeps 0.23 of it" in caption
