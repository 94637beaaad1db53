from mtlrepro.studies.lsb import costs, plan
from mtlrepro.studies.setting import Setting


def test_the_table_counts_the_runs_of_the_plan():
    """What the page says that it reads is what `mtlrepro run --dry-run` says."""
    values = {"scale": "cpu", "dataset": "rooms", "data_root": "", "seeds": 3, "comparison_seeds": 5, "jobs": 1}
    planned = {part.name: (part.scale, str(part.runs)) for part in plan.plan(**values).parts}
    *rows, total = costs.exhibit(Setting()).table.to_dict("records")
    assert {row["runs of"]: (row["scale"], row["runs"]) for row in rows} == planned
    assert total["runs"] == str(sum(int(count) for _, count in planned.values()))
