import copy
import hashlib
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

from mtlrepro import balancers, files
from mtlrepro.balancers import METHODS
from mtlrepro.models import MODELS
from mtlrepro.runs import read_grid
from mtlrepro.training.config import ALGORITHM, LATER, RunConfig

ASKED = {"epochs": [1], "batches": 2, "samples": 1}


def test_json_is_canonical_and_reads_back():
    config = RunConfig(
        tasks=["depth", "normal"],
        size=[48, 64],
        lr=1,
        model_options={"width": 0.25, "decoder_widths": (8,) * 6},
        schedule="steps",
        milestones=[2, 4],
        factor=0.1,
        epochs=5,
    )
    text = config.to_json()
    values = json.loads(text)
    assert text == json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert set(values) == RunConfig.model_fields.keys() - LATER
    assert values["lr"] == 1.0 and '"lr":1.0,' in text and '"factor":0.1,' in text
    assert config.tasks == ("depth", "normal") and config.size == (48, 64) and config.milestones == (2, 4)
    assert RunConfig.from_json(text) == config == RunConfig.from_dict(config.to_dict())
    assert RunConfig.from_json(text).hash == config.hash
    assert len({config, RunConfig.from_json(text), RunConfig()}) == 2


def test_hash_is_that_of_the_version_and_the_json():
    config = RunConfig()
    expected = hashlib.sha256(f"{ALGORITHM}:{config.to_json()}".encode()).hexdigest()[:12]
    assert config.hash == expected
    assert config.replace(seed=1).hash != expected


def test_a_tuple_of_epochs_is_a_list():
    asked = {"epochs": (1, 3), "batches": 2, "samples": 1}
    assert RunConfig(gradients=asked).gradients == asked | {"epochs": [1, 3]}


def test_later_fields_change_the_hash_only_off_their_defaults():
    plain = RunConfig()
    assert plain.hash == RunConfig(**{name: RunConfig.model_fields[name].default for name in LATER}).hash
    assert plain == RunConfig(labels={"depth": [0, 1]}, loss_scales={"normal": 1}) and not LATER & set(plain.to_dict())
    for changes in (
        {"evaluate_on": "val"},
        {"evaluate_on": "both"},
        {"dataset": "nyuv2", "score": "frame"},
        {"pictures": {"epochs": [2, 20], "images": [0, 3]}},
        {"loss_scales": {"depth": 30.0}},
        {"method": "gradnorm", "balancer_lr": 0.025},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "decay": "decoupled"},
        {"labels": {"depth": [0.0, 0.1]}},
        {"draw": "alternating"},
        {"unlabelled": "zero"},
        {"gradients": {"epochs": [2, 20], "batches": 5, "samples": 0}},
        {"observe": ["classes", "weights"]},
    ):
        changed = RunConfig(**changes)
        assert changed.hash != plain.hash and changed == RunConfig.from_json(changed.to_json())
        assert changed.to_dict().items() >= changes.items()


def test_order_of_options_and_kind_of_number_do_not_matter():
    a = RunConfig(method="lsb", method_options={"rate": 0.5, "offset": 2}, lr=1)
    b = RunConfig(method="lsb", method_options={"offset": 2, "rate": 0.5}, lr=1.0)
    assert a == b and a.hash == b.hash
    assert RunConfig(dataset="streets", classes=7.0).hash == RunConfig(dataset="streets", classes=7).hash


def test_the_order_of_what_is_observed_does_not_matter():
    one, other = (RunConfig(observe=names) for names in (["method", "classes"], ("classes", "method")))
    assert one == other and one.hash == other.hash and one.observe == ("classes", "method")


def test_options_cannot_be_changed_from_outside():
    options = {"rate": 0.5}
    config = RunConfig(method="lsb", method_options=options)
    options["rate"] = 7
    assert config.method_options == {"rate": 0.5}


def test_copies_are_equal():
    config = RunConfig(model_options={"decoder_widths": [8] * 6})
    for same in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config)), config.replace()):
        assert same == config and same.hash == config.hash and hash(same) == hash(config)


