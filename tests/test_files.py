"""Where the book is, and files that are written whole."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mtlrepro import files


@pytest.mark.parametrize("content", ["new \u00e9\n", b"\x00new", memoryview(b"new")])
def test_a_file_is_written_as_it_is_in_a_folder_that_is_made(tmp_path, content):
    path = tmp_path / "folder" / "file.bin"
    files.write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("broken", ["replace", "write_bytes"])
def test_writing_is_all_or_nothing(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(Path, broken, lambda *a: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [None, "partial"])
def test_a_full_disk_names_the_file(tmp_path, monkeypatch, name):
    def full(partial, content):
        raise OSError(errno.ENOSPC, "No space left on device", *([] if name is None else [str(partial)]))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file")


def test_the_temporary_file_is_hidden_and_has_the_same_suffix(tmp_path):
    with files.replacing(tmp_path / "a.b.png") as partial:
        partial.write_bytes(b"x")
        assert partial.parent == tmp_path and partial.name.startswith(".a.b.") and partial.suffix == ".png"
        assert not (tmp_path / "a.b.png").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.b.png"]


def test_the_book_lies_beside_the_package():
    assert (files.book("grids", "first.json")).is_file()


def test_a_package_without_a_book_says_so_in_one_sentence(tmp_path):
    """A copy of the module alone, as an installation that is not editable is."""
    package = tmp_path / "site-packages" / "copied"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "files.py").write_bytes(Path(files.__file__).read_bytes())
    command = [sys.executable, "-c", "from copied import files; files.book('results')"]
    done = subprocess.run(command, cwd=package.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FileNotFoundError: there is no book beside" in done.stderr.splitlines()[-1]


def test_without_a_home_folder_the_cache_has_to_be_named(monkeypatch):
    monkeypatch.delenv("MTLREPRO_CACHE", raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    with pytest.raises(ValueError, match="no home folder for the cache; accepted: a folder in MTLREPRO_CACHE"):
        files.cache_dir()
    monkeypatch.setenv("MTLREPRO_CACHE", "chosen")
    assert files.cache_dir() == Path("chosen")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rmse": 1e999}', "it holds the number 1e999; accepted: finite ones"),
        (f'{{"seed": {"9" * 5000}}}', "it holds a number of 5000 digits; accepted: up to 400"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        files.parse_json(text)
