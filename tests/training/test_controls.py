"""Runs that replay the weights of stored ones: options, records that serve, and grids of all controls."""

import pytest
from training_cases import config

from mtlrepro import balancers, runs
from mtlrepro.runs import grids
from mtlrepro.runs.verify import verify_records
from mtlrepro.training import controls, observations, records
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train

RUN = "0123456789ab"
ROWS = [[0.5, 0.25, 0.0], [0.1, 0.2, 0.3], [2.0, 1.0, 1.0], [0.2, 0.3, 0.4]]


def resolved(weights=ROWS, *, method="replay", epochs=3, steps=10, seed=0, **options):
    run = RunConfig(method=method, method_options={"run": RUN, **options}, epochs=epochs, seed=seed)
    made = run.balancer_options(steps, weights)
    balancers.create(method, 3, **made)
    return made


# --- options


def test_modes_make_rows_of_a_run():
    assert resolved(mode="mean")["weights"] == [pytest.approx([0.7, 0.4375, 0.425], rel=1e-14)]
    assert resolved(mode="last")["weights"] == [ROWS[3]]
    assert resolved(mode="sequence")["weights"] == ROWS[:3]  # of more epochs than this run has, the first ones
    assert resolved(mode="random") == {"weights": ROWS, "draw": True, "seed": 0}
    assert not any(resolved(mode=mode)["draw"] for mode in ("mean", "last", "sequence", "shuffled"))


def test_shuffled_epochs_are_those_of_the_sequence_in_an_order_of_the_seed():
    rows = [[k / 10] * 3 for k in range(8)]
    orders = [resolved(rows, epochs=6, mode="shuffled", seed=seed)["weights"] for seed in range(5)]
    for order in orders:
        assert sorted(order) == rows[:6] != order
    assert len({str(order) for order in orders}) == 5
    assert resolved(rows, epochs=6, mode="shuffled", seed=3)["weights"] == orders[3]
    given = RunConfig(method="replay", method_options={"run": RUN, "mode": "shuffled"}, epochs=6)
    same = given.replace(method_options={**given.method_options, "seed": 3})
    assert same.balancer_options(10, rows)["weights"] == orders[3]


def test_the_gate_is_the_sum_of_the_weights_on_the_mean_step():
    """By hand: 0.75, 0.6, 4 and 0.9 over three tasks; their mean is 1.5625."""
    assert resolved(mode="sequence", gate=True)["weights"] == [
        pytest.approx([gate / 3] * 3, rel=1e-14) for gate in (0.75, 0.6, 4.0)
    ]
    assert resolved(mode="mean", gate=True)["weights"] == [pytest.approx([1.5625 / 3] * 3, rel=1e-14)]
    assert resolved(mode="mean", gate=False) == resolved(mode="mean")


def test_steps_are_shuffled_within_their_epochs():
    """Three epochs of four steps, of which the first two are taken; every gate is the sum of its row."""
    rows = [[[(10 * epoch + step) / 3] * 3 for step in range(4)] for epoch in range(3)]
    orders = [resolved(rows, epochs=2, steps=4, mode="steps", seed=seed) for seed in range(5)]
    for order in orders:
        assert order["step"] == "iteration" and order["draw"] is False
        for epoch in range(2):
            assert sorted(order["weights"][4 * epoch : 4 * epoch + 4]) == rows[epoch]
    assert len({str(order["weights"]) for order in orders}) == 5
    gates = resolved([[[0.1, 0.2, 0.6]]], epochs=1, steps=1, mode="steps", gate=True)["weights"]
    assert gates == [pytest.approx([0.3] * 3)]
    with pytest.raises(ValueError, match="the stored run has 4 steps in an epoch; accepted: 5"):
        resolved(rows, epochs=2, steps=5, mode="steps")


@pytest.mark.parametrize("gate", [0.51, 0.7, 0.999, 1.0, 1.001, 1.4])
@pytest.mark.parametrize(("epochs", "steps"), [(3, 10), (20, 50)])
def test_a_ramp_has_the_mean_gate_of_the_run(gate, epochs, steps):
    """The mean of the factor over the run, step by step; the number of steps is whole."""
    rows = [[0.0, gate - 0.1, 0.0], [gate / 3 + 0.1, gate / 3, gate / 3]]
    made = resolved(rows, method="warmup", epochs=epochs, steps=steps)
    n, start, total = made["steps"], made.get("start", 0.0), epochs * steps
    assert start == (2 if gate > 1 else 0)
    mean = sum(start + (1 - start) * min(t / n, 1) for t in range(1, total + 1)) / total
    assert mean == pytest.approx(gate, abs=0.25 / total + 1e-12)