def test_a_changed_copy_is_checked():
    config = RunConfig(model_options={"decoder_widths": (8,) * 6})
    changed = config.replace(seed=1, model_options={"width": 0.5})
    assert (changed.seed, changed.model_options, config.seed) == (1, {"width": 0.5}, 0)
    with pytest.raises(ValueError, match=r"^epochs is 0; accepted: a whole number from 1 to 2147483647$"):
        config.replace(epochs=0)
    with pytest.raises(ValueError, match=r"^field 'sede' is unknown; accepted: dataset, n_train, "):
        config.replace(sede=1)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1


def test_every_stored_record_keeps_its_hash():
    paths = sorted(files.book("results", "runs").glob("*.json"))
    assert len(paths) >= 380
    for path in paths:
        record = json.loads(path.read_bytes())
        config = RunConfig.from_dict(record["config"])
        assert config.hash == record["hash"] == path.name.split(".")[0]
        assert config.to_dict() == record["config"]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("first", "45a8433f8280"),
        ("front_rooms3", "efe9c40ea405"),
        ("gpu_front_rooms3", "729b6e6192b3"),
        ("gpu_rooms3_methods", "3ac90425fd71"),
        ("rooms3_methods", "5cf493eb677f"),
    ],
)
def test_runs_of_the_grid_files_keep_their_hashes(name, digest):
    """Runs that are not stored yet, too: the digest of all hashes is that of the first version of this class."""
    hashes = [config.hash for config in read_grid(files.book("grids", f"{name}.json"))]
    assert hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:12] == digest


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seed", [True, 1.0, "1", np.int64(1), None]),
        ("epochs", [True, 2.0, "8", np.int64(8), 0, None]),
        ("lr", [True, "0.1", np.float32(0.1), np.int64(1), Fraction(1, 2), float("inf"), 10**400, 0, None]),
        ("weight_decay", [False, "0", np.float32(0), -0.1]),
        ("n_train", [True, "8", 8.0, 0]),
        ("size", [8, "ab", [True, 8], [8.0, 8], ["8", 8], [8, 8, 8], [0, 8]]),
        ("tasks", ["depth", {"depth": 1}, [1], None]),
        ("model", [b"segnet", None, 1]),
        ("model_options", [[], None, {1: 2}, {"width": object()}, {"width": float("inf")}]),
        ("milestones", [3, "12", [True], [1.0], ["1"]]),
        ("scales", [1.0, [True], ["1"], [0]]),
        ("compile", [1, 0, "true", None]),
        ("classes", [True, "7", 7.5]),
        ("pictures", [[], None, {"epochs": [1.0], "images": [0]}, {"epochs": [1], "images": [True]}]),
        (
            "gradients",
            [
                [],
                None,
                {"epochs": 1, "batches": 1, "samples": 0},
                {"epochs": [True], "batches": 1, "samples": 0},
                {"epochs": [1], "batches": True, "samples": 0},
                {"epochs": [1], "batches": 1.0, "samples": 0},
                {"epochs": [1], "batches": [1], "samples": 0},
                {"epochs": [1], "batches": 1, "samples": "1"},
            ],
        ),
        ("observe", ["weights", {"weights": 1}, {"weights"}, [1], None, ["weights", "weights"], ["all"]]),
        ("device", ["gpu", None, 0]),
    ],
)
def test_nothing_is_made_to_fit(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} is ") as refused:
            RunConfig(**{"dataset": "streets", name: value})
        assert str(refused.value).startswith(f"{name} is {value!r}; accepted: ")
        assert "\n" not in str(refused.value)


def test_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"tasks": ["depth"], "seed": 3}')
    config = RunConfig.from_json(path)
    assert config == RunConfig(tasks=("depth",), seed=3)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: no JSON"):
        RunConfig.from_json(path)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_accepted_and_no_random_number_is_drawn(name):
    state = torch.random.get_rng_state()
    RunConfig(model=name, dataset="streets")
    assert torch.equal(torch.random.get_rng_state(), state)


CURRICULA = ["mclgs", "cagrad+mclgs"]


