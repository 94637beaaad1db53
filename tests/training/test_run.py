"""A run: its numbers, its record, and what each field of the configuration does."""

import json

import pytest
import torch
from host_reads import NoHost
from torch._dynamo.utils import counters
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import MultiStepLR
from training_cases import SMOKE, config

from mtlrepro import tasks
from mtlrepro.balancers import METHODS, mtsgd
from mtlrepro.data.loading import DiskLoader
from mtlrepro.training.config import ALGORITHM, RunConfig
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer

CPU = torch.device("cpu")


def test_two_runs_agree_bit_for_bit_whatever_went_before(tmp_path):
    run = RunConfig(**SMOKE, probe_every=1)
    first = train(run, store=tmp_path / "a")
    torch.manual_seed(123)
    torch.set_num_threads(2)
    try:
        state = torch.random.get_rng_state()
        second = train(run, store=tmp_path / "b")
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert numbers(first) == numbers(second)


def test_seeds_differ_from_the_first_epoch_on(tmp_path):
    one, other = (train(config(seed=seed, epochs=1), store=tmp_path)["history"] for seed in (0, 1))
    assert one[0]["losses"] != other[0]["losses"]


def test_record(tmp_path):
    run = config(method="lsb", epochs=4, evaluate_every=2, probe_every=3)
    record = train(run, store=tmp_path)
    stored = tmp_path / f"{run.hash}.json"
    assert json.loads(stored.read_text()) == record
    assert RunConfig.from_dict(record["config"]) == run
    assert (record["hash"], record["algorithm"], record["status"]) == (run.hash, ALGORITHM, "complete")
    assert [entry["epoch"] for entry in record["history"]] == [1, 2, 3, 4]
    assert [entry["metrics"] is not None for entry in record["history"]] == [False, True, False, True]
    assert [entry["probe"] is not None for entry in record["history"]] == [False, False, True, False]
    for entry in record["history"]:
        assert list(entry["losses"]) == list(entry["weights"]) == list(run.tasks)
        for name in run.tasks:
            assert entry["loss_scales"][name] == entry["weights"][name] * entry["losses"][name]
        assert entry["seconds"] > 0 and entry["evaluation_seconds"] >= 0
    assert record["metrics"] == record["history"][-1]["metrics"]
    assert record["metrics_from"] == {"split": "test", "epochs": [4]}
    assert record["weights_source"] == "random"
    assert {"commit", "torch", "device", "threads", "seconds", "images_per_second"} <= set(record["provenance"])
    files = {path.name for path in (tmp_path / "checkpoints").iterdir()} | {p.name for p in tmp_path.iterdir()}
    assert files - {f"{run.hash}.lock"} == {stored.name, "checkpoints"}


@pytest.mark.parametrize("fields", [{}, {"dataset": "streets", "tasks": ["segmentation", "disparity"]}])
def test_one_run_serves_the_choice_on_validation_and_the_report_on_test(tmp_path, fields):
    """Metrics of both splits stand in one record, each as if only that split had been evaluated."""
    fields = {**fields, "average_last": 2, "model_options": {"views": 2} if fields else {}}
    both, test, val = (train(config(**fields, evaluate_on=name), store=tmp_path) for name in ("both", "test", "val"))
    assert both["metrics"] == test["metrics"] != val["metrics"] == both["validation_metrics"]
    assert both["metrics_from"] == test["metrics_from"]
    assert "validation_metrics" not in test and "validation_metrics" not in val
    for entry, tested, validated in zip(both["history"], test["history"], val["history"], strict=True):
        assert (entry["metrics"], entry["validation_metrics"]) == (tested["metrics"], validated["metrics"])
    resumed = train(config(**fields, evaluate_on="both"), store=tmp_path)
    assert resumed == both


