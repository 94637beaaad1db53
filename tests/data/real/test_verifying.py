"""The checks of a prepared folder that the real data sets share."""

import json

import numpy as np
import pytest

from mtlrepro.data.real.verifying import verify_target
from mtlrepro.data.store import Writer

SHAPE = (4, 6)


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


def check(folder, arrays, counts=None):
    with Writer(folder / "train", 2, {"dataset": "demo", "split": "train"}) as writer:
        for key, array in arrays.items():
            writer.put(key, 0, array)
    path = folder / "train" / "meta.json"
    # Added afterwards: the writer would refuse a class beyond them.
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["a", "b", "c"]}))
    counts = counts or {"train": 2}
    frame = verify_target(folder, counts, keys=lambda meta: [*good()], rays=rays, progress=False).frame()
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
    frame = verify_target(tmp_path, {"train": 2}, keys=lambda meta: ["depth"], progress=False).frame()
    assert frame.loc[~frame["ok"], "what"].tolist() == ["train: files and checksums"]
    (tmp_path / "train" / "depth.npy").unlink()
    frame = verify_target(tmp_path, {"train": None}, keys=lambda meta: ["depth"], progress=False).frame()
    assert frame.loc[~frame["ok"], "what"].tolist() == ["train: store"]
    assert "depth.npy cannot be read" in frame["found"].iloc[0]
