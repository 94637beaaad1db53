import copy
import math
import pickle

import pytest
import torch
from sample_cases import collate

from mtlrepro import losses, tasks
from mtlrepro.data import datasets
from mtlrepro.data.transforms import Augmentation
from mtlrepro.models import create
from mtlrepro.pages import figures
from mtlrepro.targets import TARGETS
from mtlrepro.tasks import DISPLAYS, MAPS, NAMES

ROOMS = ("segmentation", "depth", "normal", *MAPS)
STREETS = ("segmentation", "disparity", "detection")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLREPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = datasets.load("rooms", "train", n=3, size=(24, 32))
        yield dataset.batch(range(3))


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLREPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = datasets.load("streets", "train", n=3, size=(32, 64))
        yield dataset.reading(key for key in dataset.store.names if key in TARGETS).batch(range(3))


def mirrored(batch):
    """Every sample's mirror image."""
    augmentation = Augmentation(flip=1.0)
    parameters = torch.tensor([[1.0, 0, 0, 1]] * len(batch["image"]))
    return augmentation(batch, parameters)


def prediction(task, batch, seed=0):
    """A wrong prediction for a dense task."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(batch["image"]), task.channels, *batch["image"].shape[-2:], generator=generator) + 1


# --- the table


def test_names_channels_and_targets():
    table = tasks.create(NAMES, n_classes=19)
    assert [task.name for task in table] == list(NAMES)
    channels = {task.name: task.channels for task in table}
    assert channels.pop("segmentation") == 19
    assert channels.pop("detection") == 10
    assert channels == {name: TARGETS[name].shape[0] for name in channels}


@pytest.mark.parametrize("protocol", ["lsb", "benchmark"])
def test_losses_are_those_of_the_protocol(protocol, rooms):
    chosen = tasks.create(("segmentation", "depth", "normal"), protocol=protocol, depth_range=(0.7, 10.0))
    mask = {task.name: losses.known(rooms, task.name) for task in chosen}
    expected = {
        "lsb": {
            "segmentation": losses.segmentation_loss,
            "depth": lambda *arguments: losses.depth_loss(*arguments, (0.7, 10.0)),
            "normal": losses.normal_loss,
        },
        "benchmark": {
            "segmentation": losses.cross_entropy,
            "depth": losses.absolute_error,
            "normal": losses.cosine_loss,
        },
    }[protocol]
    for task in chosen:
        x = prediction(task, rooms)
        found, there = task.loss(x, rooms), expected[task.name](x, rooms[task.name], mask[task.name])
        assert torch.equal(found.mean(), there.mean())


def test_other_losses(rooms, streets):
    for task in tasks.create(MAPS):
        x = prediction(task, rooms)
        there = losses.map_loss(x, rooms[task.name], losses.known(rooms, task.name))
        assert torch.equal(task.loss(x, rooms).mean(), there.mean())
    (task,) = tasks.create(["disparity"])
    x = prediction(task, streets)
    there = losses.absolute_error(x, streets["disparity"], streets["disparity"] > 0)
    assert torch.equal(task.loss(x, streets).mean(), there.mean())


def test_the_docstring_has_the_table():
    rows = [line.split("  ") for line in tasks.__doc__.splitlines()]
    named = {row[0].strip(): " ".join(row) for row in rows if row[0].strip().split(" ")[0] in NAMES}
    assert {name.split(" ")[0] for name in named} == set(NAMES)
    text = " ".join(tasks.__doc__.split())
    for task in tasks.create(NAMES):
        for name, higher in task.metrics().higher_is_better.items():
            shown = "delta1..3" if name.startswith("delta") else name.removesuffix("_per_image")
            assert f"{shown}+" in text if higher else f"{shown}+" not in text, (task.name, name)
            assert shown in text
    for name, factor in tasks.DISPLAY_FACTORS.items():
        assert f"lsb_loss x {factor:g}" in next(line for key, line in named.items() if key.startswith(name))


def test_every_task_has_a_display_and_maps_in_range(rooms, streets):
    assert set(DISPLAYS) == set(NAMES)
    for name in (*ROOMS, "disparity"):
        display, values = DISPLAYS[name], (streets if name == "disparity" else rooms)[name]
        if display.high is not None:
            assert display.low <= values.float().quantile(0.01)
            assert values.float().quantile(0.98) <= display.high


def test_the_metrics_of_depth_know_its_range():
    """An estimate of 0 counts as a tenth of the smallest depth, so that d_min is off by log 10."""
    for low in (0.5, 2.0):
        (task,) = tasks.create(["depth"], depth_range=(low, 10.0))
        metric = task.metrics()
        metric.update(torch.zeros(1, 1, 1, 1), {"depth": torch.full((1, 1, 1, 1), low)})
        assert metric.compute()["lsb_loss"] == pytest.approx(math.log(10))


def test_errors_are_displayed_with_the_factors_of_lsb():
    """LSB supplement, Section 2: 10 for 2-D edges, 100 for 3-D edges and 2-D keypoints; an error of 0.25 a channel."""
    found = {}
    for task in tasks.create(MAPS):
        metric = task.metrics()
        target = torch.zeros(1, task.channels, 2, 2)
        metric.update(target + 0.25, {task.name: target, "valid": torch.ones(1, 1, 2, 2, dtype=torch.bool)})
        found[task.name] = metric.compute()["lsb_loss"]
    assert found == {
        **{"curvature": 0.5, "reshading": 0.25, "edges2d": 2.5},
        **{"edges3d": 25.0, "keypoints2d": 25.0, "keypoints3d": 0.25},
    }


def test_losses_of_two_digits_by_hand():
    """Classes by cross-entropy in nats, the sum by its squared error, one value a sample."""
    targets = {"left": torch.tensor([3, 4]), "sum": torch.tensor([7.0, 5.0])}
    left, _, total = tasks.TWO_DIGITS
    logits = torch.zeros(2, 10)
    logits[0, 3] = math.log(9)
    found = left.loss(logits, targets)
    torch.testing.assert_close(found.values, torch.tensor([math.log(2), math.log(10)]))
    assert total.loss(torch.tensor([[4.0], [5.5]]), targets).values.tolist() == [9, 0.25]
    assert found.weights.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["dept"]}, "names has 'dept'; accepted with protocol 'lsb': segmentation, depth"),
        ({"names": ["edges2d"], "protocol": "benchmark"}, "names has 'edges2d'; accepted with protocol 'benchmark'"),
        ({"names": [], "protocol": "paper"}, "protocol is 'paper'; accepted: 'lsb', 'benchmark'"),
        ({"names": [], "n_classes": 1}, "n_classes is 1; accepted: 2 or more"),
        ({"names": [], "depth_range": (0.0, 1.0)}, "depth_range is"),
        ({"names": [], "depth_range": (2.0, 1.0)}, "depth_range is"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tasks.create(**arguments)


def test_tasks_can_be_copied_and_sent_to_other_processes(rooms):
    for task in tasks.create(ROOMS):
        x = prediction(task, rooms)
        for same in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
            assert torch.equal(same.loss(x, rooms).mean(), task.loss(x, rooms).mean())


# --- pictures


def picture(name, values, known=None, n_classes=None):
    _, axes = figures.canvas()
    known = torch.ones(values.shape[-2:], dtype=torch.bool) if known is None else known
    drawn = figures.draw_map(axes, DISPLAYS[name], values, known, n_classes)
    return axes, drawn


def test_maps_are_drawn_with_the_range_and_colours_of_their_task():
    axes, drawn = picture("depth", torch.arange(100.0).view(1, 10, 10), torch.arange(100).view(10, 10) > 0)
    assert axes.get_title() == "depth, m"
    assert drawn.get_clim() == (0, pytest.approx(97.04))  # all but the largest 2 % of the known values 1 to 99
    assert drawn.get_array().mask.sum() == 1
    _, drawn = picture("curvature", torch.stack([torch.ones(2, 2), -torch.ones(2, 2)]))
    assert drawn.get_clim() == (-10, 10)
    assert drawn.get_cmap().name == "RdBu_r"
    assert (drawn.get_array() == 1).all()
    _, drawn = picture("segmentation", torch.tensor([[0, 12]]), n_classes=13)
    assert drawn.get_clim() == (0, 12)


def test_a_map_that_is_unknown_everywhere_can_be_drawn():
    _, drawn = picture("depth", torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert drawn.get_array().mask.all()


def test_normals_are_drawn_with_red_green_and_blue_for_right_up_and_towards_the_camera():
    normals = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0]])[:, None]
    axes, drawn = picture("normal", normals, torch.tensor([[True, True, True, False]]))
    assert drawn is None
    (image,) = axes.images
    assert image.get_array()[0, :3].tolist() == [[255, 128, 128], [128, 255, 128], [128, 128, 255]]
    assert image.get_array()[0, 3].tolist() == [255, 0, 255]


# --- mirror images


@pytest.mark.parametrize("protocol", ["lsb", "benchmark"])
@pytest.mark.parametrize("name", ROOMS)
def test_a_mirrored_prediction_of_a_mirrored_image_has_the_same_loss_and_metrics(name, protocol, rooms):
    if protocol == "benchmark" and name in MAPS:
        protocol = "lsb"
    (task,) = tasks.create([name], protocol=protocol)
    x, flipped = prediction(task, rooms), mirrored(rooms)
    torch.testing.assert_close(task.loss(task.flip(x), flipped).mean(), task.loss(x, rooms).mean())
    scores = []
    for estimate, batch in ((x, rooms), (task.flip(x), flipped)):
        metric = task.metrics()
        metric.update(estimate, batch)
        scores.append(metric.compute())
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    wrong = task.metrics()
    wrong.update(x, flipped)
    assert wrong.compute() != pytest.approx(scores[0], rel=1e-5)
    assert torch.equal(task.flip(task.flip(x)), x)


def test_the_mirror_image_of_a_pair_is_scored_as_the_other_view(streets):
    """A network that predicts the right view's disparity, mirrored, predicts that of the mirrored pair."""
    (task,) = tasks.create(["disparity"])
    x = prediction(task, streets)
    right = {"disparity": streets["disparity_right"]}
    torch.testing.assert_close(task.loss(task.flip(x), mirrored(streets)).mean(), task.loss(x, right).mean())


