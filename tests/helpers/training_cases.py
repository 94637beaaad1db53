"""A network of a few thousand parameters, without batch normalisation, short runs of it, and runs that are stopped."""

import multiprocessing
import os
import signal

import pytest
from torch import nn

from mtlrepro import models
from mtlrepro.models import MultiTaskModel
from mtlrepro.training.config import RunConfig
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer


def tiny(tasks, *, dropout=0.0, views=1):
    shared = nn.Sequential(
        nn.Conv2d(3 * views, 8, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
    return MultiTaskModel(tasks, shared, [nn.Conv2d(8, task.channels, 3, padding=1) for task in tasks], views=views)


models.MODELS["tiny"] = tiny
TINY = {"model": "tiny", "n_train": 13, "n_test": 6, "size": (32, 40), "batch_size": 4, "epochs": 3, "lr": 1e-2}
SMOKE = {
    "model": "multi_decoder",
    "model_options": {"width": 0.25, "decoder_widths": [16, 8, 8, 8, 8, 8]},
    "n_train": 6,
    "n_test": 4,
    "size": (48, 64),
    "batch_size": 2,
    "epochs": 2,
    "lr": 1e-3,
}


def config(**fields):
    return RunConfig(**TINY | fields)


class Stop(BaseException):
    """Ends a run as Ctrl-C does."""


def stop():
    raise Stop


def stop_after(monkeypatch, epochs, end=stop):
    """Stop runs in the middle of an epoch."""
    step, steps = Trainer.step, []

    def counted(self, *batch):
        if self.train_loader.epoch == epochs and self.train_loader.position == 2:
            end()
        steps.append(1)
        step(self, *batch)

    monkeypatch.setattr(Trainer, "step", counted)
    return steps


def interrupted(monkeypatch, run, store, epochs):
    with monkeypatch.context() as patch:
        stop_after(patch, epochs)
        with pytest.raises(Stop):
            train(run, store=store)


FORK = multiprocessing.get_context("fork")  # a second process in a millisecond, not in seconds of imports


def killed(run, store, epochs):
    """Train a run in a process that is killed in the middle of an epoch."""

    def target():
        stop_after(pytest.MonkeyPatch(), epochs, end=lambda: os.kill(os.getpid(), signal.SIGKILL))
        train(run, store=store)

    child = FORK.Process(target=target)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
