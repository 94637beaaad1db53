"""Detections against torchvision's own detector, and boxes by hand."""

import math
from collections import OrderedDict

import pytest
import torch
from model_cases import BOXES, images, small
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.fcos import FCOSHead

from mtlrepro.models import Detections
from mtlrepro.models.detection import STRIDES, DensePrediction

BOX = [torch.tensor([[8.0, 16.0, 60.0, 70.0], [100.0, 20.0, 180.0, 120.0]]), torch.tensor([[30.0, 30.0, 62.0, 90.0]])]
LABELS = [torch.tensor([3, 9]), torch.tensor([0])]
SIZE = (128, 256)


class Levels(nn.Module):
    """The pyramid of one of our networks, in the form that torchvision's detector asks for."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.out_channels = 64

    def forward(self, x):
        levels = self.model.shared(x)
        levels, _ = self.model.heads["detection"].coarser(levels, levels, [])
        return OrderedDict(enumerate(levels))


@pytest.fixture(scope="module")
def pair():
    """One of our networks, and torchvision's FCOS on the same modules, without its resizing and normalisation."""
    model = small("detection").eval()
    head = model.heads["detection"].head
    nn.init.normal_(head.classification_head.cls_logits.weight, std=0.3)  # scores on both sides of the threshold
    fcos = FCOS(Levels(model), 10, *SIZE, image_mean=[0.0] * 3, image_std=[1.0] * 3, head=head)
    return model, fcos


def test_loss_is_that_of_torchvisions_detector(pair):
    model, fcos = pair
    x = images(model, SIZE)
    targets = [{"boxes": b, "labels": k} for b, k in zip(BOX, LABELS, strict=True)]
    fcos.training = True
    fcos.transform.training = True
    terms = fcos(list(x), targets)
    fcos.eval()
    found = model(x)["detection"].loss(BOX, LABELS)
    torch.testing.assert_close(found.mean(), sum(terms.values()))
    torch.testing.assert_close(found.samples().mean(), sum(terms.values()))
    assert all(term > 0 for term in terms.values())


def test_loss_of_an_image_is_that_of_torchvisions_detector_on_it_alone(pair):
    model, fcos = pair
    prediction = model(images(model, SIZE))["detection"]
    found = prediction.loss(BOX, LABELS)
    assert len(found.values) == 2 and found.weights.min() > 0
    for i, (boxes, labels) in enumerate(zip(BOX, LABELS, strict=True)):
        outputs = {
            name: part[i : i + 1]
            for name, part in zip(("cls_logits", "bbox_regression", "bbox_ctrness"), prediction[:3], strict=True)
        }
        target = [{"boxes": boxes, "labels": labels}]
        terms = fcos.compute_loss(target, outputs, [prediction.anchors], list(prediction.levels))
        torch.testing.assert_close(found.values[i] / found.weights[i], sum(terms.values()))


def test_boxes_are_those_of_torchvisions_detector(pair):
    model, fcos = pair
    x = images(model, SIZE)
    with torch.no_grad():
        expected = fcos.eval()(list(x))
    for a, b in zip(model(x)["detection"].detect(), expected, strict=True):
        assert len(a["boxes"]) > 0
        for key in ("boxes", "scores", "labels"):
            torch.testing.assert_close(a[key], b[key])


def empty(n=1, classes=2):
    """Two locations of stride 8, at (0, 0) and (8, 0), with no object."""
    anchors = torch.tensor([[-4.0, -4.0, 4.0, 4.0], [4.0, -4.0, 12.0, 4.0]])
    logits = torch.full((n, 2, classes), -20.0)
    return Detections(logits, torch.zeros(n, 2, 4), torch.zeros(n, 2, 1), anchors, (2,), (16, 32))


def test_boxes_by_hand():
    found = empty()
    found.logits[0, 1, 1] = 2.0
    found.centerness[0, 1, 0] = 1.0
    found.distances[0, 1] = torch.tensor([0.5, 0.0, 1.0, 1.5])  # times 8: 4 left of x = 8, 8 right, 12 down
    (boxes,) = found.detect()
    assert boxes["boxes"].tolist() == [[4.0, 0.0, 16.0, 12.0]]
    assert boxes["labels"].tolist() == [1]
    score = (torch.sigmoid(torch.tensor(2.0)) * torch.sigmoid(torch.tensor(1.0))).sqrt()
    assert boxes["scores"].item() == pytest.approx(score.item())
    assert len(found.detect(score_threshold=0.9)[0]["boxes"]) == 0
    found.distances[0, 1, 2] = 100.0
    assert found.detect()[0]["boxes"][0, 2] == 32  # inside the image


def test_loss_by_hand():
    """One positive location, at (8, 0), whose box is (2, -6, 14, 6); the box found there is (4, -6, 16, 6)."""
    prediction = Detections(*(part.double() for part in empty(2)[:4]), (2,), (16, 32))
    prediction.logits[0, 1, 1] = 0.0
    prediction.distances[0, 1] = torch.tensor([0.5, 0.75, 1.0, 0.75])
    boxes = [torch.tensor([[2.0, -6.0, 14.0, 6.0]]).double(), torch.zeros(0, 4).double()]
    found = prediction.loss(boxes, [torch.tensor([1]), torch.zeros(0, dtype=torch.int64)])
    focal = 0.25 * (1 - 0.5) ** 2 * math.log(2)
    overlap = 1 - 120 / 168  # the smallest box around both is their union
    assert found.values.tolist() == pytest.approx([focal + overlap + math.log(2), 0], abs=1e-8)
    assert found.weights.tolist() == [1, 0]