def test_a_stored_record_is_read_not_trained(tmp_path, monkeypatch):
    record = train(config(), store=tmp_path)
    monkeypatch.setattr("mtlrepro.training.run.Trainer", None)
    assert train(config(), store=tmp_path) == record
    (tmp_path / f"{config().hash}.json").write_text("{")
    with pytest.raises(ValueError, match=rf"{config().hash}\.json is damaged .*; remove it to train the run again"):
        train(config(), store=tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_an_epoch(tmp_path, method):
    (entry,) = train(config(method=method, epochs=1), store=tmp_path)["history"]
    assert all(value > 0 for value in entry["losses"].values())
    assert (entry["weights"] is None) == (method in ("mtsgd", "graddrop"))


def test_per_sample_losses(tmp_path):
    options = {"granularity": "sample", "a0": 1.0}
    sample = train(config(method="mclgs", method_options=options, epochs=1), store=tmp_path)
    batch = train(config(method="mclgs", method_options={"a0": 1.0}, epochs=1), store=tmp_path)
    assert sample["history"][0]["weights"] is None
    assert sample["metrics"] != batch["metrics"]


def test_a_curriculum_ends_within_the_run(tmp_path):
    for options in ({}, {"step": "iteration", "length": 1 / 3}):
        trainer = Trainer(config(method="mclgs", method_options=options, epochs=4), CPU)
        strengths = [trainer.balancer.p]
        weights = []
        for _ in range(4):
            weights.append(list(trainer.epoch()["weights"].values()))
            strengths.append(trainer.balancer.p)
        assert strengths == ([40, 20, 0, 0, 0] if not options else [40, pytest.approx(10), 0, 0, 0])
        assert weights[2] == weights[3] == [1 / 3] * 3 != weights[0]


@pytest.mark.parametrize("method", ["lsb", "dwa", "mclgs"])
def test_methods_see_the_end_of_epochs(tmp_path, monkeypatch, method):
    seen = []
    end_epoch = METHODS[method].end_epoch
    monkeypatch.setattr(
        METHODS[method], "end_epoch", lambda self, x: seen.append(list(x.values())) or end_epoch(self, x)
    )
    record = train(config(method=method), store=tmp_path)
    assert seen == [list(entry["losses"].values()) for entry in record["history"]]
    weights = [list(entry["weights"].values()) for entry in record["history"]]
    if method == "lsb":  # w_k(2) = pi_k L(1) / l_k(1)
        torch.testing.assert_close(weights[1], [sum(seen[0]) / 9 / loss for loss in seen[0]], rtol=1e-12, atol=0)
    if method == "dwa":
        ratios = torch.tensor(seen[1]).double() / torch.tensor(seen[0]).double()
        torch.testing.assert_close(weights[2], (ratios / 2).softmax(0).tolist(), rtol=1e-6, atol=0)


def plain_training(run, optimizer, milestones, factor):
    """The loop that everybody would write, on the same data and network."""
    trainer = Trainer(run, CPU)
    scheduler = MultiStepLR(optimizer := optimizer(trainer.model.parameters()), milestones, factor)
    for _ in range(run.epochs):
        for batch in trainer.train_loader:
            predictions = trainer.model(batch)
            losses = [task.loss(predictions[task.name], batch).mean() for task in trainer.tasks]
            optimizer.zero_grad()
            (sum(losses) / len(losses)).backward()
            optimizer.step()
        scheduler.step()
    return trainer.model.state_dict()


@pytest.mark.parametrize(
    ("fields", "optimizer"),
    [
        ({"optimizer": "adamw"}, lambda p: AdamW(p, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.3)),
        ({"optimizer": "adam"}, lambda p: Adam(p, lr=0.01, weight_decay=0.3)),
        ({"optimizer": "sgd"}, lambda p: SGD(p, lr=0.01, momentum=0.9, weight_decay=0.3)),
    ],
)
@pytest.mark.parametrize("steps", [False, True])
def test_optimizers_and_schedules_are_those_of_torch(fields, optimizer, steps):
    schedule = {"schedule": "steps", "milestones": [1, 3], "factor": 0.5} if steps else {}
    run = config(**fields, **schedule, weight_decay=0.3, epochs=4)
    trainer = Trainer(run, CPU)
    rates = [trainer.epoch()["lr"] for _ in range(4)]
    assert rates == ([0.01, 0.005, 0.005, 0.0025] if steps else [0.01] * 4)
    expected = plain_training(run, optimizer, [1, 3] if steps else [], 0.5)
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_the_balancers_own_parameters_do_not_decay():
    trainer = Trainer(config(method="uncertainty", weight_decay=0.3), CPU)
    network, own = trainer.optimizer.param_groups
    assert (network["weight_decay"], own["weight_decay"]) == (0.3, 0)
    assert own["params"] == list(trainer.balancer.parameters()) != []
    assert set(network["params"]) == set(trainer.model.parameters())


def test_final_metrics_are_the_mean_of_the_last_epochs(tmp_path):
    run = config(epochs=4, average_last=3, evaluate_every=4)
    record = train(run, store=tmp_path)
    metrics = [entry["metrics"] for entry in record["history"]]
    assert metrics[0] is None and metrics[1] != metrics[3]
    assert record["metrics_from"]["epochs"] == [2, 3, 4]
    expected = sum(entry["depth"]["rmse"] for entry in metrics[1:]) / 3
    assert record["metrics"]["depth"]["rmse"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {"tasks": ["depth"]},
        {"tasks": ["normal"], "method": "mgda"},
        {"tasks": ["depth", "segmentation"], "protocol": "benchmark"},
        {"tasks": ["curvature", "edges2d", "keypoints3d"], "scales": [1.0, 1.5], "crop": [32, 32]},
        {"tasks": ["segmentation", "disparity"], "dataset": "streets", "classes": 7, "model_options": {"views": 2}},
        {"precision": "bf16"},
        {"flip": 0},
    ],
)
def test_other_tasks_and_data(tmp_path, fields):
    run = config(**fields, epochs=1)
    record = train(run, store=tmp_path)
    assert list(record["metrics"]) == list(run.tasks)
    for name, task in zip(run.tasks, tasks.create(run.tasks, protocol=run.protocol), strict=True):
        assert list(record["metrics"][name]) == list(task.metrics().higher_is_better)


