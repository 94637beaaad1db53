"""Runs of many configurations: the store of their records, and grids that train what is missing."""

from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.grids import grid
from mtlrepro.runs.store import Store

__all__ = ["Store", "grid", "read_grid"]
