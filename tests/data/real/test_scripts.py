"""The command line that the data scripts share, and the checks of a prepared folder."""

import numpy as np
import pandas as pd
import pytest

from mtlrepro.data.real.scripts import Script, verify_target
from mtlrepro.data.store import Writer

SHAPE = (4, 6)


@pytest.fixture
def script():
    """A script whose commands note their arguments."""
    calls = []

    def act(**arguments):
        calls.append(arguments)
        if str(arguments.get("target")) == "bad":
            raise ValueError("size is bad; accepted: good")
        if str(arguments.get("target")) == "stop":
            raise KeyboardInterrupt

    def findings(target, *, strict=False):
        ok = not strict
        return pd.DataFrame({"what": ["a", "b"], "found": [1, 2], "expected": [1, 2], "ok": [True, ok]})

    made = Script("demo.py", "A demonstration.")
    made.fetch(act, "Only for friends.", "get it")
    made.prepare(act, "make it", "default: as is")
    made.verify(findings).add_argument("--strict", action="store_true")
    made.calls = calls
    return made


def test_prepare_passes_its_arguments(script):
    assert script.run(["prepare", "in", "out", "--size", "288x384"]) == 0
    (arguments,) = script.calls
    assert {key: str(value) for key, value in arguments.items()} == {
        "source": "in",
        "target": "out",
        "size": "(288, 384)",
    }


@pytest.mark.parametrize("size", ["288", "0x5", "axb", "-1x5", "288x", "288x384x3"])
def test_sizes_are_height_x_width(script, size, capsys):
    with pytest.raises(SystemExit):
        script.run(["prepare", "in", "out", f"--size={size}"])
    assert f"size is '{size}'; accepted: HEIGHTxWIDTH" in capsys.readouterr().err


def test_fetch_wants_the_terms_accepted(script, capsys):
    assert script.run(["fetch", "here"]) == 2
    assert "Only for friends." in capsys.readouterr().err
    assert script.calls == []
    assert script.run(["fetch", "here", "--accept-licence", "--mirror", "http://x"]) == 0
    assert script.calls[0]["mirror"] == "http://x"


def test_an_error_is_one_line_and_status_2(script, capsys):
    assert script.run(["prepare", "in", "bad"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "demo.py prepare: size is bad; accepted: good\n"
    assert captured.out == ""


def test_an_interrupt_is_said(script, capsys):
    assert script.run(["prepare", "in", "stop"]) == 130
    assert "interrupted; run it again to go on" in capsys.readouterr().err


def test_verify_prints_the_findings_and_returns_1_if_one_is_wrong(script, capsys):
    assert script.run(["verify", "out"]) == 0
    assert capsys.readouterr().out.endswith("out: all well\n")
    assert script.run(["verify", "out", "--strict"]) == 1
    assert capsys.readouterr().out.endswith("out: 1 of 2 checks failed\n")


# --- checks


def good():
    """Two images of a wall straight ahead and a floor, with everything as it should be."""
    normal = np.zeros((2, 3, *SHAPE), np.float32)
    normal[:, 2, :2] = -1
    normal[:, 1, 2:] = -1
    normal[:, 0, :, -1] = -0.6  # the right side turned to the left
    normal[:, 1:, :, -1] *= 0.8
    normal[:, :, 0, 0] = 0
    return {
        "image": np.zeros((2, 3, *SHAPE), np.uint8),
        "depth": np.full((2, 1, *SHAPE), 2.0, np.float32),
        "segmentation": np.tile(np.array([-1, 0, 1, 1, 2, 2], np.int8), (2, 4, 1)),
        "normal": normal,
    }


def rays(meta, height, width):
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return np.stack([x, y, np.ones_like(x)])


def check(folder, arrays, counts=None, names=("a", "b", "c")):
    with Writer(folder / "train", 2, {"dataset": "demo", "split": "train"}) as writer:
        for key, array in arrays.items():
            writer.put(key, 0, array)
    frame = verify_target(
        folder,
        counts=counts or {"train": 2},
        keys=tuple(good()),
        class_names=names,
        rays=rays,
        progress=False,
    )
    return dict(zip(frame["what"], frame["found"], strict=True)), frame.loc[~frame["ok"], "what"].tolist()


def test_what_is_found_in_a_good_folder(tmp_path):
    found, failed = check(tmp_path, good())
    assert failed == []
    assert found["train: images"] == "2"
    assert found["train: depth range"] == "2 to 2"
    assert found["train: labelled pixels"] == "0.8333"
    assert [found[f"train: class {name}"].split()[0] for name in "abc"] == ["0.2000", "0.4000", "0.4000"]
    # 10 of 23 known pixels are floor at y = 1/3 and 1 each (n_y = -1); two of those have n_y = -0.8.
    assert float(found["train: mean n_y ray_y"]) == pytest.approx(-(5 + 0.8) * (1 / 3 + 1) / 23, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda a: a.pop("depth"), ["train: maps"]),
        (lambda a: a["depth"].__setitem__((1, 0, 3, 5), 250), ["train: depth range"]),
        (lambda a: a["segmentation"].fill(3), ["train: segmentation values", "train: labelled pixels"]),
        (lambda a: a["segmentation"].fill(-1), ["train: labelled pixels"]),
        (lambda a: a["normal"].__setitem__((0, 2, 0, 1), -0.9), ["train: normals not of length 1"]),
        (lambda a: a["normal"].__imul__(-1), [f"train: mean n_{a} ray_{a}" for a in "xyz"]),
    ],
)
def test_each_fault_is_found(tmp_path, change, failed):
    arrays = good()
    change(arrays)
    assert check(tmp_path, arrays)[1] == failed


def test_counts_and_missing_splits(tmp_path):
    assert check(tmp_path, good(), {"train": 795, "test": 654})[1] == ["train: images", "test: store"]


def test_changed_and_missing_files_are_found(tmp_path):
    check(tmp_path, good())
    content = bytearray((tmp_path / "train" / "depth.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "train" / "depth.npy").write_bytes(content)
    frame = verify_target(tmp_path, counts={"train": 2}, keys=["depth"], progress=False)
    assert frame.loc[~frame["ok"], "what"].tolist() == ["train: files and checksums"]
    (tmp_path / "train" / "depth.npy").unlink()
    frame = verify_target(tmp_path, counts={"train": None}, keys=["depth"], progress=False)
    assert frame.loc[~frame["ok"], "what"].tolist() == ["train: store"]
    assert "depth.npy cannot be read" in frame["found"].iloc[0]
