"""What is predicted and how each prediction is scored."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """One thing a network predicts.

    Attributes:
        name: key of the task in predictions and targets.
        channels: number of output channels of its head.
        loss: ``(prediction [B, channels], target [B]) -> [B]``, one value per sample, not averaged.
    """

    name: str
    channels: int
    loss: Callable[[Tensor, Tensor], Tensor]


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per sample: logits ``[B, C]`` and classes ``[B]`` to ``[B]``, in nats."""
    return F.cross_entropy(prediction, target, reduction="none")


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error per sample: ``[B, 1]`` and ``[B]`` to ``[B]``."""
    return (prediction.squeeze(-1) - target) ** 2


TWO_DIGITS = (
    Task("left", 10, cross_entropy),
    Task("right", 10, cross_entropy),
    Task("sum", 1, squared_error),
)
