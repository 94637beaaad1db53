"""A small convolutional network for images of two digits."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from mtlrepro.tasks import TWO_DIGITS, Task


class DigitNet(nn.Module):
    """Shared encoder (two strided 3 x 3 convolutions and a linear layer, ReLU) with one linear head per task.

    It has no batch normalisation: a sample's gradient must not depend on the other samples of its batch, or
    per-sample gradients do not exist. 2,700 shared parameters with the default widths.

    Args:
        tasks: the tasks, one head each.
        widths: channels of the two convolutions and units of the linear layer.
    """

    def __init__(self, tasks: Sequence[Task] = TWO_DIGITS, widths: tuple[int, int, int] = (8, 12, 16)) -> None:
        super().__init__()
        first, second, units = widths
        self.encoder = nn.Sequential(
            nn.Conv2d(1, first, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(9 * second, units),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({task.name: nn.Linear(units, task.channels) for task in tasks})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images ``[B, 1, 12, 12]`` in [0, 1] to ``{task: [B, channels]}``."""
        features = self.encoder(images)
        return {name: head(features) for name, head in self.heads.items()}

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that every task uses: the encoder's."""
        return self.encoder.parameters()

    def task_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Parameters that only task ``name`` uses: its head's."""
        return self.heads[name].parameters()
