import math

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MeanAbsoluteError, MeanSquaredError
from torchmetrics.detection import MeanAveragePrecision

from mtlrepro import metrics
from mtlrepro.metrics import Depth, Detection, Disparity, Map, Metric, Normal, Segmentation
from mtlrepro.models import Detections

N, H, W, CLASSES = 6, 9, 11, 5
KEYS = ("segmentation", "depth", "normal", "disparity", "curvature", "edges2d")


def maker(key):
    return {
        "segmentation": lambda: Segmentation(CLASSES),
        "depth": lambda: Depth(0.5),
        "normal": Normal,
        "disparity": Disparity,
        "curvature": lambda: Map("curvature", 1.0),
        "edges2d": lambda: Map("edges2d", 10.0),
    }[key]


@pytest.fixture(scope="module")
def data():
    """Predictions and targets of six images, about a fifth of the pixels unknown; class 3 occurs nowhere."""
    generator = torch.Generator().manual_seed(5)

    def draw(channels):
        return torch.randn(N, channels, H, W, generator=generator)

    known = torch.rand(N, 1, H, W, generator=generator) < 0.8
    logits = draw(CLASSES)
    logits[:, 3] = -100
    classes = torch.randint(3, (N, H, W), generator=generator)
    depth = 0.6 + 5 * torch.rand(N, 1, H, W, generator=generator)
    normal = normalize(draw(3), dim=1)
    targets = {
        "segmentation": classes.masked_fill(~known[:, 0], -1),
        "depth": depth * known,
        "disparity": 10 * depth * known,
        "normal": normal * known,
        "curvature": draw(2),
        "edges2d": draw(1).abs(),
        "valid": known,
    }
    predictions = {
        "segmentation": logits,
        "depth": depth * (1 + 0.3 * draw(1)),
        "disparity": 10 * depth + draw(1),
        "normal": normal + 0.5 * draw(3),
        "curvature": draw(2),
        "edges2d": draw(1),
    }
    return predictions, targets


def score(key, data, sizes=(N,), device="cpu"):
    """Metrics when the six images come in batches of these sizes."""
    metric = maker(key)()
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        batch = {name: value[rows].to(device) for name, value in data[1].items()}
        metric.update(data[0][key][rows].to(device), batch)
        start += size
    return metric.compute()


# --- for every metric


@pytest.mark.parametrize("key", KEYS)
def test_names_and_directions_belong_together(key, data):
    assert list(score(key, data)) == list(maker(key)().higher_is_better)


