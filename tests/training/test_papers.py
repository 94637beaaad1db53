"""Numbers of schedule, optimizer and data in the papers' texts, their sources, and the run at `paper` that has them."""

import pytest
import torch
from training_cases import config as tiny_config

from mtlrepro import balancers
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.data.real.cityscapes.files import OFFICIAL_COUNTS
from mtlrepro.data.real.taskonomy.files import LSB_COUNTS
from mtlrepro.training.scales import PAPER, config
from mtlrepro.training.step import Trainer

PNASNET = {"model_options": {"encoder": "pnasnet5", "weights": "imagenet"}}
LSB = {
    "nyuv2": ("LSB, supplement, Section 3: NYUv2 with MobileNetV2", {}),
    "nyuv2 pnasnet5": ("LSB, supplement, Section 3: NYUv2 with PNASNet", PNASNET),
    "taskonomy": ("LSB, supplement, Section 3: Taskonomy", {}),
}
EVERYWHERE = {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.01, "schedule": "constant"}
STATED = [
    # data set, network, changes; source; fields
    *(
        (name.split()[0], network, changes, source, {**EVERYWHERE, "epochs": epochs})
        for (name, (source, changes)), epochs in zip(LSB.items(), (1000, 50, 200), strict=True)
        for network in ("full_sharing", "multi_decoder", "multi_column")
    ),
    ("cityscapes", "mtsgd", {}, "MTSGD, Section 4.2: 19 classes", {"classes": 19}),
    (
        "cityscapes",
        "mtsgd",
        {},
        "MTSGD, Section 4.3",
        {"optimizer": "sgd", "weight_decay": 1e-4, "batch_size": 16, "crop": (512, 512), "lr": 0.01, "epochs": 200}
        | {"schedule": "steps", "milestones": (100, 150), "factor": 0.1},
    ),
    (
        "nyuv2",
        "segnet_mtan",
        {},
        "public benchmark code (CAGrad, Nash-MTL, FAMO)",
        {"optimizer": "adam", "lr": 1e-4, "milestones": (100,), "factor": 0.5, "epochs": 200, "batch_size": 2}
        | {"average_last": 10, "scales": (1.0, 1.2, 1.5), "protocol": "benchmark", "weight_decay": 0.0},
    ),
    (
        "cityscapes",
        "segnet_mtan",
        {},
        "public benchmark code (CAGrad, Nash-MTL, FAMO)",
        {"classes": 7, "batch_size": 8, "average_last": 10},
    ),
]


@pytest.mark.parametrize(("dataset", "network", "changes", "source", "fields"), STATED)
def test_paper_is_what_the_papers_print(dataset, network, changes, source, fields):
    run = config("paper", dataset=dataset, network=network, **changes)
    assert {name: getattr(run, name) for name in fields} == fields, source


@pytest.mark.parametrize(("name", "growth"), [("nyuv2", 0.02), ("nyuv2 pnasnet5", 0.05), ("taskonomy", 0.5)])
def test_beta_grows_as_the_supplement_says(name, growth):
    source, changes = LSB[name]
    run = config("paper", dataset=name.split()[0], method="lsb", **changes)
    balancer = balancers.create("lsb", 3, **run.method_options)
    assert balancer.rate == growth, source
    assert balancer.period == 1, "LSB, supplement, Section 3: one period is one epoch"
    assert balancer.weights.tolist() == pytest.approx([1 / 3] * 3), "LSB, supplement, Section 3: equal start"


def test_what_a_paper_states_for_one_method_leaves_the_others_alone():
    for method in ("equal", "dwa", "gls"):
        assert config("paper", dataset="taskonomy", method=method).method_options == {}
        assert config("paper", dataset="nyuv2", method=method, **PNASNET).epochs == 50
    assert config("cpu", method="lsb").method_options == {}


def test_what_is_asked_for_takes_the_place_of_what_a_paper_states():
    options = config("paper", dataset="taskonomy", method="lsb", method_options={"conserve": False}).method_options
    assert options == {"rate": 0.5, "conserve": False}
    options = config("paper", dataset="taskonomy", method="lsb", method_options={"rate": 0.0}).method_options
    assert options == {"rate": 0.0}
    assert config("paper", dataset="nyuv2", epochs=7, **PNASNET).epochs == 7


def test_every_row_of_the_table_names_fields_of_a_run():
    run = config("paper", dataset="nyuv2")
    for stated in PAPER:
        assert stated.where.keys() - {"encoder"} <= dict(run).keys()
        assert stated.fields.keys() <= dict(run).keys()


def test_encoders_are_the_papers():
    """LSB, supplement, Section 1; MTSGD, Section 4.1. The supplement names no encoder for Taskonomy."""
    assert config("paper", dataset="nyuv2").model_options == {"encoder": "mobilenet_v2", "weights": "imagenet"}
    options = config("paper", dataset="cityscapes", network="mtsgd").model_options
    assert options == {"encoder": "resnet50", "weights": "imagenet"}


def test_data_sets_are_the_papers():
    """LSB, supplement, Section 2: classes, images of Taskonomy; MTSGD, Sections 4.2, 4.3: images, validation set."""
    assert len(CATALOGUE["nyuv2"].classes) == 13
    assert LSB_COUNTS == {"train": 2762, "test": 548}
    assert OFFICIAL_COUNTS["train"] == 2975
    assert CATALOGUE["cityscapes"].test_split == "val"
    assert CATALOGUE["cityscapes"].tasks == ("segmentation", "disparity")


def test_optimizers_are_the_papers():
    """LSB, supplement, Section 3: betas and epsilon; MTSGD, Section 4.3: momentum."""
    adamw, sgd = (
        Trainer(tiny_config(optimizer=name), torch.device("cpu")).optimizer.defaults for name in ("adamw", "sgd")
    )
    assert (adamw["betas"], adamw["eps"]) == ((0.9, 0.999), 1e-8)
    assert (sgd["momentum"], sgd["dampening"], sgd["nesterov"]) == (0.9, 0, False)
