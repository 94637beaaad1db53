import numpy as np
import pytest
import torch
from noise_cases import BATCH, SAMPLES, SMALL, TASKS, check

from mtlrepro.data.digits import two_digits
from mtlrepro.models import digits as models
from mtlrepro.models.digits import DigitNet
from mtlrepro.studies.noise import digits
from mtlrepro.tasks import TWO_DIGITS


def test_snapshots_hold_the_losses_and_gradients_of_their_network(snapshots):
    assert [snapshot.seed for snapshot in snapshots] == [0, 1]
    for snapshot in snapshots:
        assert snapshot.gradients.shape == (3, SAMPLES, 2700)
        assert snapshot.gradients.dtype == snapshot.losses.dtype == snapshot.data.images.dtype == torch.float64
        assert not snapshot.losses.requires_grad
        assert not snapshot.gradients.requires_grad
        torch.testing.assert_close(snapshot.losses, models.task_losses(snapshot.model, snapshot.data).detach())
        for row in (0, SAMPLES - 1):
            losses = models.task_losses(snapshot.model, snapshot.data[row : row + 1])
            for k in range(3):
                gradient = models.shared_gradient(losses[k], snapshot.model)
                torch.testing.assert_close(snapshot.gradients[k, row], gradient, rtol=1e-10, atol=1e-14)


def test_snapshots_train_by_momentum_on_the_mean_loss():
    """Two steps by hand from the same initial parameters and batches."""
    (found,) = digits.snapshots(1, SAMPLES, 2, **SMALL)
    data = two_digits(SAMPLES).to("cpu", torch.float64)
    torch.manual_seed(0)
    model = DigitNet().double()
    generator = found.generator(7)
    velocity = None
    for _ in range(2):
        part = data[torch.randint(SAMPLES, (BATCH,), generator=generator)]
        outputs = model(part.images)
        loss = sum(task.loss(outputs[task.name], part.targets).mean() for task in TWO_DIGITS) / 3
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        velocity = gradients if velocity is None else [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        with torch.no_grad():
            for parameter, v in zip(model.parameters(), velocity, strict=True):
                parameter -= 0.05 * v
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found.model.get_parameter(name), parameter)


