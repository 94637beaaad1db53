"""Images of two digits and the network that reads them, against the scans and sums written out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mtlrepro.data.digits import TwoDigits, two_digits
from mtlrepro.models.digits import DigitNet
from mtlrepro.tasks import TWO_DIGITS, Task, cross_entropy, squared_error

SCANS, CLASSES = load_digits(return_X_y=True)
SCANS = (SCANS.reshape(-1, 8, 8) / 16).astype(np.float32)
LEFT_COVERED = [8 * row + column for row in range(4, 8) for column in range(4, 8)]
RIGHT_COVERED = [8 * row + column for row in range(4) for column in range(4)]
LEFT_SCANS = np.delete(SCANS.reshape(-1, 64), LEFT_COVERED, 1)
RIGHT_SCANS = np.delete(SCANS.reshape(-1, 64), RIGHT_COVERED, 1)


def parts(images):
    """The pixels that only one digit reaches: `[N, 48]` of the left one and of the right one."""
    left, right = images[:, 0, :8, :8].numpy(), images[:, 0, 4:, 4:].numpy()
    return np.delete(left.reshape(-1, 64), LEFT_COVERED, 1), np.delete(right.reshape(-1, 64), RIGHT_COVERED, 1)


def matches(pixels, scans):
    """Per row of pixels, the set of scans that show exactly these."""
    found = {}
    for number, scan in enumerate(scans):
        found.setdefault(scan.tobytes(), set()).add(number)
    return [found[row.tobytes()] for row in pixels]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("n", [1, 37])
def test_shapes_types_and_ranges(n, split):
    data = two_digits(n, split)
    assert len(data) == n
    assert data.images.shape == (n, 1, 12, 12)
    assert data.images.dtype == torch.float32
    assert data.images.min() >= 0
    assert data.images.max() <= 1
    assert list(data.targets) == ["left", "right", "sum"] == [task.name for task in TWO_DIGITS]
    for name, dtype in (("left", torch.int64), ("right", torch.int64), ("sum", torch.float32)):
        assert data.targets[name].shape == (n,)
        assert data.targets[name].dtype == dtype
    for name in ("left", "right"):
        assert data.targets[name].min() >= 0
        assert data.targets[name].max() <= 9


def test_all_digits_and_full_ink_occur():
    data = two_digits(500)
    assert data.targets["left"].unique().tolist() == data.targets["right"].unique().tolist() == list(range(10))
    assert data.images.max() == 1


def test_corners_that_no_digit_reaches_are_empty():
    data = two_digits(50)
    assert not data.images[:, 0, :4, 8:].any()
    assert not data.images[:, 0, 8:, :4].any()


def test_equal_arguments_give_equal_data_and_any_other_seed_or_split_other_data():
    def same(a, b):
        return torch.equal(a.images, b.images) and all(torch.equal(a.targets[k], b.targets[k]) for k in a.targets)

    reference = two_digits(40, "train", 3)
    assert same(reference, two_digits(40, "train", 3))
    assert not same(reference, two_digits(40, "train", 4))
    assert not same(reference, two_digits(40, "test", 3))


def test_data_do_not_depend_on_what_was_drawn_before():
    reference = two_digits(5)
    np.random.seed(7)  # noqa: NPY002 - the global state must not matter
    torch.manual_seed(7)
    assert torch.equal(reference.images, two_digits(5).images)


def test_writing_into_data_does_not_change_the_scans():
    two_digits(5).images.fill_(7)
    assert two_digits(5).images.max() <= 1


@pytest.mark.parametrize(("split", "own"), [("train", range(1297)), ("test", range(1297, 1797))])
def test_every_image_is_made_of_two_scans_of_its_split_with_its_classes(split, own):
    data = two_digits(1500, split)
    for side, pixels, scans in zip(("left", "right"), parts(data.images), (LEFT_SCANS, RIGHT_SCANS), strict=True):
        for found, target in zip(matches(pixels, scans), data.targets[side].tolist(), strict=True):
            assert any(number in own and CLASSES[number] == target for number in found)


def test_the_splits_share_no_scan():
    """A scan is known by the 48 pixels that the other digit does not reach; no two scans agree in them."""
    used = {}
    for split in ("train", "test"):
        pairs = zip(parts(two_digits(3000, split).images), (LEFT_SCANS, RIGHT_SCANS), strict=True)
        used[split] = [number for pixels, scans in pairs for found in matches(pixels, scans) for number in found]
    assert len(LEFT_SCANS) == len({scan.tobytes() for scan in LEFT_SCANS})
    assert len(RIGHT_SCANS) == len({scan.tobytes() for scan in RIGHT_SCANS})
    assert not set(used["train"]) & set(used["test"])
    assert len(set(used["test"])) == 500
    assert len(set(used["train"])) > 1250


def test_pairs_are_drawn_with_replacement_and_independently():
    data = two_digits(1500, "test")
    left, right = (
        [min(found) for found in matches(pixels, scans)]
        for pixels, scans in zip(parts(data.images), (LEFT_SCANS, RIGHT_SCANS), strict=True)
    )
    assert len(set(left)) < 500 < len(left)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.1


def test_one_image_is_the_pixelwise_maximum():
    image = two_digits(4).images[2:3]
    (left,), (right,) = (
        matches(pixels, scans)[0] for pixels, scans in zip(parts(image), (LEFT_SCANS, RIGHT_SCANS), strict=True)
    )
    compared = set()
    for row in range(12):
        for column in range(12):
            first = SCANS[left, row, column] if row < 8 and column < 8 else 0.0
            second = SCANS[right, row - 4, column - 4] if row >= 4 and column >= 4 else 0.0
            assert image[0, 0, row, column].item() == max(first, second)
            if 4 <= row < 8 and 4 <= column < 8:
                compared.add(np.sign(first - second))
    assert compared == {-1, 1}  # each digit is the brighter one somewhere in the overlap


def test_the_sum_is_standardised():
    data = two_digits(300)
    total = data.targets["left"] + data.targets["right"]
    torch.testing.assert_close(data.targets["sum"], ((total.double() - 9) / math.sqrt(16.5)).float())
    # (0..9) + (0..9), all pairs equally likely: mean 9, variance 2 * 99/12.
    pairs = [a + b for a in range(10) for b in range(10)]
    assert np.mean(pairs) == 9
    assert np.var(pairs) == 16.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "split is 'valid'; accepted: train, test"),
        ({"n": 0}, "n is 0; accepted: 1 or more images"),
        ({"n": -3}, "n is -3; accepted: 1 or more images"),
        ({"seed": -1}, "seed is -1; accepted: 0 or more"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        two_digits(**arguments)


def test_to_converts_real_values_and_keeps_classes():
    data = two_digits(6)
    copy = data.to("cpu", torch.float64)
    assert isinstance(copy, TwoDigits)
    assert copy.images.dtype == copy.targets["sum"].dtype == torch.float64
    assert copy.targets["left"].dtype == copy.targets["right"].dtype == torch.int64
    assert torch.equal(copy.images.float(), data.images)
    for name in data.targets:
        assert torch.equal(copy.targets[name].to(data.targets[name].dtype), data.targets[name])
    assert data.to("meta", torch.float32).targets["left"].device.type == "meta"


@pytest.mark.parametrize("index", [slice(2, 5), torch.tensor([4, 0, 4]), torch.arange(6) > 3])
def test_indexing_takes_images_and_targets_together(index):
    data = two_digits(6)
    part = data[index]
    assert isinstance(part, TwoDigits)
    assert len(part) == len(part.targets["sum"])
    assert torch.equal(part.images, data.images[index])
    for name in data.targets:
        assert torch.equal(part.targets[name], data.targets[name][index])


# --- network


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DigitNet().double()


@pytest.fixture(scope="module")
def data():
    return two_digits(5).to("cpu", torch.float64)


def test_one_output_per_task(model, data):
    outputs = model(data.images)
    assert {name: output.shape for name, output in outputs.items()} == {
        "left": (5, 10),
        "right": (5, 10),
        "sum": (5, 1),
    }


def test_tasks_and_widths_can_be_chosen():
    model = DigitNet([Task("only", 3, cross_entropy)], (2, 3, 4))
    assert model(torch.zeros(7, 1, 12, 12))["only"].shape == (7, 3)
    # 9 * 2 + 2, 9 * 2 * 3 + 3, 9 * 3 * 4 + 4; then 4 * 3 + 3.
    assert sum(parameter.numel() for parameter in model.shared_parameters()) == 20 + 57 + 112
    assert sum(parameter.numel() for parameter in model.task_parameters("only")) == 15


def test_every_parameter_is_shared_or_of_one_task(model):
    groups = [list(model.shared_parameters()), *(list(model.task_parameters(task.name)) for task in TWO_DIGITS)]
    ids = [id(parameter) for group in groups for parameter in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in model.parameters()}
    # (9 + 1) * 8, (9 * 8 + 1) * 12, (9 * 12 + 1) * 16; heads of 16 units.
    assert [sum(parameter.numel() for parameter in group) for group in groups] == [80 + 876 + 1744, 170, 170, 17]


def test_as_many_shared_parameters_as_the_docstring_says(model):
    count = sum(parameter.numel() for parameter in model.shared_parameters())
    assert count == 2700
    assert f"{count:,} shared parameters" in DigitNet.__doc__


@pytest.mark.parametrize("task", TWO_DIGITS, ids=lambda task: task.name)
def test_a_head_moves_its_own_output_alone(model, data, task):
    outputs = model(data.images)
    gradients = torch.autograd.grad(outputs[task.name].sum(), list(model.parameters()), allow_unused=True)
    reached = {id(p) for p, gradient in zip(model.parameters(), gradients, strict=True) if gradient is not None}
    assert reached == {id(p) for group in (model.shared_parameters(), model.task_parameters(task.name)) for p in group}


@pytest.mark.parametrize("train", [True, False])
def test_a_sample_has_the_same_loss_and_gradient_alone_and_in_a_batch(model, data, train):
    model.train(train)

    def gradients(part, row):
        outputs = model(part.images)
        loss = sum(task.loss(outputs[task.name], part.targets).values[row] for task in TWO_DIGITS)
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    for row in range(5):
        together, alone = gradients(data, row), gradients(data[row : row + 1], 0)
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-15)


def test_the_network_draws_nothing(model, data):
    model.train()
    first, second = model(data.images), model(data.images)
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- losses


def test_tasks_of_two_digits(model, data):
    assert [(task.name, task.channels) for task in TWO_DIGITS] == [("left", 10), ("right", 10), ("sum", 1)]
    outputs = model(data.images)
    for task, loss in zip(TWO_DIGITS, (cross_entropy, cross_entropy, squared_error), strict=True):
        terms = task.loss(outputs[task.name], data.targets)
        torch.testing.assert_close(terms.samples(), loss(outputs[task.name], data.targets[task.name]))
        torch.testing.assert_close(terms.mean(), terms.values.mean())


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]], dtype=torch.float64)
    found = cross_entropy(logits, torch.tensor([1, 1]))
    torch.testing.assert_close(found, torch.tensor([math.log(4 / 3), math.log(5)], dtype=torch.float64))
    even = cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9]))
    torch.testing.assert_close(even, torch.full((3,), math.log(10.0)))


def test_squared_error_by_hand():
    found = squared_error(torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([1.0, 0.5, 2.0]))
    assert found.tolist() == [0.0, 2.25, 9.0]  # one value per sample: no broadcast to [3, 3]
