"""How large runs are: one table for every data set and network at the scales smoke, cpu, gpu and paper.

`smoke` takes seconds and is for tests; `cpu` takes minutes on one core and is the book's default; `gpu` is the
same at a size for which a GPU is worth having; `paper` is the paper's own protocol on the real data set, as far as
its text gives it. What a paper leaves open is named as a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.training.config import RunConfig

Scale = Literal["smoke", "cpu", "gpu", "paper"]


@dataclass(frozen=True)
class Size:
    """One entry of the table.

    Attributes:
        reason: Why it is so.
        fields: Of `RunConfig`.
    """

    reason: str
    fields: dict[str, Any]


def _size(reason: str, **fields: Any) -> Size:  # noqa: ANN401
    return Size(reason, fields)


_IMAGENET = {"encoder": "mobilenet_v2", "weights": "imagenet"}
_GPU = {"device": "cuda", "precision": "bf16"}

_SMOKE = {"n_train": 8, "n_test": 8, "epochs": 8, "batch_size": 4}
_CPU = {"n_train": 400, "n_test": 200, "epochs": 20, "batch_size": 8}
_LARGE = {"n_train": 800, "n_test": 200, "epochs": 30, "batch_size": 32, **_GPU}

DATA: dict[str, dict[Scale, Size]] = {
    "rooms": {
        "smoke": _size("seconds", size=(32, 48), **_SMOKE),
        "cpu": _size(
            "small images on which classes can still be told apart; 8,000 images a run", size=(64, 96), **_CPU
        ),
        "gpu": _size(
            "twice the pixels and three times the images of cpu, so that a grid of 90 runs takes minutes",
            size=(96, 128),
            **_LARGE,
        ),
    },
    "streets": {
        "smoke": _size("seconds", size=(32, 64), **_SMOKE),
        "cpu": _size("as rooms, with Cityscapes' shape of image", size=(64, 128), **_CPU),
        "gpu": _size("the images of the Cityscapes benchmark", size=(128, 256), **_LARGE),
    },
    "nyuv2": {
        "paper": _size(
            "epochs: LSB with MobileNetV2, whose beta grows by 0.02 an epoch (with PNASNet-5: 50 epochs, 0.05); batch "
            "size: our choice",
            epochs=1000,
            batch_size=8,
            **_GPU,
        )
    },
    "taskonomy": {
        "paper": _size(
            "epochs: LSB, whose beta grows by 0.5 an epoch; batch size and encoder: our choices",
            epochs=200,
            batch_size=16,
            **_GPU,
        )
    },
    "cityscapes": {
        "paper": _size("MTSGD's batch size and epochs; mirror images: our choice", epochs=200, batch_size=16, **_GPU)
    },
    "bdd100k": {"paper": _size("MCLGS names neither: our choices", epochs=12, batch_size=16, **_GPU)},
}
"""Images, epochs and batch by data set. Prepared real data have their own size of image.

