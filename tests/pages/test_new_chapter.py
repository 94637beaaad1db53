"""A chapter that is begun, see `tests/book/test_guides.py` for one that is finished."""

import pytest

from mtlrepro import files
from mtlrepro.pages import new_chapter as module

CONTENTS = "parts:\n  - caption: Chapters\n    chapters:\n      - file: toys\n  - caption: Reference\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_before_the_notebook_has_run_leaves_nothing(tmp_path, monkeypatch, error):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text(CONTENTS)
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    seen = []

    def run_notebook(notebook, output):
        seen.append(notebook.exists() and "waves" in (tmp_path / "book" / "_toc.yml").read_text())
        raise error

    monkeypatch.setattr(module, "run_notebook", run_notebook)
    for _ in range(2):  # the name is free again
        with pytest.raises(error):
            module.new_chapter("waves")
    assert seen == [True, True]
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["book/_toc.yml"] and (tmp_path / left[0]).read_text() == CONTENTS
