"""`mtlrepro results` and `mtlrepro grid` on the command line."""

import json

import pytest
from run_cases import configs, put, trained

from mtlrepro import files
from mtlrepro.cli import main
from mtlrepro.runs.summary import ranges
from mtlrepro.training.config import ALGORITHM

FAILED = {"status": "failed", "error": "the loss is not finite"}


def test_results(store, capsys):
    for config in configs(0, 1, 2, 5, tasks=("depth",)):
        put(store, config)
    for config in configs(3, method="lsb", tasks=("depth",), lr=0.25):
        put(store, config)
    (failed, stale) = configs(4, 6, method="lsb", tasks=("depth",), lr=0.25)
    put(store, failed, **FAILED)
    put(store, stale, algorithm=ALGORITHM - 1)
    put(store, *configs(0, dataset="streets", tasks=("disparity",)))
    (store / "notes.json").write_text("[]")
    assert main(["results", "--store", str(store)]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "rooms: depth\n"
        "method  lr      seeds   depth.main   when        commit        status\n"
        "equal   0.0001  0-2, 5  2.250 ± 2.2  2026-01-02  0123456789ab  complete\n"
        "lsb     0.25    3       3.250        2026-01-02  0123456789ab  complete\n"
        "lsb     0.25    4                    2026-01-02  0123456789ab  failed\n"
        "lsb     0.25    6       6.250        2026-01-02  0123456789ab  stale\n"
        "\n"
        "streets: disparity\n"
        "seeds  disparity.main  when        commit        status\n"
        "0      0.2500          2026-01-02  0123456789ab  complete\n"
    )
    assert f"{store / 'notes.json'}: not used, damaged or foreign: no JSON object\n" in err
    assert f"{store}: not used, stale" in err


def test_results_of_an_empty_store(store, capsys):
    store.mkdir()
    assert main(["results", "--store", str(store)]) == 0
    assert capsys.readouterr() == ("no runs\n", "")


@pytest.mark.parametrize("command", ["results", "verify-results"])
def test_a_store_that_is_not_there_is_named(command, tmp_path, capsys):
    assert main([command, "--store", str(tmp_path / "nowhere")]) == 2
    assert "nowhere'; accepted: an existing folder of records" in capsys.readouterr().err


def test_results_of_a_section_show_what_is_missing(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    grids = tmp_path / "book" / "grids"
    grids.mkdir(parents=True)
    (tmp_path / "book" / "_toc.yml").touch()
    assert main(["results", "--store", str(store), "--section", "lsb"]) == 2
    assert capsys.readouterr().err == "mtlrepro results: section is 'lsb'; accepted: none yet\n"

    one, two, three = configs(0, 1, 2, tasks=("depth",))
    content = {"base": {**one.to_dict()}, "vary": {"seed": [0, 1]}}
    del content["base"]["seed"]
    (grids / "lsb.json").write_text(json.dumps(content))
    put(store, one)
    put(store, three)
    assert main(["results", "--store", str(store), "--section", "lsb"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["complete", "missing"]
    assert main(["results", "--store", str(store), "--section", "mtsgd"]) == 2
    assert capsys.readouterr().err == "mtlrepro results: section is 'mtsgd'; accepted: lsb\n"
    assert two.hash not in trained(store)


def test_without_a_book_runs_are_kept_in_the_current_folder(tmp_path, monkeypatch, capsys, file, stand_in):
    put(tmp_path / "runs", configs(0)[0])
    monkeypatch.setattr(files, "PROJECT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert main(["grid", str(file), "--dry-run"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["complete", "missing"]
    assert main(["results"]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["results", "--section", "first"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("mtlrepro results: there is no book beside ") and err.count("\n") == 1


@pytest.mark.parametrize("command", [["results"], ["verify-results"], ["grid", "FILE", "--dry-run"]])
def test_the_book_has_a_store_of_its_own(command, tmp_path, monkeypatch, file):
    opened = []

    class Opened(Exception):
        pass

    def open_store(folder):
        opened.append(folder)
        raise Opened

    monkeypatch.setattr("mtlrepro.runs.Store", open_store)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Opened):
        main([str(file) if word == "FILE" else word for word in command])
    assert opened == [files.book("results", "runs")]


def test_a_metric_without_a_value(store, capsys):
    put(store, *configs(0, tasks=("depth",)), metrics={"depth": {"main": None}})
    assert main(["results", "--store", str(store)]) == 0
    assert " - " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7], "0, 2-3, 7"), ([1, 2], "1-2")]
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text


@pytest.fixture
def file(tmp_path):
    base = configs(0)[0].to_dict()
    del base["seed"]
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"base": base, "vary": {"seed": [0, 1]}}))
    return path


def test_grid(store, file, stand_in, capsys):
    stand_in(fail=[1])
    assert main(["grid", str(file), "--store", str(store), "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()] == ["normal", "status", "complete", "failed"]
    assert err.splitlines()[-1] == (
        f"run {configs(1)[0].hash} failed: epoch 1, step 3: the loss of depth is not finite, seed 1"
    )
    assert "grid: 2 of 2 runs have ended, 1 failed" in err.splitlines()
    assert main(["grid", str(file), "--store", str(store), "--dry-run"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["complete", "failed"]
    stand_in()
    assert main(["grid", str(file), "--store", str(store)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.json"], "mtlrepro grid: nothing.json: no such file or directory\n"),
        (
            ["FILE", "--profile", "slurm"],
            "mtlrepro grid: --profile is 'slurm'; accepted with --engine snakemake only\n",
        ),
    ],
)
def test_refused_grids(store, file, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    words = [str(file) if word == "FILE" else word for word in arguments]
    assert main(["grid", *words, "--store", str(store)]) == 2
    assert capsys.readouterr() == ("", message)


def test_a_number_of_jobs_below_one_is_refused(file, capsys):
    with pytest.raises(SystemExit):
        main(["grid", str(file), "--jobs", "0"])
    assert "'0' is not a whole number from 1" in capsys.readouterr().err