@pytest.mark.parametrize("gate", [0.4, 1.6])
def test_a_gate_that_no_ramp_has_is_refused(gate):
    with pytest.raises(
        ValueError, match=rf"mean gate .* is {gate}; accepted for a ramp within 30 steps: 0.516667 to 1.48333"
    ):
        resolved([[gate, 0.0, 0.0]], method="warmup")


def test_the_length_of_a_warm_up_is_a_share_of_the_run():
    assert RunConfig(method="warmup").method_options == {"length": 0.5}
    assert RunConfig(method="warmup", epochs=4).balancer_options(25) == {"steps": 50}
    assert RunConfig(method="warmup", method_options={"length": 0.1}, epochs=30).balancer_options(1) == {"steps": 3}
    assert RunConfig(method="warmup", method_options={"steps": 7}).balancer_options(25) == {"steps": 7}


def test_options_without_a_run_are_those_of_the_method():
    plain = RunConfig(method="replay", method_options={"weights": ROWS, "draw": True}, seed=4)
    assert plain.source is None
    assert plain.balancer_options(10) == {"weights": ROWS, "draw": True, "seed": 4}
    assert RunConfig(method="replay", method_options={"run": RUN, "mode": "mean"}).source == RUN


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("replay", {"run": "abc", "mode": "mean"}, "run is 'abc'; accepted: the hash of a stored run, 12 hex"),
        ("replay", {"run": RUN.upper(), "mode": "mean"}, "run is '0123456789AB'; accepted"),
        ("replay", {"run": 123456789012, "mode": "mean"}, "run is 123456789012; accepted"),
        ("replay", {"run": RUN}, "mode is None; accepted: 'mean', 'last', 'sequence', 'shuffled', 'random', 'steps'"),
        ("replay", {"run": RUN, "mode": "first"}, "mode is 'first'; accepted: 'mean'"),
        ("replay", {"mode": "mean"}, "run is None; accepted"),
        ("replay", {"gate": True, "weights": [1, 1, 1]}, "run is None; accepted"),
        ("replay", {"run": RUN, "mode": "mean", "gate": 1}, "gate is 1; accepted: true, false"),
        ("replay", {"run": RUN, "mode": "mean", "weights": [1, 1, 1]}, "it has 'run' and 'weights'; accepted: one"),
        ("replay", {"run": RUN, "mode": "mean", "draw": True}, "it has 'run' and 'draw'; accepted: one"),
        ("replay", {"weights": [1, 1]}, "accepted: 3 numbers of at least 0, or a row of them for each epoch"),
        ("warmup", {"run": RUN, "length": 0.5}, "it has 'run' and 'length'; accepted: one"),
        ("warmup", {"run": RUN, "steps": 5}, "it has 'run' and 'steps'; accepted: one"),
        ("warmup", {"run": RUN, "start": 2.0}, "it has 'run' and 'start'; accepted: one"),
        ("warmup", {"length": 0.5, "steps": 5}, "it has 'length' and 'steps'; accepted: one"),
        ("warmup", {"length": 2}, r"length is 2.0; accepted: a number in \(0, 1\]"),
        ("warmup", {"run": RUN, "mode": "mean"}, "warmup: option 'mode' is unknown; accepted: steps, start"),
        ("mclgs", {"run": RUN}, "mclgs: option 'run' is unknown"),
    ],
)
def test_wrong_options_are_named(method, options, message):
    with pytest.raises(ValueError, match=f"method_options is .*{message}"):
        RunConfig(method=method, method_options=options)


def test_a_configuration_alone_has_no_weights():
    run = RunConfig(method="replay", method_options={"run": RUN, "mode": "mean"})
    with pytest.raises(ValueError, match=f"weights is None; accepted: those of run {RUN}, which the method replays"):
        run.balancer_options(10)


# --- records


def replay(source, mode="sequence", **fields):
    return config(method="replay", method_options={"run": source.hash, "mode": mode}, **fields)


def test_weights_are_read_from_the_record(tmp_path):
    source = config(method="lsb", epochs=4)
    record = train(source, store=tmp_path)
    expected = [[entry["weights"][name] for name in source.tasks] for entry in record["history"]]
    assert records.source_weights(tmp_path, replay(source, epochs=3)) == expected
    assert records.source_weights(tmp_path, replay(source, "mean", epochs=9)) == expected  # one row is enough
    assert records.source_weights(None, config()) is None


