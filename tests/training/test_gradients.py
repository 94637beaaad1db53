"""Gradients of chosen epochs: against loops of backward passes, without a trace in the run, through a resume."""

import json
import os
import sys
from itertools import combinations, islice

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from training_cases import SMOKE, config

from mtlrepro import runs
from mtlrepro.training import cosines, gradients, scales
from mtlrepro.training.config import RunConfig
from mtlrepro.training.cosines import Cosines
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train
from mtlrepro.training.slices import LEVELS, THRESHOLDS, Slices
from mtlrepro.training.step import Trainer

CPU = torch.device("cpu")
ASKED = {"epochs": [1, 3], "batches": 4, "samples": 2}


def as_doubles(batch):
    """A batch in double precision, so that rounding hides nothing."""
    return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}


def arranged(found):
    parts = {"slices": {}, "cosines": {}}
    for name, value in found.items():
        part, field = name.split("/")
        parts[part][field] = np.asarray(value)
    return Slices(**parts["slices"]), Cosines(**parts["cosines"])


def by_backward(model, loss):
    """Gradient by the shared parameters, flat, through `.grad`; running statistics are left as they were."""
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.zero_grad()
    loss().backward()
    flat = torch.cat([p.grad.flatten() for p in model.shared_parameters()])
    model.zero_grad()
    for name, buffer in model.named_buffers():
        buffer.copy_(statistics[name])
    return flat


