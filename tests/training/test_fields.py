"""Fields of a run that change its losses, its optimizer or its labels: each by a loop written out, and by a grid."""

import copy
import json

import numpy as np
import pytest
import torch
from host_reads import NoHost
from torch.optim import SGD
from training_cases import SMOKE, config

from mtlrepro import runs
from mtlrepro.balancers import METHODS
from mtlrepro.training import records
from mtlrepro.training.config import RunConfig
from mtlrepro.training.evaluation import probe
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer, decouple_decay

CPU = torch.device("cpu")
SGD_RUN = {"optimizer": "sgd", "weight_decay": 0.0, "epochs": 2, "flip": 0}


def parameters(trainer):
    return [p.detach().clone() for p in trainer.model.parameters()]


def same(ones, others):
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


# --- loss_scales


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_scaled_losses_with_equal_weights_are_fixed_weights(optimizer):
    """Factors 2, 1/2 and 1/2 have the sum 3: sum_k (1/3) s_k L_k is the sum with weights s_k / 3, to the last bit."""
    scales = {"segmentation": 2.0, "depth": 0.5, "normal": 0.5}
    scaled = Trainer(config(optimizer=optimizer, loss_scales=scales), CPU)
    fixed = Trainer(config(optimizer=optimizer, method="fixed", method_options={"weights": [2, 0.5, 0.5]}), CPU)
    for _ in range(2):
        one, other = scaled.epoch(), fixed.epoch()
        assert same(parameters(scaled), parameters(fixed))
        assert one["losses"] == other["losses"]
        assert one["loss_scales"] == other["loss_scales"]
        assert set(one["weights"].values()) == {1 / 3}
        assert {name: weight * scales[name] for name, weight in one["weights"].items()} == other["weights"]


@pytest.mark.parametrize("method", ["lsb", "dwa", "mgda", "uncertainty", "mclgs"])
def test_a_method_sees_scaled_losses_and_the_record_keeps_the_others(tmp_path, monkeypatch, method):
    steps, ends = [], []
    backward, end_epoch = METHODS[method].backward, METHODS[method].end_epoch

    def spied(self, losses, *args, **options):
        steps.append({name: loss.item() for name, loss in losses.items()})
        return backward(self, losses, *args, **options)

    monkeypatch.setattr(METHODS[method], "backward", spied)
    monkeypatch.setattr(METHODS[method], "end_epoch", lambda self, x: ends.append(x) or end_epoch(self, x))
    first = {}
    for scales in ({}, {"depth": 4.0}):
        steps.clear()
        ends.clear()
        entry = train(config(method=method, loss_scales=scales, epochs=1), store=tmp_path)["history"][0]
        first[len(scales)] = steps[0]
        assert ends == [{name: loss * scales.get(name, 1) for name, loss in entry["losses"].items()}]
        for name, value in entry["loss_scales"].items():
            assert value == entry["weights"][name] * scales.get(name, 1) * entry["losses"][name]
    assert first[1] == {name: loss * (4 if name == "depth" else 1) for name, loss in first[0].items()}


def test_losses_of_single_images_are_scaled_too():
    options = {"granularity": "sample", "a0": 1.0}
    trainer = Trainer(config(method="mclgs", method_options=options, loss_scales={"depth": 4.0}), CPU)
    seen = []
    backward = trainer.balancer.backward
    trainer.balancer.backward = lambda losses, *args, **rest: seen.append(losses) or backward(losses, *args, **rest)
    batch = next(iter(trainer.train_loader))
    model = copy.deepcopy(trainer.model)
    trainer.step(batch)
    for task in trainer.tasks:
        expected = task.loss(model(batch)[task.name], batch).samples() * (4 if task.name == "depth" else 1)
        assert torch.equal(seen[0][task.name], expected)