:meta hide-value:
"""

_LSB: dict[Scale, Size] = {
    "smoke": _size(
        "half a second; few layers, a random start, so that no file is needed, and a rate that teaches in few steps",
        model_options={
            "encoder": "resnet14",
            "width": 0.125,
            "output_stride": 16,
            "decoder_widths": (16, 12, 8, 8, 8),
        },
        lr=1e-2,
    ),
    "cpu": _size(
        "the encoder up to stride 16, for a map of 4 x 6 at 64 x 96, without the stage that dilation makes costly",
        model_options={**_IMAGENET, "output_stride": 16, "dilate": False, "decoder_widths": (48, 32, 24, 16, 8)},
        lr=1e-3,
    ),
    "gpu": _size(
        "as cpu, for a map of 6 x 8 at 96 x 128, with wider decoders; dilated depthwise convolutions are slow on GPUs",
        model_options={**_IMAGENET, "output_stride": 16, "dilate": False, "decoder_widths": (128, 96, 64, 32, 16)},
        lr=1e-3,
        cuda_graph=True,
    ),
    "paper": _size("LSB; decoder widths are a reconstruction", model_options=_IMAGENET, lr=1e-4),
}
_BENCHMARK = {"protocol": "benchmark", "optimizer": "adam", "weight_decay": 0.0}
_SEGNET: dict[Scale, Size] = {
    "smoke": _size("seconds", model_options={"widths": (4, 6, 8, 8, 8)}, lr=1e-3, **_BENCHMARK),
    "cpu": _size("a quarter of the width", model_options={"widths": (16, 32, 64, 128, 128)}, lr=1e-3, **_BENCHMARK),
    "gpu": _size("the benchmark's widths", model_options={}, lr=5e-4, cuda_graph=True, **_BENCHMARK),
    "paper": _size(
        "the public benchmark: rate halved after 100 epochs, mean of the last 10 epochs",
        model_options={},
        lr=1e-4,
        schedule="steps",
        milestones=(100,),
        factor=0.5,
        epochs=200,
        batch_size=2,
        average_last=10,
        scales=(1.0, 1.2, 1.5),
        **_BENCHMARK,
    ),
}
_STEPS = {"optimizer": "sgd", "weight_decay": 1e-4, "schedule": "steps", "factor": 0.1}
_MTSGD: dict[Scale, Size] = {
    "smoke": _size(
        "half of the usual epochs at this size, since the chapter on MTSGD has the most runs",
        model_options={"encoder": "resnet14", "width": 0.125, "output_stride": 16, "bins": (1, 2)},
        optimizer="sgd",
        epochs=4,
        lr=0.01,
    ),
    "cpu": _size(
        "one bottleneck a stage and half of ResNet-50's channels, so that most weights stay in 1x1 kernels, from a "
        "random start; the paper's steps of the rate at the same shares of the run",
        model_options={"encoder": "resnet14", "width": 0.5},
        lr=0.02,
        milestones=(10, 15),
        **_STEPS,
    ),
    "gpu": _size(
        "the paper's encoder from a random start: no package carries its ImageNet weights; steps of the rate as in cpu",
        model_options={"encoder": "resnet50"},
        lr=0.01,
        milestones=(15, 22),
        cuda_graph=True,
        **_STEPS,
    ),
    "paper": _size(
        "MTSGD: crops of 512 x 512, rate divided by 10 after epochs 100 and 150; stride 8 is our choice",
        model_options={"encoder": "resnet50", "weights": "imagenet"},
        lr=0.01,
        milestones=(100, 150),
        crop=(512, 512),
        **_STEPS,
    ),
}
_DETECTION: dict[Scale, Size] = {
    "smoke": _size("seconds", model_options={"encoder": "mobilenet_v2", "width": 0.25, "channels": 64}, lr=1e-3),
    "cpu": _size(
        "a narrow pyramid; larger images, as many boxes of smaller ones lie within the finest cell, 8 x 8 pixels; the "
        "rate falls after a half and three quarters of the epochs",
        model_options={**_IMAGENET, "channels": 64},
        size=(96, 192),
        epochs=12,
        lr=1e-3,
        schedule="steps",
        milestones=(6, 9),
        factor=0.1,
    ),
    "gpu": _size("a pyramid of half the usual width", model_options={**_IMAGENET, "channels": 128}, lr=1e-3),
    "paper": _size("MCLGS names no network: our choice", model_options={"encoder": "resnet50", "weights": "imagenet"}),
}
_UNET: dict[Scale, Size] = {
    "smoke": _size("seconds", lr=1e-3, protocol="benchmark"),
    "cpu": _size("rate and decay of the chapter on the data sets", lr=4e-3, weight_decay=1e-4, protocol="benchmark"),
    "gpu": _size("as cpu", lr=4e-3, weight_decay=1e-4, protocol="benchmark", cuda_graph=True),
}
NETWORKS: dict[str, dict[Scale, Size]] = {
    "full_sharing": _LSB,
    "multi_decoder": _LSB,
    "multi_column": _LSB,
    "segnet": _SEGNET,
    "segnet_mtan": _SEGNET,
    "mtsgd": _MTSGD,
    "detection": _DETECTION,
    "small_unet": _UNET,
}
"""Network, losses and optimizer; these fields take the place of the data set's.

