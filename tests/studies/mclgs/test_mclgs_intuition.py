"""The picture at the head of the chapter."""

import numpy as np
import pytest

from mtlrepro.studies.mclgs import intuition


def test_steps_are_the_weighted_mean_by_hand():
    """Unit gradients at an angle a have the cosine cos a and a mean of length cos(a/2), which points up."""
    steps = intuition.arrows().query("arrow == 'step of MCLGS'").set_index(["pair", "moment"])
    assert steps["x"].abs().max() == pytest.approx(0, abs=1e-12)
    for pair, angle in intuition.ANGLES.items():
        for moment, p in intuition.MOMENTS.items():
            weight = 1 + np.tanh(p * np.cos(np.radians(angle)))
            assert steps.loc[(pair, moment), "y"] == pytest.approx(weight * np.cos(np.radians(angle / 2)))


def test_every_arrow_but_the_lost_step_is_drawn_and_weights_are_quoted():
    exhibit = intuition.picture()
    drawn = sum(len(axes.texts) for axes in exhibit.figure.axes)
    assert drawn == len(exhibit.table) - 1
    assert "later 1.78 and 0.22, and at the end (right) 1.00 in both" in exhibit.caption