@pytest.mark.parametrize("sizes", [(1,) * N, (4, 2), (1, 5)])
@pytest.mark.parametrize("key", KEYS)
def test_the_size_of_the_batches_does_not_matter(key, data, sizes):
    """But for the rounding of single pixels in single precision, which depends on their place in a vector register."""
    assert score(key, data, sizes) == pytest.approx(score(key, data), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("key", KEYS)
def test_unknown_pixels_do_not_matter(key, data):
    predictions, targets = data
    mask = targets["valid"] if key != "edges2d" else torch.ones_like(targets["valid"])
    changed = torch.where(mask, predictions[key], 7.0)
    assert score(key, ({key: changed}, targets)) == score(key, data)


@pytest.mark.parametrize("key", KEYS)
def test_a_perfect_prediction_has_the_best_value(key, data):
    _, targets = data
    best = targets[key] if key != "segmentation" else 200.0 * (targets[key][:, None] == torch.arange(5)[:, None, None])
    found = score(key, ({key: best.float()}, targets))
    for name, higher in maker(key)().higher_is_better.items():
        assert found[name] == pytest.approx(100 if higher else 0, abs=0.02), name


@pytest.mark.parametrize("key", [key for key in KEYS if key != "edges2d"])
def test_where_nothing_is_known_every_value_is_nan(key, data):
    nothing = {name: torch.zeros_like(value) for name, value in data[1].items()}
    nothing["segmentation"] -= 1
    assert all(math.isnan(value) for value in score(key, (data[0], nothing)).values())


@pytest.mark.parametrize("key", [key for key in KEYS if key != "edges2d"])
def test_an_image_without_known_pixels_changes_nothing(key, data):
    predictions, targets = data
    empty = {name: torch.cat([value, torch.zeros_like(value[:1])]) for name, value in targets.items()}
    empty["segmentation"][-1] = -1
    more = {key: torch.cat([predictions[key], predictions[key][:1]])}
    assert score(key, (more, empty), (N + 1,)) == pytest.approx(score(key, data), rel=1e-7)


@pytest.mark.parametrize("key", KEYS)
def test_predictions_that_are_nan_make_errors_nan_and_shares_of_regressions_zero(key, data):
    """A run that has diverged is scored, not stopped."""
    found = score(key, ({key: data[0][key] * math.nan}, data[1]))
    for name, higher in maker(key)().higher_is_better.items():
        if key == "segmentation" and higher:
            continue  # all pixels are of one class
        if name == "median_angle":
            assert found[name] == pytest.approx(180, abs=0.01)
        else:
            assert found[name] == 0 if higher else math.isnan(found[name]), name


def test_shares_and_means_are_exact_to_double_precision():
    """One pixel of three, and one of three normals."""
    depth = Depth(0.5)
    depth.update(torch.tensor([[[[1.0, 2.0, 2.0]]]]), {"depth": torch.ones(1, 1, 1, 3)})
    found = depth.compute()
    assert found["delta1"] == pytest.approx(100 / 3, rel=1e-14)
    assert found["abs_err"] == pytest.approx(2 / 3, rel=1e-14)
    normal = Normal()
    estimate = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]]).T[None, :, None]
    normal.update(estimate, {"normal": torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 1, 3)})
    found = normal.compute()
    assert found["within_30"] == pytest.approx(100 / 3, rel=1e-14)
    assert found["mean_angle"] == pytest.approx(60, rel=1e-14)


@pytest.mark.parametrize("key", KEYS)
def test_compute_without_update_is_refused(key):
    with pytest.raises(ValueError, match="compute was called before update"):
        maker(key)().compute()


@pytest.mark.parametrize("key", KEYS)
def test_updates_keep_no_graph_and_read_nothing_from_the_device(key, data):
    class NoReads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = str(func)
            assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "bincount", "masked_select"))
            return func(*args, **(kwargs or {}))

    metric = maker(key)()
    with NoReads():
        metric.update(data[0][key].clone().requires_grad_(), data[1])
    assert not any(value.requires_grad for value in metric._sums.values())
    assert {value.dtype for value in metric._sums.values()} <= {torch.float64, torch.int64}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("key", KEYS)
def test_cuda_gives_the_same(key, data):
    assert score(key, data, (4, 2), "cuda") == pytest.approx(score(key, data), rel=1e-5)


def test_a_metric_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Metric()


# --- segmentation


def test_segmentation_agrees_with_torchmetrics(data):
    logits, classes = data[0]["segmentation"], data[1]["segmentation"]
    found = score("segmentation", data)
    jaccard = tm.MulticlassJaccardIndex(CLASSES, ignore_index=-1)
    right = tm.MulticlassAccuracy(CLASSES, average="micro", ignore_index=-1)
    assert found["miou"] == pytest.approx(100 * float(jaccard(logits, classes)), rel=1e-6)
    assert found["pixel_accuracy"] == pytest.approx(100 * float(right(logits, classes)), rel=1e-6)
    entropy = torch.nn.functional.cross_entropy(logits.double(), classes, ignore_index=-1)
    assert found["lsb_loss"] == pytest.approx(float(entropy), rel=1e-6)
    counts = metrics.confusion(logits.argmax(1), classes, CLASSES).sum(0)
    assert torch.equal(counts, tm.MulticlassConfusionMatrix(CLASSES, ignore_index=-1)(logits, classes))


