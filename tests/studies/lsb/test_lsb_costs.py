from dataclasses import replace

import pytest
from study_stores import keep, metrics_of

from mtlrepro.studies import costs
from mtlrepro.studies.lsb import costs as lsb_costs
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.setting import Setting


@pytest.fixture
def setting(tmp_path):
    return Setting(seeds=2, comparison_seeds=3, store=keep(tmp_path))


def test_rates_that_were_chosen_at_a_larger_scale_count(setting, tmp_path):
    """The rate that was chosen at gpu scale counts at cpu scale, where none was."""
    assert lsb_costs.rates(setting) is None
    larger = replace(setting, scale="gpu")
    for run in lsb_grids.tuning(larger):
        best = 3e-4 if run.method == "dwa" else 1e-3
        keep(tmp_path, run, metrics=metrics_of(run, 2.0 if run.lr == best else 1.0))
    rates = dict.fromkeys(lsb_grids.METHODS, 1e-3) | {"dwa": 3e-4}
    assert lsb_costs.rates(setting) == rates
    keep(tmp_path, *lsb_grids.comparison(larger, networks=["full_sharing"], rates=rates))
    table = lsb_costs.exhibit(setting).table.set_index("grid")
    assert table.loc["learning rates, multi_decoder", ["stored at cpu", "stored at gpu"]].tolist() == ["0", "36"]
    assert table.loc["comparison, full_sharing", ["runs", "stored at gpu"]].tolist() == ["18", "15"]
    assert table.loc["tuned, full_sharing", ["runs", "stored at cpu", "stored at gpu"]].tolist() == ["3", "0", "3"]
    assert table.loc["all", ["stored at cpu", "stored at gpu"]].tolist() == ["0", str(36 + 18)]


def test_without_a_validation_split_no_rate_is_chosen(tmp_path):
    setting = Setting(scale="paper", dataset="nyuv2", data_root="TARGET", store=keep(tmp_path))
    assert lsb_costs.rates(setting) is None


def test_the_grids_are_those_of_the_chapter(setting):
    grids = lsb_costs.grids(setting, dict.fromkeys(lsb_grids.METHODS, setting.run().lr))
    sizes = {name: len(runs) for (_, name), runs in grids.items()}
    assert sizes["comparison, multi_column"] == sizes["tuned, multi_column"] == 6 * 3
    assert sizes["learning rates, multi_decoder"] == 6 * 3 * 2
    assert sizes["priorities of two tasks"] == 3 * 2 * 5 * 2
    assert sizes["four tasks, slow growth of β"] == 2
    assert sizes["uncertainty weighting's own rate"] == 3 * 2
    assert sizes["fixed weights on a grid"] == 36 * 2
    assert sizes["controls of fixed weights"] == 2 * (2 + 1 + 1 + 3 + 2)
    assert sizes["difficulty outside the weight"] == 2
    names = set(costs.table(grids, setting)["grid"])
    assert not [name for name in names if name.startswith("tuned")]  # Every method keeps its rate: nothing to train
    assert "tuned, multi_column" in set(costs.table(lsb_costs.grids(setting), setting)["grid"])


def test_a_data_set_has_the_grids_of_its_tasks():
    nyuv2, taskonomy = (
        lsb_costs.grids(Setting(scale="paper", dataset=name, data_root="TARGET")) for name in ("nyuv2", "taskonomy")
    )
    assert {part for part, _ in nyuv2} == {3, 6, 7}
    assert not [name for _, name in nyuv2 if name.startswith(("tuned", "learning"))]
    assert {part for part, _ in taskonomy} == {4, 10}
