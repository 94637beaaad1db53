"""What every network promises: shapes, whose parameters a loss reaches, and the ways to run it."""

import copy
import pickle

import pytest
import torch
from model_cases import BOXES, DENSE, NAMES, images, losses, make_task, small, tasks_of, tensors
from torch import nn

from mtlrepro.balancers import create as balancer
from mtlrepro.models import Detections, MultiTaskModel, create, describe_model


@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_have_the_size_of_the_images_whatever_it_is(name, size):
    model = small(name)
    predictions = model(images(model, size))
    assert list(predictions) == [task.name for task in tasks_of(name)]
    for task in model.tasks:
        prediction = predictions[task.name]
        if task.name == "detection":
            assert prediction.size == size
            assert prediction.logits.shape == (2, sum(prediction.levels), 10)
        else:
            assert prediction.shape == (2, task.channels, *size)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_belong_to_all_tasks_or_to_one(name):
    model = small(name)
    groups = [list(model.shared_parameters()), *(list(model.task_parameters(task.name)) for task in model.tasks)]
    flat = [id(p) for group in groups for p in group]
    assert len(flat) == len(set(flat))
    assert set(flat) == {id(p) for p in model.parameters()}
    assert all(groups)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_reaches_exactly_the_shared_parameters_and_its_own(name):
    model = small(name)
    names = {id(p): key for key, p in model.named_parameters()}
    for k, task in enumerate(model.tasks):
        model.zero_grad()
        losses(model, model(images(model)))[k].backward()
        reached = {names[id(p)] for p in model.parameters() if p.grad is not None}
        declared = {names[id(p)] for p in [*model.shared_parameters(), *model.task_parameters(task.name)]}
        assert reached == declared


