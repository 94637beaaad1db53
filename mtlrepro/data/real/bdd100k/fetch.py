"""The archives of BDD100K, which the user downloads with an account: checked and unpacked."""

from collections.abc import Sequence
from pathlib import Path

from mtlrepro.data.real.bdd100k.export import dense_task
from mtlrepro.data.real.bdd100k.files import ARCHIVES, IMAGES, MASKS
from mtlrepro.data.real.packages import Package, unpack_packages

TERMS = (
    "BDD100K may be used for education, research and not-for-profit purposes; (c) the Regents of the University of "
    "California. Read the terms at https://doc.bdd100k.com/license.html . Downloads need an account (free)."
)
PAGE = "https://bdd-data.berkeley.edu/ (or http://dl.cv.ethz.ch/bdd100k/data/)"
# Sizes and md5 of `doc/source/download.rst`; two where its versions differ.
_PACKAGES = {
    "100k": Package(
        ARCHIVES["100k"],
        "5.3 GB",
        md5=("5a0359c86a0b8713adab1eee9a3041cb",),
        parts=("100k_images_train.zip", "100k_images_val.zip"),
    ),
    "10k": Package(
        ARCHIVES["10k"],
        "1.1 GB",
        md5=("08f26aecceda982568063d3d5873378e",),
        parts=("10k_images_train.zip", "10k_images_val.zip"),
    ),
    "detection": Package(ARCHIVES["detection"], "53 MB", md5=("b86a3e1b7edbcad421b7dad2b3987c94",)),
    "segmentation": Package(
        ARCHIVES["segmentation"],
        "419 MB",
        md5=("9a2968dde3345eeb689cffb1e26f9c78", "098c0c17ca58364c47c5882b3eb7058d"),
    ),
    "drivable": Package(
        ARCHIVES["drivable"],
        "514 MB",
        md5=("0abc320461200b1d7916f82fdcd64a96", "98dcfa4c3c68e2e86f132ac085f8e329"),
    ),
}


def fetch(folder: str | Path, *, tasks: Sequence[str] = ("detection", "drivable"), progress: bool = True) -> None:
    """Check and unpack the archives that the user has put in `folder`, or say which ones and where they are.

    Args:
        folder: Where the archives are and the files go.
        tasks: `detection`, and `segmentation` or `drivable`.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: Archives are missing; the message names them.
        ValueError: An archive is not the known one, damaged, or unpacks to other folders than `bdd100k/...`.
    """
    dense_task(tasks)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    needed = {**{IMAGES[task]: None for task in tasks}, **dict.fromkeys(tasks)}
    packages = [_PACKAGES[name] for name in needed]
    remedy = f"log in at {PAGE}, download them, put them in {folder} and run again"
    unpack_packages(packages, folder, remedy=remedy, progress=progress)
    for name in needed:
        path = Path("images", name) if name in IMAGES.values() else Path("labels", MASKS.get(name, "det_20"))
        if not (folder / "bdd100k" / path).is_dir():
            others = ", ".join(sorted(other.name for other in folder.iterdir() if other.is_dir())) or "no folder"
            raise ValueError(
                f"{_PACKAGES[name].name} did not unpack to {folder / 'bdd100k' / path} (found: {others}); "
                "move what it holds there"
            )
