"""The rule with three tasks and more."""

import pytest
import torch

from mtlrepro.studies.mtsgd import rule, three


def test_balance_can_lengthen_the_sum_of_three_below_a_threshold_of_minus_a_half():
    # Two gradients of length 1 at 140 degrees to a third of length 1.3: cosines of -0.77, -0.77 and 0.17.
    angles = torch.tensor([140.0, -140.0, 0.0], dtype=torch.float64).deg2rad()
    tips = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [1.0], [1.3]], dtype=torch.float64)
    gradients = [tip.view(1, 1, 1, 2) for tip in tips]
    assert float(rule.shortening(gradients, threshold=-0.8)) > 1.5
    assert float(rule.shortening(gradients, threshold=-0.5)) == 0


@pytest.mark.parametrize("n", [2, 3, 4])
def test_from_the_stated_threshold_on_no_kept_slice_is_longer_than_its_plain_sum(n):
    gradients = three.in_a_plane(n)
    found = rule.shortening(gradients, threshold=-1 / (n - 1))
    assert float(found.max()) <= 1 + 1e-9
    assert int((found > 0).sum()) > 50
    if n > 2:
        assert float(rule.shortening(gradients, threshold=-1.0).max()) > 1.01


def test_the_product_of_directions_is_no_similarity_of_three():
    assert three.similarities([[-1], [-1], [-1]]) == (-1, 1, 1)
    assert three.similarities([[1], [-1], [-1]]) == (1, -1, pytest.approx(-1 / 3))
    assert three.similarities([[0.6, 0.8], [0.8, 0.6]]) == pytest.approx((0.96, 0.96, 0.96))
    assert three.similarities([[-1 / 3] * 9] * 3) == pytest.approx((-1 / 3, 1, 1))


@pytest.mark.parametrize(
    ("n", "similarity", "results", "changed"),
    [(2, "min", 1, 0), (3, "min", 2, 75), (3, "mean", 2, 75), (4, "min", 2, 50), (4, "mean", 2, 50)],
)
def test_thresholds_act_on_single_numbers_from_three_tasks_on(n, similarity, results, changed):
    assert three.single_numbers(n, similarity) == (results, pytest.approx(changed))


def test_of_three_numbers_the_majority_steps_by_the_least_length_unless_clipped():
    gradients = three.sign_patterns(3)
    values = torch.cat(gradients, 1).flatten(1).tolist()
    kept, clipped = (rule.summed(gradients, threshold=one).flatten().tolist() for one in (-1.0, 0.0))
    by_signs = dict(zip(map(tuple, values), zip(kept, clipped, strict=True), strict=True))
    assert by_signs[1, 2, 4] == pytest.approx((3, 3))
    assert by_signs[1, -2, -4] == pytest.approx((-1, 0))


def test_verdicts_on_three_tasks():
    found = {(one.claim, one.case): one for one in three.claims()}
    assert {one.status for one in found.values() if one.kind == "identity"} == {"holds"}
    assert {one.status for one in found.values() if one.kind != "identity"} == {"does not hold"}
    longer = found["Balance alone never lengthens the sum, as with two tasks", "three tasks"]
    assert longer.measured.value == pytest.approx(1)


def test_exhibits_quote_their_tables():
    caption = three.similarity_exhibit().caption
    assert "is -1.00 for three that are the same, and 1.00 for two against two" in caption
    table = three.single_numbers_exhibit().table.set_index(["tasks", "similarity"])
    assert table["slices with a change, %"].loc[2].tolist() == [0, 0]
