"""Interleaved timing with a clock that the test sets."""

import pytest
import torch

from mtlrepro.bench import timing
from mtlrepro.bench.timing import timings

COLUMNS = ["arm", "seconds", "lower", "upper", "ratio"]


class Clock:
    """A clock that stands still, except where a variant moves it."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def variant(self, name, seconds, calls):
        """A function that takes the given times, one call after the other."""
        left = iter(seconds)

        def run():
            calls.append(name)
            self.now += next(left)

        return run


def test_variants_are_interleaved_and_the_first_round_is_forgotten(monkeypatch):
    clock, calls = Clock(monkeypatch), []
    # Warm-up, then five rounds; the machine is ten times slower in the last one, for both.
    first = clock.variant("first", [1000.0, 1.0, 2.0, 4.0, 2.0, 20.0], calls)
    second = clock.variant("second", [7000.0, 3.0, 5.0, 6.0, 8.0, 60.0], calls)
    table = timings({"first": first, "second": second}, rounds=5)
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
    first = clock.variant("a", [1.0, 1.0, 10.0, 100.0], [])
    second = clock.variant("b", [1.0, 40.0, 20.0, 200.0], [])
    table = timings({"a": first, "b": second}, rounds=3)
    assert table["seconds"].tolist() == [10.0, 40.0]
    assert table["ratio"].tolist() == [1.0, 2.0]  # per round 40, 2, 2


def test_eleven_rounds_by_default():
    calls = []
    timings({"only": lambda: calls.append(1)})
    assert len(calls) == 12


@pytest.mark.parametrize(("used", "count"), [(True, 8), (False, 0)])
def test_work_on_the_device_is_waited_for_before_and_after_every_call(monkeypatch, used, count):
    events = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))
    timings({"a": lambda: events.append("a"), "b": lambda: events.append("b")}, rounds=1)
    assert events.count("wait") == count
    if used:
        assert events == ["wait", "a", "wait", "wait", "b", "wait"] * 2


@pytest.mark.parametrize(
    ("variants", "rounds", "message"),
    [
        ({}, 3, "variants is empty; accepted: one or more functions"),
        ({"a": int}, 0, "rounds is 0; accepted: 1 or more"),
    ],
)
def test_nothing_to_time_is_refused(variants, rounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        timings(variants, rounds)
