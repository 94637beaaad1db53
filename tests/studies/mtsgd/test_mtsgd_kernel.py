"""The rule on single kernels, in numbers and under sliders, and the picture at the head of the chapter."""

import numpy as np
import pytest

from mtlrepro.studies.mtsgd import intuition, kernel


def test_every_step_of_the_rule_by_hand():
    table, drawn = kernel.steps()
    rows = table.set_index("slice")
    first, second, agree, oppose = (rows.loc[name] for name in kernel.KERNELS)
    # Products of ten times both directions of the first slice: 25 + 8 - 2 + 25 + 8 + 0 + 0 + 10 + 0 = 74 of 100.
    assert (first["r₁"], first["r₂"], first["s"], first["c"], first["m"]) == pytest.approx((10, 1, 1, 0.74, 1))
    # -25 + 8 + 5 + 0 - 8 + 0 + 5 + 0 + 0 = -15.
    assert (second["c"], second["m"], second["length that is left"]) == pytest.approx((-0.15, 0, 0))
    assert first["length that is left"] == pytest.approx((2 + 2 * 0.74) ** 0.5)
    assert (agree["s"], agree["c"], agree["length that is left"]) == pytest.approx((0.4, 1, 0.8))
    assert (oppose["c"], oppose["length that is left"]) == pytest.approx((-1, 0))
    left = drawn["3x3, first channel"]["m s (e₁ + e₂)"]
    assert left.flatten().tolist() == pytest.approx([1, 0.6, -0.1, 1, 0.6, 0.1, 0.5, 0.7, 0])
    assert not drawn["3x3, second channel"]["m s (e₁ + e₂)"].any()
    assert drawn["1x1, second channel"]["sum"].tolist() == [[pytest.approx(2.6)]]


def test_the_picture_of_the_steps_has_every_number():
    exhibit = kernel.steps_exhibit()
    texts = [text.get_text() for axes in exhibit.figure.axes for text in axes.texts]
    assert len(texts) == 6 * (9 + 9 + 1 + 1)
    assert "17 % as long" in exhibit.caption  # sqrt(3.48) of sqrt(100 + 1 + 14.8)


def test_under_the_sliders_the_angle_decides_what_is_kept_and_the_ratio_how_long_it_is():
    table = kernel.survival()
    assert len(table) == len(kernel.ANGLES) * len(kernel.RATIOS) * len(kernel.AXIS)
    at = table.set_index(["angle", "ratio", "threshold"])["length"]
    assert at[100, 10, -0.5] == pytest.approx((2 + 2 * np.cos(np.radians(100))) ** 0.5 / (101 - 3.4729636) ** 0.5)
    assert at[100, 10, 0.0] == 0
    assert at[90, 10, 0.0] == pytest.approx((2 / 101) ** 0.5)
    assert at[90, 10, 0.125] == 0
    assert at[120, 1, -0.5] == pytest.approx(1)  # a cosine of the threshold itself, despite rounding
    kept = (table["length"] > 0).groupby([table["angle"], table["threshold"]]).nunique()
    assert (kept == 1).all()


def test_sliders_start_where_the_plain_sum_follows_one_task_and_a_threshold_of_zero_drops_the_slice():
    exhibit = kernel.angles_exhibit()
    assert exhibit.first == ("100°", "10")
    assert len(exhibit.frames) == len(kernel.ANGLES) * len(kernel.RATIOS)
    figure, alt = exhibit.frames[kernel.START]
    right = figure.axes[-1]
    dots = [float(line.get_ydata()[0]) for line in right.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([0.1302] * 3 + [0], abs=1e-4)
    assert "angle of 100 degrees, one 10 times as long" in alt


def test_arrows_of_the_intuition_figure():
    table = intuition.arrows().set_index(["slice", "rule", "arrow"])
    lengths = np.hypot(table["x"], table["y"])
    for name, angle in intuition.ANGLES.items():
        c = np.cos(np.radians(angle))
        plain, balanced = (lengths[name, rule, "what is left"] for rule in ("plain sum", "balanced"))
        assert plain == pytest.approx((17 + 8 * c) ** 0.5)
        assert balanced == pytest.approx((2 + 2 * c) ** 0.5)
        assert lengths[name, "balanced", "gradient of task A"] == pytest.approx(1)
    clipped = [lengths[name, "balanced and clipped", "what is left"] for name in intuition.ANGLES]
    assert clipped == pytest.approx([(2 + 2 * np.cos(np.radians(50))) ** 0.5, 0])


def test_the_picture_draws_every_arrow_that_is_there_and_quotes_lengths():
    exhibit = intuition.picture()
    drawn = sum(len(axes.texts) for axes in exhibit.figure.axes)
    assert drawn == len(exhibit.table) - 1  # the clipped sum is not
    assert "39 % as long as the plain one where the tasks agree, 26 % where they conflict" in exhibit.caption
