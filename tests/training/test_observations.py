"""What a run keeps of its steps: means by epoch, weights of every step, the update that a method changes, classes."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from host_reads import NoHost
from recorded import Recorded
from training_cases import SMOKE, config, interrupted

from mtlrepro import runs
from mtlrepro.balancers import METHODS
from mtlrepro.runs.store import Store
from mtlrepro.runs.verify import verify_records
from mtlrepro.training import observations
from mtlrepro.training.config import OBSERVED, RunConfig
from mtlrepro.training.evaluation import evaluate, update_change
from mtlrepro.training.observations import Observations, step_weights
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer

CPU = torch.device("cpu")
ALL = {"observe": OBSERVED, "probe_every": 2}
UNKNOWN = {"segmentation": -1, "depth": 0, "normal": 0}


@pytest.fixture
def shown(monkeypatch):
    """What the balancer reported after each step, epoch by epoch."""
    epochs = []
    add, start = Observations.add, Observations.start

    def noted(self):
        add(self)
        epochs[-1].append({name: value.clone() for name, value in self._balancer.observed().items()})

    monkeypatch.setattr(Observations, "add", noted)
    monkeypatch.setattr(Observations, "start", lambda self: (start(self), epochs.append([])))
    return epochs


def lacking(trainer, batches):
    """Take the labels of the first task, or of all, out of batches of the first epoch, given by number."""
    loader = trainer.train_loader
    for number, tasks in batches.items():
        rows = loader._order(0, 0)[number * loader.batch_size : (number + 1) * loader.batch_size]
        for name in tasks:
            loader._maps[name][rows] = UNKNOWN[name]
    return trainer


@pytest.mark.parametrize("method", ["mgda", "mtsgd", "mclgs", "maxgnr", "equal", "graddrop"])
def test_means_run_over_the_steps_that_had_the_quantity(method, shown):
    """A curriculum that ends within the epoch, a task that is absent from one step, and a batch without any label."""
    options = {"step": "iteration", "a0": 1.0, "delta_a": 0.5} if method == "mclgs" else {}
    run = config(method=method, method_options=options, n_train=21, observe=["method", "weights"])
    trainer = lacking(Trainer(run, CPU), {1: ["segmentation"], 3: list(UNKNOWN)})
    for epoch in range(2):
        entry = trainer.epoch()
        steps = shown[epoch]
        assert len(steps) == (5 if epoch else 4)
        assert set(entry["observed"]) == set(steps[0]) - {"weights"}
        for name, mean in entry["observed"].items():
            values = torch.stack([step[name] for step in steps])
            torch.testing.assert_close(
                torch.tensor(mean).double(), values.nanmean(0), rtol=1e-6, atol=0, equal_nan=True
            )
        weights = torch.stack([step["weights"] for step in steps])
        torch.testing.assert_close(trainer.step_weights[epoch], weights, rtol=0, atol=0, equal_nan=True)
        if entry["weights"] is not None:
            torch.testing.assert_close(list(entry["weights"].values()), weights.nanmean(0).tolist(), rtol=1e-12, atol=0)
    if method == "mclgs":
        assert entry["observed"]["p"] == 0 and entry["observed"]["length"] == 1
        assert all(math.isnan(value) for row in entry["observed"]["gramian"] for value in row)
    if method == "mgda":
        assert entry["observed"]["cosines"][0][0] == 1 and 0 < entry["observed"]["length"] < 1


@pytest.mark.parametrize("method", METHODS)
def test_observing_changes_no_number(tmp_path, method):
    """With dropout, whose stream the measurement of updates must not move on."""
    fields = {"method": method, "optimizer": "sgd", "model_options": {"dropout": 0.3}, "probe_every": 2, "epochs": 2}
    plain, observed = (train(config(**fields, observe=names), store=tmp_path) for names in ([], OBSERVED))
    assert {"observed", "per_class"} <= set(observed["history"][0]) and "per_class" in observed
    for record in (plain, observed):
        record.pop("per_class", None)
        for entry in record["history"]:
            entry.pop("observed", None), entry.pop("per_class", None)
            if entry["probe"] is not None:
                entry["probe"].pop("update_change", None)
    one, other = (numbers(record) | {"config": None, "hash": None} for record in (plain, observed))
    assert one == other


def test_records_hold_what_is_asked_for(tmp_path):
    plain = train(config(probe_every=2), store=tmp_path)
    assert set(plain["history"][1]) == {
        *("epoch", "losses", "weights", "loss_scales", "lr", "metrics", "probe", "seconds", "evaluation_seconds")
    }
    assert set(plain["history"][1]["probe"]) == {"norms", "cosines", "conflicts"} and "per_class" not in plain
    assert not list(tmp_path.glob("*.npz"))
    run = config(**ALL, method="mgda", evaluate_every=2, average_last=2, evaluate_on="both")
    record = train(run, store=tmp_path)
    assert json.loads((tmp_path / f"{run.hash}.json").read_text()) == record
    assert {path.name for path in tmp_path.glob(f"{run.hash}*")} == {f"{run.hash}.json", f"{run.hash}.weights.npz"}
    assert np.array(record["history"][0]["observed"]["gramian"]).shape == (3, 3)
    assert [entry["per_class"] is None for entry in record["history"]] == [True, False, False]
    assert set(record["history"][1]["probe"]["update_change"]) == {"shared", "all"}
    for prefix in ("", "validation_"):
        classes = [entry[f"{prefix}per_class"]["segmentation"] for entry in record["history"][1:]]
        for name, value in record[f"{prefix}per_class"]["segmentation"].items():
            values = [one[name] for one in classes]
            assert value == (None if None in values else pytest.approx(sum(values) / 2))
        for entry in record["history"][1:]:
            known = [value for value in entry[f"{prefix}per_class"]["segmentation"].values() if value is not None]
            assert entry[f"{prefix}metrics"]["segmentation"]["miou"] == pytest.approx(sum(known) / len(known))


def test_a_resumed_run_keeps_what_it_observed(tmp_path, monkeypatch):
    run = config(**ALL, method="mclgs", method_options={"step": "iteration"}, epochs=4)
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path / "broken", 2)
    assert not list((tmp_path / "broken").glob("*.npz"))
    assert numbers(train(run, store=tmp_path / "broken")) == expected
    one, other = (step_weights(tmp_path / name, run.hash) for name in ("unbroken", "broken"))
    assert one.shape == (12, 3) and np.array_equal(one, other)
    for k, name in enumerate(run.tasks):
        means = [entry["weights"][name] for entry in expected["history"]]
        np.testing.assert_allclose(one[:, k].reshape(4, 3).mean(1), means, rtol=1e-12)


def test_checkpoints_of_earlier_versions_are_read(tmp_path, monkeypatch):
    """They know no weights of steps; a run of theirs asks for none."""
    state_dict = Trainer.state_dict
    expected = numbers(train(config(), store=tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        without = lambda self: {k: v for k, v in state_dict(self).items() if k != "step_weights"}  # noqa: E731
        patch.setattr(Trainer, "state_dict", without)
        interrupted(patch, config(), tmp_path / "broken", 1)
    assert numbers(train(config(), store=tmp_path / "broken")) == expected


def test_weights_that_are_absent_or_damaged_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"abc\.weights\.npz is absent; remove abc\.json beside it"):
        step_weights(tmp_path, "abc")
    path = tmp_path / "abc.weights.npz"
    for content in (b"PK", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"abc\.weights\.npz is damaged"):
            step_weights(tmp_path, "abc")
    for wrong in ({"other": np.zeros((2, 3))}, {"weights": np.zeros(3)}, {"weights": np.array([[None]])}):
        np.savez(path, **wrong)
        with pytest.raises(ValueError, match=r"abc\.weights\.npz is damaged"):
            step_weights(tmp_path, "abc")
    observations.write_weights(tmp_path, "abc", [torch.ones(2, 3).double(), torch.zeros(1, 3).double()])
    assert step_weights(str(tmp_path), "abc").tolist() == [[1] * 3, [1] * 3, [0] * 3]


def test_a_grid_of_observed_runs(tmp_path):
    fields = {**SMOKE, "model_options": {**SMOKE["model_options"], "weights": "none"}, **ALL, "method": "mgda"}
    configs = [RunConfig(**fields, seed=seed) for seed in (0, 1)]
    table = runs.grid(configs, store=tmp_path, progress=False)
    assert list(table["status"]) == ["complete"] * 2 and table["segmentation.miou"].notna().all()
    store = Store(tmp_path)
    for run in configs:
        history = store.record(run)["history"]
        assert store.step_weights(run).shape == (6, 3)
        assert all(0 < entry["observed"]["length"] <= 1 + 1e-6 for entry in history)
        assert history[1]["probe"]["update_change"]["shared"] > 0
    _, *checks = verify_records(store, sample=2, seed=0, progress=False)
    assert [check.passed for check in checks] == [True, True], [check.message for check in checks]


def test_runs_that_observe_nothing_agree_with_their_stored_records(tmp_path):
    """The record of a configuration without `observe` has no new entries, so that a comparison of histories holds."""
    train(config(epochs=2, probe_every=1), store=tmp_path)
    _, check = verify_records(Store(tmp_path), seed=0, progress=False)
    assert check.passed and check.message.endswith("agree bit for bit")


@pytest.mark.parametrize("method", ["equal", "mgda", "mtsgd"])
def test_an_observed_step_reads_nothing_back(method):
    trainer = Trainer(config(method=method, observe=["method", "weights"]), CPU)
    batches = list(trainer.train_loader)
    trainer.step(batches[0])
    with NoHost():
        trainer.step(batches[1], [True] * 3)


@pytest.mark.filterwarnings("ignore:mclgs. p is 0.85 when the run ends")
@pytest.mark.parametrize("method", ["equal", "mgda", "mclgs", "mtsgd", "maxgnr"])
def test_replayed_steps_are_summed(method):
    """As by a CUDA graph: Python sees one step, the sums see all; `p` falls from replay to replay."""
    options = {"step": "iteration", "a0": 1.0, "delta_a": 0.01} if method == "mclgs" else {}
    run = config(method=method, method_options=options, n_train=20, optimizer="sgd", observe=["method", "weights"])
    eager, graph = Trainer(run, CPU), Trainer(run, CPU)
    for trainer in (eager, graph):
        trainer._observations.start()
    fixed = {}
    recorded = Recorded()
    for number, batch in enumerate(eager.train_loader):
        eager.step(batch, [True] * 3)
        tensors = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
        if not fixed:
            fixed = {key: value.clone() for key, value in tensors.items()}
        for key, value in tensors.items():
            fixed[key].copy_(value)
        if number < 2:
            graph.step(fixed, [True] * 3)
        elif number == 2:
            with recorded:
                graph.step(fixed, [True] * 3)
        else:
            graph.balancer.steps += 1
            recorded.replay()
    assert number == 4
    for p, q in zip(eager.model.parameters(), graph.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)
    means = [trainer._observations.means() for trainer in (eager, graph)]
    for name, value in means[0].items():
        torch.testing.assert_close(
            torch.tensor(means[1][name]), torch.tensor(value), rtol=1e-5, atol=1e-8, equal_nan=True
        )
    if method == "mclgs":
        assert means[1]["p"] == pytest.approx(0.98)
    weights = [trainer._observations.weights() for trainer in (eager, graph)]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-8, equal_nan=True)
    assert len(weights[1]) == 5 and (method not in ("mgda", "mclgs") or not torch.equal(weights[1][2], weights[1][4]))


# --- the part of the update that the method changed


def trained(epochs=1, **fields):
    trainer = Trainer(config(**fields), CPU)
    for _ in range(epochs):
        trainer.epoch()
    return trainer


def gradients(trainer, batch):
    """The method's gradient and that of the mean loss, by name of the parameter, with the trainer's own balancer."""
    found = []
    for mean in (True, False):
        trainer.model.zero_grad()
        losses = {task.name: task.loss(trainer.model(batch)[task.name], batch).mean() for task in trainer.tasks}
        if mean:
            (sum(losses.values()) / len(losses)).backward()
        else:
            trainer.balancer.backward(losses, trainer.model.shared_parameters(), features=trainer.model.features)
        found.append({name: p.grad.double() for name, p in trainer.model.named_parameters()})
    return found[1], found[0]


def update_by_hand(trainer, name, gradient):
    """One step from the optimizer's state as its documentation prints it, in float64."""
    p = trainer.model.get_parameter(name)
    run, state, w = trainer.config, trainer.optimizer.state[p], p.detach().double()
    lr, decay = trainer.optimizer.param_groups[0]["lr"], run.weight_decay
    if run.optimizer == "sgd":
        return -lr * (0.9 * state["momentum_buffer"].double() + gradient + decay * w)
    if run.optimizer == "adam":
        gradient = gradient + decay * w
    t = state["step"].item() + 1
    m = 0.9 * state["exp_avg"].double() + 0.1 * gradient
    v = 0.999 * state["exp_avg_sq"].double() + 0.001 * gradient.square()
    step = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return -lr * (step + (decay * w if run.optimizer == "adamw" else 0))


