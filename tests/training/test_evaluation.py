"""Evaluation and probe of a network, against definitions by hand."""

import pytest
import torch
from training_cases import SMOKE, config

from mtlrepro.training.config import RunConfig
from mtlrepro.training.evaluation import evaluate, inside_frame, mean, probe
from mtlrepro.training.step import Trainer

CPU = torch.device("cpu")


def test_evaluation_pools_the_set_and_leaves_the_network_as_it_was():
    trainer = Trainer(RunConfig(**SMOKE), CPU)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found, _ = evaluate(trainer.model, trainer.tasks, trainer.test_loader)
    assert trainer.model.training
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name])
    batch = trainer.test_loader.dataset.batch(range(SMOKE["n_test"]))  # all of it at once
    trainer.model.eval()
    with torch.no_grad():
        predictions = trainer.model(batch)
    for task in trainer.tasks:
        metric = task.metrics()
        metric.update(predictions[task.name], batch)
        torch.testing.assert_close(found[task.name], metric.compute(), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("size", "window"), [((480, 640), (45, 471, 41, 601)), ((48, 64), (4, 47, 4, 60))])
def test_what_lies_outside_of_the_frame_of_nyuv2_is_unknown(size, window):
    top, bottom, left, right = window
    batch = {
        "image": torch.rand(2, 3, *size),
        "segmentation": torch.ones(2, *size, dtype=torch.int64),
        "depth": torch.ones(2, 1, *size),
        "normal": torch.ones(2, 3, *size),
        "index": torch.arange(2),
    }
    before = {key: values.clone() for key, values in batch.items()}
    found = inside_frame(batch, ["segmentation", "depth", "normal"])
    known = torch.zeros(size, dtype=torch.bool)
    known[top:bottom, left:right] = True
    for key, unknown in (("segmentation", -1), ("depth", 0), ("normal", 0)):
        assert torch.equal(found[key] == 1, known.expand_as(found[key]))
        assert (found[key][..., ~known] == unknown).all()
    assert all(torch.equal(batch[key], values) for key, values in before.items())


def test_only_what_lies_inside_of_the_frame_is_scored():
    trainer = Trainer(RunConfig(**SMOKE), CPU)
    whole, inside = (
        evaluate(trainer.model, trainer.tasks, trainer.test_loader, score=score)[0] for score in ("image", "frame")
    )
    (batch,) = [trainer.test_loader.dataset.batch(range(SMOKE["n_test"]))]
    trainer.model.eval()
    metric = trainer.tasks[1].metrics()
    with torch.no_grad():
        metric.update(trainer.model(batch)["depth"], inside_frame(batch, ["depth"]))
    torch.testing.assert_close(inside["depth"], metric.compute(), rtol=1e-4, atol=1e-2)
    assert inside["depth"]["rmse"] != whole["depth"]["rmse"]


@pytest.mark.parametrize("fields", [SMOKE, {**SMOKE, "model": "full_sharing"}, {**SMOKE, "tasks": ["depth"]}])
def test_probe_compares_the_gradients_of_the_tasks(fields):
    trainer = Trainer(RunConfig(**fields), CPU)
    model, batch = trainer.model, trainer.probe_batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = probe(model, trainer.tasks, batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    gradients = []
    for task in trainer.tasks:
        model.zero_grad()
        task.loss(model(batch)[task.name], batch).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.shared_parameters()]).double())
    g = torch.stack(gradients)
    norms = g.norm(dim=1)
    torch.testing.assert_close(list(found["norms"].values()), norms.tolist(), rtol=1e-4, atol=0)
    cosines = g @ g.T / norms / norms[:, None]
    torch.testing.assert_close(torch.tensor(found["cosines"]).double(), cosines, rtol=0, atol=1e-4)
    n = len(g)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    assert found["conflicts"] == pytest.approx(sum(bool(cosines[p] < 0) for p in pairs) / max(len(pairs), 1))


def test_a_probe_without_any_label_leaves_the_network_as_it_was():
    trainer = Trainer(RunConfig(**SMOKE | {"tasks": ["depth"]}), CPU)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    batch = trainer.probe_batch()
    batch["depth"] = torch.zeros_like(batch["depth"])
    assert probe(trainer.model, trainer.tasks, batch) == {
        "norms": {"depth": None},
        "cosines": [[None]],
        "conflicts": None,
    }
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_the_probe_looks_at_the_same_images_every_time():
    one, other = (Trainer(config(seed=seed), CPU).probe_batch() for seed in (0, 1))
    assert one["index"].tolist() == [0, 1, 2, 3]
    assert torch.equal(one["image"], other["image"])


def test_mean_of_evaluations():
    first = {"depth": {"rmse": 1.0, "delta1": None}}
    second = {"depth": {"rmse": 4.0, "delta1": 3.0}}
    assert mean([first]) == first
    assert mean([first, second]) == {"depth": {"rmse": 2.5, "delta1": None}}
