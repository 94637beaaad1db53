"""The interface of all networks: a shared part, and one head for each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlrepro.models.boxes import Detections
from mtlrepro.tasks import Task

WIDEST = 4096
"""Most channels of a layer, far above those of any network here: more are a slip, and would not fit into memory."""

Images = Tensor | Mapping[str, Tensor]
Prediction = Tensor | Detections


class MultiTaskModel(nn.Module):
    """Network with one prediction per task: `heads[task](*shared(images))`.

    A network of one task is the same class with one head.

    Args:
        tasks: The tasks, in the order of the predictions.
        shared: Maps images `[B, 3 views, H, W]` to the shared representation, a tensor or a list of tensors.
        heads: One module per task, in task order; called with the tensors of the representation. Its parameters
            belong to this task alone.
        views: 1 for single images, 2 for stereo pairs.
        weights_source: Where the parameters come from, for records.

    Attributes:
        features: The shared representation of the last forward pass, a list of tensors, for balancers with
            `at="representation"`; None before it, and for networks whose tasks share parameters past every
            representation (`segnet_mtan`). Not copied with the model. `torch.compile` of the whole model cuts the
            graph between features and predictions: compile `shared` and the heads for use with such a balancer.

    Raises:
        ValueError: There is no task, two have one name, or there is not one head for each.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        shared: nn.Module,
        heads: Sequence[nn.Module],
        *,
        views: int = 1,
        weights_source: str = "random",
    ) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)
        if len(heads) != len(self.tasks):
            raise ValueError(f"heads has {len(heads)} modules; accepted: {len(self.tasks)}, one for each task")
        self.shared = shared
        self.heads = nn.ModuleDict({task.name: head for task, head in zip(self.tasks, heads, strict=True)})
        self.views = views
        self.weights_source = weights_source
        self.features: list[Tensor] | None = None

    def forward(self, images: Images) -> dict[str, Prediction]:
        """Predict every task.

        Args:
            images: `[B, 3, H, W]` in [0, 1]. For stereo `[B, 6, H, W]`, left before right, or a mapping with
                `image` and `right`. A mapping serves single views too.

        Returns:
            `{task: [B, channels, H, W]}` without activation (logits, metres, ...), never in half precision, resized
            bilinearly where a head ends at another resolution; `Detections` for boxes.

        Raises:
            ValueError: The number of channels does not fit.
        """
        if isinstance(images, Mapping):
            pair = [images["image"], images["right"]] if self.views == 2 else [images["image"]]
            images = torch.cat(pair, 1) if self.views == 2 else pair[0]
        if images.ndim != 4 or images.shape[1] != 3 * self.views:
            raise ValueError(f"images has shape {list(images.shape)}; accepted: [B, {3 * self.views}, H, W]")
        features = self.shared(images)
        features = [features] if isinstance(features, Tensor) else list(features)
        self.features = self._representation(features)
        height, width = images.shape[-2:]
        return {name: finish(self._predict(name, features), (height, width)) for name in self.heads}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that every task uses."""
        return list(self.shared.parameters())

    def task_parameters(self, name: str) -> list[nn.Parameter]:
        """Parameters that only task `name` uses.

        Raises:
            ValueError: There is no such task.
        """
        if name not in self.heads:
            raise ValueError(f"name is {name!r}; accepted: {', '.join(self.heads)}")
        return list(self.heads[name].parameters())

    def _representation(self, features: list[Tensor]) -> list[Tensor] | None:
        return features

    def _predict(self, name: str, features: list[Tensor]) -> Prediction:
        prediction: Prediction = self.heads[name](*features)
        return prediction

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "features": None}


def check_tasks(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks of a network as a tuple.

    Raises:
        ValueError: There are none, or two of one name.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"tasks has the names {names}; accepted: one or more, all different")
    return tuple(tasks)


def check_widths(name: str, widths: Sequence[int], most: int = WIDEST) -> None:
    """Refuse sizes of layers that no network has.

    Args:
        name: Name of the argument, for the message.
        widths: Channels of layers, or cells of grids.
        most: Largest number that is accepted.

    Raises:
        ValueError: There are none, or one is below 1 or above `most`.
    """
    if not widths or min(widths) < 1 or max(widths) > most:
        raise ValueError(f"{name} is {list(widths)}; accepted: one or more whole numbers from 1 to {most}")


def finish(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """Bring a head's output to at least single precision and, where dense, to `size` (height, width)."""
    if isinstance(prediction, Detections):
        return prediction._replace(size=size)
    if prediction.dtype in (torch.float16, torch.bfloat16):
        prediction = prediction.float()
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)
