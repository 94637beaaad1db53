"""Data sets that the chapters run on: open a split with `load`, and go through it in batches with a loader."""

from mtlrepro.data.datasets import load
from mtlrepro.data.loading import DiskLoader, MemoryLoader
from mtlrepro.data.transforms import Augmentation

__all__ = ["Augmentation", "DiskLoader", "MemoryLoader", "load"]
