"""The rule for two tasks as algebra."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from mtlrepro.studies.mtsgd import rule


def kernels(*values):
    """Kernels with one slice of a row each, in float64."""
    return [torch.tensor(one, dtype=torch.float64).view(1, 1, 1, -1) for one in values]


def test_the_sum_is_t_times_what_the_balancer_leaves():
    # Lengths 5 and 10, cosine 24 / 25: s = 5, and both directions times 5 are (3, 4) and (4, 3).
    assert rule.summed(kernels([3, 4], [8, 6])).flatten().tolist() == pytest.approx([7, 7])
    assert rule.summed(kernels([3, 4], [8, 6]), threshold=0.97).flatten().tolist() == [0, 0]
    assert rule.summed(kernels([1, 0], [0, 2], [4, 0]), threshold=-1.0).flatten().tolist() == pytest.approx([2, 1])


def test_a_threshold_changes_slices_of_nine_numbers_and_none_of_one():
    assert rule.change_by_thresholds(rule.random_gradients(2, 1, seed=1), rule.AXIS) < 1e-12
    assert rule.change_by_thresholds(rule.random_gradients(2, 3, seed=1), rule.AXIS) > 0.1


def test_kernels_of_resnet_50_are_counted():
    table = rule.kernel_sizes().set_index("kernel")
    assert table.sum().tolist() == pytest.approx([100, 100])
    assert table.loc["1x1"].tolist() == pytest.approx([51.7, 90.6], abs=0.05)
    # The stem: 64 x 3 slices of 49 of 23,454,912 weights of convolutions.
    assert table.loc["7x7", "weights"] == pytest.approx(100 * 64 * 3 * 49 / 23_454_912)
    assert "90.6 % of its channel slices" in rule.kernel_sizes_exhibit().caption


@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize("n", [2, 3, 4, 9, 49])
@pytest.mark.parametrize("threshold", [-1.0, -0.75, -0.5, 0.0, 0.6, 1.0])
def test_the_expected_part_is_the_integral_over_the_density_of_the_cosine(threshold, n, power):
    def part(low):
        # With c = cos(a) the density (1 - c^2)^((n - 3) / 2) dc is sin(a)^(n - 2) da.
        return quad(lambda a: np.sin(a) ** (n - 2) * (2 + 2 * np.cos(a)) ** (power / 2), 0, np.arccos(low))[0]

    assert rule.expected_part(threshold, n, power) == pytest.approx(part(threshold) / part(-1), abs=1e-9)


def test_expected_squares_in_three_dimensions_by_hand():
    # The cosine is uniform there: the integral of (1 + c) / 2 from 0 to 1 is 3/4.
    assert rule.expected_part(0.0, 3, power=2) == pytest.approx(0.75)


def test_expected_length_in_nine_dimensions_falls_by_little_and_then_by_much():
    assert 1 - rule.expected_part(-0.75, 9, power=1) == pytest.approx(0.003, abs=5e-4)
    assert 1 - rule.expected_part(0, 9, power=1) == pytest.approx(0.43, abs=5e-3)


def test_expected_length_is_that_of_draws_through_the_balancer():
    for threshold in (-0.5, 0.0):
        found = rule.drawn_length(threshold, kernels=8).value
        assert found == pytest.approx(rule.expected_part(threshold, 9, power=1), abs=0.01)


def test_one_number_keeps_its_length_at_every_threshold_and_half_of_the_slices():
    for power in (1, 2):
        assert [rule.expected_part(one, 1, power) for one in (-1, 0, 1)] == [1, 1, 1]
    assert [rule.expected_part(one, 1, power=0) for one in (-1, -0.5, 1)] == [1, 0.5, 0.5]


@pytest.mark.parametrize(("threshold", "n", "name"), [(1.5, 9, "threshold"), (-1.01, 9, "threshold"), (0, 0, "n")])
def test_the_expected_part_refuses_what_is_no_threshold_or_size(threshold, n, name):
    with pytest.raises(ValueError, match=f"^{name} is .*accepted"):
        rule.expected_part(threshold, n, power=1)


def test_the_step_at_a_right_angle_is_the_shorter_the_more_lengths_differ():
    found = [float(rule.shortening(rule.right_angle(ratio))) for ratio in (1, 10, 100)]
    assert found == pytest.approx([1, 0.1407195, 0.01414143], rel=1e-6)


def test_descent_starts_without_momentum_and_dampening_shrinks_all_steps():
    ones = torch.ones(4, dtype=torch.float64)
    # v = 1, 1.9, 2.71 under Eq. 8, and a tenth of that under Eq. 1.
    steps = rule.descend(lambda _: ones, lr=0.1).diff(dim=0)[:, 0]
    damped = rule.descend(lambda _: ones, lr=0.1, dampening=0.9).diff(dim=0)[:, 0]
    assert steps[:2].tolist() == pytest.approx([-0.19, -0.271])
    assert damped[:2].tolist() == pytest.approx([-0.019, -0.0271])


def test_all_identities_hold_and_the_threshold_cannot_act_on_most_of_resnet_50():
    found = rule.claims()
    assert {one.status for one in found if one.kind == "identity"} == {"holds"}
    (slices, weights) = (one for one in found if one.kind == "ours")
    assert (slices.status, weights.status) == ("does not hold", "does not hold")
    assert (slices.measured.value, weights.measured.value) == pytest.approx((9.4, 48.3), abs=0.05)


def test_identities_on_rates_see_a_rate_or_a_decay_that_is_not_the_one_claimed():
    path = rule.descend(rule._sum, 0.05, weight_decay=0.1)
    assert rule._apart(path, rule.descend(rule._mean, 0.1, weight_decay=0.05)).value < 1e-12
    assert rule._apart(path, rule.descend(rule._mean, 0.1, weight_decay=0.1)).value > 1e-3