def test_steps_are_read_from_beside_the_record(tmp_path):
    """MCLGS by iteration keeps its weights; a replay of its steps has their mean in each epoch, in another order."""
    source = config(method="mclgs", method_options={"a0": 5.0, "step": "iteration"}, observe=["weights"])
    train(source, store=tmp_path)
    run = replay(source, "steps", observe=["weights"])
    (original, rows), found = (
        (observations.step_weights(tmp_path, source.hash), records.source_weights(tmp_path, run)),
        train(run, store=tmp_path),
    )
    assert [len(rows), len(rows[0]), len(rows[0][0])] == [3, 3, 3]
    assert [step for epoch in rows for step in epoch] == original.tolist()
    kept = observations.step_weights(tmp_path, run.hash)
    for epoch in range(3):
        steps = slice(3 * epoch, 3 * epoch + 3)
        assert sorted(kept[steps].tolist()) == sorted(original[steps].tolist())
        mean = dict(zip(run.tasks, original[steps].mean(0), strict=True))
        assert found["history"][epoch]["weights"] == pytest.approx(mean)
    assert kept.tolist() != original.tolist()


def refused(store, run, message):
    """Before anything is loaded; only the failure is written."""
    before = {path.name for path in store.glob("*.json")}
    accepted = f"accepted: a complete run with weights of {', '.join(run.tasks)}, and"
    with pytest.raises(ValueError, match=f"method_options: run is '{run.source}': {message}; {accepted}"):
        train(run, store=store)
    assert {path.name for path in store.glob("*.json")} == before | {f"{run.hash}.failed.json"}


def test_what_cannot_be_replayed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mtlrepro.training.run.Trainer", lambda *_: pytest.fail("something was loaded"))
    source = config(method="lsb")
    refused(tmp_path, replay(source), f"there is no such record in {tmp_path}, train it first")
    failed = records.new(source, "failed", error="x", history=[], provenance={})
    records.write(tmp_path, failed)
    refused(tmp_path, replay(source), f"it failed in {tmp_path}, train it first")
    (tmp_path / f"{source.hash}.json").write_text("{")
    refused(tmp_path, replay(source), "no JSON: .*")

    def put(run, weights, epochs=3, **changes):
        history = [{"epoch": epoch + 1, "weights": weights} for epoch in range(epochs)]
        metrics = {name: {"main": 1.0} for name in run.tasks}
        provenance = {"date": "2026-01-02", "seconds": 1.0}
        record = records.new(run, "complete", history=history, metrics=metrics, provenance=provenance)
        records.write(tmp_path, record | changes)

    put(source, dict.fromkeys(source.tasks, 0.5), algorithm=0)
    refused(tmp_path, replay(source), "its algorithm is 0, not 1")
    put(source, dict.fromkeys(source.tasks, 0.5))
    refused(tmp_path, replay(source, tasks=source.tasks[::-1]), "its tasks are segmentation, depth, normal")
    refused(tmp_path, replay(source, tasks=source.tasks[:2]), "its tasks are segmentation, depth, normal")
    for mode in ("sequence", "shuffled"):
        refused(tmp_path, replay(source, mode, epochs=4), "it has 3 epochs")
    refused(tmp_path, replay(source, "steps"), "its observe is without 'weights'")
    put(source, None)
    refused(tmp_path, replay(source), "its method has no weights")
    for damaged in ({"depth": 1.0}, [1, 2, 3], dict.fromkeys(source.tasks, "x")):
        put(source, damaged)
        refused(tmp_path, replay(source, "sequence"), r"its weights of an epoch are [\[{].*")
    put(source, {"segmentation": None, "depth": 0.5, "normal": 0.5})
    refused(tmp_path, replay(source), "in epoch 1 a task had no label, and so no weight")


def test_a_complete_replay_is_read_without_its_source(tmp_path):
    source = config(method="lsb", epochs=2)
    train(source, store=tmp_path)
    record = train(replay(source, epochs=2), store=tmp_path)
    (tmp_path / f"{source.hash}.json").unlink()
    assert train(replay(source, epochs=2), store=tmp_path) == record


def test_a_replayed_sequence_is_the_run_itself(tmp_path):
    """LSB's weights are known when an epoch begins, so a replay of its epochs takes the same steps, up to rounding."""
    source = config(method="lsb", epochs=4)
    original, again = train(source, store=tmp_path), train(replay(source, epochs=4), store=tmp_path)
    for one, other in zip(original["history"], again["history"], strict=True):
        for key in ("losses", "weights"):
            assert other[key] == pytest.approx(one[key], rel=1e-4)
    mean = train(replay(source, "mean", epochs=4), store=tmp_path)["history"]
    assert mean[0]["weights"] == mean[3]["weights"] != original["history"][3]["weights"]


