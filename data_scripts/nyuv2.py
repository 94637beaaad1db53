"""NYU Depth v2: fetch the files, prepare them as arrays, verify the arrays.

  python data_scripts/nyuv2.py fetch downloads/nyuv2 --accept-licence [--ladicky]
  python data_scripts/nyuv2.py prepare downloads/nyuv2 data/nyuv2 --size 288x384
  python data_scripts/nyuv2.py verify data/nyuv2

SOURCE may also be the unpacked MTAN pack, which has to be downloaded by hand; given an empty SOURCE, `prepare` says
where it is. A stopped command goes on where it was when it is run again.
"""

import sys

from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.scripts import MIRROR, Script, option

DEPTH = "raw (default): with the sensor's holes; filled: holes of depth and normals filled by colorization"
NORMALS = "of the official files: planes fitted to depth (default), or files of Ladicky or Eigen in SOURCE"
main = Script(
    "nyuv2.py",
    __doc__,
    nyuv2,
    fetch_help="download the official files (3 GB)",
    size_help="default: 480x640, of the MTAN pack 288x384",
    fetch=[MIRROR, option("--ladicky", "also the normals of Ladicky et al. 2014", action="store_true")],
    prepare=[
        option("--depth", DEPTH, choices=nyuv2.DEPTHS, default="raw"),
        option("--normals", NORMALS, choices=nyuv2.NORMALS),
    ],
    verify=[option("--subset", "accept any number of images", action="store_true")],
)


if __name__ == "__main__":
    sys.exit(main())
