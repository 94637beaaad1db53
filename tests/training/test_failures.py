"""What can go wrong in a run: a clear error, a record of the failure, nothing lost."""

import errno
import json
import re
from pathlib import Path

import pytest
import torch
from training_cases import config

from mtlrepro.cli import main
from mtlrepro.data import loading
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer


def failure(store, run):
    record = json.loads((store / f"{run.hash}.failed.json").read_text())
    assert record["status"] == "failed" and record["hash"] == run.hash and "commit" in record["provenance"]
    assert RunConfig.from_dict(record["config"]) == run
    assert not (store / f"{run.hash}.json").exists()
    return record


def goes_on(store, run, epochs):
    """The run, begun again without the obstacle, has lost only the epoch in which it failed."""
    assert {p.name for p in (store / "checkpoints").glob("*.pt")} == {f"{run.hash}-{e}.pt" for e in epochs}
    assert numbers(train(run, store=store)) == numbers(train(run, store=store / "unbroken"))
    assert not (store / f"{run.hash}.failed.json").exists()


def batches_with(monkeypatch, at, change):
    """Change the n-th training batch of a run."""
    give = loading.Loader.__iter__

    def changed(self):
        for batch in give(self):
            count = self.epoch * len(self) + self.position
            if self.shuffle and count == at:
                change(batch)
            yield batch

    monkeypatch.setattr(loading.Loader, "__iter__", changed)


@pytest.mark.parametrize("method", ["equal", "mgda"])
def test_a_loss_that_is_not_finite(tmp_path, monkeypatch, method):
    run = config(method=method)
    with monkeypatch.context() as patch:
        batches_with(patch, 5, lambda batch: batch["depth"].fill_(torch.inf))  # the fifth: step 4, the second epoch
        with pytest.raises(FloatingPointError, match=r"epoch 2: step 4: .* task 'depth' is not finite") as caught:
            train(run, store=tmp_path)
    assert f"recorded in {tmp_path / run.hash}.failed.json" in caught.value.__notes__
    record = failure(tmp_path, run)
    assert record["error"].startswith("FloatingPointError: epoch 2: step 4: the loss or gradient of task 'depth'")
    assert [entry["epoch"] for entry in record["history"]] == [1]
    goes_on(tmp_path, run, [1])