def test_parts_of_a_batch_have_its_loss(pair):
    """As two processes have it, each with one of the images, which have unequal numbers of positive locations."""
    model, _ = pair
    prediction = model(images(model, SIZE))["detection"]
    whole = prediction.loss(BOX, LABELS)
    halves = [
        Detections(*(part[i : i + 1] for part in prediction[:3]), *prediction[3:]).loss(
            BOX[i : i + 1], LABELS[i : i + 1]
        )
        for i in range(2)
    ]
    assert halves[0].weights != halves[1].weights
    joined = sum(half.mean(whole.weights.sum() / 2) for half in halves) / 2
    torch.testing.assert_close(joined, whole.mean())


@pytest.mark.parametrize("steps", [0, 3])
def test_no_side_of_a_box_is_without_gradient(steps):
    """At every positive location and for ten seeds, before and after a few steps."""
    for seed in range(10):
        model = small("detection", BOXES[:1], seed)
        outputs = []
        layer = model.heads["detection"].head.regression_head.bbox_reg
        layer.register_forward_hook(
            lambda _, __, output, outputs=outputs: output.retain_grad() or outputs.append(output)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        x = images(model, SIZE)
        for _ in range(steps + 1):
            outputs.clear()
            optimizer.zero_grad()
            loss = model(x)["detection"].loss(BOX, LABELS)
            loss.mean().backward()
            optimizer.step()
        alive = sum((output.grad != 0).sum((0, 2, 3)) for output in outputs)
        assert alive.tolist() == [loss.weights.sum()] * 4 and loss.weights.sum() > 0


def test_distances_start_at_a_stride():
    """As the paper has it: exp of a number near 0."""
    model = small("detection", BOXES[:1])
    distances = model(images(model))["detection"].distances
    assert (distances > 0).all() and 0.5 < distances.median() < 2


def test_double_finds_go_and_a_limit_is_kept():
    found = empty()
    found.logits[0, :, 0] = torch.tensor([3.0, 2.0])
    found.distances[0, 0] = torch.tensor([0.0, 0.0, 2.0, 2.0])
    found.distances[0, 1] = torch.tensor([1.0, 0.0, 1.0, 2.0])  # the same box
    assert len(found.detect()[0]["boxes"]) == 1
    assert len(found.detect(nms_threshold=1.0)[0]["boxes"]) == 2
    assert found.detect(nms_threshold=1.0, limit=1)[0]["boxes"].tolist() == [[0.0, 0.0, 16.0, 16.0]]


def test_loss_of_images_whose_boxes_are_unknown_is_not_counted(pair):
    model, _ = pair
    both = model(images(model, SIZE))["detection"]
    one = Detections(*(part[:1] for part in both[:3]), *both[3:])
    known = torch.tensor([True, False])
    torch.testing.assert_close(both.loss(BOX, LABELS, known).mean(), one.loss(BOX[:1], LABELS[:1]).mean())
    model.zero_grad()
    nothing = both.loss(BOX, LABELS, ~known & False)
    assert nothing.weights.tolist() == [0, 0]
    loss = nothing.mean()
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.task_parameters("detection"))


def test_an_image_without_objects_is_background(pair):
    model, _ = pair
    prediction = model(images(model, SIZE))["detection"]
    none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    loss = prediction.loss(*none)
    focal = 0.75 * torch.sigmoid(prediction.logits) ** 2 * nn.functional.softplus(prediction.logits)
    torch.testing.assert_close(loss.mean(), focal.sum())
    assert loss.weights.tolist() == [0.5, 0.5]
    one = prediction.loss(*none, torch.tensor([False, True]))
    torch.testing.assert_close(one.mean(), focal[1].sum())
    assert one.weights.tolist() == [0, 1]


def test_locations_of_every_level():
    model = small("detection").eval()
    found = model(images(model, (120, 200)))["detection"]
    grids = [(-(-120 // s), -(-200 // s)) for s in STRIDES]
    assert found.levels == tuple(h * w for h, w in grids)
    centres = (found.anchors[:, :2] + found.anchors[:, 2:]) / 2
    for stride, (h, w), part in zip(STRIDES, grids, centres.split(list(found.levels)), strict=True):
        y, x = torch.meshgrid(torch.arange(h) * stride, torch.arange(w) * stride, indexing="ij")
        assert torch.equal(part, torch.stack([x, y], -1).reshape(-1, 2).float())


def test_the_dense_head_sums_all_levels_at_the_finest():
    torch.manual_seed(0)
    head = DensePrediction(64, 32, 5).eval()
    levels = [torch.rand(1, 64, -(-h // s), -(-w // s)) for s, (h, w) in zip((8, 16, 32), [(75, 50)] * 3, strict=True)]
    expected = head(*levels)
    assert expected.shape == (1, 5, 10, 7)
    for k in range(3):
        assert not torch.equal(head(*(torch.zeros_like(x) if i == k else x for i, x in enumerate(levels))), expected)
    assert [len(level.blocks) for level in head.levels] == [1, 1, 2]


def test_coarse_levels_belong_to_detection():
    """P6 and P7 serve the boxes only, so their convolutions are not shared."""
    model = small("detection", BOXES)
    own = {id(p) for p in model.task_parameters("detection")}
    assert all(id(p) in own for p in model.heads["detection"].coarser.parameters())
    assert len(model.shared(images(model))) == 3
    assert isinstance(model.heads["detection"].head, FCOSHead)
