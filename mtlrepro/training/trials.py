"""Networks and methods of a configuration, made once without memory: whatever they refuse is found before any work."""

import json
from functools import lru_cache

import torch

from mtlrepro import balancers, models, tasks
from mtlrepro.models import MultiTaskModel
from mtlrepro.models.encoders import check_imagenet
from mtlrepro.tasks import Protocol


@lru_cache(maxsize=256)
def network(name: str, options: str, names: tuple[str, ...], protocol: Protocol) -> MultiTaskModel:
    """Make a network without memory or random numbers; checkpoints are looked for when training starts.

    Args:
        name: Of the network.
        options: Its options as JSON.
        names: Of the tasks.
        protocol: Of the tasks.

    Returns:
        The network on the device `meta`, in training mode.

    Raises:
        ValueError, TypeError, RuntimeError, OverflowError: An option is not accepted.
        ImportError: An encoder needs a package that is not installed.
    """
    chosen = json.loads(options)
    if chosen.get("weights") == "imagenet":
        check_imagenet(chosen.get("encoder", "mobilenet_v2"), chosen.get("width", 1))  # all defaults have a checkpoint
        chosen["weights"] = "none"
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return models.create(name, tasks.create(names, protocol=protocol), **chosen)


@lru_cache(maxsize=256)
def batch(
    name: str, options: str, names: tuple[str, ...], protocol: Protocol, images: int, size: tuple[int, int]
) -> None:
    """Pass a batch through a network without computing anything.

    Args:
        name: See `network`, as for the next three.
        options: As JSON.
        names: Of the tasks.
        protocol: Of the tasks.
        images: Number of images.
        size: Their height and width, pixels.

    Raises:
        ValueError, RuntimeError: The images are too small, too large, or too few for batch normalisation.
    """
    model = network(name, options, names, protocol)
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        model(torch.empty(images, 3 * model.views, *size))


@lru_cache(maxsize=256)
def method(name: str, options: str, n_tasks: int) -> tuple[bool, bool]:
    """Make a balancer.

    Args:
        name: Of the balancer.
        options: Its options as JSON.
        n_tasks: Number of tasks.

    Returns:
        Whether a CUDA graph can stand for its steps, and whether it has parameters of its own.

    Raises:
        ValueError: An option is not accepted.
        ImportError: It needs a package that is not installed.
    """
    made = balancers.create(name, n_tasks, **json.loads(options))
    return made.capturable, bool(list(made.parameters()))