@pytest.mark.parametrize("sizes", [(N,), (4, 2)])
def test_single_classes_agree_with_torchmetrics(data, sizes):
    logits, classes = data[0]["segmentation"], data[1]["segmentation"]
    metric = Segmentation(CLASSES)
    for part, target in zip(logits.split(sizes), classes.split(sizes), strict=True):
        metric.update(part, {"segmentation": target})
    found = metric.per_class()
    jaccard = tm.MulticlassJaccardIndex(CLASSES, ignore_index=-1, average="none")(logits, classes)
    assert list(found) == [f"iou_{k}" for k in range(CLASSES)]
    assert math.isnan(found["iou_3"])
    for k in (0, 1, 2, 4):
        assert found[f"iou_{k}"] == pytest.approx(100 * float(jaccard[k]), rel=1e-6)
    assert metric.compute()["miou"] == pytest.approx(np.nanmean(list(found.values())), rel=1e-12)


@pytest.mark.parametrize("key", [key for key in KEYS if key != "segmentation"])
def test_regressions_have_no_classes(key, data):
    metric = maker(key)()
    metric.update(data[0][key], data[1])
    assert metric.per_class() == {}


def test_per_image_values_are_those_of_single_images_averaged(data):
    found = score("segmentation", data)
    alone = [
        score("segmentation", tuple({k: v[i : i + 1] for k, v in d.items()} for d in data), (1,)) for i in range(N)
    ]
    for name in ("miou", "pixel_accuracy"):
        assert found[f"{name}_per_image"] == pytest.approx(np.mean([one[name] for one in alone]), rel=1e-12)


def test_segmentation_by_hand():
    """Classes 0, 0, 1, unknown against 0, 1, 1, 0; class 2 occurs nowhere, class 3 is predicted once and never true."""
    metric = Segmentation(4)
    predicted = torch.tensor([[[0, 1, 1, 0]], [[0, 3, 0, 0]]])
    logits = torch.nn.functional.one_hot(predicted, 4).permute(0, 3, 1, 2).float()
    metric.update(logits, {"segmentation": torch.tensor([[[0, 0, 1, -1]], [[0, 0, -1, -1]]])})
    found = metric.compute()
    # pooled: class 0: 2 of 4, class 1: 1 of 2, class 3: 0 of 1
    assert found["miou"] == pytest.approx(100 * (2 / 4 + 1 / 2 + 0) / 3)
    assert found["pixel_accuracy"] == pytest.approx(100 * 3 / 5)
    # first image: 1/2, 1/2; second: class 0: 1/2, class 3: 0
    assert found["miou_per_image"] == pytest.approx(100 * (1 / 2 + (1 / 2 + 0) / 2) / 2)
    assert found["pixel_accuracy_per_image"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


# --- depth


def test_depth_agrees_with_numpy_and_torchmetrics(data):
    known = data[1]["valid"]
    estimate, depth = (x["depth"][known].double().numpy() for x in data)
    found = score("depth", data)
    tiny = np.maximum(estimate, 1e-30)
    ratio = np.maximum(tiny / depth, depth / tiny)
    for i in (1, 2, 3):
        assert found[f"delta{i}"] == pytest.approx(100 * (ratio < 1.25**i).mean(), rel=1e-6)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((estimate - depth) ** 2)), rel=1e-6)
    assert found["rel_err"] == pytest.approx(np.mean(abs(estimate - depth) / depth), rel=1e-6)
    assert found["lsb_loss"] == pytest.approx(
        np.mean(abs(np.log(np.maximum(estimate, 0.05)) - np.log(depth))), rel=1e-5
    )
    a, b = torch.from_numpy(estimate), torch.from_numpy(depth)
    assert found["abs_err"] == pytest.approx(float(MeanAbsoluteError()(a, b)), rel=1e-6)
    assert found["rmse"] == pytest.approx(float(MeanSquaredError(squared=False)(a, b)), rel=1e-6)


@pytest.mark.parametrize("estimate", [0.0, -1.0])
def test_estimates_that_are_not_positive_miss_every_delta(estimate):
    metric = Depth(0.5)
    metric.update(torch.full((1, 1, 1, 2), estimate), {"depth": torch.tensor([[[[1.0, 0.0]]]])})
    found = metric.compute()
    assert [found[f"delta{i}"] for i in (1, 2, 3)] == [0, 0, 0]
    assert found["lsb_loss"] == pytest.approx(math.log(20))