@pytest.mark.parametrize("method", ["mgda", "mtsgd", "gls"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_update_change_is_that_of_the_optimizers_formulas(method, optimizer):
    trainer = trained(
        2, method=method, optimizer=optimizer, weight_decay=0.3, schedule="steps", milestones=[2], factor=0.5
    )
    batch = trainer.probe_batch()
    found = update_change(trainer, batch)
    balanced, plain = gradients(trainer, batch)
    shared = [name for name, _ in trainer.model.named_parameters() if name.startswith("shared")]
    for key, names in (("shared", shared), ("all", list(plain))):
        u, u0 = (torch.cat([update_by_hand(trainer, n, g[n]).flatten() for n in names]) for g in (balanced, plain))
        assert found[key] == pytest.approx(((u - u0).norm() / u0.norm()).item(), rel=1e-5)
        assert found[key] > 1e-3


def test_equal_weights_change_nothing_and_heads_count():
    for optimizer in ("sgd", "adamw"):
        found = update_change(trainer := trained(method="equal", optimizer=optimizer), trainer.probe_batch())
        assert found["shared"] < 1e-5 and found["all"] < 1e-5
    found = update_change(trainer := trained(method="mgda", optimizer="sgd", lr=1e-3), trainer.probe_batch())
    assert found["shared"] > 2 * found["all"] > 0  # mgda leaves the heads their means


def test_a_first_step_of_sgd_changes_by_the_weights():
    """Without momenta or decay u is the gradient: |(w - 1/2) g| over |1/2 g| for one task of two that are the same."""
    run = config(method="fixed", method_options={"weights": [0.8, 0.2]}, tasks=["depth", "normal"], optimizer="sgd")
    trainer = Trainer(run.replace(weight_decay=0.0), CPU)
    batch = trainer.probe_batch()
    balanced, plain = gradients(trainer, batch)
    name = "heads.depth.weight"
    torch.testing.assert_close(balanced[name], 1.6 * plain[name], rtol=1e-5, atol=1e-9)
    rest = [balanced[n] - plain[n] for n in plain]
    expected = torch.cat([r.flatten() for r in rest]).norm() / torch.cat([g.flatten() for g in plain.values()]).norm()
    assert update_change(trainer, batch)["all"] == pytest.approx(expected.item(), rel=1e-5)


def everything(trainer):
    """All that a later step could depend on."""
    return copy.deepcopy(
        {
            "state": trainer.state_dict(),
            "gradients": [None if p.grad is None else p.grad.clone() for p in trainer.model.parameters()],
            "own": [None if p.grad is None else p.grad.clone() for p in trainer.balancer.parameters()],
            "calls": trainer.balancer._calls,
        }
    )


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num()) and one.stride() == other.stride()
    return one == other


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["tiny", "multi_decoder"])
def test_measuring_the_update_leaves_everything_as_it_was(method, model):
    """Dropout and batch normalisation included; the tensors of gradients are the same objects, as a graph needs."""
    if model == "multi_decoder":
        trainer = Trainer(RunConfig(**SMOKE, method=method), CPU)
        trainer.epoch()
    else:
        trainer = trained(method=method, model_options={"dropout": 0.3})
    before, held = everything(trainer), [p.grad for p in trainer.model.parameters()]
    update_change(trainer, trainer.probe_batch())
    assert same(before, everything(trainer))
    assert all(p.grad is g for p, g in zip(trainer.model.parameters(), held, strict=True))
    trainer.epoch()
    assert not same(before, everything(trainer))


