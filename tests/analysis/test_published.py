"""Numbers quoted from papers stand in data files that say where they were printed.

Where a table holds numbers that follow from others, they are computed again; what does not follow is listed here,
for Table S-3 of LSB in `test_study_lsb_audit.py`.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtlrepro import files
from mtlrepro.analysis.compare import delta_m
from mtlrepro.analysis.published import HIGHER_IS_BETTER, TASKS, pivot, read

BOOK = Path(__file__).parents[2] / "book"


def test_front_page_quotes_only_numbers_of_the_data_file():
    published = pd.read_csv(BOOK / "published" / "front_page.csv", dtype=str)
    claims = (BOOK / "index.md").read_text().split("## What the four papers claim")[1].split("\n## ")[0]
    quoted = re.findall(r"\d+\.\d+", claims)
    assert set(quoted) == set(published["value"]) | set(published["uncertainty"].dropna())
    assert published[["paper", "place", "row", "column", "unit"]].notna().all(axis=None)


def test_papers_of_the_data_files_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{(\w+)", (BOOK / "references.bib").read_text(), re.MULTILINE))
    for path in (BOOK / "published").glob("*.csv"):
        assert set(pd.read_csv(path)["paper"]) <= keys


FOLDER = files.book("published")
FILES = sorted(path.stem for path in FOLDER.glob("*.csv"))


@pytest.mark.parametrize("name", FILES)
def test_every_printed_number_has_a_source_a_unit_and_stands_once(name):
    numbers = read(name)
    assert numbers.drop(columns="uncertainty").notna().all(axis=None)
    assert not numbers[["place", "row", "column"]].duplicated().any()
    units = numbers.groupby("column")["unit"].nunique()
    several = {"mtan": ["Abs Err"], "datasets": ["test", "train"]}  # "train" is a split, and a class
    assert units[units > 1].index.tolist() == several.get(name, [])


@pytest.mark.parametrize("name", FILES)
def test_numbers_are_stored_as_printed(name):
    text = pd.read_csv(FOLDER / f"{name}.csv", dtype=str)
    printed = pd.concat([text["value"], text["uncertainty"].dropna()])
    assert printed.str.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?").all()


def test_front_page_agrees_with_the_tables():
    front = read("front_page").set_index(["row", "column"])["value"]
    mtsgd = pivot(read("mtsgd").query("place == 'Table 1'"))
    assert {cell: mtsgd.loc[cell] for cell in front.index if cell[0].startswith("Joint")} == dict(front[:4])
    for place, value in zip(["NYUv2", "BDD100K"], front[4:], strict=True):
        assert pivot(read("mclgs").query(f"place.str.endswith('{place}')")).loc["MCLGS (ours)", "Delta_m"] == value


def test_a_table_keeps_order_and_gaps():
    table = pivot(read("mtsgd").query("place == 'Table 1'"))
    assert table.shape == (7, 2)
    assert list(table.index[:3]) == ["MC-CNN [37]", "Joint + SGD", "STAN [13]"]
    assert table.isna().sum().tolist() == [3, 1]
    assert pivot(read("mclgs").query("place.str.contains('BDD')"), "uncertainty")["Delta_m"].tolist() == [
        *(0.00, 0.17, 0.40, 0.23, 0.21, 0.23, 0.27)
    ]


def test_reader_names_what_exists():
    with pytest.raises(ValueError, match=r"name is 'nyu'; accepted: cityscapes_segnet, .*, nyuv2_segnet"):
        read("nyu")
    with pytest.raises(ValueError, match=r"'STL Baseline', 'Delta_seg' twice.*table of NYUv2, poster, table of BDD"):
        pivot(read("mclgs"))


# --- Delta_m ------------------------------------------------------------------------------------------


def recomputed(name, convention, baseline=()):
    """Printed table, and Delta_m of its complete rows from the printed means."""
    table = pivot(read(name))
    values = table[[column for column in table if column in HIGHER_IS_BETTER]].dropna()
    single = {**values.loc["STL"], **dict(baseline)}
    return table, delta_m(values, single, HIGHER_IS_BETTER, TASKS, convention=convention)


def discrepancies(name, printed, tolerance, convention="per metric, lower is better"):
    """Rows whose printed Delta_m is further than `tolerance` from the recomputed one: printed, recomputed."""
    table, found = recomputed(name, convention)
    pairs = pd.DataFrame({"printed": table[printed], "recomputed": found.round(2)}).dropna()
    far = (pairs["printed"] - pairs["recomputed"]).abs() > tolerance + 1e-9
    return len(pairs), {row: tuple(pair) for row, *pair in pairs[far].itertuples()}


def test_delta_m_of_nyuv2_recomputes_from_the_printed_means():
    """GradNorm's means are printed by DB-MTL with 4 digits, its Delta_m by Aligned-MTL, which rounds depth to 2.

    Aligned-MTL's own depth is rounded likewise. IMTL-G's is printed by Nash-MTL; Aligned-MTL prints -0.59.
    """
    rows, far = discrepancies("nyuv2_segnet", "Delta_m", 0.02)
    assert rows == 17
    assert far == {"GradNorm": (7.22, 7.37), "IMTL-G": (-0.76, -0.60), "Aligned-MTL": (-4.93, -4.77)}
    assert pivot(read("nyuv2_segnet")).loc["IMTL-G (Aligned-MTL Table 2)", "Delta_m"] == -0.59


def test_depth_rounded_to_two_digits_explains_gradnorm_and_most_of_aligned_mtl():
    rounded = {"Abs Err": 0.68, "Rel Err": 0.28}
    table, found = recomputed("nyuv2_segnet", "per metric, lower is better", rounded)
    assert abs(found["GradNorm"] - table.loc["GradNorm", "Delta_m"]) < 0.02
    assert abs(found["Aligned-MTL"] - table.loc["Aligned-MTL", "Delta_m"]) < 0.05
    table, found = recomputed("nyuv2_segnet", "per task, higher is better", rounded)
    assert found["Aligned-MTL"].round(2) == 8.34
    assert table.loc["Aligned-MTL", "Delta_m per task"] == 8.40


def test_delta_m_of_cityscapes_recomputes_within_the_rounding_of_its_metrics():
    """Half a unit of the last digit of the absolute error, 0.00005 of 0.0125, moves the mean of four by 0.1."""
    assert discrepancies("cityscapes_segnet", "Delta_m", 0.11) == (17, {})
    table = pivot(read("cityscapes_segnet"))
    worse = pd.Series({"mIoU": -0.005, "Pix Acc": -0.005, "Abs Err": 0.00005, "Rel Err": 0.005})
    values = table[list(worse.index)]

    def shifted(error):
        baseline = values.loc["STL"] - error
        return delta_m(values + error, baseline, HIGHER_IS_BETTER, TASKS, convention="per metric, lower is better")

    printed = table["Delta_m"].drop("STL")
    assert (shifted(-worse)[printed.index] <= printed + 0.005).all()
    assert (shifted(worse)[printed.index] >= printed - 0.005).all()


def test_equal_weighting_of_famo_on_cityscapes_repeats_the_row_above_it():
    table = pivot(read("cityscapes_segnet"))
    assert table.loc["LS (FAMO Table 3)"].tolist() == table.loc["SI"].tolist()
    assert table.loc["LS", "Delta_m"] == 22.60


def test_delta_p_of_db_mtl_is_the_mean_over_tasks():
    table, found = recomputed("nyuv2_deeplab", "per task, higher is better")
    assert found["EW"].round(2) == table.loc["EW", "Delta_p"] == -1.78
    assert recomputed("nyuv2_deeplab", "per metric, lower is better")[1]["EW"].round(2) == 3.85


# Computed by hand elsewhere, from the same printed means.
PER_TASK = {
    **{"STL": 0, "Cross-stitch": -0.44, "LS": 0.88, "SI": 1.64, "RLW": -2.16, "DWA": 1.93, "UW": 0.91},
    **{"UW (CAGrad Table 5)": 3.81, "MGDA": -1.66, "GradNorm": -11.74, "PCGrad": 1.11, "GradDrop": 2.07},
    **{"GLS": 5.15, "CAGrad (c=0.4)": 4.33, "CAGrad (c=0.8)": 5.81, "IMTL-G": 4.77, "Nash-MTL": 7.65},
    **{"FAMO": 6.79, "Aligned-MTL": 8.16, "DB-MTL": 8.91},
}


def test_mean_over_tasks_on_nyuv2_turns_conclusions():
    """Equal weighting loses 5.59 % by the mean over metrics, and gains 0.88 % by the mean over tasks."""
    table, found = recomputed("nyuv2_segnet", "per task, higher is better")
    assert found.index.tolist() == list(PER_TASK)
    np.testing.assert_allclose(found, list(PER_TASK.values()), atol=0.006)
    both = table["Delta_m"].loc[found.index].dropna()
    assert both[(both > 0) & (found[both.index] > 0)].index.tolist() == [
        *("LS", "SI", "DWA", "UW", "UW (CAGrad Table 5)", "PCGrad", "GradDrop", "CAGrad (c=0.4)")
    ]


@pytest.mark.parametrize(("place", "tasks", "methods"), [("NYUv2", 3, 8), ("BDD100K", 2, 7)])
def test_mclgs_averages_over_tasks(place, tasks, methods):
    table = pivot(read("mclgs").query(f"place.str.endswith('{place}')"))
    assert table.shape == (methods, tasks + 1)
    np.testing.assert_allclose(table.iloc[:, :-1].mean(axis=1), table["Delta_m"], atol=0.005 + 1e-9)


# --- MTSGD --------------------------------------------------------------------------------------------


def test_tables_of_mtsgd_agree_with_each_other():
    """Tables 2 and 4 repeat runs of Table 3: weight decay 0.0001, level channel."""
    columns = ["Segmentation (mIoU)", "Disparity (AEPE)"]
    tables = {place: pivot(part)[columns].to_numpy() for place, part in read("mtsgd").groupby("place")}
    np.testing.assert_array_equal(tables["Table 2"][3:], tables["Table 3"][4:])
    np.testing.assert_array_equal(tables["Table 4"][:4], tables["Table 3"][4:])
    np.testing.assert_array_equal(tables["Table 1"][-2:], tables["Table 3"][[7, 3]])


def test_what_mtsgd_quotes_of_others_is_in_the_tables_of_mtan():
    """Cityscapes with 7 classes: STAN and AdaMT-Net as printed, of MTAN the mean of its three weightings."""
    quoted = pivot(read("mtsgd").query("place == 'Table 1'"))["Segmentation (mIoU)"]
    source = pivot(read("mtan").query("place.str.startswith('Cityscapes')"))["mIoU"]
    assert quoted["STAN [13]"] == source["STAN"]
    assert quoted["AdaMT [33]"] == source["AdaMT-Net"]
    assert quoted["MTAN [13]"] == source[source.index.str.startswith("MTAN")].mean().round(2)
