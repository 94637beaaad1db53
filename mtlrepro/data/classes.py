"""Names of the semantic classes and object categories of the four data sets, in the order of their ids."""

CITYSCAPES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The 19 evaluated classes of Cityscapes by train id (also BDD100K's semantic segmentation)."""

CITYSCAPES_7 = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
"""The 7 categories of Cityscapes: its category ids 1 to 7, less one."""

SEVEN = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
"""Category in `CITYSCAPES_7` of each of the 19 train ids."""

BDD100K = (
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
)
"""The 10 detection categories of BDD100K, in its order."""

NYUV2 = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
"""The 13 classes of NYUv2 (`class13Mapping.mat`), less its leading void."""

TASKONOMY = (
    "background",
    "bottle",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
)
"""The 17 classes of Taskonomy's `segment_semantic`: its pixel values 1 to 17, less one."""