def test_detection(tmp_path):
    run = RunConfig(
        dataset="streets",
        tasks=["detection", "segmentation"],
        model="detection",
        model_options={"encoder": "mobilenet_v2", "width": 0.25, "channels": 64},
        n_train=4,
        n_test=2,
        size=(32, 64),
        batch_size=2,
        epochs=1,
    )
    record = train(run, store=tmp_path)
    assert set(record["metrics"]["detection"]) == {"map", "map50", "map75"}
    for method in ("mclgs", "cagrad+mclgs"):  # weights of single images, for boxes too
        record = train(run.replace(method=method, method_options={"granularity": "sample"}), store=tmp_path)
        assert record["history"][0]["losses"]["detection"] > 0


def test_numbers_do_not_depend_on_how_data_are_read(tmp_path, monkeypatch):
    memory = train(config(), store=tmp_path / "a")
    monkeypatch.setattr("mtlrepro.training.step.HELD", 0)
    assert isinstance(Trainer(config(), CPU).train_loader, DiskLoader)
    assert numbers(train(config(), store=tmp_path / "b")) == numbers(memory)


def test_methods_that_draw_use_the_seed_of_the_run():
    assert Trainer(config(method="pcgrad", seed=5), CPU).balancer.seed == 5
    assert Trainer(config(method="pcgrad", method_options={"seed": 7}), CPU).balancer.seed == 7


def test_representation_level_methods_get_the_features(tmp_path):
    here = train(config(method="mgda", method_options={"at": "representation"}, epochs=1), store=tmp_path)
    there = train(config(method="mgda", epochs=1), store=tmp_path)
    assert here["history"][0]["weights"] != there["history"][0]["weights"]


@pytest.mark.parametrize("method", ["equal", "lsb", "mgda", "mtsgd"])
@pytest.mark.parametrize("protocol", ["lsb", "benchmark"])
def test_a_step_reads_nothing_back(method, protocol, monkeypatch):
    # On a CPU, and there alone, MTSGD asks how many slices the first of many tasks leave; a device takes the other way.
    monkeypatch.setattr(mtsgd, "MANY", 1_000)
    names = ["segmentation", "depth", "normal"] + ["curvature"] * (protocol == "lsb")
    trainer = Trainer(config(method=method, tasks=names, protocol=protocol), CPU)
    batches = list(trainer.train_loader)
    present = [trainer.present(batch) for batch in batches]  # known on the CPU
    trainer.step(batches[0])
    with NoHost():
        for batch, tasks_here in zip(batches[1:], present[1:], strict=True):
            trainer.step(batch, tasks_here)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks
def test_compiled_parts_train_to_the_same_numbers(tmp_path, monkeypatch):
    """Through the compiler's front; inductor itself is tested with the networks."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: whole(module, backend="eager"))
    fields = {"method": "mgda", "epochs": 2, "probe_every": 1}
    torch.compiler.reset()
    counters["stats"].clear()
    found = train(config(**fields, compile=True), store=tmp_path)
    assert counters["stats"]["unique_graphs"] >= 8  # four parts, each in training and in evaluation
    assert found["history"][-1]["losses"] == train(config(**fields), store=tmp_path)["history"][-1]["losses"]
    torch.compiler.reset()


def test_a_device_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="device is 'meta'; accepted: 'cpu', as the configuration says"):
        train(config(), store=tmp_path, device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no CUDA device"):
            train(config(device="cuda"), store=tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own compiler calls it
@pytest.mark.parametrize("fields", [{}, {"cuda_graph": True}, {"precision": "bf16"}, {"compile": True}])
def test_on_cuda(tmp_path, fields):
    expected = train(config(epochs=2), store=tmp_path)["history"]
    found = train(config(epochs=2, device="cuda", **fields), store=tmp_path)["history"]
    rtol = 3e-2 if "precision" in fields else 1e-3
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a["losses"], b["losses"], rtol=rtol, atol=0)


def test_all_methods_start_from_the_same_network():
    one, other = (Trainer(config(method=name), CPU).model.state_dict() for name in ("equal", "graddrop"))
    assert all(torch.equal(one[name], other[name]) for name in one)
