import pandas as pd
import pytest
import torch

from mtlrepro.bench import train as bench_train
from mtlrepro.bench.train import NETWORKS, bare_loop, configuration, train
from mtlrepro.models import MODELS
from mtlrepro.training.scales import config
from mtlrepro.training.step import Trainer


def test_every_network_is_measured():
    assert {*NETWORKS} == {*MODELS} - {"tiny"}  # a helper of other tests adds it
    table = train(scale="smoke", rounds=1, at_once=[])
    assert table["network"].tolist() == [name for name in NETWORKS for _ in range(3)]
    assert (table["seconds"] > 0).all()


def test_rows_name_the_run_that_they_measured():
    """A few images of the scale's own run, which another size of the network or of its images changes."""
    run = configuration("mtsgd", "smoke", "cpu")
    assert run == config(
        "smoke", dataset="streets", network="mtsgd", n_train=16, n_test=1, method="lsb", model_options=run.model_options
    )
    table = train(scale="smoke", networks=["mtsgd"], rounds=1, at_once=[])
    assert set(table["run"]) == {run.hash}
    cuda = configuration("multi_decoder", "gpu", "cuda")
    assert (cuda.device, cuda.cuda_graph, "weights" in cuda.model_options) == ("cuda", True, False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_every_network_is_measured_on_cuda():
    table = train("cuda", scale="smoke", rounds=1, at_once=[])
    for name, rows in table.groupby("network"):
        arms = ["bare loop", "training", "training, CUDA graph", "steps alone"]
        assert rows["arm"].tolist() == [arm for arm in arms if name != "detection" or "graph" not in arm]


def test_a_row_for_each_variant():
    table = train(scale="smoke", networks=["full_sharing", "mtsgd"], rounds=1, at_once=[1, 2])
    arms = ["bare loop", "training", "steps alone"]
    assert table["arm"].tolist() == [*arms, *arms, "1 at once", "2 at once"]
    assert table["network"].tolist() == ["full_sharing"] * 3 + ["mtsgd"] * 3 + ["multi_decoder"] * 2
    single = table[:6]
    assert (single["images/s"] * single["seconds"]).tolist() == pytest.approx([16.0] * 6)
    assert table[table["arm"].isin(["bare loop", "1 at once"])]["speed"].tolist() == [1.0] * 3
    assert table["waiting"].notna().tolist() == [False, True, False] * 2 + [False] * 2
    assert (table["seconds"] > 0).all()


def test_the_bare_loop_takes_the_steps_of_training_with_equal_weights():
    run = config("smoke", method="equal", weight_decay=0.01, n_train=8)
    trainer, bare = (Trainer(run, torch.device("cpu")) for _ in range(2))
    trainer.epoch()
    bare_loop(bare)()
    for one, two in zip(trainer.model.parameters(), bare.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_measures_with_the_settings_of_training(monkeypatch):
    seen = []

    def network(*arguments):
        seen.append(torch.get_num_threads())
        columns = ["network", "arm", "seconds", "lower", "upper", "images/s", "speed", "waiting"]
        return pd.DataFrame(columns=columns)

    monkeypatch.setattr(bench_train, "_network", network)
    torch.set_num_threads(2)
    try:
        train(scale="smoke", networks=["full_sharing"], at_once=[])
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"networks": ["unet"]}, r"networks has \['unet'\]; accepted: full_sharing")]
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        train(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no CUDA device"):
        train("cuda")
