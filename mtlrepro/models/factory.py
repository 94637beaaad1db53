"""Networks by name."""

from collections.abc import Callable, Sequence
from typing import Any

from mtlrepro.models.base import MultiTaskModel, check_tasks
from mtlrepro.models.detection import DETECTION, detection
from mtlrepro.models.pyramid_pooling import mtsgd
from mtlrepro.models.segnet import segnet, segnet_mtan
from mtlrepro.models.sharing import full_sharing, multi_column, multi_decoder
from mtlrepro.models.unet import small_unet
from mtlrepro.options import check_options, options_of
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
        **options: Arguments of the function of that name, such as `encoder` and `weights`. Their types are checked as
            JSON's, see `options`.

    Returns:
        A new network; its `weights_source` says what it starts from.

    Raises:
        ValueError: The name, the tasks, an option or its value is not accepted.
        FileNotFoundError: A checkpoint was asked for and is not in the cache; names the command that fetches it.
    """
    if name not in MODELS:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(MODELS)}")
    builder = MODELS[name]
    check_options(name, options, options_of(builder))
    tasks = check_tasks(tasks)
    if builder is not detection and any(task.name == DETECTION for task in tasks):
        raise ValueError(
            f"tasks has {DETECTION!r}; accepted by {name}: dense tasks; boxes need the network 'detection'"
        )
    return builder(tasks, **options)
