import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from mtlrepro import losses
from mtlrepro.losses import Terms

RANGE = (0.5, 8.0)
SHAPE = (3, 5, 7)


def pixels(*rows):
    """Images of one row: `[len(rows), 1, 1, W]` float64."""
    return torch.tensor(rows, dtype=torch.float64)[:, None, None]


def vectors(*images):
    """Images of one row of vectors: `[B, C, 1, W]` from B lists of W vectors."""
    return torch.tensor(images, dtype=torch.float64).transpose(1, 2)[:, :, None]


def close(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-14)


def case(name, seed=0):
    """A loss of one argument with random arguments, and a random estimate for it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels):
        return torch.randn(SHAPE[0], channels, *SHAPE[1:], generator=generator, dtype=torch.float64)

    mask = torch.rand(SHAPE[0], 1, *SHAPE[1:], generator=generator) < 0.7
    classes = torch.randint(4, (SHAPE[0], *SHAPE[1:]), generator=generator).masked_fill(~mask[:, 0], -1)
    normal = torch.nn.functional.normalize(draw(3), dim=1) * mask
    depth = (0.6 + draw(1).abs()) * mask
    target = draw(2)
    return {
        "depth": (lambda x, m: losses.depth_loss(x, depth, m, RANGE), 3 * draw(1)),
        "normal": (lambda x, m: losses.normal_loss(x, normal, m), draw(3)),
        "segmentation": (
            lambda x, m: losses.segmentation_loss(x, torch.where(m[:, 0], classes, -1), m),
            10 * draw(4),
        ),
        "map": (lambda x, m: losses.map_loss(x, target, m), draw(2)),
        "cross_entropy": (lambda x, m: losses.cross_entropy(x, torch.where(m[:, 0], classes, -1), m), draw(4)),
        "absolute_error": (lambda x, m: losses.absolute_error(x, depth, m), draw(1)),
        "cosine": (lambda x, m: losses.cosine_loss(x, normal, m), draw(3)),
    }[name] + (mask,)


ALL = ("depth", "normal", "segmentation", "map", "cross_entropy", "absolute_error", "cosine")
PER_IMAGE = ("depth", "normal", "segmentation", "map")


# --- by hand


def test_depth_loss_by_hand_with_both_regularisers():
    """Eqs. 2-4 on one image of four pixels, of which the last is unknown."""
    estimate = pixels([2.0, 0.25, 10.0, 5.0])
    depth = pixels([1.0, 1.0, 5.0, 0.0])
    found = losses.depth_loss(estimate, depth, depth > 0, RANGE)
    logs = (math.log(2) + math.log(4) + math.log(2)) / 3
    close(found.mean(), logs + 0.25 / 3 + 2.0 / 3)


def test_depth_below_a_tenth_of_d_min_is_pushed_up_by_the_regulariser_alone():
    estimate = pixels([-3.0, 0.0, 0.01, 0.2]).requires_grad_()
    depth = pixels([1.0] * 4)
    losses.depth_loss(estimate, depth, depth > 0, RANGE).mean().backward()
    close(estimate.grad.flatten() * 4, [-1.0, -1.0, -1.0, -1 / 0.2 - 1])


def test_r_max_looks_at_the_estimate_and_not_at_the_depth():
    """Eq. 4 prints D, for which it is a constant."""
    depth = pixels([9.0])
    estimate = pixels([8.5]).requires_grad_()
    losses.depth_loss(estimate, depth, depth > 0, RANGE).mean().backward()
    close(estimate.grad.flatten(), [-1 / 8.5 + 1])
    close(losses.depth_loss(pixels([8.0]), depth, depth > 0, RANGE).mean(), math.log(9 / 8))


def test_normal_loss_by_hand_does_not_normalise_the_estimate():
    """Eqs. 5-6: products 2, 0 and 0.6; lengths 2, 1 and 0.6."""
    normal = vectors([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    estimate = vectors([[2.0, 0, 0], [1, 0, 0], [0, 0, 0.6]])
    mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    close(losses.normal_loss(estimate, normal, mask).mean(), 1 - 2.6 / 3 + (1 + 0 + 0.4) / 3)


def test_segmentation_loss_by_hand():
    """Eqs. 7-8: features (12, 0) and (-11, -11), classes 1 and 0."""
    features = vectors([[12.0, 0.0], [-11.0, -11.0]])
    classes = torch.tensor([[[1, 0]]])
    found = losses.segmentation_loss(features, classes, classes[:, None] >= 0)
    close(found.mean(), (math.log(1 + math.exp(12)) + math.log(2)) / 2 + (2 + 2) / 2)


def test_map_loss_by_hand():
    """Eqs. 9-10 on two channels of two pixels: distances 1, 0, 2, 0; deviations of all four values."""
    estimate = vectors([[1.0, 2.0], [0.0, 3.0]])
    target = vectors([[0.0, 0.0], [0.0, 3.0]])
    found = losses.map_loss(estimate, target, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    deviation = math.sqrt(14 / 4 - (6 / 4) ** 2)
    close(found.mean(), 3 / 2 + abs(deviation - math.sqrt(9 / 4 - (3 / 4) ** 2)))


def test_benchmark_losses_by_hand_pool_the_pixels_of_the_batch():
    """Two images with one and three known pixels: the mean over four pixels, not over two images."""
    target = pixels([1.0, 0.0, 0.0], [2.0, 3.0, 4.0])
    estimate = pixels([5.0, 9.0, 9.0], [2.0, 3.0, 4.0])
    close(losses.absolute_error(estimate, target, target > 0).mean(), 4 / 4)
    logits = vectors([[0.0, 0.0], [0.0, 0.0]], [[0.0, math.log(3)], [0.0, 0.0]])
    classes = torch.tensor([[[0, -1]], [[1, 0]]])
    found = losses.cross_entropy(logits, classes, classes[:, None] >= 0)
    close(found.mean(), (math.log(2) + math.log(4 / 3) + math.log(2)) / 3)
    normal = vectors([[1.0, 0, 0], [0, 0, 0]], [[0, 1.0, 0], [0, 0, 1.0]])
    guess = vectors([[3.0, 4.0, 0], [1, 1, 1]], [[0, 7.0, 0], [1.0, 0, 0]])
    mask = (normal != 0).any(1, keepdim=True)
    close(losses.cosine_loss(guess, normal, mask).mean(), 1 - (0.6 + 1 + 0) / 3)


def test_cosine_loss_has_no_gradient_at_zero_and_that_of_the_cosine_elsewhere():
    """At (3, 4, 0) against (1, 0, 0) the cosine is 0.6 and its gradient (1 - 0.36, -0.48, 0) / 5."""
    normal = vectors([[1.0, 0, 0], [1.0, 0, 0]])
    mask = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    for dtype in (torch.float32, torch.float64):
        estimate = vectors([[0.0, 0, 0], [3.0, 4.0, 0]]).to(dtype).requires_grad_()
        loss = losses.cosine_loss(estimate, normal.to(dtype), mask).mean()
        loss.backward()
        expected = vectors([[0.0, 0, 0], [-0.128, 0.096, 0]])
        torch.testing.assert_close(estimate.grad.double() * 2, expected, rtol=1e-6, atol=1e-9)
        assert float(loss.detach()) == pytest.approx((1 + 0.4) / 2)


def test_losses_of_lsb_average_images_and_leave_out_empty_ones():
    target = pixels([1.0, 0.0, 0.0], [2.0, 3.0, 4.0], [0.0, 0.0, 0.0])
    estimate = pixels([2.0, 2.0, 2.0], [4.0, 6.0, 8.0], [7.0, 7.0, 7.0])
    terms = losses.depth_loss(estimate, target, target > 0, (0.5, 10.0))
    close(terms.values, [math.log(2), math.log(2), 0])
    assert terms.weights.tolist() == [1, 1, 0]
    close(terms.mean(), math.log(2))


def test_both_averages_agree_where_everything_is_known():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(SHAPE[0], 1, *SHAPE[1:], generator=generator, dtype=torch.float64)
    mask = torch.ones_like(values, dtype=torch.bool)
    close(losses.per_image(values, mask).mean(), values.mean())
    close(losses.pooled(values, mask).mean(), values.mean())


# --- for every loss


@pytest.mark.parametrize("name", ALL)
def test_gradients_agree_with_finite_differences(name):
    loss, estimate, mask = case(name)
    estimate = estimate.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, mask).mean(), estimate, eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_unknown_pixels_matter_neither_to_the_loss_nor_to_the_gradient(name):
    loss, estimate, mask = case(name)
    mask[0] = False
    changed = torch.where(mask, estimate, 1e3).requires_grad_()
    close(loss(changed, mask).mean(), loss(estimate, mask).mean())
    loss(changed, mask).mean().backward()
    assert (changed.grad * ~mask == 0).all()
    assert (changed.grad != 0).any()


@pytest.mark.parametrize("name", ALL)
def test_a_batch_in_which_nothing_is_known_has_a_loss_of_zero_and_a_gradient_of_zero(name):
    loss, estimate, mask = case(name)
    estimate.requires_grad_()
    terms = loss(estimate, mask & False)
    assert terms.mean() == 0
    assert (terms.samples() == 0).all()
    terms.mean().backward()
    assert torch.equal(estimate.grad, torch.zeros_like(estimate))


@pytest.mark.parametrize("value", [0.0, -1e4, 1e-30, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_everywhere(name, dtype, value):
    """Zero vectors, constant maps, negative depths, huge features."""
    loss, estimate, mask = case(name)
    constant = torch.full_like(estimate, value).to(dtype).requires_grad_()
    result = loss(constant, mask).mean()
    result.backward()
    assert constant.grad.isfinite().all()
    assert result.isfinite() or value == 1e30  # the square of the deviation leaves single precision


@pytest.mark.parametrize("name", ALL)
def test_samples_have_the_mean_of_the_batch_and_depend_on_one_image_each(name):
    loss, estimate, mask = case(name)
    estimate.requires_grad_()
    terms = loss(estimate, mask)
    close(terms.samples().mean(), terms.mean())
    (first,) = torch.autograd.grad(terms.samples()[0], estimate)
    assert (first[0] != 0).any()
    assert (first[1:] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_parts_of_a_batch_on_several_processes_make_the_whole(name):
    """Two parts of 1 and 2 images with unequal numbers of known pixels."""
    loss, estimate, mask = case(name)
    mask[0, :, :3] = False
    whole = loss(estimate, mask)
    parts = [Terms(whole.values[rows], whole.weights[rows]) for rows in (slice(0, 1), slice(1, 3))]
    total = torch.stack([part.weights.sum() for part in parts]).sum() / 2
    close(sum(part.mean(total) for part in parts) / 2, whole.mean())
    empty = Terms(torch.zeros(1), torch.zeros(1))
    assert empty.mean(torch.tensor(0.0)) == 0


@pytest.mark.parametrize("name", PER_IMAGE)
def test_the_losses_of_lsb_do_not_depend_on_the_other_images(name):
    loss, estimate, mask = case(name)
    values = loss(estimate, mask).values
    for i in range(SHAPE[0]):
        alone = mask.clone()
        alone[torch.arange(SHAPE[0]) != i] = False
        close(loss(estimate, alone).values[i], values[i])


def test_losses_work_per_sample_under_vmap():
    """Per-sample gradients, as the analysis of gradient noise takes them."""
    _, estimate, mask = case("absolute_error")

    def one(x: Tensor, m: Tensor) -> Tensor:
        target = torch.ones_like(x)[None]
        return losses.absolute_error(x[None], target, m[None]).mean()

    found = vmap(grad(one))(estimate, mask)
    for i in range(SHAPE[0]):
        x = estimate[i].clone().requires_grad_()
        one(x, mask[i]).backward()
        close(found[i], x.grad)


def test_deviation_is_the_population_deviation_of_known_values():
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 1, 4, 5, generator=generator) < 0.6
    zero = torch.zeros_like(values)
    found = losses.map_loss(values, zero, mask).values
    for i in range(2):
        known = values[i][:, mask[i, 0]]
        close(found[i], known.abs().sum() / mask[i].sum() + known.std(correction=0))


# --- masks


def test_known_says_what_stands_for_unknown():
    batch = {
        "segmentation": torch.tensor([[[0, -1]]]),
        "depth": pixels([0.0, 2.0]),
        "disparity": pixels([1.0, 0.0]),
        "normal": vectors([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.8, 0.0, -0.8]]),
        "edges2d": pixels([0.0, 0.5]),
        "edges3d": pixels([0.0, 0.5]),
        "valid": torch.tensor([[[[False, True]]]]),
    }
    found = {key: losses.known(batch, key).flatten().tolist() for key in batch if key != "valid"}
    assert found == {
        "segmentation": [True, False],
        "depth": [False, True],
        "disparity": [True, False],
        "normal": [False, True, True],  # the sum of the last one's components is 0
        "edges2d": [True, True],
        "edges3d": [False, True],
    }
    with pytest.raises(ValueError, match="accepted for edges3d: with 'valid'"):
        losses.known({"edges3d": batch["edges3d"]}, "edges3d")