def test_mirrored_detections_have_the_same_loss_and_precision_on_mirrored_boxes():
    torch.manual_seed(0)
    model = create(
        "detection", tasks.create(["detection", "segmentation"], n_classes=19), encoder="resnet18", channels=64
    )
    batch = collate(
        [
            {
                "image": torch.rand(3, 64, 96),
                "boxes": torch.tensor([[8.0, 8, 40, 40], [50, 20, 90, 60]]),
                "labels": torch.tensor([0, 4]),
            }
        ]
    )
    flipped = mirrored(batch)
    task = model.tasks[0]
    with torch.no_grad():
        found = model.eval()(batch)["detection"]
    assert float(task.loss(found, batch).mean()) == pytest.approx(float(task.loss(task.flip(found), flipped).mean()))
    for one, two in zip(found.detect(score_threshold=0), task.flip(found).detect(score_threshold=0), strict=True):
        x1, y1, x2, y2 = one["boxes"].unbind(1)
        torch.testing.assert_close(torch.stack([96 - x2, y1, 96 - x1, y2], 1), two["boxes"], rtol=1e-4, atol=1e-3)
    assert task.metrics().higher_is_better["map"]


def test_a_network_may_be_tested_with_mirror_images(rooms):
    """predict(flip x) is scored as flip(predict x): exactly so for a network that does not know left from right."""
    chosen = tasks.create(("segmentation", "depth", "normal"))
    flipped = mirrored(rooms)

    def network(images):
        grey = images.mean(1, keepdim=True)
        sideways = images[..., [*range(1, 32), 0]] - images[..., [31, *range(31)]]
        return {
            "segmentation": torch.cat([grey * k for k in range(13)], 1),
            "depth": 3 + grey,
            "normal": torch.cat([sideways.mean(1, keepdim=True), grey, -grey], 1),
        }

    for task in chosen:
        there, here = network(flipped["image"])[task.name], task.flip(network(rooms["image"])[task.name])
        torch.testing.assert_close(there, here)
        torch.testing.assert_close(task.loss(there, flipped).mean(), task.loss(here, flipped).mean())


# --- boxes


def test_detection_loss_counts_images_with_known_boxes_alone():
    torch.manual_seed(0)
    (task,) = tasks.create(["detection"])
    model = create("detection", [task], encoder="resnet18", channels=64)
    batch = collate(
        [
            {"image": torch.rand(3, 64, 64), "boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([3])},
            {"image": torch.rand(3, 64, 64)},
        ],
        keys=["image", "boxes", "labels"],
    )
    found = model(batch)["detection"]
    terms = task.loss(found, batch)
    assert terms.weights[0] > 0 and terms.weights[1] == terms.values[1] == 0
    for ours, theirs in zip(
        terms, found.loss(batch["boxes"], batch["labels"], batch["labelled"]["boxes"]), strict=True
    ):
        assert torch.equal(ours, theirs)
    nothing = task.loss(found, {**batch, "labelled": {"boxes": torch.tensor([False, False])}})
    assert nothing.weights.tolist() == [0, 0]
    assert nothing.mean() == 0
    nothing.mean().backward()