def test_snapshots_are_the_same_again_and_whatever_was_drawn_before(snapshots):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    (again,) = digits.snapshots(1, SAMPLES, 5, **SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(again.gradients, snapshots[0].gradients)
    assert torch.equal(again.losses, snapshots[0].losses)


def test_seeds_differ_in_images_and_parameters(snapshots):
    first, second = snapshots
    assert not torch.equal(first.data.images, second.data.images)
    assert not torch.equal(next(first.model.parameters()), next(second.model.parameters()))


def test_generators_repeat_and_differ_between_studies_and_seeds(snapshots):
    def draw(snapshot, number):
        return torch.rand(4, generator=snapshot.generator(number)).tolist()

    assert draw(snapshots[0], 1) == draw(snapshots[0], 1)
    draws = [tuple(draw(snapshot, number)) for snapshot in snapshots for number in range(10)]
    assert len(set(draws)) == len(draws)


def test_batches_are_weights_where_the_gradients_are(snapshots):
    weights = snapshots[0].batches(BATCH, 5, snapshots[0].generator(0), replacement=False)
    assert weights.shape == (5, SAMPLES)
    assert weights.dtype == torch.float64
    assert sorted(set(weights.flatten().tolist())) == [0, 1 / BATCH]


@pytest.mark.parametrize(
    ("samples", "batch_size"),
    [(64, 7), (64, 1), (64, 12), (64, 128)],
    ids=["odd", "one", "no divisor", "more than samples"],
)
def test_batch_sizes_that_do_not_fit_are_refused(samples, batch_size):
    message = f"^batch_size is {batch_size}; accepted: an even divisor of samples, which is {samples}, below it$"
    with pytest.raises(ValueError, match=message):
        digits.snapshots(1, samples, 1, learning_rate=0.05, batch_size=batch_size, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(device):
    message = f"^device is '{device}', but PyTorch finds no CUDA device; accepted here: 'cpu'$"
    with pytest.raises(ValueError, match=message):
        digits.snapshots(1, SAMPLES, 1, learning_rate=0.05, batch_size=BATCH, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_sees_the_same_networks_and_batches(snapshots):
    (found,) = digits.snapshots(1, SAMPLES, 5, learning_rate=0.05, batch_size=BATCH, device="cuda")
    torch.testing.assert_close(found.gradients.cpu(), snapshots[0].gradients, rtol=1e-6, atol=1e-10)
    weights = [s.batches(BATCH, 3, s.generator(1)).cpu() for s in (found, snapshots[0])]
    assert torch.equal(*weights)


def test_training_that_blows_up_in_the_last_step_is_refused_too():
    with pytest.raises(FloatingPointError, match="is not finite"):
        digits.snapshots(1, SAMPLES, 1, **{**SMALL, "learning_rate": 1e200})


@pytest.mark.parametrize("count", [1, 3])
def test_examples_are_the_first_training_images(snapshots, count):
    exhibit = digits.examples(SAMPLES, count)
    table = exhibit.table
    check(table, ["left", "right", "brightness", "sum"], count)
    data = snapshots[0].data
    assert table["left"].tolist() == data.targets["left"][:count].tolist()
    assert table["right"].tolist() == data.targets["right"][:count].tolist()
    assert (table["sum"] == table["left"] + table["right"]).all()
    np.testing.assert_allclose(table["brightness"], data.images[:count].mean((1, 2, 3)), rtol=1e-6)
    for axes, row in zip(exhibit.figure.axes, table.itertuples(), strict=True):
        assert axes.get_title() == f"{row.left}, {row.right}; {row.sum}"
        np.testing.assert_array_equal(axes.images[0].get_array(), data.images[row.Index, 0])


def test_overview(snapshots):
    table = digits.overview(snapshots, BATCH).table
    check(table, ["task", "loss", "signal", "noise"], 3)
    assert table["task"].tolist() == TASKS
    np.testing.assert_allclose(table["loss"], (snapshots[0].losses + snapshots[1].losses) / 2)
    full = torch.stack([snapshot.gradients.mean(1) for snapshot in snapshots])
    np.testing.assert_allclose(table["signal"], full.square().sum(2).mean(0))
    np.testing.assert_allclose(
        digits.overview(snapshots, 2 * BATCH).table[["signal", "noise"]], table[["signal", "noise"]] / [1, 2]
    )


def test_powers(snapshots):
    signal, power = digits.powers(snapshots[0], BATCH)
    rows = snapshots[0].gradients[1]
    torch.testing.assert_close(signal[1], rows.mean(0).square().sum())
    torch.testing.assert_close(power[1], (rows - rows.mean(0)).square().sum() / SAMPLES / BATCH)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 7}, "batch_size is 7; accepted: an even divisor"),
        ({"batch_sizes": [4]}, "batch_sizes is .4.; accepted: two or more"),
        ({"batch_sizes": [4, 4]}, "accepted: two or more, all different, below 64"),
        ({"batch_sizes": [4, 64]}, "accepted: two or more, all different, below 64"),
        ({"gammas": [0.9]}, "gammas is .0.9.; accepted: two or more"),
        ({"gammas": [0.9, 0.9]}, "accepted: two or more, all different"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(changed, message):
    fitting = {"samples": 64, "batch_size": 8, "batch_sizes": [1, 4], "gammas": [0.0, 0.5]}
    digits.check_parameters(**fitting)
    with pytest.raises(ValueError, match=message):
        digits.check_parameters(**{**fitting, **changed})


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        (list(range(10)), 4, [0, 3, 6, 9]),
        ([5, 6], 4, [5, 6]),
        ([5, 6, 7, 8], 4, [5, 6, 7, 8]),
        ([5, 6, 7], 2, [5, 7]),
        ([5], 4, [5]),
    ],
)
def test_spread(values, count, expected):
    assert digits.spread(values, count) == expected


def test_conditions_are_the_end_of_a_caption_in_brackets():
    assert digits.conditions(1) == "(1 seed.)"
    assert digits.conditions(5, "means", digits.BARS) == "(5 seeds, means, bars: 95% intervals over seeds.)"