def test_the_probe_sees_scaled_losses(tmp_path):
    """Norms take the factor, which is a power of two, and cosines do not."""
    trainer = Trainer(config(), CPU)
    plain = probe(trainer.model, trainer.tasks, trainer.probe_batch())
    scaled = probe(trainer.model, trainer.tasks, trainer.probe_batch(), scales={"normal": 0.25})
    assert scaled["norms"] == plain["norms"] | {"normal": plain["norms"]["normal"] / 4}
    assert scaled["cosines"] == plain["cosines"]
    scales = {"method": "fixed", "method_options": {"weights": [2, 0.5, 0.5]}, "probe_every": 1, "epochs": 1}
    entry = train(config(**scales), store=tmp_path)["history"][0]
    equal = {"loss_scales": {"segmentation": 2.0, "depth": 0.5, "normal": 0.5}, "probe_every": 1, "epochs": 1}
    factors = equal["loss_scales"]
    found = train(config(**equal), store=tmp_path)["history"][0]["probe"]
    assert found["norms"] == {name: factors[name] * norm for name, norm in entry["probe"]["norms"].items()}


def test_factors_of_1_are_no_factors():
    assert RunConfig(loss_scales={"depth": 1.0}) == RunConfig()
    assert RunConfig(loss_scales={"depth": 1.0, "normal": 2}).loss_scales == {"normal": 2.0}


# --- momentum, decay, balancer_lr


def loop(run, step):
    """Two epochs of equal weights on the batches of a run; `step` changes the parameters."""
    trainer = Trainer(run, CPU)
    for epoch in range(run.epochs):
        for batch in trainer.train_loader:
            predictions = trainer.model(batch)
            losses = [task.loss(predictions[task.name], batch).mean() for task in trainer.tasks]
            weights = [torch.full_like(loss, 1 / len(losses)) for loss in losses]
            trainer.model.zero_grad()
            torch.autograd.backward(losses, weights)
            step(list(trainer.model.parameters()), epoch)
    return parameters(trainer)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_momentum_is_that_of_sgd(momentum):
    run = config(**SGD_RUN, momentum=momentum)
    trainer = Trainer(run, CPU)
    for _ in range(run.epochs):
        trainer.epoch()
    velocities = {}

    @torch.no_grad()
    def step(tensors, _):
        for i, p in enumerate(tensors):
            velocities[i] = momentum * velocities.get(i, 0) + p.grad
            p -= run.lr * velocities[i]

    for found, expected in zip(parameters(trainer), loop(run, step), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_decoupled_decay_is_that_of_equation_1(momentum):
    """The rate of the second epoch is a tenth, the decay is not; Eq. 1's 1 - momentum is a part of the rate."""
    schedule = {"schedule": "steps", "milestones": [1], "factor": 0.1}
    run = config(**SGD_RUN | {"weight_decay": 0.01}, **schedule, decay="decoupled", momentum=momentum, lr=0.02)
    trainer = Trainer(run, CPU)
    for _ in range(run.epochs):
        trainer.epoch()
    velocities = {}

    @torch.no_grad()
    def step(tensors, epoch):
        lr = 0.02 / (1 - momentum) * (0.1 if epoch else 1)
        for i, w in enumerate(tensors):
            velocities[i] = momentum * velocities.get(i, 0) + (1 - momentum) * w.grad
            w.copy_(w - lr * velocities[i] - 0.01 * w)

    expected = loop(run, step)
    for found, value in zip(parameters(trainer), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
    coupled = Trainer(run.replace(decay="torch"), CPU)
    for _ in range(run.epochs):
        coupled.epoch()
    assert not torch.allclose(parameters(coupled)[0], expected[0], rtol=1e-3)


def test_decoupled_decay_without_a_gradient_is_a_power():
    """Zero gradients shrink a weight by 1 - decay in each step whatever the rate; no gradient leaves it alone."""
    moved, left = (torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64)) for _ in range(2))
    other = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = SGD([{"params": [moved, left]}, {"params": [other]}], lr=7.0, momentum=0.9, fused=True)
    balancer = METHODS["equal"](1)
    balancer.guard(optimizer)
    decouple_decay(optimizer, 1e-4)
    for _ in range(1000):
        moved.grad, other.grad = torch.zeros_like(moved), torch.zeros_like(other)
        optimizer.step()
    torch.testing.assert_close(moved.detach(), torch.tensor([3.0, -2.0]).double() * (1 - 1e-4) ** 1000)
    assert left.tolist() == [3.0, -2.0] and other.tolist() == [1.0]