:meta hide-value:
"""

_DENSE: dict[str, dict[str, Any]] = {"rooms": {}, "nyuv2": {}, "taskonomy": {}}
_BENCHMARKS = {"rooms": {}, "nyuv2": {}, "streets": {"classes": 7}, "cityscapes": {"classes": 7, "batch_size": 8}}
PAIRS: dict[str, dict[str, dict[str, Any]]] = {
    "full_sharing": _DENSE,
    "multi_decoder": _DENSE,
    "multi_column": {**_DENSE, "taskonomy": {"model_options": {"stitch": "uniform"}}},
    "segnet": _BENCHMARKS,
    "segnet_mtan": _BENCHMARKS,
    "mtsgd": {"streets": {}, "cityscapes": {"classes": 19}},
    "detection": {"streets": {"tasks": CATALOGUE["bdd100k"].tasks}, "bdd100k": {}},
    "small_unet": {"rooms": {}, "streets": {}},
}
"""Which networks go with which data sets, and what belongs to the pair alone. Tasks are those of the data set.

:meta hide-value:
"""


@dataclass(frozen=True)
class Stated:
    """What a paper's text states for some runs at the scale `paper` alone.

    Attributes:
        where: Fields that these runs have, and `encoder`, the option of their network.
        fields: Fields that they get unless others are asked for.
        options: Options of their method, likewise.
    """

    where: dict[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


PAPER = (
    Stated({"dataset": "nyuv2", "encoder": "pnasnet5"}, fields={"epochs": 50}),
    Stated({"dataset": "nyuv2", "encoder": "pnasnet5", "method": "lsb"}, options={"rate": 0.05}),
    Stated({"dataset": "taskonomy", "method": "lsb"}, options={"rate": 0.5}),
)
"""Schedules of LSB's supplement, Section 3; that of NYUv2 with MobileNetV2 is the default.

:meta hide-value:
"""


def config(
    scale: Scale,
    *,
    dataset: str = "rooms",
    network: str = "multi_decoder",
    **changes: Any,  # noqa: ANN401
) -> RunConfig:
    """Make the configuration of a run at a scale.

    Args:
        scale: `smoke`, `cpu`, `gpu` or `paper`.
        dataset: Name of a data set; scenes have all scales but `paper`, real data sets have `paper` alone.
        network: Name of a network.
        **changes: Other fields of `RunConfig`, such as `method` and `seed`; they take the place of the table's.
            Options of a method take the place of those of `PAPER` one by one.

    Raises:
        ValueError: A name is unknown or there is no such entry; names what is accepted.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale is {scale!r}; accepted: {', '.join(get_args(Scale))}")
    if network not in NETWORKS:
        raise ValueError(f"network is {network!r}; accepted: {', '.join(NETWORKS)}")
    if dataset not in PAIRS[network]:
        raise ValueError(f"dataset is {dataset!r}; accepted with network {network!r}: {', '.join(PAIRS[network])}")
    if scale not in DATA[dataset]:
        raise ValueError(f"scale is {scale!r}; accepted with dataset {dataset!r}: {', '.join(DATA[dataset])}")
    parts = (DATA[dataset][scale].fields, NETWORKS[network][scale].fields, PAIRS[network][dataset])
    fields = {key: value for part in parts for key, value in part.items()}
    fields["model_options"] = {key: value for part in parts for key, value in part.get("model_options", {}).items()}
    run = RunConfig(**{"dataset": dataset, "tasks": CATALOGUE[dataset].tasks, "model": network, **fields, **changes})
    return _as_stated(run, changes) if scale == "paper" else run


def _as_stated(run: RunConfig, asked: Mapping[str, Any]) -> RunConfig:
    """Give a run what its paper states for it in `PAPER`, except what was asked for."""
    values = {**dict(run), "encoder": run.model_options.get("encoder")}
    for stated in PAPER:
        if all(values[name] == value for name, value in stated.where.items()):
            fields = {name: value for name, value in stated.fields.items() if name not in asked}
            run = run.replace(**fields, method_options={**stated.options, **run.method_options})
    return run
