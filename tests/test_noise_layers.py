"""Per-sample gradients of every kind of layer that couples the samples of a batch or draws random numbers."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import batch_norm, dropout

from mtlrepro import noise

N = 5
BATCH = [
    (nn.BatchNorm1d, (4, 3)),
    (nn.BatchNorm2d, (4, 3, 3)),
    (nn.BatchNorm3d, (4, 3, 3, 3)),
    (nn.SyncBatchNorm, (4, 3, 3)),
]
SINGLE = [
    (lambda: nn.InstanceNorm1d(4, affine=True), (4, 3)),
    (lambda: nn.InstanceNorm2d(4, affine=True), (4, 3, 3)),
    (lambda: nn.InstanceNorm3d(4, affine=True), (4, 3, 3, 3)),
    (lambda: nn.GroupNorm(2, 4), (4, 3, 3)),
    (lambda: nn.LayerNorm(3), (4, 3)),
    (lambda: nn.RMSNorm(3), (4, 3)),
    (lambda: nn.LocalResponseNorm(3), (4, 3, 3)),
]
RANDOM = [
    (nn.Dropout, (4, 3)),
    (nn.Dropout1d, (4, 3)),
    (nn.Dropout2d, (4, 3, 3)),
    (nn.Dropout3d, (4, 3, 3, 3)),
    (nn.AlphaDropout, (4, 3)),
    (nn.FeatureAlphaDropout, (4, 3)),
    (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True), (3, 4)),
]


def name(value):
    return getattr(value, "__name__", None) if isinstance(value, type) else None


def problem(layer, shape):
    """A layer in float64 behind an elementwise product with a parameter: its losses and gradients one by one."""
    torch.manual_seed(0)
    layer = layer.double()
    for tensor in layer.buffers():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    scale = torch.rand(shape, dtype=torch.float64) + 0.5
    samples = torch.randn(N, *shape, dtype=torch.float64)
    parameters = {"scale": scale, **{f"layer.{key}": value.detach() for key, value in layer.named_parameters()}}

    def losses(parameters, sample):
        own = {key.removeprefix("layer."): value for key, value in parameters.items() if key != "scale"}
        out = functional_call(layer, own, ((parameters["scale"] * sample)[None],))
        return torch.stack([out.square().sum(), out.sin().sum()])

    def one(index, task):
        leaves = {key: value.clone().requires_grad_() for key, value in parameters.items()}
        gradients = torch.autograd.grad(losses(leaves, samples[index])[task], list(leaves.values()))
        return torch.cat([gradient.flatten() for gradient in gradients])

    return losses, parameters, samples, one


def one_by_one(one, before=lambda: None):
    rows = []
    for task in range(2):
        for index in range(N):
            before()
            rows.append(one(index, task))
    return torch.stack(rows).unflatten(0, (2, N))


@pytest.mark.parametrize(("tracked", "training"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize(("kind", "shape"), BATCH, ids=name)
def test_batch_normalisation_by_the_statistics_of_the_batch_is_refused_by_name(kind, shape, tracked, training):
    layer = kind(4, track_running_stats=tracked).train(training)
    losses, parameters, samples, _ = problem(layer, shape)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match=rf"losses uses the layer {kind.__name__}\(4, .*accepted: .*eval mode"):
        noise.per_sample_gradients(losses, parameters, samples)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize(("kind", "shape"), BATCH, ids=name)
def test_batch_normalisation_by_running_statistics_equals_the_loop(kind, shape):
    losses, parameters, samples, one = problem(kind(4).eval(), shape)
    torch.testing.assert_close(noise.per_sample_gradients(losses, parameters, samples), one_by_one(one))


@pytest.mark.parametrize("function", [batch_norm, torch.batch_norm])
def test_batch_normalisation_without_a_layer_is_refused_by_name(function):
    def losses(parameters, sample):
        x = (parameters["scale"] * sample)[None]
        more = (0.1, 1e-5, False) if function is torch.batch_norm else ()
        return function(x, None, None, None, None, True, *more).square().sum()[None]

    parameters, samples = {"scale": torch.ones(4, 3)}, torch.randn(N, 4, 3)
    with pytest.raises(ValueError, match="losses uses batch_norm with training=True, whose statistics are those of"):
        noise.per_sample_gradients(losses, parameters, samples)


def test_a_refusal_leaves_batch_normalisation_usable():
    layer = nn.BatchNorm1d(4)
    losses, parameters, samples, _ = problem(layer, (4, 3))
    with pytest.raises(ValueError, match="BatchNorm1d"):
        noise.per_sample_gradients(losses, parameters, samples)
    layer(samples)
    batch_norm(samples, None, None, training=True)
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "shape"), SINGLE)
def test_normalisation_of_single_samples_equals_the_loop(make, shape, training):
    losses, parameters, samples, one = problem(make().train(training), shape)
    torch.testing.assert_close(noise.per_sample_gradients(losses, parameters, samples), one_by_one(one))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of attention, said by torch
@pytest.mark.parametrize(("make", "shape"), RANDOM, ids=name)
def test_random_layers_in_eval_mode_equal_the_loop(make, shape):
    losses, parameters, samples, one = problem(make().eval(), shape)
    torch.testing.assert_close(noise.per_sample_gradients(losses, parameters, samples), one_by_one(one))


@pytest.mark.parametrize(("make", "shape"), RANDOM, ids=name)
def test_random_layers_in_training_mode_are_refused_by_name(make, shape):
    losses, parameters, samples, _ = problem(make().train(), shape)
    with pytest.raises(ValueError, match="randomness is 'error', and losses draws random numbers, as dropout"):
        noise.per_sample_gradients(losses, parameters, samples)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize(("make", "shape"), RANDOM, ids=name)
def test_the_same_random_numbers_equal_the_loop_from_one_seed(make, shape, chunk_size):
    losses, parameters, samples, one = problem(make().train(), shape)
    expected = one_by_one(one, before=lambda: torch.manual_seed(1))
    torch.manual_seed(1)
    found = noise.per_sample_gradients(losses, parameters, samples, chunk_size, randomness="same")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_different_random_numbers_for_each_sample_and_one_draw_for_its_tasks(chunk_size):
    """Gradient by w of the sum of dropout(w) is 2 where kept and 0 elsewhere; the second task's is minus that."""

    def losses(parameters, sample):
        kept = dropout(parameters["w"] * sample, 0.5).sum()
        return torch.stack([kept, -kept])

    torch.manual_seed(0)
    gradients = noise.per_sample_gradients(
        losses, {"w": torch.ones(64)}, torch.ones(4, 64), chunk_size, randomness="different"
    )
    assert gradients.unique().tolist() == [-2, 0, 2]
    assert torch.equal(gradients[0], -gradients[1])
    assert len(gradients[0].unique(dim=0)) == 4
    assert noise.covariance_trace(gradients)[0] > 0


def test_an_unknown_randomness_is_refused():
    with pytest.raises(ValueError, match="randomness is 'none'; accepted: 'error', 'different', 'same'"):
        noise.per_sample_gradients(lambda p, s: p["w"] * s, {"w": torch.ones(1)}, torch.ones(2, 1), randomness="none")
