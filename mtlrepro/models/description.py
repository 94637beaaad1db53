"""Parameters and multiply-adds of a network, part by part."""

import copy

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtlrepro.models.base import MultiTaskModel


def describe_model(model: MultiTaskModel, size: tuple[int, int]) -> pd.DataFrame:
    """Count parameters and multiply-adds of one image, without computing anything.

    Multiply-adds are those of convolutions, as torch counts them; normalisation, activations and resizing have none.

    Args:
        model: The network; it is not changed.
        size: Height and width of the image, pixels.

    Returns:
        One row per part, then `total`: `part`; `used by`, a task or `all`; `parameters`;
        `multiply-adds`. Parts are the children of the shared network, and the heads.
    """
    parts = {f"shared.{name}": "all" for name, _ in model.shared.named_children()}
    parts |= {f"heads.{name}": name for name in model.heads}
    parameters = dict.fromkeys(parts, 0)
    for name, parameter in model.named_parameters():
        parameters[_part(name)] += parameter.numel()
    operations = dict.fromkeys(parts, 0)
    for name, count in _multiply_adds(model, size).items():
        operations[_part(name)] += count
    return pd.DataFrame(
        {
            "part": [*parts, "total"],
            "used by": [*parts.values(), ""],
            "parameters": [*parameters.values(), sum(parameters.values())],
            "multiply-adds": [*operations.values(), sum(operations.values())],
        }
    )


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _multiply_adds(model: MultiTaskModel, size: tuple[int, int]) -> dict[str, int]:
    """Count per convolution, by its name in the model."""
    ghost = copy.deepcopy(model).to("meta").eval()
    names = [name for name, module in ghost.named_modules() if isinstance(module, nn.Conv2d)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ghost(torch.empty(1, 3 * model.views, *size, device="meta"))
    counts = counter.get_flop_counts()
    root = type(model).__name__
    return {name: sum(counts[f"{root}.{name}"].values()) // 2 for name in names}