@pytest.mark.parametrize("method", CURRICULA)
@pytest.mark.parametrize(
    ("options", "epochs", "steps", "delta_a"),
    [
        ({}, 20, 50, 4.0),  # half of the run
        ({"length": 0.25, "a0": 2.0}, 20, 50, 0.4),
        ({"length": 0.1}, 30, 50, 40 / 3),  # 0.1 * 30 is 3.0000000000000004
        ({"length": 0.5}, 5, 50, 40 / 3),  # whole epochs
        ({"length": 1}, 20, 50, 2.0),
        ({"length": 1e-9}, 20, 50, 40.0),
        ({"length": 0.5, "step": "iteration"}, 20, 50, 40 / 500),
        ({"delta_a": 2.0}, 20, 50, 2.0),
        ({"delta_a": 0.04, "step": "iteration"}, 20, 50, 0.04),
    ],
)
def test_the_length_of_a_curriculum_becomes_its_decrease(method, options, epochs, steps, delta_a):
    config = RunConfig(method=method, method_options=options, epochs=epochs)
    made = balancers.create(method, 3, **config.balancer_options(steps))
    assert made.delta_a == pytest.approx(delta_a, rel=1e-14)
    end = epochs if made.step == "epoch" else epochs * steps
    made.set_extra_state({"steps": end, "epochs": end})
    assert made.p == 0


def test_a_curriculum_has_its_length_in_the_hash():
    """A run whose options give neither `length` nor `delta_a` has another hash than before `length` existed."""
    plain = RunConfig(method="mclgs", method_options={"a0": 3.0})
    assert plain.method_options == {"a0": 3.0, "length": 0.5}
    assert (
        plain
        == RunConfig(method="mclgs", method_options={"a0": 3.0, "length": 0.5})
        == RunConfig.from_json(plain.to_json())
    )
    assert plain.replace(epochs=40).balancer_options(50)["delta_a"] == 3 / 20  # still half of the run
    old = RunConfig(method="mclgs", method_options={"delta_a": 0.4})
    assert old.method_options == {"delta_a": 0.4}
    assert len({plain.hash, old.hash, RunConfig(method="cagrad").hash}) == 3
    assert RunConfig(method="cagrad").method_options == {}


def test_configurations_of_curricula_keep_their_hashes_where_the_decrease_is_given():
    """As computed before `length` existed."""
    options = {"a0": 40.0, "delta_a": 0.4}
    assert RunConfig(method="mclgs", method_options=options).hash == "08759b24a304"
    assert RunConfig(method="cagrad+mclgs", method_options=options | {"step": "iteration"}).hash == "fbed1f156427"


@pytest.mark.parametrize(
    ("options", "p"),
    [({"delta_a": 0.4}, 32), ({"delta_a": 0.0, "a0": 1.5}, 1.5), ({"delta_a": 1e-3, "step": "iteration"}, 39)],
)
def test_a_curriculum_that_does_not_end_says_so(options, p):
    config = RunConfig(method="mclgs", method_options=options)
    with pytest.warns(UserWarning, match=f"mclgs: p is {p} when the run ends, .*give method_options 'length'"):
        assert config.balancer_options(50) == options