def test_updates_on_batches_that_lack_labels():
    trainer = trained(method="mgda", optimizer="sgd")
    batch = trainer.probe_batch()
    batch["depth"] = torch.zeros_like(batch["depth"])
    found = update_change(trainer, batch)
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    for name, value in UNKNOWN.items():
        batch[name] = torch.full_like(batch[name], value)
    before = everything(trainer)
    assert update_change(trainer, batch) == {"shared": None, "all": None}
    assert same(before, everything(trainer))


def test_single_samples_have_an_update_too():
    run = {"method": "mclgs", "method_options": {"granularity": "sample", "a0": 1.0}}
    assert update_change(trainer := trained(**run), trainer.probe_batch())["shared"] > 0
    run["method_options"]["a0"] = 0.0
    assert update_change(trainer := trained(**run, optimizer="sgd"), trainer.probe_batch())["all"] < 1e-5


def test_evaluation_gives_the_classes_beside_the_metrics():
    trainer = Trainer(config(), CPU)
    metrics, per_class = evaluate(trainer.model, trainer.tasks, trainer.test_loader)
    assert list(per_class) == ["segmentation"] and list(per_class["segmentation"]) == [f"iou_{k}" for k in range(13)]
    assert not any(name.startswith("iou") for name in metrics["segmentation"])
    known = [value for value in per_class["segmentation"].values() if not math.isnan(value)]
    assert metrics["segmentation"]["miou"] == pytest.approx(sum(known) / len(known))
