import pytest
from notebook_cases import published, table

from mtlrepro.pages.notebook import TABLE, NotebookError
from mtlrepro.pages.tables import Table, compare_tables, read_tables


def test_tables(tmp_path):
    path = published(tmp_path / "n.ipynb", (TABLE, table()), ("text/plain", "no"), (TABLE, table("b", 0.1, y=[1])))
    assert read_tables(path) == {
        "errors": Table("errors", 0.0, 0.0, {"x": [1, 2.5, None, True, "text"]}),
        "b": Table("b", 0.1, 0.0, {"y": [1]}),
    }


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "x"},
        table(name=3),
        table(rtol=-1),
        table(atol="0.1"),
        table(x=[1], y=[1, 2]),
        table(x=[float("nan")]),
        table(x=[[1]]),
    ],
)
def test_malformed_tables_are_refused(tmp_path, payload):
    path = published(tmp_path / "n.ipynb", (TABLE, payload))
    with pytest.raises(NotebookError, match=r"n.ipynb: malformed table .*accepted: name, rtol"):
        read_tables(path)


def test_table_names_are_unique(tmp_path):
    path = published(tmp_path / "n.ipynb", (TABLE, table()), (TABLE, table()))
    with pytest.raises(NotebookError, match="two tables are named 'errors'"):
        read_tables(path)


@pytest.mark.parametrize(
    ("stored", "fresh", "difference"),
    [
        ([100.0], [101.0], None),
        ([100.0], [101.2], "table 't', column 'x', row 0: stored 100.0, fresh 101.2, accepted within 1.1"),
        ([0], [0.1], None),
        ([0], [-0.11], "table 't', column 'x', row 0: stored 0, fresh -0.11, accepted within 0.1"),
        ([1, "a"], [1, "b"], "table 't', column 'x', row 1: stored 'a', fresh 'b'"),
        ([None], [None], None),
        ([None], [0], "table 't', column 'x', row 0: stored None, fresh 0"),
        ([1], [True], "table 't', column 'x', row 0: stored 1, fresh True"),
        ([True], [False], "table 't', column 'x', row 0: stored True, fresh False"),
        ([1, 2], [1], "table 't', column 'x': 2 rows stored, 1 fresh"),
    ],
)
def test_compare_values(stored, fresh, difference):
    differences = compare_tables(
        {"t": Table("t", 0.01, 0.1, {"x": stored})},
        {"t": Table("t", 9.0, 9.0, {"x": fresh})},  # the fresh one's own tolerances do not count
    )
    assert differences == ([] if difference is None else [difference])


def test_compare_tables_and_columns():
    a, b = Table("a", 0, 0, {"x": [1]}), Table("b", 0, 0, {"y": [1]})
    assert compare_tables({"a": a, "b": b}, {"b": b, "a": a}) == []
    assert compare_tables({"a": a}, {"b": b}) == [
        "table 'a': only in the stored one",
        "table 'b': only in the fresh one",
    ]
    assert compare_tables({"a": a}, {"a": b}) == ["table 'a': columns stored [x], fresh [y]"]
