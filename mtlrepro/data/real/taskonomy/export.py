"""Samples with the ten maps written as Taskonomy files: PNG trees, or the tar files and checksums of its server."""

import hashlib
import tarfile
import tempfile
from pathlib import Path

from mtlrepro.data.geometry import Array
from mtlrepro.data.real.preparing import Samples
from mtlrepro.data.real.rasters import Raster, rgb_of, write_raster
from mtlrepro.data.real.taskonomy.files import BASE, DOMAINS, MD5SUMS, TINY, encode, file_name
from mtlrepro.data.samples import Sample
from mtlrepro.files import replacing

LAYOUTS = ("domains", "buildings", "tars")
VIEWS = 4
"""Views of one point."""


def export(folder: str | Path, samples: Samples, split: str = "train", *, layout: str = "domains") -> None:
    """Write samples as views of the first two buildings of the tiny split, in turn.

    See :func:`mtlrepro.data.real.taskonomy.files.encode` for what rounding does.

    Args:
        folder: Where the files go; other splits may be there already.
        samples: Image and the ten maps: depth, normal, segmentation (17 classes), curvature, reshading, edges2d,
            edges3d, keypoints2d, keypoints3d, valid.
        split: `train`, `val` or `test`.
        layout: `domains`, `DOMAIN/BUILDING/FILE`; `buildings`, `BUILDING_DOMAIN/DOMAIN/FILE`; `tars`,
            `BUILDING_DOMAIN.tar` with `md5sum.txt` and `links.txt` as on the server.

    Raises:
        ValueError: The split or layout is another, a sample lacks a map, a class is above 16, or 16 bits do not hold
            a depth.
    """
    root = Path(folder)
    if split not in TINY:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(TINY)}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; accepted: {', '.join(LAYOUTS)}")
    if layout == "tars":
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            export(temporary, samples, split, layout="buildings")
            for tree in Path(temporary).iterdir():
                with replacing(root / f"{tree.name}.tar") as partial, tarfile.open(partial, "w") as archive:
                    for inside in tree.iterdir():
                        archive.add(inside, arcname=inside.name)
        _write_lists(root)
        return
    for index in range(len(samples)):
        building = sorted(TINY[split])[index % 2]
        for key, raster in encode(_arrays(samples[index], index)).items():
            domain = DOMAINS[key][0]
            path = root / domain / building if layout == "domains" else root / f"{building}_{domain}" / domain
            write_raster(path / file_name(domain, index // VIEWS, index % VIEWS), raster)


def _arrays(sample: Sample, index: int) -> dict[str, Raster | Array]:
    absent = sorted(set(DOMAINS) - set(sample))
    if absent:
        raise ValueError(f"sample {index} lacks {', '.join(absent)}; accepted: {', '.join(DOMAINS)}")
    arrays = {key: sample[key].numpy() for key in DOMAINS if key != "image"}
    return {"image": rgb_of(sample["image"]), **arrays}


def _write_lists(root: Path) -> None:
    """Write the server's lists: each archive's address, and its checksum."""
    archives = sorted(root.glob("*.tar"))
    sums = [f"{hashlib.md5(archive.read_bytes()).hexdigest()}  {archive.name}" for archive in archives]
    links = [f"{BASE}/{archive.name}" for archive in archives]
    for name, lines in ((MD5SUMS, sums), ("links.txt", links)):
        with replacing(root / name) as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