def test_a_network_that_is_not_finite_fails_the_run(tmp_path):
    """The last step may break it: no loss is taken afterwards that would tell."""
    run = config(optimizer="sgd", lr=1e38, momentum=0.0, epochs=1, n_train=4)
    with pytest.raises(FloatingPointError, match=r"epoch 1: .* of the network is not finite; remedy: a smaller lr"):
        train(run, store=tmp_path)
    assert "of the network is not finite" in failure(tmp_path, run)["error"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_part_of_a_network_that_is_not_finite_is_named(value):
    """Numbers of any size are finite; parameters and running statistics are looked at in the order of the network."""
    trainer = Trainer(scales.config("smoke"), torch.device("cpu"))
    state = {name: tensor for name, tensor in trainer.model.state_dict().items() if tensor.is_floating_point()}
    names = list(state)
    for tensor in state.values():
        tensor.fill_(torch.finfo(torch.float32).max)
    trainer._check_network(3)
    statistic = next(name for name in names if name.endswith("running_var"))
    for name in (names[-1], statistic, names[0]):
        state[name].select(0, 0).fill_(value)
        with pytest.raises(FloatingPointError, match=rf"^epoch 3: {re.escape(name)} of the network is not finite; "):
            trainer._check_network(3)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_out_of_memory(tmp_path, monkeypatch, error):
    run = config()
    step = Trainer.step

    def full(self, *batch):
        if (self.train_loader.epoch, self.train_loader.position) == (1, 2):
            raise error
        step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", full)
        with pytest.raises(type(error), match="memory") as caught:
            train(run, store=tmp_path)
    remedy = "out of memory in epoch 2; remedy: a smaller batch_size, size or network"
    assert remedy in caught.value.__notes__
    assert failure(tmp_path, run)["error"] == f"{type(error).__name__}: {error}; {remedy}"
    goes_on(tmp_path, run, [1])


def test_absent_data(tmp_path):
    run = RunConfig(dataset="nyuv2")
    with pytest.raises(
        ValueError, match=r"data_root is None; accepted for nyuv2: the TARGET of `python data_scripts/nyuv2.py"
    ):
        train(run, store=tmp_path)
    assert "ValueError: data_root is None; accepted for nyuv2" in failure(tmp_path, run)["error"]
    with pytest.raises(ValueError, match="holds no prepared split; make it with"):
        train(run, store=tmp_path, data_root=tmp_path)
    assert "holds no prepared split" in failure(tmp_path, run)["error"]


def test_absent_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    run = config(model="multi_decoder", model_options={"weights": "imagenet"})
    with pytest.raises(FileNotFoundError, match="to get it, run: mtlrepro weights fetch mobilenet_v2"):
        train(run, store=tmp_path)
    assert "mtlrepro weights fetch mobilenet_v2" in failure(tmp_path, run)["error"]


def full_disk(monkeypatch, full):
    """Let writing fail for some files, after half of the content."""
    for name, half in (("write_bytes", lambda c: bytes(c)[: len(c) // 2]), ("write_text", lambda c: c[: len(c) // 2])):
        write = getattr(Path, name)

        def fail(self, content, *args, _write=write, _half=half, **options):
            if full(self):
                _write(self, _half(content), *args, **options)
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
            return _write(self, content, *args, **options)

        monkeypatch.setattr(Path, name, fail)


def test_full_disk_at_a_checkpoint(tmp_path, monkeypatch):
    run = config()
    with monkeypatch.context() as patch:
        full_disk(patch, lambda path: path.name.startswith(f".{run.hash}-2."))
        with pytest.raises(OSError, match="No space left on device"):
            train(run, store=tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".*.partial*"))
    assert "No space left on device" in failure(tmp_path, run)["error"]
    goes_on(tmp_path, run, [1])


def test_full_disk_at_the_record(tmp_path, monkeypatch):
    run = config()
    with monkeypatch.context() as patch:
        full_disk(
            patch,
            lambda path: path.suffix == ".json" and path.name.startswith(f".{run.hash}.") and "failed" not in path.name,
        )
        with pytest.raises(OSError, match="No space left on device"):
            train(run, store=tmp_path)
    assert len(failure(tmp_path, run)["history"]) == 3
    goes_on(tmp_path, run, [2, 3])


def test_no_file_can_be_written(tmp_path, monkeypatch):
    run = config()
    with monkeypatch.context() as patch:
        full_disk(patch, lambda path: True)
        with pytest.raises(OSError, match="No space left on device") as caught:
            train(run, store=tmp_path)
    assert any("failed.json cannot be written either" in note for note in caught.value.__notes__)
    assert not list(tmp_path.glob("*.json"))


def write(path, **fields):
    path.write_text(json.dumps(config(**fields).to_dict()))
    return str(path)


def test_command(tmp_path, capsys):
    arguments = ["train", write(tmp_path / "c.json", tasks=["depth"]), "--store", str(tmp_path / "store")]
    assert main(arguments) == 0
    path, line = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / "store" / f"{config(tasks=['depth']).hash}.json")
    metrics = json.loads(Path(path).read_text())["metrics"]["depth"]
    assert line == "depth: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    assert main(arguments) == 0


def test_command_that_fails(tmp_path, capsys, monkeypatch):
    store = ["--store", str(tmp_path)]
    (tmp_path / "wrong.json").write_text('{"seeds": 1}')
    assert main(["train", str(tmp_path / "wrong.json"), *store]) == 2
    said = f"mtlrepro train: {tmp_path / 'wrong.json'}: field 'seeds' is unknown; accepted: dataset, n_train"
    assert capsys.readouterr().err.startswith(said)
    assert main(["train", str(tmp_path / "absent.json"), *store]) == 2
    assert capsys.readouterr().err == f"mtlrepro train: {tmp_path / 'absent.json'}: no such file or directory\n"
    batches_with(monkeypatch, 2, lambda batch: batch["normal"].fill_(torch.nan))
    assert main(["train", write(tmp_path / "c.json"), *store]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mtlrepro train: epoch 1: step 1: the loss or gradient of task 'normal' is not finite")
    assert error.endswith(f"; recorded in {tmp_path / config().hash}.failed.json\n")


def test_command_says_in_one_line_what_failed_and_where_it_is_recorded(tmp_path, capsys, monkeypatch):
    arguments = ["train", write(tmp_path / "c.json"), "--store", str(tmp_path)]
    recorded = f"; recorded in {tmp_path / config().hash}.failed.json\n"

    def fail(self, *batch):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail)
        assert main(arguments) == 1
    remedy = "; out of memory in epoch 1; remedy: a smaller batch_size, size or network"
    message = f"mtlrepro train: DefaultCPUAllocator: not enough memory{remedy}{recorded}"
    assert capsys.readouterr().err.endswith(message)
    full_disk(monkeypatch, lambda path: path.name.endswith(".partial.pt"))
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert error.startswith("mtlrepro train: ") and error.endswith(f": no space left on device{recorded}")


def test_command_keeps_records_in_the_current_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        "mtlrepro.training.run.train", lambda config, **options: asked.append(options) or {"metrics": {}}
    )
    assert main(["train", write(tmp_path / "c.json")]) == 0
    assert asked == [{"store": Path("runs"), "data_root": None}]
    assert capsys.readouterr().out == f"runs/{config().hash}.json\n"
