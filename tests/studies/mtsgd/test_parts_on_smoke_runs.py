"""Figure 3, the mask and what survives, on runs of `smoke` that are trained."""

from slice_cases import TASKS

from mtlrepro.runs.store import Store
from mtlrepro.studies.mtsgd import conflicts, grids, premise, survival
from mtlrepro.studies.mtsgd.comparisons import KERNELS, groups
from mtlrepro.studies.mtsgd.grids import Cell
from mtlrepro.studies.setting import Setting


def test_exhibits_and_claims_of_trained_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(grids, "DISPARITY_SCALES", (1.0, grids.PREMISE))
    store = Store(tmp_path)
    setting = Setting(scale="smoke", dataset="streets", network="mtsgd", seeds=1, comparison_seeds=1, store=store)
    shown, left = premise.load(setting), survival.load(setting, [Cell(end) for end in grids.ENDS])
    slices = shown.plain[0][1]
    assert list(groups(slices)) == [KERNELS, "stem", "stage 1", "stage 2", "stage 3", "stage 4", "pooling"]
    plain, scaled = (premise.responses(shown).query("factor == @factor")["mean"].min() for factor in (1, 30))
    assert scaled > 10 * plain
    exhibits = [
        premise.histograms_exhibit(shown),
        premise.medians_exhibit(shown),
        premise.scales_exhibit(shown),
        conflicts.conflicts_exhibit(shown),
        conflicts.survival_exhibit(shown),
        conflicts.noise_exhibit(shown),
        survival.lengths_exhibit(left),
        survival.kept_exhibit(left),
        survival.layers_exhibit(left),
    ]
    assert len({exhibit.name for exhibit in exhibits}) == len(exhibits)
    claims = [*premise.claims(shown), *conflicts.claims(shown), *survival.claims(left)]
    assert {claim.status for claim in claims if claim.kind == "identity"} == {"holds"}
    assert {claim.finding for claim in claims} == {0, 1}
    assert slices.length(TASKS, "element").max() <= 1 + 1e-6
