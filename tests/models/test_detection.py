"""Detections against torchvision's own detector, and boxes by hand."""

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
    torch.testing.assert_close(found, sum(terms.values()))
    assert all(term > 0 for term in terms.values())


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
    torch.testing.assert_close(both.loss(BOX, LABELS, known), one.loss(BOX[:1], LABELS[:1]))
    model.zero_grad()
    loss = both.loss(BOX, LABELS, ~known & False)
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.task_parameters("detection"))


def test_an_image_without_objects_is_background(pair):
    model, _ = pair
    prediction = model(images(model, SIZE))["detection"]
    none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    loss = prediction.loss(*none)
    focal = 0.75 * torch.sigmoid(prediction.logits) ** 2 * nn.functional.softplus(prediction.logits)
    torch.testing.assert_close(loss, focal.sum())


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
