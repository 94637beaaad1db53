"""Grids that Snakemake trains: here in full, on clusters as far as a dry run goes."""

import re
import time
from importlib.util import find_spec

import pytest
import yaml
from filelock import FileLock
from run_cases import configs, log, put, trained

from mtlrepro import runs
from mtlrepro.runs import grids, snakemake

installed = pytest.mark.skipif(find_spec("snakemake") is None, reason="needs the extra `cluster`")


def run(wanted, store, **options):
    return grids.train_grid(wanted, store=store, engine="snakemake", progress=False, **options)


@installed
def test_missing_runs_are_trained_a_failing_one_is_repeated_and_a_second_grid_resumes(store, stand_in):
    stored, failing, cuda, threads = [*configs(0, 1), *configs(2, device="cuda"), *configs(3, threads=2)]
    wanted = [stored, failing, cuda, threads]
    put(store, stored)
    stand_in(fail=[1])
    table, problems = run(wanted, store, jobs=2, data_root=store.parent)
    assert table["status"].tolist() == ["complete", "failed", "complete", "complete"]
    assert problems == [f"run {failing.hash} failed: epoch 1, step 3: the loss of depth is not finite, seed 1"]
    assert sorted(trained(store)) == sorted([*[failing.hash] * 3, cuda.hash, threads.hash])
    assert {words[2:] for words in log(store) if words[0] == "begin"} == {("--data-root", str(store.parent))}
    records = runs.Store(store).records
    assert [records[config.hash]["provenance"]["threads"] for config in (cuda, threads)] == ["1", "2"]

    stand_in()
    table, problems = run(wanted, store)
    assert table["status"].tolist() == ["complete"] * 4
    assert not problems
    assert trained(store)[5:] == [failing.hash]


@installed
def test_a_record_made_meanwhile_is_kept(store, stand_in, monkeypatch, tmp_path):
    """Snakemake removes what a job is to make, before the job and when it fails; a record must outlive both."""
    first, second = configs(0, 1)

    def plan(*arguments, write=snakemake._write_plan):
        put(store, first)
        put(store, second).replace(kept)
        return write(*arguments)

    kept = tmp_path / "kept.json"
    monkeypatch.setattr(snakemake, "_write_plan", plan)
    command = {first.hash: "true", second.hash: f"cp {kept} {store}/{second.hash}.json; false"}
    monkeypatch.setattr(snakemake, "train_command", lambda source, *_: ["sh", "-c", command[source.stem]])
    monkeypatch.setattr(runs.Store, "__contains__", lambda *_: False)
    _, problems = run([first, second], store)
    assert len(problems) == 2
    assert runs.Store(store).records.keys() == {first.hash, second.hash}


@installed
def test_an_interrupt_ends_the_runs(store, stand_in, monkeypatch):
    stand_in(seconds=20)

    interrupts = iter([KeyboardInterrupt])

    def wait_for_a_run(process, *timeout, wait=snakemake.subprocess.Popen.wait):
        interrupt = None if timeout else next(interrupts, None)
        if interrupt is None:
            return wait(process, *timeout)
        while not log(store):
            time.sleep(0.05)
        raise interrupt

    monkeypatch.setattr(snakemake.subprocess.Popen, "wait", wait_for_a_run)
    with pytest.raises(KeyboardInterrupt):
        run(configs(0), store)
    FileLock(store / "checkpoints" / f"{configs(0)[0].hash}.lock").acquire(timeout=5)
    assert not runs.Store(store).records


@installed
def test_snakemake_that_does_not_start_has_a_message(store, stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(snakemake, "WORKFLOW", tmp_path)
    _, problems = run(configs(0), store)
    assert len(problems) == 1
    assert "Snakefile" in problems[0]


@installed
def test_a_dry_run_shows_the_jobs(store, stand_in, capfd):
    one, two = configs(0, 1)
    put(store, one)
    table, problems = grids.train_grid([one, two], store=store, engine="snakemake", dry_run=True)
    assert table["status"].tolist() == ["complete", "missing"]
    assert not problems
    assert not trained(store)
    shown = capfd.readouterr().err
    assert two.hash in shown
    assert one.hash not in shown


@installed
@pytest.mark.parametrize("profile", [name for name in snakemake.PROFILES if name != "local"])
def test_dry_run_on_a_cluster(store, stand_in, capfd, profile):
    absent = [name for name in snakemake.PROFILES[profile] if find_spec(name.replace("-", "_")) is None]
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")
    cpu, cuda = [*configs(0), *configs(1, device="cuda", threads=2)]
    grids.train_grid([cpu, cuda], store=store, engine="snakemake", profile=profile, jobs=8, dry_run=True)
    shown = capfd.readouterr().err
    jobs = {re.search("run=([0-9a-f]{12})", job)[1]: job for job in shown.split("rule train_on_")[1:]}
    assert "gpu=1" in jobs[cuda.hash]
    assert "gpu=" not in jobs[cpu.hash]
    assert "mem_mb=8000" in jobs[cpu.hash]


def test_profiles_are_alike_but_for_what_makes_a_cluster():
    profiles = {
        name: yaml.safe_load((snakemake.WORKFLOW / "profiles" / name / "config.yaml").read_text())
        for name in snakemake.PROFILES
    }
    common = profiles["local"]
    assert common["retries"] >= 1
    assert common["keep-going"] is common["nolock"] is common["rerun-incomplete"] is True
    for name, profile in profiles.items():
        assert profile["executor"] == name
        assert {**profile, "executor": "local"}.items() >= common.items()


@pytest.mark.parametrize("package", ["snakemake", "snakemake_executor_plugin_slurm"])
def test_a_missing_package_is_named_before_anything_starts(store, monkeypatch, package):
    monkeypatch.setattr(snakemake, "find_spec", lambda name: None if name == package else "there")
    name = package.replace("_", "-")
    with pytest.raises(ValueError, match=f"profile 'slurm': {name} is missing; pip install {name}"):
        run(configs(0), store, profile="slurm")
    assert not store.exists()


def test_an_unknown_profile_is_refused(store):
    with pytest.raises(ValueError, match="profile is 'cloud'; accepted: local, slurm, kubernetes"):
        run(configs(0), store, profile="cloud")
