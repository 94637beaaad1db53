"""The data sets: one row for each, with every fact that other parts of the package need. Plain data."""

from dataclasses import dataclass

from mtlrepro.data.classes import BDD100K, CITYSCAPES, NYUV2, TASKONOMY


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One data set.

    Attributes:
        name: Name by which it is asked for.
        splits: Its splits that have labels, `train` first.
        tasks: Tasks that are learned together on it unless a configuration names others.
        classes: Names of the classes of `segmentation`, in the order of their ids.
        class_counts: Numbers of classes that a configuration can choose from; empty if there is no choice.
        box_classes: Names of the categories of boxes, in the order of their ids; empty if it has no boxes.
        depth_range: Smallest and largest depth in metres, outside which the regularisers of LSB's loss act. The default
            is wide, for data sets without a range of their own.
        generator: Module that makes the scenes; empty for real data sets, which a script prepares.
    """

    name: str
    splits: tuple[str, ...]
    tasks: tuple[str, ...]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...] = ()
    box_classes: tuple[str, ...] = ()
    depth_range: tuple[float, float] = (0.1, 1000.0)
    generator: str = ""

    @property
    def generated(self) -> bool:
        """Whether its images are scenes that are made here, rather than files of a real data set."""
        return bool(self.generator)

    @property
    def test_split(self) -> str:
        """Split on which final metrics are measured: the validation split where the test labels are not public."""
        return "test" if "test" in self.splits else "val"

    @property
    def validated(self) -> bool:
        """Whether it has a validation split beside the one on which final metrics are measured."""
        return "val" in self.splits and self.test_split != "val"

    @property
    def prepare(self) -> str:
        """Command that prepares a real data set."""
        return f"python data_scripts/{self.name}.py prepare SOURCE TARGET"


_ALL = ("train", "val", "test")
_DENSE = ("segmentation", "depth", "normal")
_STEREO = ("segmentation", "disparity")
_MAPS = ("curvature", "reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")
CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(
            name="rooms",
            splits=_ALL,
            tasks=_DENSE,
            classes=NYUV2,
            depth_range=(0.5, 8.0),  # of the scenes' geometry
            generator="mtlrepro.data.scenes.rooms.generate",
        ),
        Entry(
            name="streets",
            splits=_ALL,
            tasks=_STEREO,
            classes=CITYSCAPES,
            class_counts=(7, 19),
            box_classes=BDD100K,
            generator="mtlrepro.data.scenes.streets.generate",
        ),
        Entry(
            name="nyuv2",
            splits=("train", "test"),
            tasks=_DENSE,
            classes=NYUV2,
            depth_range=(0.7, 10.0),  # of the Kinect
        ),
        Entry(name="cityscapes", splits=("train", "val"), tasks=_STEREO, classes=CITYSCAPES, class_counts=(7, 19)),
        Entry(
            name="taskonomy",
            splits=_ALL,
            tasks=("depth", "normal", *_MAPS),
            classes=TASKONOMY,
            depth_range=(0.1, 128.0),  # 16 bits in steps of 1/512 m; the smallest is our choice
        ),
        Entry(
            name="bdd100k",
            splits=("train", "val"),
            tasks=("detection", "segmentation"),
            classes=CITYSCAPES,
            box_classes=BDD100K,
        ),
    )
}
"""Rows by name.

:meta hide-value:
"""
GENERATED = tuple(name for name, entry in CATALOGUE.items() if entry.generated)


def entry_of(name: str) -> Entry:
    """Look up a data set.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in CATALOGUE:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
