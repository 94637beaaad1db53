"""Cityscapes: fetch the packages, prepare them as arrays, verify the arrays.

  python data_scripts/cityscapes.py fetch downloads/cityscapes --accept-licence
  python data_scripts/cityscapes.py prepare downloads/cityscapes data/cityscapes --size 256x512
  python data_scripts/cityscapes.py verify data/cityscapes

`fetch` runs the owner's program csDownload, which asks for your account. SOURCE may also be an unpacked MTAN pack,
which has to be downloaded by hand. A stopped command goes on where it was when it is run again.
"""

import sys

from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.scripts import Script, option

CLASSES = (
    "19 (default): the evaluated classes, of which the 7 categories can be made when loading; 7: the category of every "
    "label id, also of those that are not evaluated, or label_7 of an MTAN pack; 2: label_2 of a pack"
)
DISPARITY = option("--no-disparity", "without disparity, of the official files", dest="disparity", action="store_false")
RIGHT = option("--no-right", "without the right views", dest="right", action="store_false")
main = Script(
    "cityscapes.py",
    __doc__,
    cityscapes,
    fetch_help="download and unpack the packages (26 GB)",
    size_help="default: as the files, 1024x2048 or the MTAN pack's",
    fetch=[RIGHT],
    prepare=[option("--classes", CLASSES, type=int, choices=cityscapes.CLASSES, default=19), RIGHT, DISPARITY],
)


if __name__ == "__main__":
    sys.exit(main())
