"""Networks by name."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mtlrepro.models.base import MultiTaskModel, check_tasks
from mtlrepro.models.detection import DETECTION, detection
from mtlrepro.models.encoders import EncoderOptions
from mtlrepro.models.pyramid_pooling import mtsgd
from mtlrepro.models.segnet import segnet, segnet_mtan
from mtlrepro.models.sharing import full_sharing, multi_column, multi_decoder
from mtlrepro.models.unet import small_unet
from mtlrepro.tasks import Task

MODELS: dict[str, Callable[..., MultiTaskModel]] = {
    "full_sharing": full_sharing,
    "multi_decoder": multi_decoder,
    "multi_column": multi_column,
    "segnet": segnet,
    "segnet_mtan": segnet_mtan,
    "mtsgd": mtsgd,
    "detection": detection,
    "small_unet": small_unet,
}


def create(name: str, tasks: Sequence[Task], **options: Any) -> MultiTaskModel:  # noqa: ANN401
    """Make a network by name.

    Args:
        name: One of `MODELS`.
        tasks: The tasks, in the order of the predictions; one is enough. Only the network `detection` takes the task
            of that name, all other tasks are dense.
        **options: Arguments of the function of that name, such as `encoder` and `weights`.

    Returns:
        A new network; its `weights_source` says what it starts from.

    Raises:
        ValueError: The name, the tasks, an option or its value is not accepted.
        FileNotFoundError: A checkpoint was asked for and is not in the cache; names the command that fetches it.
    """
    if name not in MODELS:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(MODELS)}")
    builder = MODELS[name]
    known = _options(builder)
    for option in options:
        if option not in known:
            raise ValueError(f"{name}: option {option!r} is unknown; accepted: {', '.join(known)}")
    tasks = check_tasks(tasks)
    if builder is not detection and any(task.name == DETECTION for task in tasks):
        raise ValueError(
            f"tasks has {DETECTION!r}; accepted by {name}: dense tasks; boxes need the network 'detection'"
        )
    return builder(tasks, **options)


def _options(builder: Callable[..., MultiTaskModel]) -> list[str]:
    """Names of a network's options; those that it hands on to its encoder come first."""
    parameters = list(inspect.signature(builder).parameters.values())[1:]
    own = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return own if len(own) == len(parameters) else [*EncoderOptions.__annotations__, *own]
