"""What the printed tables say, and whose numbers stand in Table 1."""

import pytest
import torch

from mtlrepro.analysis import published
from mtlrepro.studies.mtsgd import critique, printed


@pytest.fixture
def numbers():
    return published.read("mtsgd")


@pytest.fixture
def others():
    return published.read("mtan")


def changed(numbers, place, row, column, value):
    """The same numbers with another one in some printed cell."""
    cell = (numbers["place"] == place) & (numbers["row"] == row) & (numbers["column"] == column)
    assert cell.sum() == 1
    return numbers.assign(value=numbers["value"].mask(cell, value))


def found(verdicts):
    return {(one.claim, one.case): one for one in verdicts}


def test_rows_of_the_method_in_each_table(numbers):
    assert printed.rows_of()[0] == ("Table 2", "Joint + MTSGD, threshold -1.0")
    assert printed.rows_of(decay=0.0)[-1] == ("Table 3", "MTSGD, weight decay 0.0, threshold 0.0")
    assert printed.rows_of(level="filter")[1] == ("Table 4", "MTSGD, filter, threshold -0.75")
    assert printed.rows_of(place="Table 3")[0] == ("Table 3", "MTSGD, weight decay 0.0001, threshold -1.0")
    assert printed.cell(numbers, *printed.rows_of(level="filter")[1], printed.DISPARITY) == 5.27
    with pytest.raises(ValueError, match="accepted: rows of Tables 2 to 4"):
        printed.rows_of(decay=0.0, level="filter")


def test_the_ladder_from_joint_sgd_to_the_best_row(numbers):
    table = printed.ladder(numbers)
    assert table["mIoU, change"].tolist() == pytest.approx([0, 16.0, 1.6, 3.0])
    assert table["AEPE, change"].tolist() == pytest.approx([0, 0.69, -0.41, -0.35])
    by_hand = [((44.4 / 70.3 - 1) - (3.98 / 4.39 - 1)) / 2, ((65.0 / 70.3 - 1) - (3.91 / 4.39 - 1)) / 2]
    assert table["Δm, %"].iloc[[0, -1]].tolist() == pytest.approx([100 * one for one in by_hand])
    caption = printed.ladder_exhibit(numbers).caption
    assert "brings 16.0 points of mIoU and costs 0.690 pixels of disparity" in caption


def test_tables_share_rows_and_a_cell_that_differs_is_seen(numbers):
    assert printed.models(numbers) == (22, 12)
    claim = ("Rows that Tables 2, 3 and 4 share are the same runs", "")
    assert found(printed.claims(numbers))[claim].status == "holds"
    row = "MTSGD, channel, threshold -0.5"
    other = changed(numbers, "Table 4", row, "Disparity (AEPE)", 4.38)
    assert found(printed.claims(other))[claim].measured.value == pytest.approx(0.1)
    assert printed.models(other) == (22, 13)


def test_verdicts_on_the_printed_ablations(numbers):
    verdicts = found(printed.claims(numbers))
    balance = {case: one for (claim, case), one in verdicts.items() if claim.startswith("Balance alone")}
    assert {case: one.status for case, one in balance.items()} == {"mIoU": "holds", "AEPE": "does not hold"}
    assert balance["AEPE"].measured.value == pytest.approx(0.69)
    rises = verdicts["Both metrics improve with each higher threshold in the printed tables", ""]
    assert rises.status == "holds"
    assert "of 18," in rises.reading
    worse = changed(numbers, "Table 3", "MTSGD, weight decay 0.0, threshold -0.75", "Segmentation (mIoU)", 62.6)
    rises = found(printed.claims(worse))["Both metrics improve with each higher threshold in the printed tables", ""]
    assert (rises.measured.value, rises.status) == (1, "does not hold")


def test_comparators_stand_beside_the_papers_that_they_come_from(numbers, others):
    sources = critique.sources(others)
    assert {row: values.tolist() for row, values in sources.items()} == {
        "STAN [13]": [51.90],
        "MTAN [13]": [53.04, 53.86, 53.29],
        "AdaMT [33]": [62.53],
    }
    table = critique.comparators(numbers, others).set_index("method")
    assert table.loc["MTAN [13]", "where it comes from"].startswith("mean of 53.04, 53.86, 53.29: 53.40")
    assert set(table["set-up"][["MTAN [13]", "AdaMT [33]"]]) == {critique.COARSE}
    assert table["set-up"]["STAN [13]"] == f"{critique.COARSE}, a network for each task"
    assert table.loc["MC-CNN [37]", critique.SEGMENTATION] == "-"
    assert "margin of 2.47 points" in critique.comparators_exhibit(numbers, others).caption


def test_verdicts_on_table_1(numbers, others):
    verdicts = found(critique.comparator_claims(numbers, others))
    with_decay, without = critique.DECAYS.values()
    assert {key: one.status for key, one in verdicts.items()} == {
        ("MTSGD segments better than STAN, MTAN and AdaMT", ""): "cannot be tested here",
        ("MTSGD at its best is better than the single-task model in segmentation", ""): "does not hold",
        ("MTSGD at its best is better than the single-task model in disparity", ""): "holds",
        ("MTSGD is better than joint SGD in segmentation", with_decay): "holds",
        ("MTSGD is better than joint SGD in segmentation", without): "holds",
        ("MTSGD is better than joint SGD in disparity", with_decay): "does not hold",
        ("MTSGD is better than joint SGD in disparity", without): "holds",
        ("MTSGD has the best disparity of the table", ""): "does not hold",
        ("MTSGD without decay has a slightly worse disparity", "than Joint + SGD"): "does not hold",
        ("MTSGD without decay has a slightly worse disparity", "than MC-CNN [37]"): "holds",
        ("The printed numbers of comparators are those of their papers", ""): "holds",
    }
    values = {key: one.measured.value for key, one in verdicts.items() if one.measured}
    single = "MTSGD at its best is better than the single-task model in"
    assert (values[f"{single} segmentation", ""], values[f"{single} disparity", ""]) == pytest.approx((5.3, -0.48))
    assert values["MTSGD is better than joint SGD in disparity", with_decay] == pytest.approx(4.26 - 3.98)
    best = verdicts["MTSGD has the best disparity of the table", ""]
    # The article does not say so itself.
    assert (best.kind, best.finding, best.measured.value) == ("ours", 0, pytest.approx(0.5))
    last = changed(numbers, "Table 1", "MTAN [13]", "Segmentation (mIoU)", 53.86)
    assert critique.comparator_claims(last, others)[-1].status == "does not hold"


def test_equation_9_as_printed_does_not_see_what_is_wrongly_taken_for_a_class():
    counts = torch.tensor([[50, 50], [0, 10]])
    assert critique.as_printed(counts).tolist() == pytest.approx([100 * 50 / 150, 100])
    assert critique.iou(counts).tolist() == pytest.approx([50, 100 * 10 / 60])
    assert critique.as_printed(torch.diag(torch.tensor([3, 4]))).tolist() == [100, 100]
    assert critique.slip_claim().measured.value == pytest.approx(100 / 3)
    means = critique.slip_exhibit().table.iloc[-1]
    assert means["intersection over union, %"] == pytest.approx((50 + 100 / 6) / 2)