def test_deltas_are_strict():
    metric = Depth(0.5)
    batch = {"depth": torch.tensor([[[[1.0, 1.0, 1.0, 1.0]]]])}
    metric.update(torch.tensor([[[[1.25, 0.8, 1.2, 1.9]]]]), batch)
    found = metric.compute()
    assert (found["delta1"], found["delta2"], found["delta3"]) == (25, 75, 100)


def test_rmse_is_pooled_and_not_a_mean_of_images():
    metric = Depth(0.5)
    for error in (0.0, 2.0):
        metric.update(torch.full((1, 1, 1, 1), 3.0 + error), {"depth": torch.full((1, 1, 1, 1), 3.0)})
    assert metric.compute()["rmse"] == pytest.approx(math.sqrt(2))


# --- normals


def test_normals_agree_with_numpy(data):
    known = data[1]["valid"][:, 0]
    estimate, normal = (x["normal"].double().movedim(1, -1)[known].numpy() for x in data)
    cosine = (estimate * normal).sum(1) / np.linalg.norm(estimate, axis=1) / np.linalg.norm(normal, axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    found = score("normal", data)
    assert found["mean_angle"] == pytest.approx(angle.mean(), rel=1e-6)
    assert found["median_angle"] == pytest.approx(np.median(angle), abs=0.005)
    for limit in (11.25, 22.5, 30):
        assert found[f"within_{limit:g}"] == pytest.approx(100 * (angle < limit).mean(), rel=1e-6)
    assert found["lsb_loss"] == pytest.approx(1 - (estimate * normal).sum(1).mean(), abs=1e-7)


def test_the_median_is_right_to_half_a_hundredth_of_a_degree():
    generator = torch.Generator().manual_seed(0)
    normal = torch.zeros(1, 3, 300, 300)
    normal[:, 2] = -1
    estimate = normal + 0.7 * torch.rand(normal.shape, generator=generator)
    metric = Normal()
    metric.update(estimate, {"normal": normal})
    cosine = torch.nn.functional.cosine_similarity(estimate.double(), normal.double())
    assert metric.compute()["median_angle"] == pytest.approx(float(torch.rad2deg(cosine.acos()).median()), abs=0.0051)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.5, 90.0, 179.5, 180.0])
def test_small_and_large_angles_are_exact_in_single_precision(angle):
    radians = math.radians(angle)
    estimate = 5 * torch.tensor([math.sin(radians), 0, -math.cos(radians)]).view(1, 3, 1, 1)
    metric = Normal()
    metric.update(estimate, {"normal": torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1)})
    assert metric.compute()["mean_angle"] == pytest.approx(angle, abs=2e-5)


def test_a_zero_vector_is_ninety_degrees_off():
    metric = Normal()
    metric.update(torch.zeros(1, 3, 1, 1), {"normal": torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1)})
    found = metric.compute()
    assert (found["mean_angle"], found["within_30"], found["lsb_loss"]) == (90, 0, 1)
    assert found["median_angle"] == pytest.approx(90, abs=0.01)


# --- disparity and maps


def test_disparity_by_hand():
    metric = Disparity()
    metric.update(torch.tensor([[[[12.0, 3.0, 9.0]]]]), {"disparity": torch.tensor([[[[10.0, 4.0, 0.0]]]])})
    assert metric.compute() == pytest.approx({"aepe": 1.5, "rel_err": (0.2 + 0.25) / 2})


def test_maps_by_hand_sum_over_channels_and_multiply_by_the_factor():
    estimate, target = torch.tensor([[[[1.0, 5.0]], [[2.0, 5.0]]]]), torch.zeros(1, 2, 1, 2)
    valid = torch.tensor([[[[True, False]]]])
    for factor in (1.0, 100.0):
        metric = Map("curvature", factor)
        metric.update(estimate, {"curvature": target, "valid": valid})
        assert metric.compute() == {"lsb_loss": 3 * factor}


# --- boxes


