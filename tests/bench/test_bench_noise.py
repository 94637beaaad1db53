"""Timing by turns with a clock that the test sets, and the arms of the noise benchmark against each other."""

import json

import numpy as np
import pytest
import torch

from mtlrepro.bench import noise
from mtlrepro.cli import main
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import DigitNet

COLUMNS = ["arm", "seconds", "lower", "upper", "ratio"]
ARMS = ["loop of backward passes", "vmap, chunk 64", "vmap, chunk 256"]


class Clock:
    """A clock that stands still, except where an arm moves it."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(noise.time, "perf_counter", lambda: self.now)

    def arm(self, name, seconds, calls):
        """A function that takes the given times, one call after the other."""
        left = iter(seconds)

        def run():
            calls.append(name)
            self.now += next(left)

        return run


def test_interleaved_takes_turns_and_forgets_the_first_round(monkeypatch):
    clock, calls = Clock(monkeypatch), []
    # Warm-up, then five rounds; the machine is ten times slower in the last one, for both.
    first = clock.arm("first", [1000.0, 1.0, 2.0, 4.0, 2.0, 20.0], calls)
    second = clock.arm("second", [7000.0, 3.0, 5.0, 6.0, 8.0, 60.0], calls)
    table = noise.interleaved({"first": first, "second": second}, rounds=5)
    assert calls == ["first", "second"] * 6
    assert table.columns.tolist() == COLUMNS
    assert table["arm"].tolist() == ["first", "second"]
    assert table["seconds"].tolist() == [2.0, 6.0]
    assert table["lower"].tolist() == [2.0, 5.0]
    assert table["upper"].tolist() == [4.0, 8.0]
    # Per round 3, 2.5, 1.5, 4, 3: the median is 3. The ratio of the means would be 82/29.
    assert table["ratio"].tolist() == [1.0, 3.0]


def test_the_ratio_is_not_that_of_the_medians(monkeypatch):
    clock = Clock(monkeypatch)
    first = clock.arm("a", [1.0, 1.0, 10.0, 100.0], [])
    second = clock.arm("b", [1.0, 40.0, 20.0, 200.0], [])
    table = noise.interleaved({"a": first, "b": second}, rounds=3)
    assert table["seconds"].tolist() == [10.0, 40.0]
    assert table["ratio"].tolist() == [1.0, 2.0]  # per round 40, 2, 2


def test_eleven_rounds_by_default():
    calls = []
    noise.interleaved({"only": lambda: calls.append(1)})
    assert len(calls) == 12


@pytest.mark.parametrize(("used", "count"), [(True, 8), (False, 0)])
def test_work_on_the_device_is_waited_for_before_and_after_every_call(monkeypatch, used, count):
    events = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))
    noise.interleaved({"a": lambda: events.append("a"), "b": lambda: events.append("b")}, rounds=1)
    assert events.count("wait") == count
    if used:
        assert events == ["wait", "a", "wait", "wait", "b", "wait"] * 2


@pytest.mark.parametrize(
    ("arms", "rounds", "message"),
    [
        ({}, 3, "arms is empty; accepted: one or more functions"),
        ({"a": int}, 0, "rounds is 0; accepted: 1 or more"),
    ],
)
def test_nothing_to_time_is_refused(arms, rounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        noise.interleaved(arms, rounds)


def test_noise_is_one_row_per_arm_the_loop_first():
    table = noise.noise(images=3, rounds=2)
    assert table.columns.tolist() == [*COLUMNS, "images_per_second"]
    assert table["arm"].tolist() == ARMS
    assert (table[COLUMNS[1:]] > 0).all(axis=None)
    assert ((table["lower"] <= table["seconds"]) & (table["seconds"] <= table["upper"])).all()
    assert table["ratio"][0] == 1
    np.testing.assert_allclose(table["images_per_second"], 3 / table["seconds"])


def test_noise_measures_the_same_network_whatever_was_drawn_before_and_draws_nothing(monkeypatch):
    seen = []
    monkeypatch.setattr(noise, "gradient_arms", lambda model, data: seen.append(model) or {"a": int})
    torch.manual_seed(5)
    noise.noise(images=1, rounds=1)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    noise.noise(images=1, rounds=1)
    first, second = (torch.cat([p.flatten() for p in model.parameters()]) for model in seen)
    assert first.dtype == torch.float64
    assert torch.equal(first, second)


@pytest.mark.parametrize("images", [1, 5, 70])
def test_the_arms_compute_the_same_gradients(images):
    """70 images are more than one chunk of 64, and no multiple of it."""
    model = DigitNet().double()
    arms = noise.gradient_arms(model, two_digits(images).to("cpu", torch.float64))
    assert list(arms) == ARMS
    loop, *others = (arm() for arm in arms.values())
    assert loop.shape == (3, images, 2700)
    for other in others:
        torch.testing.assert_close(other, loop, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("options", "message"), [({"images": 0}, "n is 0"), ({"rounds": 0}, "rounds is 0")])
def test_noise_refuses_empty_benchmarks(options, message):
    with pytest.raises(ValueError, match=message):
        noise.noise(**{"images": 1, "rounds": 1, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_noise_refuses_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no CUDA device; accepted here: 'cpu'"):
        noise.noise("cuda")


def test_the_command_line_prints_and_stores_the_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(noise.noise, "__kwdefaults__", {"images": 2, "rounds": 1})
    target = tmp_path / "rows.json"
    assert main(["bench", "noise", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(target.read_text())["rows"]
    assert [row["arm"] for row in rows] == ARMS
    assert all(arm in printed for arm in ARMS)
    assert all(row["images_per_second"] > 0 for row in rows)
