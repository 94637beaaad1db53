"""Closed forms, invariances and hand-computed values of the noise functions, in float64."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlrepro import noise

GENERATOR = torch.Generator()


def gradients(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_per_sample_gradients_equal_one_backward_pass_per_sample_and_task():
    x, y = gradients(7, 3), gradients(7)
    parameters = {"weight": gradients(3), "bias": gradients(1)}

    def losses(parameters, sample):
        error = parameters["weight"] @ sample[0] + parameters["bias"].sum() - sample[1]
        return torch.stack([error**2, error.abs()])

    result = noise.per_sample_gradients(losses, parameters, (x, y), chunk_size=2)
    assert result.shape == (2, 7, 4)
    for i in range(7):
        error = parameters["weight"] @ x[i] + parameters["bias"] - y[i]
        inner = torch.cat([x[i], torch.ones(1, dtype=torch.float64)])
        torch.testing.assert_close(result[0, i], 2 * error * inner)
        torch.testing.assert_close(result[1, i], error.sign() * inner)


def test_covariance_trace_by_hand():
    rows = torch.tensor([[1.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    assert noise.covariance_trace(rows).item() == 5.0  # mean (2, 2); squared distances 5 and 5; divisor N
    torch.testing.assert_close(noise.covariance_trace(gradients(9, 4)), gradients(9, 4).T.cov(correction=0).trace())


@pytest.mark.parametrize("replacement", [True, False])
def test_batch_weights_are_multiplicities_over_batch_size(replacement):
    weights = noise.batch_weights(10, 4, 500, torch.Generator().manual_seed(1), replacement=replacement)
    assert weights.shape == (500, 10)
    torch.testing.assert_close(weights.sum(1), torch.ones(500, dtype=torch.float64))
    counts = weights * 4
    assert torch.equal(counts, counts.round())
    torch.testing.assert_close(weights.mean(0), torch.full((10,), 0.1, dtype=torch.float64), atol=0.02, rtol=0)


def test_batch_weights_with_replacement_repeat_samples_and_without_never():
    generator = torch.Generator().manual_seed(2)
    assert (noise.batch_weights(5, 5, 100, generator, replacement=True) > 0.2).any()
    assert torch.equal(
        noise.batch_weights(5, 5, 3, generator, replacement=False), torch.full((3, 5), 0.2, dtype=torch.float64)
    )


@pytest.mark.parametrize(("batch", "replacement"), [(0, True), (-1, False), (11, False)])
def test_batch_weights_refuse_impossible_batches(batch, replacement):
    with pytest.raises(ValueError, match=f"batch is {batch}; accepted: 1 to 10"):
        noise.batch_weights(10, batch, 1, GENERATOR, replacement=replacement)


def test_noise_power_is_the_distance_of_the_batch_gradient_from_the_full_one():
    rows = gradients(2, 12, 5)
    weights = noise.batch_weights(12, 3, 4, torch.Generator().manual_seed(3), replacement=True)
    power = noise.noise_power(rows, weights)
    for task, draw in product(range(2), range(4)):
        index = torch.repeat_interleave(torch.arange(12), (weights[draw] * 3).round().long())
        batch = rows[task, index].mean(0)
        torch.testing.assert_close(power[task, draw], (batch - rows[task].mean(0)).square().sum())


def test_noise_power_ignores_a_common_shift_and_scales_with_the_square():
    rows, weights = gradients(12, 5), noise.momentum(torch.eye(12, dtype=torch.float64), 0.5)
    power = noise.noise_power(rows, weights)
    torch.testing.assert_close(noise.noise_power(rows + 7.0, weights), power)
    torch.testing.assert_close(noise.noise_power(3 * rows, weights), 9 * power)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_expected_noise_power_by_enumeration(batch):
    """E|n|^2 is tr(C)/B over all ordered draws with replacement, and (N-B)/(N-1) of it over all subsets."""
    rows = gradients(4, 3)
    full, trace = rows.mean(0), noise.covariance_trace(rows)
    ordered = [rows[list(index)].mean(0) for index in product(range(4), repeat=batch)]
    power = torch.stack([(g - full).square().sum() for g in ordered]).mean()
    torch.testing.assert_close(power, trace / batch)
    subsets = [rows[list(i)].mean(0) for i in product(range(4), repeat=batch) if len(set(i)) == batch]
    power = torch.stack([(g - full).square().sum() for g in subsets]).mean()
    torch.testing.assert_close(power, trace / batch * noise.finite_population_factor(4, batch), atol=1e-15, rtol=1e-7)


def test_momentum_by_hand():
    values = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(noise.momentum(values, 0.5), torch.tensor([0.5, 1.25, 2.625], dtype=torch.float64))
    assert torch.equal(noise.momentum(values, 0.0), values)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99])
def test_momentum_power_factor_is_the_sum_of_squared_weights(gamma):
    """Independent unit noise at every step: the power of the sum is the sum of the squared weights (Eq. 8)."""
    impulses = noise.momentum(torch.eye(30, dtype=torch.float64), gamma)
    for step in (1, 2, 10, 30):
        expected = impulses[step - 1].square().sum().item()
        assert math.isclose(noise.momentum_power_factor(gamma, step), expected, rel_tol=1e-12)
    assert math.isclose(noise.momentum_power_factor(gamma), (1 - gamma) / (1 + gamma))


def summed_shuffled_factor(gamma: float, batches: int, step: int) -> float:
    """Power of momentum after `step` batches of shuffled epochs, summed over pairs by their covariance, over Eq. 8."""
    weights = (1 - gamma) * gamma ** torch.arange(step - 1, -1, -1, dtype=torch.float64)
    epoch = torch.arange(step) // batches
    covariance = (epoch[:, None] == epoch).double().mul(-1 / (batches - 1)).fill_diagonal_(1)
    return (weights @ covariance @ weights).item() / noise.momentum_power_factor(gamma)


@pytest.mark.parametrize(("gamma", "batches"), [(0.0, 2), (0.3, 2), (0.5, 5), (0.9, 7), (0.9, 32)])
def test_shuffled_power_factor_is_the_sum_over_the_covariance_of_batches(gamma, batches):
    past = batches * math.ceil(600 / batches)  # steps of whole epochs, after which the start is forgotten
    summed = [summed_shuffled_factor(gamma, batches, past + position) for position in range(1, batches + 1)]
    for position, expected in enumerate(summed, 1):
        assert math.isclose(noise.shuffled_power_factor(gamma, batches, position), expected, rel_tol=1e-9)
    assert math.isclose(noise.shuffled_power_factor(gamma, batches), sum(summed) / batches, rel_tol=1e-9)


def test_shuffled_power_factor_against_simulated_epochs():
    """Momentum of numbers that are dealt out anew every epoch of five, at each position of an epoch."""
    gamma, batches, runs = 0.8, 5, 20_000
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    average, powers = torch.zeros(runs, dtype=torch.float64), []
    for _ in range(10):
        order = torch.rand(runs, batches, generator=generator).argsort(1)
        powers = []
        for position in range(batches):
            average = gamma * average + (1 - gamma) * values[order[:, position]]
            powers.append(average.square().mean().item() / values.square().mean().item())
    for position, power in enumerate(powers, 1):
        factor = noise.shuffled_power_factor(gamma, batches, position) * noise.momentum_power_factor(gamma)
        assert math.isclose(power, factor, rel_tol=0.05)


@pytest.mark.parametrize(
    ("batches", "roots"), [(32, (0.771, 0.320)), (100, (0.915, 0.518)), (397, (0.978, 0.790)), (1000, (0.991, 0.906))]
)
def test_shuffled_epochs_matter_if_they_are_short(batches, roots):
    for gamma, root in zip((0.9, 0.99), roots, strict=True):
        assert abs(noise.shuffled_power_factor(gamma, batches) ** 0.5 - root) < 6e-4
    memory = 2 * 0.9 / (1 - 0.9)
    assert abs(noise.shuffled_power_factor(0.9, 10_000) - (1 - memory / 10_000)) < 1e-5
    assert noise.shuffled_power_factor(0.0, batches) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 5), "gamma is 1.0; accepted: 0 <= gamma < 1"),
        ((0.9, 1), "batches is 1; accepted: 2 or more an epoch"),
        ((0.9, 5, 0), "position is 0; accepted: 1 to 5"),
        ((0.9, 5, 6), "position is 6; accepted: 1 to 5"),
    ],
)
def test_shuffled_power_factor_refuses_what_is_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        noise.shuffled_power_factor(*arguments)


def test_momentum_power_factor_of_the_appendix_at_0_9():
    assert math.isclose(noise.momentum_power_factor(0.9), 0.0526315789, rel_tol=1e-8)
    assert math.isclose(noise.momentum_power_factor(0.9) ** 0.5, 0.2294157339, rel_tol=1e-8)


@pytest.mark.parametrize("gamma", [-0.1, 1.0, float("nan")])
def test_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(ValueError, match="accepted: 0 <= gamma < 1"):
        noise.momentum_power_factor(gamma)
    with pytest.raises(ValueError, match="accepted: 0 <= gamma < 1"):
        noise.momentum(torch.ones(2), gamma)


def test_excess_kurtosis_of_known_distributions():
    assert noise.excess_kurtosis(torch.tensor([-1.0, 1.0], dtype=torch.float64)).item() == -2.0
    normal = torch.randn(400_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert abs(noise.excess_kurtosis(normal).item()) < 0.03


def test_excess_kurtosis_of_a_mean_is_that_of_one_draw_over_their_number():
    values = gradients(5) ** 3
    means = torch.tensor([(a + b + c) / 3 for a, b, c in product(values.tolist(), repeat=3)], dtype=torch.float64)
    torch.testing.assert_close(noise.excess_kurtosis(means), noise.excess_kurtosis(values) / 3)


def test_noise_gramian_holds_traces_and_sees_opposite_noise():
    rows = gradients(9, 4)
    gramian = noise.noise_gramian(torch.stack([rows, -2 * rows + 5.0]))
    trace = noise.covariance_trace(rows)
    torch.testing.assert_close(gramian, torch.tensor([[1.0, -2.0], [-2.0, 4.0]], dtype=torch.float64) * trace)


@pytest.mark.parametrize("index", range(4))
def test_effective_weights_equal_closed_forms_and_finite_differences(index):
    losses = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    combination = noise.combinations(torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64), 3.0)[index]
    weights = noise.effective_weights(combination.combine, losses)
    torch.testing.assert_close(weights, combination.weights(losses), rtol=1e-13, atol=0)
    step = 1e-6
    for i in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[i] = step
        slope = (combination.combine(losses + shift) - combination.combine(losses - shift)) / (2 * step)
        torch.testing.assert_close(weights[i], slope, rtol=1e-8, atol=0)


def test_closed_forms_by_hand():
    losses = torch.tensor([1.0, 4.0], dtype=torch.float64)
    gls, logs, uncertainty, norm = noise.combinations(torch.tensor([1.0, 2.0], dtype=torch.float64), 2.0)
    torch.testing.assert_close(gls.weights(losses), torch.tensor([1.0, 0.25], dtype=torch.float64))  # 2/(2*1), 2/(2*4)
    torch.testing.assert_close(logs.weights(losses), torch.tensor([1.0, 0.25], dtype=torch.float64))
    torch.testing.assert_close(uncertainty.weights(losses), torch.tensor([0.5, 0.125], dtype=torch.float64))
    torch.testing.assert_close(norm.weights(losses), losses / math.sqrt(17))


def test_two_batch_estimate_inverts_the_expected_norms():
    signal, trace = torch.tensor(3.0, dtype=torch.float64), torch.tensor(8.0, dtype=torch.float64)
    found = noise.two_batch_estimate(signal + trace / 2, signal + trace / 8, 2, 8)
    torch.testing.assert_close(torch.stack(found), torch.stack([signal, trace]))
    with pytest.raises(ValueError, match="accepted: 1 <= b < batch"):
        noise.two_batch_estimate(signal, trace, 8, 8)


def test_two_batch_estimate_is_unbiased_by_enumeration():
    rows = gradients(4, 3)
    draws = {b: [rows[list(i)].mean(0).square().sum() for i in product(range(4), repeat=b)] for b in (1, 3)}
    signal, trace = noise.two_batch_estimate(torch.stack(draws[1]).mean(), torch.stack(draws[3]).mean(), 1, 3)
    torch.testing.assert_close(signal, rows.mean(0).square().sum())
    torch.testing.assert_close(trace, noise.covariance_trace(rows))


def test_momentum_estimates_are_unbiased_at_every_step_by_enumeration():
    """All sequences of four draws from two gradients: the mean estimate is exact from step 2 on, start-up included."""
    rows = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    runs = [noise.momentum_estimates(rows[list(i)], 0.7, 0.5) for i in product(range(2), repeat=4)]
    signal = torch.stack([run[0] for run in runs]).mean(0)
    found = torch.stack([run[1] for run in runs]).mean(0)
    torch.testing.assert_close(signal, rows.mean(0).square().sum().expand(3))
    torch.testing.assert_close(found, noise.covariance_trace(rows).expand(3))


def test_momentum_estimates_steady_state_factor():
    """Far from the start, s^2 is (1 + gamma)/2 of the mean squared distance from the momentum."""
    rows = gradients(400, 6)
    _, found = noise.momentum_estimates(rows, 0.9, 0.0)
    distance = (rows[1:] - noise.momentum(rows, 0.9)[:-1]).square().sum(1)
    torch.testing.assert_close(found[-1], 0.95 * distance[-1], rtol=1e-10, atol=0)


def test_momentum_estimates_refuse_a_single_step():
    with pytest.raises(ValueError, match="gradients holds 1 steps; accepted: 2 or more"):
        noise.momentum_estimates(gradients(1, 3), 0.9, 0.9)


READINGS = list(product(("maxmin", "product"), ("narrow", "broad"), (False, True)))
POWERS = st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=8)


def options(reading):
    return dict(zip(("scalarisation", "itgn", "own_noise"), reading, strict=True))


def test_gnr_by_hand():
    weights, signal, power = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0], [9.0, 4.0], [1.0, 2.0]))
    torch.testing.assert_close(noise.gnr(weights, signal, power), torch.tensor([9 / 8, 16.0], dtype=torch.float64))
    broad = noise.gnr(weights, signal, power, itgn="broad")
    torch.testing.assert_close(broad, torch.tensor([9 / 24, 16 / 10], dtype=torch.float64))
    own = noise.gnr(weights, signal, power, own_noise=True)
    torch.testing.assert_close(own, torch.tensor([9 / 9, 16 / 9], dtype=torch.float64))


@pytest.mark.parametrize("reading", READINGS)
@given(signal=POWERS, data=st.data())
@settings(max_examples=25, deadline=None)
def test_gnr_weights_are_stationary_and_scale_as_the_reading_says(reading, signal, data):
    size = len(signal)
    power = torch.tensor(data.draw(st.lists(st.floats(1e-4, 1e4), min_size=size, max_size=size)), dtype=torch.float64)
    signal = torch.tensor(signal, dtype=torch.float64)
    weights = noise.gnr_weights(signal, power, **options(reading))
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(), torch.tensor(float(size), dtype=torch.float64))
    ratios = noise.gnr(weights, signal, power, itgn=reading[1], own_noise=reading[2])
    if reading[0] == "maxmin":
        torch.testing.assert_close(ratios, ratios.mean().expand(size), rtol=1e-7, atol=0)
    # No small step improves the objective.
    objective = (lambda r: r.log().min()) if reading[0] == "maxmin" else (lambda r: r.log().sum())
    for direction in torch.eye(size, dtype=torch.float64):
        for sign in (-1e-3, 1e-3):
            moved = noise.gnr(weights * (sign * direction).exp(), signal, power, itgn=reading[1], own_noise=reading[2])
            assert objective(moved) <= objective(ratios) + 1e-9
    # A loss multiplied by c has its weight divided by c, relative to the others.
    factor = torch.ones(size, dtype=torch.float64)
    factor[0] = 3.0
    scaled = noise.gnr_weights(signal * factor**2, power * factor**2, **options(reading))
    torch.testing.assert_close(scaled * factor / (scaled * factor).sum(), weights / weights.sum(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("itgn", ["narrow", "broad"])
def test_two_task_closed_form(itgn):
    signal, power = torch.tensor([4.0, 9.0], dtype=torch.float64), torch.tensor([2.0, 50.0], dtype=torch.float64)
    disturbance = power if itgn == "narrow" else signal + power
    a, b = signal.sqrt(), disturbance.sqrt()
    weights = noise.gnr_weights(signal, power, itgn=itgn)
    torch.testing.assert_close(weights[0] / weights[1], (a[1] * b[1] / (a[0] * b[0])).sqrt())


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_maxmin_equals_the_perron_eigenvector(tasks):
    signal, power = gradients(tasks).square() + 0.1, gradients(tasks, 1).flatten().square() + 0.1
    matrix = power.expand(tasks, tasks) / signal[:, None]
    matrix = matrix - matrix.diag().diag()
    values, vectors = torch.linalg.eig(matrix)
    leading = values.real.argmax()
    expected = vectors[:, leading].real.abs().sqrt()
    weights = noise.gnr_weights(signal, power)
    torch.testing.assert_close(weights, expected * tasks / expected.sum(), rtol=1e-8, atol=0)
    ratios = noise.gnr(weights, signal, power)
    torch.testing.assert_close(ratios, (1 / values.real[leading]).expand(tasks), rtol=1e-8, atol=0)


def test_own_noise_drops_out_of_maxmin_and_product_forgets_the_signal():
    signal, power = (
        torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64),
        torch.tensor([1.0, 9.0, 4.0], dtype=torch.float64),
    )
    for itgn in ("narrow", "broad"):
        weights = noise.gnr_weights(signal, power, itgn=itgn, own_noise=True)
        torch.testing.assert_close(weights, torch.tensor([12.0, 6.0, 3.0], dtype=torch.float64) / 7)
    for own in (False, True):
        weights = noise.gnr_weights(signal, power, scalarisation="product", own_noise=own)
        torch.testing.assert_close(weights, torch.tensor([18.0, 6.0, 9.0], dtype=torch.float64) / 11)


def test_label_noise_on_one_task_tells_the_readings_apart():
    signal, power = (
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64),
    )
    louder = torch.tensor([1.0, 1.0, 5.0], dtype=torch.float64)

    def change(**reading):
        return noise.gnr_weights(signal, louder, **reading)[2] / noise.gnr_weights(signal, power, **reading)[2]

    assert change() < 0.99
    assert change(itgn="broad") < 0.99
    assert change(scalarisation="product") < 0.99
    assert change(scalarisation="product", own_noise=True) < 0.99
    assert change(own_noise=True) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gnr_weights_stay_finite_without_signal_or_noise(dtype):
    for signal, power in (
        ([0.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 1.0]),
        ([0.0] * 3, [0.0] * 3),
    ):
        weights = noise.gnr_weights(torch.tensor(signal, dtype=dtype), torch.tensor(power, dtype=dtype))
        assert weights.isfinite().all()
        assert (weights > 0).all()
    assert torch.equal(noise.gnr_weights(torch.zeros(3), torch.zeros(3)), torch.ones(3))
    assert torch.equal(noise.gnr_weights(torch.ones(1), torch.ones(1)), torch.ones(1))


@pytest.mark.parametrize(
    ("tasks", "reading", "message"),
    [
        (3, {"scalarisation": "sum"}, "scalarisation is 'sum'; accepted: 'maxmin' or 'product'"),
        (3, {"itgn": "wide"}, "itgn is 'wide'; accepted: 'narrow' or 'broad'"),
        (2, {"scalarisation": "product"}, "does not depend on the weights of two tasks"),
    ],
)
def test_readings_without_an_answer_are_refused(tasks, reading, message):
    with pytest.raises(ValueError, match=message):
        noise.gnr_weights(torch.ones(tasks), torch.ones(tasks), **reading)


# -- the product of broad ratios with own noise --

BROAD = {"scalarisation": "product", "itgn": "broad", "own_noise": True}


def extreme_powers(seed):
    """Signal and noise of 2 to 8 tasks, up to 1e12 apart, and the noise up to 1e9 below its signal."""
    generator = torch.Generator().manual_seed(seed)
    tasks, exponent = 2 + seed % 7, (1.0, 3.0, 6.0)[seed // 7 % 3]
    signal, power = 10 ** (exponent * (2 * torch.rand(2, tasks, generator=generator, dtype=torch.float64) - 1))
    return signal, (signal * 1e-9 if seed % 5 == 0 else power)


def test_broad_product_at_the_mean_powers_of_the_chapter():
    signal, power = torch.tensor([0.518, 0.458, 12.7]).double(), torch.tensor([0.765, 0.695, 2.82]).double()
    weights = noise.gnr_weights(signal, power, **BROAD)
    torch.testing.assert_close(weights, torch.tensor([1.26, 1.33, 0.41]).double(), rtol=0, atol=0.005)


def test_broad_product_by_hand():
    """Two tasks: w^2 is as 1/(s sqrt(a^2 + s^2)). Equal tasks: equal weights. No signal: 1/s."""
    signal, power = torch.tensor([3.0, 0.0]).double(), torch.tensor([1.0, 16.0]).double()
    expected = torch.tensor([1 / 2**0.5, 1 / 4]).double()
    torch.testing.assert_close(noise.gnr_weights(signal, power, **BROAD), expected * 2 / expected.sum())
    for tasks in range(1, 9):
        same = noise.gnr_weights(torch.full((tasks,), 3.0).double(), torch.full((tasks,), 0.1).double(), **BROAD)
        torch.testing.assert_close(same, torch.ones(tasks).double())
    power = torch.tensor([1.0, 4.0, 9.0]).double()
    expected = torch.tensor([6.0, 3.0, 2.0]).double() * 3 / 11
    torch.testing.assert_close(noise.gnr_weights(1e-13 * power, power, **BROAD), expected)


def parts(weights, signal, power):
    """Part [i, j] of task j in the disturbance of task i; a sum of these loses no digits, a difference would."""
    squared = weights.square()
    result = (squared * (signal + power)).repeat(len(signal), 1)
    result.diagonal().copy_(squared * power)
    return result


@pytest.mark.parametrize("seed", range(105))
def test_broad_product_is_stationary(seed):
    """Derivative of sum_i log GNR_i by x_j = log w_j^2: 1 minus the sum over i of j's share in disturbance i."""
    signal, power = extreme_powers(seed)
    disturbances = parts(noise.gnr_weights(signal, power, **BROAD), signal, power)
    slope = 1 - (disturbances / disturbances.sum(1, keepdim=True)).sum(0)
    assert slope.abs().max() <= 1e-8