def test_other_options_reach_the_method_as_they_are():
    assert RunConfig(method="cagrad", method_options={"c": 0.2}).balancer_options(5) == {"c": 0.2}
    assert RunConfig(method="pcgrad", seed=3).balancer_options(5) == {"seed": 3}
    assert RunConfig(method="pcgrad", seed=3, method_options={"seed": 7}).balancer_options(5) == {"seed": 7}
    assert RunConfig(method="torchjd:UPGradWeighting", seed=3).balancer_options(5) == {}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_accepted(name):
    assert RunConfig(method=name).method == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": ["depht"]}, r"tasks is \['depht'\]; accepted: one or more of segmentation, depth"),
        ({"tasks": ["depth", "depth"]}, "all different"),
        ({"tasks": []}, "tasks is"),
        ({"tasks": "depth"}, "tasks is 'depth'"),
        ({"tasks": ["curvature"], "protocol": "benchmark"}, r"tasks is \('curvature',\); .*accepted with protocol"),
        ({"protocol": "mtan"}, "protocol is 'mtan'; accepted: 'lsb', 'benchmark'"),
        ({"dataset": "room"}, "dataset is 'room'; accepted: 'rooms', 'streets', 'nyuv2'"),
        ({"model": "unet"}, "model is 'unet'; accepted: full_sharing"),
        ({"model": 3}, "model is 3; accepted: a network's name"),
        ({"method": "lbs"}, "method is 'lbs'; accepted: .*equal"),
        ({"model_options": {"wdith": 1}}, "model_options is {'wdith': 1}; .*option 'wdith' is unknown; accepted: enc"),
        ({"model_options": {"encoder": "vgg"}}, "encoder is 'vgg'; accepted: mobilenet_v2"),
        ({"model_options": {"weights": "imagenet", "width": 0.5}}, "width is 0.5; accepted with weights='imagenet': 1"),
        (
            {"model_options": {"weights": "imagenet", "encoder": "resnet14"}},
            "encoder is 'resnet14'; accepted with weights",
        ),
        ({"model_options": {"decoder_widths": 3}}, "model_options is"),
        ({"model_options": {"width": float("nan")}}, "model_options is .*JSON"),
        ({"method_options": {"c": 0.4}}, "method_options is {'c': 0.4}; equal: option 'c' is unknown"),
        ({"method": "lsb", "method_options": {"rate": -1}}, "rate is -1.0; accepted"),
        ({"method": "lsb", "method_options": {"priority": [1.0]}}, "accepted: 3 positive numbers"),
        *(
            ({"method": "mclgs", "method_options": {"length": length}}, r"length is .*; accepted: a number in \(0, 1\]")
            for length in (0, -0.5, 1.5, True, "1", None)
        ),
        (
            {"method": "cagrad+mclgs", "method_options": {"length": 0.5, "delta_a": 1.0}},
            "it has 'length' and 'delta_a'; accepted: one of them",
        ),
        (
            {"method": "cagrad", "method_options": {"length": 0.5}},
            "cagrad: option 'length' is unknown; accepted: c, re",
        ),
        ({"method": "mclgs", "method_options": []}, r"method_options is \[\]; accepted: an object"),
        ({"method": "mclgs", "method_options": {"a0": -1}}, "a0 is -1.0; accepted"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; accepted: 'adamw', 'adam', 'sgd'"),
        ({"lr": 0}, "lr is 0; accepted: a number above 0"),
        ({"lr": "1e-4"}, "lr is '1e-4'"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"epochs": 0}, "epochs is 0; accepted: a whole number from 1 to 2147483647"),
        ({"epochs": 2.0}, "epochs is 2.0"),
        ({"epochs": True}, "epochs is True"),
        ({"seed": -1}, "seed is -1"),
        ({"compile": 1}, "compile is 1; accepted: true or false"),
        ({"size": [48]}, "size is"),
        ({"size": [48, 64, 3]}, "size is"),
        ({"classes": 13}, "classes is 13; accepted: None, 7, 19"),
        ({"classes": 7}, "classes is 7; accepted with dataset 'rooms': None"),
        ({"dataset": "nyuv2", "n_train": 3}, "n_train is 3; accepted with dataset 'nyuv2': None"),
        ({"n_train": 4, "batch_size": 8}, "batch_size is 8; accepted: up to 4, the training scenes"),
        ({"flip": 2}, "flip is 2.0; accepted: a probability"),
        ({"scales": [0.5]}, r"scales is \(0.5,\)"),
        ({"milestones": [3]}, r"milestones is \(3,\); accepted with schedule 'constant': \(\)"),
        ({"factor": 0.5}, r"factor is 0.5; accepted with schedule 'constant': 1.0"),
        ({"schedule": "steps", "factor": 0.5}, "milestones is"),
        ({"schedule": "steps", "factor": 0.5, "milestones": [3, 2]}, "milestones is"),
        ({"schedule": "steps", "factor": 0.5, "milestones": [20]}, "increasing numbers below 20"),
        ({"schedule": "steps", "milestones": [2]}, "factor is 1.0; accepted with schedule 'steps'"),
        ({"average_last": 21}, "average_last is 21; accepted: 1 to 20"),
        ({"evaluate_on": "train"}, "evaluate_on is 'train'; accepted: 'test', 'val', 'both'"),
        ({"evaluate_on": "val", "dataset": "nyuv2"}, "evaluate_on is 'val'; accepted with dataset 'nyuv2': 'test'"),
        *(
            ({"evaluate_on": "both", "dataset": name}, f"evaluate_on is 'both'; accepted with dataset '{name}': 'test'")
            for name in ("nyuv2", "cityscapes", "bdd100k")
        ),
        ({"pictures": {"epochs": [1]}}, r"pictures is {'epochs': \[1\]}; accepted: {}, or"),
        ({"pictures": {"epochs": [1], "images": []}}, "pictures is"),
        ({"pictures": {"epochs": [2, 1], "images": [0]}}, "increasing whole numbers, epochs from 1"),
        ({"pictures": {"epochs": [0], "images": [0]}}, "increasing whole numbers, epochs from 1"),
        ({"pictures": {"epochs": [21], "images": [0]}}, "accepted: epochs up to 20"),
        (
            {"pictures": {"epochs": [1], "images": [0]}, "dataset": "streets", "tasks": ["detection"]},
            "accepted with detection: {}",
        ),
        ({"pictures": {"epochs": [1], "images": [8]}, "n_test": 8}, "accepted: images below 8, the test scenes"),
        ({"pictures": {"epochs": [1], "images": [500]}}, "accepted: images below 500, the test scenes"),
        ({"gradients": {"epochs": [1], "batches": 1}}, r"gradients is .*; accepted: {}, or {\"epochs\": \[...\]"),
        ({"gradients": ASKED | {"images": []}}, "gradients is .*; accepted: {}, or"),
        ({"gradients": ASKED | {"epochs": []}}, "gradients is .*; accepted: {}, or"),
        ({"gradients": ASKED | {"epochs": [2, 1]}}, "increasing whole numbers from 1"),
        ({"gradients": ASKED | {"epochs": [0]}}, "increasing whole numbers from 1"),
        ({"gradients": ASKED | {"batches": 0, "samples": 0}}, "n at least 1"),
        ({"gradients": ASKED | {"samples": 3}}, "m up to n"),
        ({"gradients": ASKED | {"epochs": [21]}}, "gradients is .*; accepted: epochs up to 20"),
        ({"gradients": ASKED, "tasks": ["depth"]}, "gradients is .*; accepted with one task: {}"),
        ({"gradients": ASKED, "batch_size": 3}, "gradients is .*; accepted with a batch_size below 4: {}"),
        ({"observe": ["loss"]}, r"observe is \['loss'\]; accepted: any of classes, method, update, weights, all diff"),
        ({"observe": ["update"]}, r"observe is \('update',\); accepted with probe_every 0: without 'update'"),
        (
            {"observe": ["classes"], "tasks": ["depth"]},
            r"observe is \('classes',\); accepted without segmentation: without 'classes'",
        ),
        ({"cuda_graph": True}, "cuda_graph is True; accepted with device 'cuda'"),
        (
            {"loss_scales": {"depth": 0}},
            "loss_scales is {'depth': 0}; accepted: an object of tasks and numbers above 0",
        ),
        ({"loss_scales": {"depth": "2"}}, "loss_scales is {'depth': '2'}; accepted: an object"),
        ({"loss_scales": [2]}, r"loss_scales is \[2\]; accepted: an object"),
        ({"loss_scales": {"disparity": 2}}, "loss_scales is {'disparity': 2.0}; accepted: tasks of the run, .'segment"),
        ({"balancer_lr": 0, "method": "gradnorm"}, "balancer_lr is 0; accepted: a number above 0, or null"),
        (
            {"balancer_lr": 0.1, "method": "lsb"},
            "balancer_lr is 0.1; accepted with method 'lsb', without parameters: None",
        ),
        ({"momentum": 1, "optimizer": "sgd"}, r"momentum is 1; accepted: a number in \[0, 1\)"),
        ({"momentum": -0.5, "optimizer": "sgd"}, "momentum is -0.5; accepted: a number in"),
        ({"momentum": 0.5}, "momentum is 0.5; accepted with optimizer 'adamw': 0.9"),
        ({"decay": "coupled"}, "decay is 'coupled'; accepted: 'torch', 'decoupled'"),
        ({"decay": "decoupled"}, "decay is 'decoupled'; accepted with optimizer 'adamw': 'torch'"),
        (
            {"decay": "decoupled", "optimizer": "sgd", "weight_decay": 1},
            "weight_decay is 1.0; accepted with decay 'decoupled': below 1",
        ),
        *(
            (
                {"labels": {"depth": share}},
                r"labels is .*; accepted: an object of tasks and shares \[start, end\], 0 <=",
            )
            for share in (0.1, [0.1], [0.5, 0.5], [0.5, 0.1], [-0.1, 0.5], [0.5, 1.5], [0, 0.5, 1], ["0", 1])
        ),
        ({"labels": {"disparity": [0, 0.5]}}, r"labels is {'disparity': \(0.0, 0.5\)}; accepted: tasks of the run, "),
        (
            {"labels": {"depth": [0, 0.001]}, "n_train": 100},
            r"labels is {'depth': \(0.0, 0.001\)}, 0 of 100 images for 'depth'; accepted with draw 'union': 1 or",
        ),
        (
            {"labels": {"depth": [0, 0.07]}, "n_train": 100, "draw": "alternating"},
            "7 of 100 images for 'depth'; accepted with draw 'alternating': 8 or more for each task",
        ),
        (
            {"tasks": ["depth"], "labels": {"depth": [0, 0.07]}, "n_train": 100},
            "batch_size is 8; accepted: up to 7, the images with labels",
        ),
        ({"draw": "both"}, "draw is 'both'; accepted: 'union', 'alternating'"),
        ({"unlabelled": 0}, "unlabelled is 0; accepted: 'absent', 'zero'"),
        ({"draw": "alternating", "tasks": ["depth"]}, "draw is 'alternating'; accepted with one task: 'union'"),
        (
            {"draw": "alternating", "device": "cuda", "cuda_graph": True},
            "draw is 'alternating'; accepted with cuda_graph: 'union'",
        ),
        (
            {"unlabelled": "zero", "device": "cuda", "cuda_graph": True},
            "unlabelled is 'zero'; accepted with cuda_graph: 'absent'",
        ),
        (
            {"labels": {"depth": [0, 0.5]}, "device": "cuda", "cuda_graph": True},
            r"labels is {'depth': \(0.0, 0.5\)}; accepted with cuda_graph: {}",
        ),
        ({"seed": 2**63}, "seed is 9223372036854775808; accepted: a whole number of at least 0 and below"),
        ({"epochs": 2**31}, "epochs is 2147483648; accepted: a whole number from 1 to 2147483647"),
        ({"threads": 1025}, "threads is 1025; accepted: a whole number from 1 to 1024"),
        ({"gradients": ASKED | {"batches": 2**31}}, "gradients is .*; accepted: {}, or"),
        ({"size": [15, 64]}, r"size is \(15, 64\); accepted: 16 to 4096 pixels each way"),
        ({"size": [64, 4097]}, r"size is \(64, 4097\); accepted: 16 to 4096 pixels each way"),
        ({"score": "frame"}, "score is 'frame'; accepted with dataset 'rooms': 'image'"),
        ({"score": "inner", "dataset": "nyuv2"}, "score is 'inner'; accepted: 'image', 'frame'"),
        ({"crop": [97, 64]}, r"crop is \(97, 64\); accepted for these images: up to \(96, 128\)"),
        ({"scales": [1e308]}, r"scales is \(1e\+308,\); accepted: one or more numbers from 1 to 16"),
        (
            {"tasks": ["depth", "disparity"]},
            "tasks is .*; accepted with dataset 'rooms': segmentation, depth, no",
        ),
        ({"dataset": "streets", "tasks": ["curvature"]}, "accepted with dataset 'streets': .*, disparity, detection"),
        ({"model": "mtsgd"}, "model_options is {}; views is 2; accepted with dataset 'rooms': 1"),
        ({"model_options": {"views": 2}}, "views is 2; accepted with dataset 'rooms': 1"),
        (
            {"batch_size": 1, "size": [32, 32]},
            "batch_size is 1, images have 32 x 32 pixels; accepted by model 'multi_decoder': what it can be t",
        ),
        ({"batch_size": 1, "crop": [16, 16], "model": "small_unet"}, "batch_size is 1, images have 16 x 16 pixels"),
        ({"size": [16, 16], "model": "segnet"}, "images have 16 x 16 pixels; accepted by model 'segnet': what it can"),
        (
            {"method": "mclgs", "method_options": {"length": 10**400}},
            r"length is 1000.*; accepted: a number in",
        ),
        ({"learning_rate": 1}, "field 'learning_rate' is unknown; accepted: dataset, n_train"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.from_dict(fields)


OPTIONS = {
    "multi_decoder": {
        "dilate": ["false", 0, None],
        "width": ["1", True, 1e308, -1, 0, 10**400],
        "views": [True, 1.5, 0, 3, 10**30],
        "output_stride": ["32", 32.0, [32]],
        "encoder": [1, ["resnet18"]],
        "weights": [None, ["none"], "random"],
        "decoder_widths": [8, "abcdef", {"8": 8}, *([width, 8, 8, 8, 8, 8] for width in (-8, 0, 8.0, "8", True, 4097))],
    },
    "multi_column": {"stitch": [1, "zero", ["identity"]]},
    "segnet": {"widths": [8, [], [0], ["8"], [8.0], [10**20]]},
    "segnet_mtan": {"widths": [[8, -8], [8.5]]},
    "mtsgd": {"bins": ["12", [0], [1.5], [True], [129], [1] * 2049]},
    "detection": {"channels": ["64", 64.0, True, 80, 32, 10**15]},
}


@pytest.mark.parametrize(("model", "option"), [(model, name) for model, names in OPTIONS.items() for name in names])
def test_no_network_takes_an_option_of_another_type_or_range(model, option):
    for value in OPTIONS[model][option]:
        with pytest.raises(ValueError, match=f"^model_options is .*; {option} (is|has) .*; accepted") as refused:
            RunConfig(model=model, dataset="streets", model_options={option: value})
        assert "not supported" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"seed": 1, "seed": 2}', "'seed' is given twice"),
        (b"[" * 100_000, "no JSON: brackets are nested too deep"),
        (b'{"lr": NaN}', "it holds NaN, which JSON does not have"),
        (b'{"lr": ' + b"1" * 5000 + b"}", "it holds a number of 5000 digits; accepted: up to 400"),
        (b"\xff\xfe\xfa", "can't decode"),
        (b'{"seed": -1}', "seed is -1; accepted"),
    ],
)
def test_a_file_that_is_refused_is_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        RunConfig.from_json(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 3}', encoding="utf-8-sig")
    assert RunConfig.from_json(path).seed == 3


