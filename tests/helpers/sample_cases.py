"""The conventions of samples in two other ways: checks of a single sample, and a batch put together one by one."""

import torch

from mtlrepro.data.samples import encode, target_of
from mtlrepro.targets import TARGETS


def blank(key, size, device="cpu"):
    """One target that is unknown everywhere: the invalid value, or no boxes."""
    target = TARGETS[key]
    shape = (0, *target.shape) if target.ragged else (*target.shape, *size)
    return torch.full(shape, target.invalid, dtype=target.dtype, device=device)


def collate(samples, keys=None):
    """A batch of samples: maps stacked, those that a sample lacks unknown; boxes and labels as lists."""
    size = samples[0]["image"].shape[-2:]
    batch = {}
    for key in dict.fromkeys(keys or [key for sample in samples for key in sample]):
        if key != "index":
            values = [sample[key] if key in sample else blank(key, size, sample["image"].device) for sample in samples]
            batch[key] = values if TARGETS[key].ragged else torch.stack(values)
    labels = [key for key in batch if not TARGETS[key].picture]
    batch["labelled"] = {key: torch.tensor([key in sample for sample in samples]) for key in labels}
    if all("index" in sample for sample in samples):
        batch["index"] = torch.stack([sample["index"] for sample in samples])
    return batch


def check(sample):
    """Assert that a sample is as the table says: keys, types, shapes, ranges, unit normals, curvatures, boxes."""
    height, width = sample["image"].shape[-2:]
    for key, value in sample.items():
        if key == "index":
            continue
        target = target_of(key)
        assert value.dtype == target.dtype, key
        assert target.ragged or value.shape[-2:] == (height, width), key
        encode(key, value if target.ragged else value[None])
        base = key.removesuffix("_right")
        if base == "normal":
            length = value.norm(dim=0)
            assert ((length == 0) | ((length - 1).abs() < 2e-3)).all(), key
        elif base == "curvature":
            assert (value[0] >= value[1]).all(), key
        elif base == "boxes":
            low, high = value[:, :2], value[:, 2:]
            assert ((low < high) & (high <= value.new_tensor([width, height]))).all(), key
            assert len(sample[key.replace("boxes", "labels")]) == len(value), key