def test_a_resumed_replay_equals_an_unbroken_one(tmp_path, monkeypatch):
    source = config(method="lsb", epochs=4)
    train(source, store=tmp_path / "a")
    run = replay(source, "random", epochs=4)
    unbroken = train(run, store=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / f"{source.hash}.json").write_text((tmp_path / "a" / f"{source.hash}.json").read_text())
    end_epoch, calls = balancers.Replay.end_epoch, []

    def stop(self, means):
        end_epoch(self, means)
        calls.append(means)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(balancers.Replay, "end_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(run, store=tmp_path / "b")
    assert numbers(train(run, store=tmp_path / "b")) == numbers(unbroken)


def test_stored_replays_are_verified(tmp_path):
    source = config(method="lsb", epochs=2)
    train(source, store=tmp_path)
    train(replay(source, epochs=2), store=tmp_path)
    checks = list(verify_records(runs.Store(tmp_path), progress=False))
    assert [check.passed for check in checks] == [None, True, True]


# --- grids


def in_this_process(configs, store, *, jobs, progress, data_root):
    for run in configs.values():
        train(run, store=store.folder, progress=progress)
    return {}


SHORT = ("replay", {"weights": [0.2] * 3})
"""A constant gate of 0.6."""


def controls_of(source, short):
    """Every control as method and options, those of MCLGS against one of its runs, the ramp against a shorter gate."""
    named = [{"mode": mode} for mode in controls.MODES]
    named += [{"mode": mode, "gate": True} for mode in ("mean", "shuffled", "random", "steps")]
    return [
        ("rlw", {}),
        ("uw-so", {"temperature": 2.0}),
        *(("replay", {"run": source, **options}) for options in named),
        ("warmup", {"length": 0.5}),
        SHORT,
        ("warmup", {"run": short}),
        ("mtsgd", {"threshold": -1.0}),
        ("mtsgd", {"balance": False}),
        ("mtsgd", {"balance": False, "restore_norm": "step"}),
        ("mtsgd", {"restore_norm": True}),
        ("mtsgd", {"restore_norm": "step"}),
    ]


def test_grids_of_two_runs_for_each_control(tmp_path, monkeypatch):
    """The runs that are replayed are in the grid too, at its end; every control takes steps of its own."""
    monkeypatch.setattr(grids, "train_here", in_this_process)
    sources = [
        config(method="mclgs", method_options={"a0": 0.5}, seed=seed, epochs=5, observe=["weights"]) for seed in (0, 1)
    ]
    configs = []
    for source in sources:
        plain = source.replace(method=SHORT[0], method_options=SHORT[1])
        configs += [
            source.replace(method=method, method_options=options)
            for method, options in controls_of(source.hash, plain.hash)
        ]
    table = runs.grid([*configs, *sources], store=tmp_path, progress=False)
    assert (table["status"] == "complete").all()
    assert len(table) == 2 * 20 + 2
    store = runs.Store(tmp_path)
    losses = {run.hash: store.record(run)["history"][-1]["losses"]["depth"] for run in [*configs, *sources]}
    assert len(set(losses.values())) == len(losses)
    gates = [sum(entry["weights"].values()) for entry in store.record(sources[0])["history"]]
    constant, shuffled = (
        store.record(sources[0].replace(method="replay", method_options={"run": sources[0].hash, **options}))["history"]
        for options in ({"mode": "mean", "gate": True}, {"mode": "shuffled", "gate": True})
    )
    for entry in constant:
        assert entry["weights"] == pytest.approx(dict.fromkeys(sources[0].tasks, sum(gates) / 5 / 3))
    assert sorted(sum(entry["weights"].values()) for entry in shuffled) == pytest.approx(sorted(gates))


def test_a_source_that_is_absent_is_recorded_as_a_failure_and_said_before_anything_is_trained(tmp_path):
    lost = config(method="replay", method_options={"run": "0" * 12, "mode": "mean"})
    with pytest.raises(ValueError, match="run is '000000000000': there is no such record"):
        train(lost, store=tmp_path)
    assert (tmp_path / f"{lost.hash}.failed.json").exists()
    _, problems = grids.train_grid([lost, config()], store=tmp_path, dry_run=True)
    assert any(lost.hash in problem and "there is no such record" in problem for problem in problems)