@pytest.mark.parametrize("values", [[], "x", None])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(ValueError, match=r"the configuration is .*; accepted: fields and their values"):
        RunConfig.from_dict(values)


def test_extras_that_are_not_installed_do_not_hinder_reading(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    config = RunConfig(model_options={"encoder": "pnasnet5"})
    assert config.model_options["encoder"] == "pnasnet5"


def test_another_method_leaves_the_default_length_behind():
    assert RunConfig(method="mclgs").replace(method="equal").hash == RunConfig().hash
    assert RunConfig(method="mclgs").replace(method="mclgs", seed=1).method_options == {"length": 0.5}
    with pytest.raises(ValueError, match="option 'length' is unknown"):
        RunConfig(method="mclgs", method_options={"length": 0.25}).replace(method="equal")


def test_one_length_is_one_run():
    one, other = (RunConfig(method="mclgs", method_options={"length": length}) for length in (1, 1.0))
    assert one.hash == other.hash


@pytest.mark.parametrize(("field", "value"), [("loss_scales", {"depht": 1}), ("labels", {"depht": [0, 1]})])
def test_a_misspelt_task_is_refused_at_its_default_too(field, value):
    with pytest.raises(ValueError, match=f"{field} is {{'depht': .*; accepted"):
        RunConfig(**{field: value})