@pytest.mark.parametrize("seed", range(42))
def test_broad_product_is_a_maximum(seed):
    signal, power = extreme_powers(seed)
    weights = noise.gnr_weights(signal, power, **BROAD)

    def objective(w):
        return (w.square() * signal / parts(w, signal, power).sum(1)).log().sum()

    everyday = torch.arange(1.0, len(signal) + 1).double()
    torch.testing.assert_close(
        (everyday.square() * signal / parts(everyday, signal, power).sum(1)),
        noise.gnr(everyday, signal, power, itgn="broad", own_noise=True),
    )
    generator = torch.Generator().manual_seed(seed)
    for size in (1e-4, 1e-2, 1.0, 10.0):
        moves = size * torch.randn(20, len(weights), generator=generator, dtype=torch.float64)
        for move in moves:
            assert objective(weights * move.exp()) <= objective(weights) + 1e-12


@pytest.mark.parametrize("seed", range(21))
def test_broad_product_ignores_units_and_the_order_of_tasks(seed):
    signal, power = extreme_powers(seed)
    weights = noise.gnr_weights(signal, power, **BROAD)
    order = torch.randperm(len(signal), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(noise.gnr_weights(signal[order], power[order], **BROAD), weights[order])
    torch.testing.assert_close(noise.gnr_weights(1e6 * signal, 1e6 * power, **BROAD), weights)
    single = noise.gnr_weights(signal.float(), power.float(), **BROAD)
    torch.testing.assert_close(single.double(), weights, rtol=1e-4, atol=0)


def test_product_of_two_ratios_does_not_depend_on_the_weights():
    signal, power = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    first, second = (noise.gnr(torch.tensor(w), signal, power).prod() for w in ([1.0, 1.0], [1.0, 7.0]))
    torch.testing.assert_close(first, second)
