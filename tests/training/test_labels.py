"""Training on batches in which a task has no label, against a loop that passes None."""

import copy
import json
import math

import pytest
import torch
from training_cases import SMOKE, config

from mtlrepro.balancers import METHODS
from mtlrepro.data.transforms import Augmentation
from mtlrepro.losses import known
from mtlrepro.training.config import RunConfig
from mtlrepro.training.evaluation import probe
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer, predict

CPU = torch.device("cpu")
UNKNOWN = {"segmentation": -1, "depth": 0, "normal": 0}


def without_labels(trainer, missing):
    """Make targets unknown: `missing` says for each batch of the first epoch which ones."""
    loader = trainer.train_loader
    order = loader._order(0, 0)
    for number, names in enumerate(missing):
        rows = order[number * loader.batch_size : (number + 1) * loader.batch_size]
        for name in names:
            loader._maps[name][rows] = UNKNOWN[name]
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_a_task_without_labels_in_a_batch_is_absent_from_its_step(method):
    """An epoch of three batches equals a loop that passes None: parameters, statistics of the epoch, and state."""
    run = config(method=method, optimizer="sgd", epochs=1)
    missing = [["segmentation"], ["depth", "normal"], []]
    trainer = without_labels(Trainer(run, CPU), missing)
    twin = without_labels(Trainer(run, CPU), missing)
    entry = trainer.epoch()

    sums, weighted, steps = (
        {name: [0.0, 0.0] for name in run.tasks},
        dict.fromkeys(run.tasks, 0.0),
        dict.fromkeys(run.tasks, 0),
    )
    for names, batch in zip(missing, twin.train_loader, strict=True):
        twin.optimizer.zero_grad()
        predictions = predict(twin.model, batch)
        losses = {}
        for task in twin.tasks:
            losses[task.name] = None
            if task.name not in names:
                terms = task.loss(predictions[task.name], batch)
                losses[task.name] = terms.mean()
                sums[task.name][0] += terms.values.sum().item()
                sums[task.name][1] += terms.weights.sum().item()
                steps[task.name] += 1
        weights = twin.balancer.backward(losses, twin.model.shared_parameters(), features=twin.model.features)
        twin.optimizer.step()
        for k, name in enumerate(run.tasks):
            weighted[name] += math.nan if weights is None else weights[k].item()
    for p, q in zip(trainer.model.parameters(), twin.model.parameters(), strict=True):
        assert torch.equal(p, q)
    for name in run.tasks:
        assert entry["losses"][name] == pytest.approx(sums[name][0] / sums[name][1], rel=1e-6)
        if entry["weights"] is not None:
            assert entry["weights"][name] == pytest.approx(weighted[name] / steps[name], rel=1e-12)
    twin.balancer.end_epoch(entry["losses"])
    for key, value in trainer.balancer.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, twin.balancer.state_dict()[key]) or value.isnan().any()


@pytest.mark.parametrize("method", METHODS)
def test_the_trunk_moves_where_a_task_has_no_labels(method):
    """The length of the step is that of the two other tasks; an absent one that counted as 0 would stop mgda."""
    options = {"a0": 0.5} if "mclgs" in method else {}  # a gate that lets conflicting tasks through
    fields = {"method": method, "method_options": options, "optimizer": "sgd", "n_train": 4, "epochs": 1}
    moved = []
    for missing in ([["segmentation"]], [[]]):
        trainer = without_labels(Trainer(config(**fields), CPU), missing)
        start = copy.deepcopy(list(trainer.model.shared_parameters()))
        trainer.epoch()
        change = [p - q for p, q in zip(trainer.model.shared_parameters(), start, strict=True)]
        moved.append(torch.cat([c.flatten() for c in change]).norm().item())
    assert moved[0] > 0.05 * moved[1]