def test_a_step_that_the_guard_skips_does_not_decay():
    trainer = Trainer(config(**SGD_RUN | {"weight_decay": 0.1}, decay="decoupled"), CPU)
    bad, good, *_ = trainer.train_loader
    before = parameters(trainer)
    trainer.step(bad | {"depth": torch.full_like(bad["depth"], torch.inf)})
    assert same(parameters(trainer), before)
    trainer.step(good)
    assert not any(torch.equal(a, b) for a, b in zip(parameters(trainer), before, strict=True))
    with pytest.raises(FloatingPointError, match="step 0: the loss or gradient of task 'depth' is not finite"):
        trainer.balancer.check()


@pytest.mark.parametrize("labels", [{}, {"depth": [0.0, 0.5]}])
def test_steps_with_these_fields_read_nothing_back(labels):
    fields = {"decay": "decoupled", "momentum": 0.5, "loss_scales": {"depth": 30.0}, "labels": labels}
    trainer = Trainer(config(**SGD_RUN | {"weight_decay": 0.1}, **fields, method="mgda"), CPU)
    batches = list(trainer.train_loader)
    present = [trainer.present(batch) for batch in batches]  # known on the CPU
    trainer.step(batches[0], present[0])
    with NoHost():
        for batch, here in zip(batches[1:], present[1:], strict=True):
            trainer.step(batch, here)


@pytest.mark.parametrize("method", ["uncertainty", "gradnorm"])
def test_the_methods_own_rate(method):
    """The first step is SGD's by that rate, and the schedule multiplies both rates."""
    schedule = {"schedule": "steps", "milestones": [1], "factor": 0.5}
    run = config(**SGD_RUN, **schedule, method=method, balancer_lr=0.25)
    trainer = Trainer(run, CPU)
    (own,) = trainer.balancer.parameters()
    before = own.detach().clone()
    trainer.step(next(iter(trainer.train_loader)))
    assert own.grad.abs().max() > 0
    assert torch.equal(own.detach(), before - 0.25 * own.grad)
    plain = Trainer(run.replace(balancer_lr=None), CPU)
    plain.step(next(iter(plain.train_loader)))
    assert same(parameters(plain), parameters(trainer))  # the network's rate is not changed
    trainer = Trainer(run, CPU)
    assert [trainer.epoch()["lr"] for _ in range(2)] == [0.01, 0.005]
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [0.005, 0.125]


# --- labels and draw

LABELS = {"segmentation": [0.75, 1.0], "depth": [0.0, 0.75]}
PAIR = {"tasks": ["segmentation", "depth"], "labels": LABELS, "n_train": 24}


def labelled(trainer, name):
    dataset = trainer.train_loader.dataset
    return set(np.flatnonzero(dataset.has(name, range(len(dataset)))).tolist())


def test_labels_are_the_same_for_all_seeds_and_methods():
    found = [
        Trainer(config(**PAIR, **fields), CPU)
        for fields in ({}, {"seed": 3}, {"method": "pcgrad", "model_options": {"dropout": 0.3}}, {"batch_size": 2})
    ]
    for name, count in (("segmentation", 6), ("depth", 18)):
        (own,) = {tuple(sorted(labelled(trainer, name))) for trainer in found}
        assert len(own) == count
    assert labelled(found[0], "segmentation").isdisjoint(labelled(found[0], "depth"))


