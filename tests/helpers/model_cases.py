"""Small versions of every network, and batches for them."""

import torch
from torch import Tensor

from mtlrepro.models import MODELS, Detections, MultiTaskModel, create
from mtlrepro.tasks import Task

DECODER = (16, 12, 8, 8, 8, 8)
OPTIONS: dict[str, dict] = {
    "full_sharing": {"width": 0.25, "decoder_widths": DECODER},
    "multi_decoder": {"width": 0.25, "decoder_widths": DECODER},
    "multi_column": {"width": 0.25, "decoder_widths": DECODER},
    "segnet": {"widths": (4, 6, 8, 8, 8)},
    "segnet_mtan": {"widths": (4, 6, 8, 8, 8)},
    "mtsgd": {"encoder": "mobilenet_v2", "width": 0.25, "bins": (2, 3)},
    "detection": {"encoder": "mobilenet_v2", "width": 0.25, "channels": 64},
    "small_unet": {},
}
NAMES = list(MODELS)


def energy(prediction: Tensor | Detections, batch: object) -> Tensor:
    """A loss that every output of a head takes part in, in different ways."""
    parts = prediction[:3] if isinstance(prediction, Detections) else (prediction,)
    total = torch.zeros(())
    for part in parts:
        weight = torch.linspace(-1, 1, part.numel()).reshape(part.shape)
        total = total + ((part - weight) ** 2).mean()
    return total


def make_task(name: str, channels: int, loss=energy) -> Task:
    """The one place where tests of networks make a task."""
    return Task(name, channels, loss)


DENSE = [make_task("segmentation", 13), make_task("depth", 1), make_task("normal", 3)]
BOXES = [make_task("detection", 10), make_task("segmentation", 19)]
STEREO = [make_task("segmentation", 19), make_task("disparity", 1)]


def tasks_of(name: str) -> list[Task]:
    return BOXES if name == "detection" else DENSE


def small(name: str, tasks: list[Task] | None = None, seed: int = 0) -> MultiTaskModel:
    torch.manual_seed(seed)
    return create(name, tasks or tasks_of(name), **OPTIONS[name])


def images(model: MultiTaskModel, size: tuple[int, int] = (64, 96), batch: int = 2) -> Tensor:
    return torch.rand(batch, 3 * model.views, *size, generator=torch.Generator().manual_seed(1))


def tensors(prediction: Tensor | Detections) -> list[Tensor]:
    return list(prediction[:3]) if isinstance(prediction, Detections) else [prediction]


def losses(model: MultiTaskModel, predictions: dict[str, Tensor | Detections]) -> list[Tensor]:
    return [task.loss(predictions[task.name], {}) for task in model.tasks]