@pytest.mark.parametrize("name", NAMES)
def test_one_task_is_the_same_class(name):
    for task in tasks_of(name):
        model = small(name, [task])
        assert type(model) is type(small(name))
        assert list(model(images(model))) == [task.name]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lsb", {}),
        ("uncertainty", {}),
        ("cagrad", {}),
        ("mclgs", {"a0": 40.0, "delta_a": 0.0}),
        ("maxgnr", {}),
        ("gradnorm", {}),
        ("mtsgd", {}),
        ("graddrop", {}),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_every_family_of_balancers_takes_a_step(name, method, options):
    model = small(name)
    rule = balancer(method, len(model.tasks), **options)
    optimizer = torch.optim.SGD([*model.parameters(), *rule.parameters()], lr=1e-3)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    rule.backward(losses(model, model(images(model, (64, 64)))), list(model.shared_parameters()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    moved = {key.split(".")[0] for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    assert moved == {"shared", "heads"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "segnet_mtan"])
def test_the_features_separate_the_losses_from_the_shared_parameters(name):
    """The mean at the representation, passed through the trunk once, is the gradient of the mean loss."""
    model = small(name).double().eval()
    x = images(model, (64, 64)).double()
    rule = balancer("pcgrad", len(model.tasks), at="representation")
    twice = [losses(model, model(x))[0]] * len(model.tasks)  # equal gradients: nothing to project
    rule.backward(twice, list(model.shared_parameters()), features=model.features)
    found = [p.grad.clone() for p in model.shared_parameters()]
    model.zero_grad()
    losses(model, model(x))[0].backward()
    for a, p in zip(found, model.shared_parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-6, atol=1e-9)


def test_networks_that_share_past_every_representation_have_none():
    model = small("segnet_mtan")
    model(images(model))
    assert model.features is None


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing(name):
    model = small(name).eval()
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        found = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    for key in expected:
        for a, b in zip(tensors(expected[key]), tensors(found[key]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_gives_predictions_in_single_precision_and_a_step(name):
    """Compared in evaluation: statistics of a batch of two over six places would magnify the rounding."""
    model = small(name).eval()
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(x)
    for key, value in found.items():
        for a, b in zip(tensors(value), tensors(expected[key]), strict=True):
            assert a.dtype == torch.float32
            # where two neighbours differ by less than the rounding, unpooling puts the value at the other place
            assert 0 < (a - b).norm() < (0.5 if "segnet" in name else 0.1) * b.norm()
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        predictions = model(x)
    torch.stack(losses(model, predictions)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda(name):
    model = small(name).cuda().to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        predictions = model(images(model).cuda())
    assert all(part.is_cuda and part.isfinite().all() for value in predictions.values() for part in tensors(value))


@pytest.mark.parametrize("name", NAMES)
def test_a_used_network_can_be_copied_pickled_and_restored(name):
    model = small(name).eval()
    x = images(model)
    expected = model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(small(name)))):
        assert twin.features is None
        twin.load_state_dict(model.state_dict())
        for key, value in twin.eval()(x).items():
            assert all(torch.equal(a, b) for a, b in zip(tensors(value), tensors(expected[key]), strict=True))


def test_a_mapping_of_views_is_joined_left_before_right():
    model = small("mtsgd").eval()
    x = images(model)
    joined = model(x)
    separate = model({"image": x[:, :3], "right": x[:, 3:]})
    swapped = model({"image": x[:, 3:], "right": x[:, :3]})
    assert torch.equal(joined["depth"], separate["depth"])
    assert not torch.equal(joined["depth"], swapped["depth"])
    single = small("segnet").eval()
    assert torch.equal(single({"image": x[:, :3], "right": x[:, 3:]})["depth"], single(x[:, :3])["depth"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create("unet", DENSE), r"name is 'unet'; accepted: full_sharing, .*detection"),
        (lambda: create("segnet", DENSE, weights="imagenet"), r"segnet: option 'weights' is unknown; accepted: widths"),
        (lambda: create("segnet", []), r"tasks has the names \[\]; accepted: one or more"),
        (lambda: create("multi_column", []), r"tasks has the names \[\]; accepted: one or more"),
        (lambda: create("segnet", DENSE[:1] * 2), r"tasks has the names .*; accepted: one or more, all different"),
        (lambda: create("segnet", BOXES), "tasks has 'detection'; accepted by segnet: dense tasks; boxes need"),
        (
            lambda: create("segnet", DENSE, widths=()),
            r"widths is \[\]; accepted: one or more whole numbers from 1 to",
        ),
        (lambda: create("segnet_mtan", DENSE, widths=(4, 0)), r"widths is \[4, 0\]; accepted: one or more whole"),
        (
            lambda: create("mtsgd", DENSE, encoder="resnet18", bins=()),
            r"bins is \[\]; accepted: one or more whole numbers",
        ),
        (lambda: create("detection", BOXES, encoder="pnasnet5"), "encoder is 'pnasnet5'; accepted by detection: mob"),
        (lambda: create("detection", BOXES, channels=80), "channels is 80; accepted: multiples of 32 from 64 to 4096"),
        (lambda: small("segnet").task_parameters("disparity"), "name is 'disparity'; accepted: segmentation, depth, n"),
        (lambda: small("mtsgd")(torch.rand(2, 3, 64, 64)), r"images has shape \[2, 3, 64, 64\]; accepted: \[B, 6, H,"),
        (lambda: MultiTaskModel(DENSE, nn.Identity(), []), "heads has 0 modules; accepted: 3"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", NAMES)
def test_description_counts_every_parameter_once_and_all_multiply_adds(name):
    model = small(name)
    table = describe_model(model, (64, 96)).set_index("part")
    assert table.loc["total", "parameters"] == sum(p.numel() for p in model.parameters())
    for column in ("parameters", "multiply-adds"):
        assert table[column].drop("total").sum() == table.loc["total", column]
    for task in model.tasks:
        assert table.loc[f"heads.{task.name}", "used by"] == task.name
        own = sum(p.numel() for p in model.task_parameters(task.name))
        assert table.loc[f"heads.{task.name}", "parameters"] == own
    counted = []

    def count(convolution, _, output):
        counted.append(output.numel() * convolution.weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    model.eval()(images(model, batch=1))
    assert table.loc["total", "multiply-adds"] == sum(counted)


def test_detections_reach_the_task_as_they_are():
    seen = []
    boxes = make_task("detection", 3, lambda prediction, batch: seen.append(type(prediction)))
    model = small("detection", [boxes])
    losses(model, model(images(model)))
    assert seen == [Detections]