@pytest.mark.parametrize("draw", ["union", "alternating"])
@pytest.mark.parametrize("method", ["equal", "lsb", "mgda"])
def test_training_on_some_labels_is_a_loop_over_them(draw, method):
    """Batches are taken as the loader numbers them; labels are read anew, and hidden ones are no part of the loss."""
    run = config(**SGD_RUN | PAIR, draw=draw, method=method)
    trainer, twin = Trainer(run, CPU), Trainer(run, CPU)
    own = {name: labelled(twin, name) for name in run.tasks}
    whole = Trainer(run.replace(labels={}), CPU).train_loader.dataset
    number = 0
    for _ in range(2):
        sums, absent = {name: [0.0, 0.0] for name in run.tasks}, dict.fromkeys(run.tasks, 0)
        for drawn in twin.train_loader:
            batch = whole.batch(drawn["index"].numpy())
            predictions = twin.model({"image": batch["image"].contiguous(memory_format=torch.channels_last)})
            losses = {}
            for k, task in enumerate(twin.tasks):
                here = torch.tensor([i in own[task.name] for i in batch["index"].tolist()])
                if draw == "alternating":
                    assert here.all() or number % 2 != k
                    here &= number % 2 == k
                losses[task.name] = None
                if here.any():
                    terms = task.loss(predictions[task.name], batch)
                    losses[task.name] = terms.values[here].sum() / terms.weights[here].sum()
                    sums[task.name][0] += terms.values[here].sum().item()
                    sums[task.name][1] += terms.weights[here].sum().item()
                absent[task.name] += losses[task.name] is None
            twin.optimizer.zero_grad()
            twin.balancer.backward(losses, twin.model.shared_parameters())
            twin.optimizer.step()
            number += 1
        means = {name: total / count for name, (total, count) in sums.items()}
        twin.balancer.end_epoch(means)
        entry = trainer.epoch()
        for found, expected in zip(parameters(trainer), parameters(twin), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
        assert entry["losses"] == pytest.approx(means, rel=1e-5)
        assert len(twin.train_loader) == 6
        assert entry["absent"] == {name: n / 6 for name, n in absent.items()}
    assert draw == "union" or set(entry["absent"].values()) == {0.5}
    assert number == 12


def test_a_loss_of_zero_for_an_unlabelled_task_stops_mgda():
    """Batches of one task in turn: the point of least norm between its gradient and 0 is 0, so that only heads learn.

    The mean has no such weight to choose; it takes the steps that it takes without the task.
    """
    turns = {**SGD_RUN, **PAIR, "draw": "alternating", "weight_decay": 0.0, "momentum": 0.0}
    runs = {
        (method, given): Trainer(config(**turns, method=method, unlabelled=given), CPU)
        for method in ("mgda", "equal")
        for given in ("absent", "zero")
    }
    start = [p.detach().clone() for p in runs["mgda", "zero"].model.shared_parameters()]
    entries = {key: trainer.epoch() for key, trainer in runs.items()}
    for found, expected in zip(runs["mgda", "zero"].model.shared_parameters(), start, strict=True):
        assert torch.equal(found, expected)
    assert entries["mgda", "zero"]["weights"] == {"segmentation": 0.5, "depth": 0.5}  # 0 and 1 by turns
    head = next(runs["mgda", "zero"].model.heads["depth"].parameters())
    assert not torch.equal(head, next(Trainer(config(**PAIR), CPU).model.heads["depth"].parameters()))
    for one, other in zip(parameters(runs["equal", "zero"]), parameters(runs["equal", "absent"]), strict=True):
        torch.testing.assert_close(one, other)
    for given in ("absent", "zero"):
        assert entries["equal", given]["absent"] == {"segmentation": 0.5, "depth": 0.5}
        assert entries["equal", given]["losses"] == pytest.approx(entries["equal", "absent"]["losses"])


def test_about_ten_boxes_to_one_mask():
    """Shares of 10 and 1 in 11 of 132 images: 120 and 12, on different images, in 33 steps with either way to draw."""
    shares = {"labels": {"depth": [0, 10 / 11], "segmentation": [10 / 11, 1]}, "tasks": ["depth", "segmentation"]}
    union, turns = (Trainer(config(**shares, n_train=132, draw=draw), CPU) for draw in ("union", "alternating"))
    assert [len(labelled(union, name)) for name in ("depth", "segmentation")] == [120, 12]
    assert len(union.train_loader) == len(turns.train_loader) == 33
    seen = {"depth": [], "segmentation": []}
    for number, batch in enumerate(turns.train_loader):
        seen[("depth", "segmentation")[number % 2]] += batch["index"].tolist()
    assert len(set(seen["depth"])) == len(seen["depth"]) == 68
    assert sorted(seen["segmentation"][:12]) == sorted(labelled(turns, "segmentation"))
    assert len(seen["segmentation"]) == 64  # five passes through 12, and one batch of the sixth
    absent = union.epoch()["absent"]
    missing = sum(not batch["labelled"]["segmentation"].any() for batch in Trainer(union.config, CPU).train_loader)
    assert absent == {"depth": 0, "segmentation": missing / 33}
    assert 0.4 < absent["segmentation"] < 0.95


def test_a_single_task_is_drawn_from_its_own_images():
    trainer = Trainer(config(tasks=["depth"], labels={"depth": [0.5, 1.0]}, n_train=24), CPU)
    drawn = [i for batch in trainer.train_loader for i in batch["index"].tolist()]
    assert sorted(drawn) == sorted(labelled(trainer, "depth")) and len(drawn) == 12
    assert trainer.epoch()["absent"] == {"depth": 0}


def test_history_says_what_is_absent_only_where_labels_are(tmp_path):
    plain = train(config(epochs=1), store=tmp_path)["history"][0]
    shared = train(config(epochs=1, labels={"depth": [0, 0.9]}), store=tmp_path)
    assert "absent" not in plain
    assert shared["history"][0].keys() - plain.keys() == {"absent"}
    assert records.read(tmp_path / f"{shared['hash']}.json") == shared


def test_the_probe_and_the_evaluation_see_all_labels(tmp_path):
    plain, some = (Trainer(config(**PAIR | {"labels": labels}), CPU) for labels in ({}, LABELS))
    one, other = (probe(trainer.model, trainer.tasks, trainer.probe_batch()) for trainer in (plain, some))
    assert one == other and one["cosines"][0][1] is not None
    for name in ("segmentation", "depth"):
        assert some.test_loader.dataset.has(name, range(6)).all()


@pytest.mark.parametrize("epochs", [1, 2])
def test_alternating_runs_are_resumed(tmp_path, monkeypatch, epochs):
    """13 images in batches of 2: 6 steps of 3 tasks in turn, so that passes and epochs end at different steps."""
    fields = {"batch_size": 2, "labels": {"depth": [0.3, 1.0], "normal": [0.0, 0.5]}, "draw": "alternating"}
    run = config(**fields, method="lsb", epochs=3, scales=[1.0, 1.2])
    expected = records.numbers(train(run, store=tmp_path / "unbroken"))

    def stop(entry):
        if entry["epoch"] == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, store=tmp_path / "broken", after_epoch=stop)
    assert records.numbers(train(run, store=tmp_path / "broken")) == expected