@pytest.mark.parametrize(
    "fields", [{}, {"method": "mtsgd", "batch_size": 5}, SMOKE | {"batch_size": 4, "tasks": ["normal", "depth"]}]
)
def test_all_products_are_those_of_single_backward_passes(fields):
    """In double precision; the last network has batch normalisation, the second batch size is odd."""
    run = config(**fields)
    trainer = Trainer(run, CPU)
    model, tasks, b = trainer.model.double(), trainer.tasks, run.batch_size
    batches = [as_doubles(batch) for batch in islice(trainer.further_batches(0), 2)]
    slices, found = arranged(gradients.compare(model, tasks, batches, 1))
    names = found.names.tolist()
    assert names[: len(tasks) + 1] == [*run.tasks, f"{run.tasks[0]}/1"] and found.tasks.tolist() == list(run.tasks)
    assert found.indices.tolist() == [batch["index"].tolist() for batch in batches]
    half = b // 2
    for number, batch in enumerate(batches):
        rows = {}
        for task in tasks:
            rows[task.name] = by_backward(model, lambda: task.loss(model(batch)[task.name], batch).mean())  # noqa: B023
            for part, samples in (("1", range(half)), ("2", range(half, 2 * half))):
                own = {k: v[list(samples)] for k, v in batch.items() if torch.is_tensor(v)}
                own["labelled"] = {k: v[list(samples)] for k, v in batch["labelled"].items()}
                loss = lambda: task.loss(model(own)[task.name], own).mean()  # noqa: B023, E731
                rows[f"{task.name}/{part}"] = by_backward(model, loss)
        matrix = torch.stack([rows[name] for name in names])
        np.testing.assert_allclose(found.batches[number], matrix @ matrix.T, rtol=1e-9, atol=1e-12)
        for one, other in combinations(names, 2):
            cosine = torch.cosine_similarity(rows[one], rows[other], dim=0).item()
            assert found.between(one, other)[number] == pytest.approx(cosine, abs=1e-9)
        plain = [(rows[one] + rows[other]).square().sum().item() for one, other in slices.pairs.tolist()]
        if number == 0:
            first_plain = np.array(plain)
    np.testing.assert_allclose(slices.plain.sum(1), first_plain + plain, rtol=1e-9)
    assert slices.batches.tolist() == [[2] * len(slices.layers)] * len(slices.pairs)
    samples = torch.stack(
        [
            by_backward(model, lambda: task.loss(model(batches[0])[task.name], batches[0]).samples()[i])  # noqa: B023
            for task in tasks
            for i in range(b)
        ]
    )
    shape = (1, len(tasks), b, len(tasks), b)
    assert found.samples.shape == shape
    np.testing.assert_allclose(found.samples, (samples @ samples.T).view(shape), rtol=1e-9, atol=1e-12)
    own = [task.loss(model(batches[0])[task.name], batches[0]).mean().item() for task in tasks]
    np.testing.assert_allclose(found.losses[0].mean(axis=1), own, rtol=1e-5)
    means = found.samples[0].mean(axis=(1, 3))  # a task's gradient is the mean of those of its samples
    np.testing.assert_allclose(means, found.batches[0, : len(tasks), : len(tasks)], rtol=1e-9, atol=1e-12)
    unit = samples / samples.norm(dim=1, keepdim=True)
    depth, normal = (run.tasks.index(name) * b for name in ("depth", "normal"))
    for one, other in ((depth, depth), (depth, normal)):
        chosen = [run.tasks[start // b] for start in (one, other)]
        expected = unit[one : one + b] @ unit[other : other + b].T
        np.testing.assert_allclose(found.between_samples(*chosen)[0], expected, atol=1e-9)


def test_pairs_are_the_tasks_the_null_and_what_differs_from_it_in_the_task_alone():
    assert cosines.pairs(["a", "b"]) == [("a", "b"), ("a/1", "a/2"), ("a/1", "b/2"), ("b/1", "b/2")]
    assert len(cosines.pairs("abc")) == 3 + 6
    assert {name for pair in cosines.pairs("abc") for name in pair} <= set(cosines.names("abc"))


def test_the_rule_on_half_batches_of_one_task_is_a_null():
    """A task with twice the same samples in both halves agrees with itself everywhere."""
    trainer = Trainer(config(), CPU)
    batch = next(trainer.further_batches(0))
    twins = torch.tensor([0, 1, 0, 1])
    batch = {k: v[twins] for k, v in batch.items() if torch.is_tensor(v)} | {
        "labelled": {k: v[twins] for k, v in batch["labelled"].items()}
    }
    slices, found = arranged(gradients.compare(trainer.model, trainer.tasks, [batch], 0))
    pair = ("depth/1", "depth/2")
    for level in LEVELS:
        assert slices.conflicts(pair, level) == 0 and slices.survival(pair, level)[-1] == 1
        np.testing.assert_allclose(slices.length(pair, level), 1, rtol=1e-6)
    assert found.between(*pair) == pytest.approx(1)
    assert 0 < slices.conflicts(("depth", "normal"), "element") < 1
    assert slices.survival(("depth", "normal"), "channel")[len(THRESHOLDS) // 2] < 1


def test_nothing_of_the_trainer_is_changed():
    run = RunConfig(**SMOKE | {"batch_size": 4, "n_train": 9, "gradients": ASKED | {"epochs": [1], "batches": 3}})
    trainer = Trainer(run, CPU)
    next(iter(trainer.train_loader))  # in the middle of an epoch
    trainer.model.zero_grad(set_to_none=False)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    position, stream = trainer.train_loader.state_dict(), torch.get_rng_state()
    found = gradients.measure(trainer)
    assert len(found["cosines/indices"]) == 3
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in trainer.model.parameters())
    assert trainer.train_loader.state_dict() == position and torch.equal(torch.get_rng_state(), stream)
    assert trainer.model.training and trainer.model.features is None
    again = gradients.measure(trainer)
    for name, value in found.items():
        np.testing.assert_array_equal(np.asarray(again[name]), np.asarray(value))


@pytest.mark.parametrize("fields", [{"model_options": {"dropout": 0.3}, "scales": [1.0, 1.2]}, {"method": "pcgrad"}])
def test_a_run_has_the_same_numbers_with_and_without(tmp_path, fields):
    with_them, without = (numbers(train(config(**fields, gradients=asked), store=tmp_path)) for asked in (ASKED, {}))
    for record in (with_them, without):
        del record["config"], record["hash"]
    assert with_them == without


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks
def test_compiled_parts_stay_as_they_were_compiled(monkeypatch):
    whole, counter = torch.nn.Module.compile, CompileCounter()
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: whole(module, backend=counter))
    torch.compiler.reset()
    trainer = Trainer(config(compile=True, gradients=ASKED), CPU)
    trainer.epoch()
    compiled = counter.frame_count
    found = gradients.measure(trainer)
    assert counter.frame_count == compiled > 0
    plain = Trainer(config(gradients=ASKED), CPU)
    plain.epoch()
    np.testing.assert_allclose(found["cosines/batches"], gradients.measure(plain)["cosines/batches"], rtol=1e-5)
    torch.compiler.reset()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda(tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        run = config(gradients=ASKED, device=device)
        train(run, store=tmp_path)
        found.append(gradients.read(tmp_path, run.hash)[1])
    for name in ("batches", "samples"):
        torch.testing.assert_close(*(getattr(each.cosines, name) for each in found), rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(*(each.slices.plain for each in found), rtol=1e-2, atol=1e-4)


def test_batches_are_those_of_training_but_the_same_in_every_run_and_go_on_after_an_epoch():
    first, second = (
        list(islice(Trainer(config(seed=seed, crop=(16, 16)), CPU).further_batches(7), 7)) for seed in (0, 1)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["image"], other["image"]) and one["image"].shape == (4, 3, 16, 16)
    rows = [batch["index"].tolist() for batch in first]
    assert all(len(np.unique(rows[i : i + 3])) == 12 for i in (0, 3))  # 13 scenes, of which one is left over
    assert rows[:3] != rows[3:6]


def test_losses_have_their_factors_and_all_labels_are_shown():
    plain = gradients.measure(Trainer(config(gradients=ASKED), CPU))
    run = config(gradients=ASKED, loss_scales={"depth": 8.0}, labels={"normal": [0, 0.5]}, draw="alternating")
    scaled = gradients.measure(Trainer(run, CPU))
    factors = torch.tensor([8.0 if name.startswith("depth") else 1.0 for name in plain["cosines/names"]])
    expected = plain["cosines/batches"] * factors * factors[:, None]
    torch.testing.assert_close(scaled["cosines/batches"], expected, rtol=1e-6, atol=1e-9)
    expected = plain["cosines/samples"][:, 1, :, 2] * 8
    torch.testing.assert_close(scaled["cosines/samples"][:, 1, :, 2], expected, rtol=1e-5, atol=1e-8)
    (before, _), (after, _) = arranged(plain), arranged(scaled)
    pair = ("depth", "normal")
    assert after.median(pair, "element") == pytest.approx(8 * before.median(pair, "element"), rel=0.02)


def test_beside_the_record(tmp_path, monkeypatch):
    run = config(gradients=ASKED)
    train(run, store=tmp_path / "unbroken")
    assert {path.name for path in (tmp_path / "unbroken").glob("*.*")} == {
        f"{run.hash}.json",
        f"{run.hash}.gradients.npz",
    }
    unbroken = runs.Store(tmp_path / "unbroken").gradients(run)
    assert list(unbroken) == [1, 3]
    with monkeypatch.context() as patch:
        step = Trainer.step
        patch.setattr(
            Trainer, "step", lambda self, *batch: step(self, *batch) if self.train_loader.epoch < 2 else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            train(run, store=tmp_path / "broken")
    assert not list((tmp_path / "broken").glob("*.npz"))
    train(run, store=tmp_path / "broken")
    broken = gradients.read(tmp_path / "broken", run.hash)
    trainer = Trainer(run, CPU)
    for _ in range(3):
        trainer.epoch()
    last = arranged(gradients.measure(trainer))
    for epoch, expected in unbroken.items():
        for part in ("slices", "cosines"):
            for name, value in vars(getattr(expected, part)).items():
                np.testing.assert_array_equal(getattr(getattr(broken[epoch], part), name), value)
                if epoch == 3:
                    np.testing.assert_array_equal(getattr(last[part == "cosines"], name), value)
    assert not np.array_equal(unbroken[1].cosines.batches, unbroken[3].cosines.batches)
    np.testing.assert_array_equal(unbroken[1].cosines.indices, unbroken[3].cosines.indices)
    assert unbroken[3].cosines.samples.shape == (2, 3, 4, 3, 4)


def test_a_grid_of_two_runs(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    asked = {"epochs": [1], "batches": 2, "samples": 1}
    base = scales.config("smoke", epochs=1).to_dict() | {"batch_size": 4, "n_train": 8, "gradients": asked}
    file = tmp_path / "grid.json"
    vary = {"method": ["equal", "mtsgd"]}
    file.write_text(json.dumps({"base": {k: v for k, v in base.items() if k != "method"}, "vary": vary}))
    wanted = runs.read_grid(file)
    table = runs.grid(wanted, store=tmp_path / "store", jobs=2, progress=False)
    assert table["status"].tolist() == ["complete"] * 2
    for run in wanted:
        (found,) = runs.Store(tmp_path / "store").gradients(run).values()
        assert 0 < found.slices.survival(tuple(run.tasks[:2]), "channel")[len(THRESHOLDS) // 2] < 1


def test_tasks_without_a_label_are_absent():
    trainer = Trainer(config(), CPU)
    batches = list(islice(trainer.further_batches(0), 2))
    batches[0]["depth"][:2] = 0  # no label in the first half
    batches[1]["depth"][:] = 0
    slices, found = arranged(gradients.compare(trainer.model, trainer.tasks, batches, 2))
    nulls = {tuple(pair): n for pair, n in zip(slices.pairs.tolist(), slices.batches[:, 0], strict=True)}
    assert (nulls["depth", "normal"], nulls["depth/1", "depth/2"], nulls["normal/1", "normal/2"]) == (1, 0, 2)
    assert np.isnan(found.between("depth", "normal")).tolist() == [False, True]
    assert np.isnan(found.between("segmentation", "normal")).tolist() == [False, False]
    assert np.isnan(found.between("depth/1", "normal")).all()
    assert np.isnan(np.diagonal(found.between_samples("depth", "normal")[0])).tolist() == [True, True, False, False]
    assert np.isnan(found.between_samples("depth", "depth")[1]).all()


def test_gradients_that_are_not_finite_are_absent():
    trainer = Trainer(config(), CPU)
    (batch,) = islice(trainer.further_batches(0), 1)
    batch["normal"][0] = torch.nan
    slices, found = arranged(gradients.compare(trainer.model, trainer.tasks, [batch], 0))
    assert np.isnan(found.between("depth", "normal")).all() and np.isnan(found.between("depth/2", "normal/1")).all()
    assert not np.isnan([found.between("depth", "normal/2"), found.between("depth", "segmentation")]).any()
    assert found.samples.shape == (0, 3, 4, 3, 4)
    assert np.isfinite(slices.plain).all()


def test_cosines_with_zero_gradients_and_wrong_names():
    products = np.diag([4.0, 0.0])
    found = Cosines(np.array(["a"]), np.array(["a", "b"]), np.zeros((1, 2)), products[None], np.zeros((0, 1, 2, 1, 2)))
    assert found.between("a", "b").tolist() == [0] and found.between("a", "a").tolist() == [1]
    with pytest.raises(ValueError, match="name is 'c'; accepted: a, b"):
        found.between("a", "c")
    with pytest.raises(ValueError, match="name is 'b'; accepted: a"):
        found.between_samples("a", "b")


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"abc\.gradients\.npz is absent; remove abc\.json beside it"):
        gradients.read(tmp_path, "abc")
    path = gradients.path_of(tmp_path, "abc")
    for name in ("1/slices/layers", "1/other/ratios", "1/ratios", "one/slices/kept"):
        np.savez(path, **{name: np.zeros(1)})
        with pytest.raises(ValueError, match=r"abc\.gradients\.npz is damaged"):
            gradients.read(tmp_path, "abc")
