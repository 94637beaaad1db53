"""The picture at the head of the chapter."""

import pytest

from mtlrepro.studies.lsb import intuition


def test_equal_weights_keep_the_proportion_of_the_losses_and_lsb_levels_it():
    table = intuition.shares().pivot_table("share", ["arm", "epoch"], "task", sort=False)
    assert table.sum(axis=1).tolist() == pytest.approx([100] * 2 * intuition.EPOCHS)
    assert table.loc[("equal weights", 1)].tolist() == pytest.approx([100 * s / 4.8 for s in (4.0, 0.4, 0.4)])
    assert table.loc[("LSB", 1)].tolist() == pytest.approx(table.loc[("equal weights", 1)].tolist())
    # Weights of the second epoch divide by the losses of the first, so shares are in proportion to the falls.
    falls = [2 ** (-1 / half) for half in intuition.HALVED]
    assert table.loc[("LSB", 2)].tolist() == pytest.approx([100 * fall / sum(falls) for fall in falls])
    slow = table.loc["LSB"]["small loss, falls slowly"]
    assert slow.iloc[1:].is_monotonic_increasing


def test_without_difficulty_shares_stay_where_the_falls_put_them():
    table = intuition.shares(rate=0.0)
    later = table[(table["arm"] == "LSB") & (table["epoch"] > 1)]
    assert later.groupby("task")["share"].std().max() == pytest.approx(0, abs=1e-9)


def test_every_bar_is_in_the_table_and_the_caption_quotes_the_last_ones():
    exhibit = intuition.picture()
    bars = [bar.get_height() for axes in exhibit.figure.axes for bar in axes.patches]
    assert bars == pytest.approx(exhibit.table["share"].tolist())
    last = exhibit.table[(exhibit.table["epoch"] == intuition.EPOCHS) & (exhibit.table["arm"] == "equal weights")]
    assert f"{last['share'].max():.2g} %" in exhibit.caption
