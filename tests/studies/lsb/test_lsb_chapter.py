"""What the chapter as a whole asks of the book's store."""

from collections import Counter

from mtlrepro import files
from mtlrepro.runs import store
from mtlrepro.studies import comparison
from mtlrepro.studies.lsb import ablation, costs, grids, method, priorities
from mtlrepro.studies.lsb import comparison as table_s3
from mtlrepro.studies.lsb import predictions as estimates
from mtlrepro.studies.lsb import trends as section_5
from mtlrepro.studies.setting import Setting


def test_every_record_is_read_at_most_once(monkeypatch):
    """The chapter's loading, part by part, at the scales that it shows."""
    read, once = Counter(), store.records.read
    monkeypatch.setattr(store.records, "read", lambda path: read.update([path.name]) or once(path))
    setting = Setting(store=store.Store(files.book("results", "runs")))  # of which no other test has read a record
    costs.exhibit(setting)
    four = section_5.load(setting, grids.FOUR)
    section_5.claims(four)
    section_5.growths_exhibit([(four, section_5.load_slow(four))])
    estimates.evaluations(four.setting, four.configs)

    gpu = setting.largest_stored(lambda one: grids.rerun(one, "multi_column"))
    assert gpu.scale == "gpu"
    section_5.claims(section_5.load(setting, grids.TASKS))
    method.recorded(gpu, grids.trends(gpu, grids.TASKS))
    compared = [table_s3.compared(gpu, name) for name in grids.NETWORKS]
    comparison.tests(compared, "tests")
    tuned = setting.largest_stored(table_s3.tuned_runs)
    table_s3.compared(tuned, "multi_column", table_s3.rate_search(tuned))
    priorities.points(gpu.trained(grids.priorities(gpu)))
    ablation.load(setting.largest_stored(ablation.unbroken))

    assert len(read) > 300
    assert set(read.values()) == {1}