def test_shares_that_leave_a_task_no_image_are_refused(monkeypatch):
    """Of a real data set it is known only when it is opened."""
    run = config(**PAIR)
    monkeypatch.setattr("mtlrepro.data.datasets.part_of", lambda n, share: range(0 if share[0] else n))
    with pytest.raises(ValueError, match=r"labels is .*; accepted: shares that leave 'segmentation' a training image"):
        Trainer(run, CPU)


# --- all of them by grids

SMALL = SMOKE | {"n_train": 8, "n_test": 2, "size": (32, 48), "epochs": 1, "tasks": ["segmentation", "depth"]}
BASES = {"network": {**SMALL, "optimizer": "sgd"}, "method": {**SMALL, "method": "uncertainty"}}
VARIED = {
    "loss_scales.depth": ("network", {"loss_scales": {"depth": 30.0}}),
    "momentum": ("network", {"momentum": 0.5}),
    "decay": ("network", {"decay": "decoupled"}),
    "labels.depth": ("network", {"labels": {"depth": [0.5, 1.0]}}),
    "draw": ("network", {"draw": "alternating"}),
    "balancer_lr": ("method", {"balancer_lr": 0.5}),
}


@pytest.fixture(scope="module")
def grid(cache, tmp_path_factory):
    """Table of a run for each base and each field, and the folder of their records."""
    store = tmp_path_factory.mktemp("grid")
    base = [RunConfig(**fields) for fields in BASES.values()]
    varied = [RunConfig(**BASES[name] | fields) for name, fields in VARIED.values()]
    return runs.grid([*base, *varied], store=store, jobs=2, progress=False), store


@pytest.mark.parametrize("column", VARIED)
def test_a_grid_of_two_runs_differs_by_a_field(grid, column):
    table, store = grid
    base, fields = VARIED[column]
    one, other = RunConfig(**BASES[base]), RunConfig(**BASES[base] | fields)
    assert table.loc[[one.hash, other.hash], "status"].tolist() == ["complete"] * 2
    assert len({repr(value) for value in table.loc[[one.hash, other.hash], column]}) == 2
    histories = [json.loads((store / f"{run.hash}.json").read_text())["history"][0] for run in (one, other)]
    key = "weights" if column == "balancer_lr" else "losses"
    assert histories[0][key] != histories[1][key]
    assert ("absent" in histories[1]) == (column in ("labels.depth", "draw"))
