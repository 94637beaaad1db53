"""Small generators of scenes with the interface of the real ones, and stores made of them."""

import numpy as np
import torch


class Noise:
    """Every key of a sample as independent noise that depends on (seed, split, index); classes are those of streets."""

    VERSION = 3
    KEYS = (
        "image",
        "right",
        "segmentation",
        "depth",
        "normal",
        "disparity",
        "occlusion",
        "curvature",
        "reshading",
        "edges2d",
        "valid",
        "boxes",
        "labels",
    )
    KEYS += ("segmentation_right", "depth_right", "normal_right", "disparity_right", "occlusion_right")
    KEYS += ("curvature_right", "reshading_right", "edges2d_right", "valid_right", "boxes_right", "labels_right")

    def __init__(self, keys=None, calls=None):
        self.KEYS = self.KEYS if keys is None else keys
        self.calls = calls

    def generate(self, indices, *, split, size, seed):
        if self.calls is not None:
            self.calls.append(list(indices))
        scenes = [self._scene(np.random.default_rng([seed, len(split), i]), *size) for i in indices]
        ragged = ("boxes", "labels")
        return {
            key: [s[key] for s in scenes] if key.startswith(ragged) else torch.stack([s[key] for s in scenes])
            for key in self.KEYS
        }

    @classmethod
    def _scene(cls, rng, height, width):
        scene = {}
        for key in cls.KEYS:
            base = key.removesuffix("_right")
            if base in ("image", "right"):
                value = rng.random((3, height, width))
            elif base == "segmentation":
                value = rng.integers(-1, 19, (height, width))
            elif base in ("depth", "disparity"):
                value = rng.random((1, height, width)) * 9 * (rng.random((1, height, width)) > 0.2)
            elif base == "normal":
                value = rng.normal(size=(3, height, width))
                value = value / np.linalg.norm(value, axis=0) * (rng.random((height, width)) > 0.2)
            elif base in ("occlusion", "valid"):
                value = rng.random((1, height, width)) > 0.3
            elif base == "curvature":
                value = np.sort(rng.normal(size=(2, height, width)), axis=0)[::-1].copy()
            elif base == "boxes":
                corner = rng.integers(0, [width - 4, height - 4], (rng.integers(0, 4), 2))
                value = np.concatenate([corner, corner + rng.integers(1, 5, corner.shape)], axis=1)
            elif base == "labels":
                value = rng.integers(0, 10, len(scene[key.replace("labels", "boxes")]))
            else:
                value = rng.random((1, height, width))
            value = torch.from_numpy(value)
            scene[key] = value.float() if value.is_floating_point() or base == "boxes" else value
        return scene