def detections(boxes, labels, scores, size=(64, 64), classes=3):
    """Detections that stand for these boxes: one location at the middle of each."""
    boxes = torch.tensor(boxes)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    logits = torch.full((1, len(boxes), classes), -20.0)
    logits[0, torch.arange(len(boxes)), torch.tensor(labels)] = torch.logit(torch.tensor(scores))
    # torchvision's distances are over the stride, which is the side of the anchor
    anchors = torch.cat([middle - 4, middle + 4], 1)
    distances = torch.cat([half, half], 1)[None] / 8
    return Detections(logits, distances, torch.full((1, len(boxes), 1), 20.0), anchors, (len(boxes),), size)


TRUTH = {
    "boxes": [torch.tensor([[4.0, 4, 20, 20], [30, 30, 50, 50]])],
    "labels": [torch.tensor([0, 1])],
    "labelled": {"boxes": torch.tensor([True])},
}


def test_boxes_that_fit_have_a_precision_of_one_hundred():
    metric = Detection()
    metric.update(detections([[4.0, 4, 20, 20], [30, 30, 50, 50]], [0, 1], [0.9, 0.8]), TRUTH)
    assert metric.compute() == pytest.approx({"map": 100, "map50": 100, "map75": 100})


def test_boxes_with_an_iou_of_two_thirds_count_at_one_half_only():
    """Right class, IoU 16 * 16 / (16 * 24): found at thresholds 0.5 to 0.65, 4 of 10; the second box is missed."""
    metric = Detection()
    metric.update(detections([[4.0, 4, 20, 28]], [0], [0.9]), TRUTH)
    assert metric.compute() == pytest.approx({"map": 100 * 4 / 10 / 2, "map50": 50, "map75": 0})


def test_boxes_below_the_score_threshold_are_missed():
    unsure = detections([[4.0, 4, 20, 20], [30, 30, 50, 50]], [0, 1], [0.9, 0.01])  # its score is sqrt(0.01 * 1)
    for metric, expected in ((Detection(), 100), (Detection(score_threshold=0.2), 50)):
        metric.update(unsure, TRUTH)
        assert metric.compute()["map"] == pytest.approx(expected)


def test_images_without_known_boxes_do_not_count_and_alone_give_nan():
    metric = Detection()
    metric.update(detections([[4.0, 4, 20, 20]], [0], [0.9]), {**TRUTH, "labelled": {"boxes": torch.tensor([False])}})
    assert all(math.isnan(value) for value in metric.compute().values())


def test_boxes_without_area_are_reported():
    line, box = [10.0, 10, 10, 30], [4.0, 4, 20, 20]
    metric = Detection()
    metric.update(detections([line, line], [0, 1], [0.9, 0.8]), TRUTH)
    with pytest.warns(UserWarning, match="detection: every box that was found is less than a pixel wide or high"):
        assert metric.compute()["map"] == 0
    metric.update(detections([line, box], [0, 0], [0.9, 0.8]), TRUTH)
    assert metric.compute()["map"] > 0  # without a warning, which tests turn into an error


def test_precision_is_that_of_torchmetrics_for_the_same_boxes():
    oracle, metric = MeanAveragePrecision(backend="pycocotools"), Detection()
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        corner = 40 * torch.rand(5, 2, generator=generator)
        boxes = torch.cat([corner, corner + 4 + 15 * torch.rand(5, 2, generator=generator)], 1)
        labels = torch.randint(3, (5,), generator=generator)
        moved = (boxes + torch.randn(5, 4, generator=generator)).clamp(0, 64)
        scores = (0.3 + 0.6 * torch.rand(5, generator=generator)).tolist()
        prediction = detections(moved.tolist(), labels.tolist(), scores)
        metric.update(prediction, {"boxes": [boxes], "labels": [labels], "labelled": {"boxes": torch.tensor([True])}})
        oracle.update(prediction.detect(score_threshold=0.05), [{"boxes": boxes, "labels": labels}])
    expected = oracle.compute()
    assert metric.compute() == pytest.approx(
        {
            "map": 100 * float(expected["map"]),
            "map50": 100 * float(expected["map_50"]),
            "map75": 100 * float(expected["map_75"]),
        }
    )
