"""What the chapter says about tables that are known by heart."""

from types import SimpleNamespace

import pandas as pd

from mtlrepro.analysis import published
from mtlrepro.pages.findings import answers
from mtlrepro.studies.data import datasets, exhibits
from mtlrepro.studies.data.findings import FINDINGS


def test_factors_of_taskonomy_are_those_of_the_data_file():
    exhibit = exhibits.factors()
    assert exhibit.table["map"].tolist() == ["edges3d", "edges2d", "keypoints2d", "keypoints2d"]
    assert exhibit.table["value"].tolist() == published.read("taskonomy")["value"].tolist()
    assert "down to 1/17 for keypoints2d; keypoints2d has a correlation of 0.72 only" in exhibit.caption


def test_shares_name_each_set_with_its_own_numbers(monkeypatch):
    classes = ["road", "sky", "car", "dog"]
    published = pd.DataFrame({"class": classes, "share": [40.0, 30.0, 20.0, 10.0]})
    own = pd.DataFrame({"class": classes, "share": [50.0, 1.0, 30.0, 19.0]})
    monkeypatch.setattr(datasets, "published_shares", lambda: published)
    monkeypatch.setattr(datasets, "class_shares", lambda data: own)
    streets = SimpleNamespace(name="streets", n_classes=4)
    exhibit = exhibits.shares(streets, streets)
    assert "own 99 % of the labelled pixels there and 90 % in Cityscapes" in exhibit.caption
    assert "Least alike: sky, 1 % and 30 %" in exhibit.caption
    assert exhibit.table["source"].unique().tolist() == ["Cityscapes, published", "streets"]
    other = SimpleNamespace(name="rooms", n_classes=4)
    assert exhibits.shares(streets, other).table["source"].unique().tolist()[-1] == "rooms"
    assert exhibits.shares_claim().measured.value == 1


def test_stereo_compares_each_pair_with_its_wrong_sign():
    matches = pd.DataFrame({"pair": ["a", "a", "b", "b"], "difference": [2.0, 8.0, 3.0, 4.0]})
    assert "differ by 2.0 of 255 levels, with the wrong sign by 8.0; the noisy street by 3.0 and 4.0" in (
        exhibits.stereo(matches).caption
    )
    claim = exhibits.stereo_claim(matches)
    assert (claim.measured.low, claim.measured.high) == (0.25, 0.75)


def test_encodings_are_judged_by_their_worst_map():
    table = pd.DataFrame({"format": ["a", "a", "b"], "error": [0.1, 0.5, 0.2], "bound": [0.2, 0.4, 0.2]})
    assert [verdict.status for verdict in exhibits.encoding_claims(table)] == ["inconclusive", "holds"]
    assert [verdict.case for verdict in exhibits.encoding_claims(table)] == ["a", "b"]
    assert "1 of 3 errors are above their bound" in exhibits.encodings(table).caption


def test_learned_gives_the_means_of_each_set():
    tables = [
        pd.DataFrame({"scenes": name, "seed": [0, 1], "gain": [gain, gain + 2], "ratio": [ratio, ratio]})
        for name, gain, ratio in (("rooms", 40.0, 0.3), ("streets", 30.0, 0.2))
    ]
    caption = exhibits.learned(tables).caption
    assert "Mean gain: 41 points in rooms, 31 points in streets" in caption
    assert "error over that of the constant: 0.30 in rooms, 0.20 in streets" in caption
    assert len(exhibits.learned_claims(tables)) == 4


def test_every_finding_is_answered_by_claims_of_ours_or_identities(monkeypatch):
    exact = {"bits": 0.0, "normals": 0.0, "curvature": 0.0, "disparity": 0.0}
    monkeypatch.setattr(datasets, "exactness", lambda: exact)
    matches = pd.DataFrame({"pair": ["a", "a", "b", "b"], "difference": [2.0, 8.0, 1.0, 4.0]})
    encodings = pd.DataFrame({"format": ["a", "b"], "error": [0.1, 0.2], "bound": [0.2, 0.2]})
    learned = [
        pd.DataFrame({"scenes": name, "seed": [0, 1], "gain": [40.0, 41.0], "ratio": [0.3, 0.31]})
        for name in ("rooms", "streets")
    ]
    verdicts = [exhibits.shares_claim(), exhibits.stereo_claim(matches), *exhibits.encoding_claims(encodings)]
    verdicts += [*exhibits.exactness_claims(), *exhibits.learned_claims(learned)]
    assert {verdict.kind for verdict in verdicts} == {"ours", "identity"}
    assert all(verdict.reading for verdict in verdicts)
    found = answers(FINDINGS, verdicts)
    assert [answer["statuses"] for answer in found] == [{"holds": count} for count in (1, 1, 1, 4, 2)]
