"""Records whose insides are not those of a complete run: each is named as damaged, whoever reads it."""

import json
import math

import pytest
from run_cases import configs, put

from mtlrepro.cli import main
from mtlrepro.runs.store import Store


def no_metrics(record):
    record["metrics"] = {}


def metrics_of_another_task(record):
    record["metrics"] = {"foo": {"main": 1.0}}


def a_number_for_metrics(record):
    record["metrics"] = dict.fromkeys(record["metrics"], 3)


def no_names(record):
    record["metrics"] = {key: {} for key in record["metrics"]}


def text_for_a_number(record):
    record["metrics"] = {key: {"main": "x"} for key in record["metrics"]}


def a_number_that_json_lacks(record):
    record["metrics"] = {key: {"main": math.nan} for key in record["metrics"]}


def no_history(record):
    record["history"] = []


def numbers_for_epochs(record):
    record["history"] = list(range(len(record["history"])))


def no_provenance(record):
    record["provenance"] = {}


def a_number_for_the_date(record):
    record["provenance"]["date"] = 3


def truth_for_the_version(record):
    record["algorithm"] = True


@pytest.mark.parametrize(
    "damage",
    [
        no_metrics,
        metrics_of_another_task,
        a_number_for_metrics,
        no_names,
        text_for_a_number,
        a_number_that_json_lacks,
        no_history,
        numbers_for_epochs,
        no_provenance,
        a_number_for_the_date,
        truth_for_the_version,
    ],
)
def test_it_is_damaged_for_every_reader(store, capsys, damage):
    (run,) = configs(0)
    put(store, run)
    path = store / f"{run.hash}.json"
    record = json.loads(path.read_text())
    assert run in Store(store)
    damage(record)
    path.write_text(json.dumps(record))
    assert run not in Store(store) and list(Store(store).damaged) == [path]
    config = store / "config.txt"
    config.write_text(run.to_json())
    for command in (["train", str(config)], ["grid", str(config), "--dry-run"], ["results"]):
        main([*command, "--store", str(store)])
        assert "damaged or foreign" in capsys.readouterr().err


def test_results_show_a_stale_record_whatever_its_configuration_holds(store, capsys):
    (run,) = configs(0)
    put(store, run)
    path = store / f"{run.hash}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"algorithm": 0, "config": {"tasks": 3}}))
    assert main(["results", "--store", str(store)]) == 0
    assert "stale" in capsys.readouterr().out
