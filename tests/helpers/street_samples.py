"""Small valid street samples, exact in every encoding, for the readers of Cityscapes and BDD100K."""

import torch

FOCAL, BASELINE = 70.0, 0.25


def street_samples(n=3, size=(24, 48), seed=0):
    """Samples whose right view is the left one shifted by whole-pixel disparities of two layers, plus boxes."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(n):
        # Values k / 255 survive 8 bits; smooth noise survives JPEG.
        wide = torch.rand(1, 3, height // 4, width // 2, generator=generator)
        wide = torch.nn.functional.interpolate(wide, size=(height, 2 * width), mode="bilinear")[0]
        wide = (wide * 255).round() / 255
        disparity = torch.full((1, height, width), 2.0)
        disparity[:, height // 2 :] = 5.0
        left = wide[:, :, 10 : 10 + width]
        right = torch.cat([wide[:, : height // 2, 12 : 12 + width], wide[:, height // 2 :, 15 : 15 + width]], dim=1)
        disparity[:, :3, :7] = 0
        segmentation = torch.randint(-1, 19, (height, width), generator=generator)
        boxes = torch.tensor([[1.0, 2.0, 9.0, 12.0], [20.5, 3.25, float(width), float(height)]])
        samples.append(
            {
                "image": left,
                "right": right,
                "segmentation": segmentation,
                "disparity": disparity,
                "boxes": boxes,
                "labels": torch.tensor([2, 9]),
            }
        )
    return samples