@pytest.mark.parametrize("method", ["equal", "lsb", "mgda", "gls", "dwa", "mtsgd"])
def test_a_task_without_any_label_is_null_in_the_record(tmp_path, monkeypatch, method):
    """Also in a resumed run; a batch without any label is no step."""
    built = Trainer.__init__

    def init(self, *args, **options):
        built(self, *args, **options)
        without_labels(self, [["segmentation"], ["segmentation"], ["segmentation", "depth", "normal"]])
        self.train_loader._maps["segmentation"].fill_(-1)

    monkeypatch.setattr(Trainer, "__init__", init)
    run = config(method=method)
    record = train(run, store=tmp_path)
    for entry in record["history"]:
        assert entry["losses"]["segmentation"] is None
        assert 0 < entry["losses"]["depth"] < 100
        if method != "mtsgd":
            assert entry["weights"]["segmentation"] is None
            assert entry["loss_scales"]["segmentation"] is None
            assert 0 <= entry["weights"]["depth"] < 10
    assert json.loads((tmp_path / f"{run.hash}.json").read_text()) == record


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_batches_without_any_label_take_no_step():
    everything = ["segmentation", "depth", "normal"]
    trainer = without_labels(Trainer(config(method="lsb", n_train=8, epochs=1), CPU), [everything, everything])
    start = [p.detach().clone() for p in trainer.model.parameters()]
    entry = trainer.epoch()
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), start, strict=True))
    assert all(math.isnan(loss) for loss in entry["losses"].values())
    assert trainer.balancer.weights.tolist() == [1 / 3] * 3


@pytest.mark.parametrize("protocol", ["lsb", "benchmark"])
def test_the_loader_says_what_the_losses_see(protocol):
    """An image has labels of a task exactly if it has a weight in its loss, also after crops that cut them off."""
    trainer = Trainer(config(protocol=protocol, n_train=12), CPU)
    loader = trainer.train_loader
    for name in UNKNOWN:  # known in one corner only
        loader._maps[name][..., 8:, :] = UNKNOWN[name]
        loader._maps[name][..., 8:] = UNKNOWN[name]
    loader.augmentation = Augmentation(flip=0.5, crop=(16, 16))
    cut = 0
    for batch in loader:
        for task in trainer.tasks:
            weights = task.loss(torch.zeros(4, task.channels, 16, 16), batch).weights
            assert batch["labelled"][task.name].tolist() == (weights > 0).tolist()
            assert batch["labelled"][task.name].device.type == "cpu"
            cut += (weights == 0).sum().item()
    assert 0 < cut < 36


def test_maps_that_are_known_everywhere_but_absent_from_an_image():
    """Edges have no value for unknown, so that only `labelled` tells an image without them."""
    batch = {"edges2d": torch.zeros(2, 1, 3, 4), "labelled": {"edges2d": torch.tensor([True, False])}}
    assert known(batch, "edges2d").flatten(1).all(1).tolist() == [True, False]
    assert known({"edges2d": batch["edges2d"]}, "edges2d").all()


def test_a_captured_step_refuses_a_batch_without_labels(monkeypatch):
    """The graph stands for the steps of all tasks; here it only counts, as there may be no CUDA device."""
    calls = []
    monkeypatch.setattr("mtlrepro.training.step.CapturedStep", lambda step, balancer: lambda: calls.append(step))
    from mtlrepro.training.step import _Captured

    trainer = without_labels(Trainer(config(n_train=8), CPU), [[], ["depth"]])
    trainer._captured = _Captured(trainer)
    with pytest.raises(ValueError, match="cuda_graph is True, and a batch has no label of depth; accepted: False"):
        trainer.epoch()
    assert len(calls) == 1


def test_a_probe_says_what_it_cannot_compare():
    trainer = Trainer(RunConfig(**SMOKE), CPU)  # with batch normalisation
    before = {key: value.clone() for key, value in trainer.model.named_buffers()}
    batch = trainer.probe_batch()
    whole = probe(trainer.model, trainer.tasks, batch)
    part = probe(trainer.model, trainer.tasks, batch | {"depth": torch.zeros_like(batch["depth"])})
    assert part["norms"] == whole["norms"] | {"depth": None}
    cosine = whole["cosines"][0][2]
    assert part["cosines"] == [[1, None, pytest.approx(cosine)], [None] * 3, [pytest.approx(cosine), None, 1]]
    assert part["conflicts"] == (cosine < 0)
    for name, value in UNKNOWN.items():
        batch[name] = torch.full_like(batch[name], value)
    found = probe(trainer.model, trainer.tasks, batch)
    assert found["norms"] == dict.fromkeys(UNKNOWN)
    assert found["conflicts"] is None
    assert before
    assert all(torch.equal(before[key], value) for key, value in trainer.model.named_buffers())
