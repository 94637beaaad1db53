"""A small convolutional network for images of two digits, and its gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mtlrepro import noise
from mtlrepro.data.digits import TwoDigits
from mtlrepro.tasks import TWO_DIGITS, Task


class DigitNet(nn.Module):
    """Shared encoder (two strided 3 x 3 convolutions and a linear layer, ReLU) with one linear head per task.

    It has no batch normalisation: a sample's gradient must not depend on the other samples of its batch, or
    per-sample gradients do not exist. 2,700 shared parameters with the default widths.

    Args:
        tasks: The tasks, one head each.
        widths: Channels of the two convolutions and units of the linear layer.
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
        """Map images `[B, 1, 12, 12]` in [0, 1] to `{task: [B, channels]}`."""
        features = self.encoder(images)
        return {name: head(features) for name, head in self.heads.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that every task uses: the encoder's."""
        return list(self.encoder.parameters())

    def task_parameters(self, name: str) -> list[nn.Parameter]:
        """Parameters that only task `name` uses: its head's."""
        return list(self.heads[name].parameters())


def task_losses(model: DigitNet, data: TwoDigits) -> Tensor:
    """Mean loss of each task over `data`, `[T]`."""
    outputs = model(data.images)
    return torch.stack([task.loss(outputs[task.name], data.targets).mean() for task in TWO_DIGITS])


def shared_gradient(loss: Tensor, model: DigitNet) -> Tensor:
    """Gradient of a scalar over the shared parameters, flattened, `[P]`."""
    gradients = torch.autograd.grad(loss, model.shared_parameters(), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def sample_gradients(model: DigitNet, data: TwoDigits, chunk_size: int = 256) -> Tensor:
    """Per-sample gradients of each task over the shared parameters, `[T, N, P]`, `chunk_size` images at once."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    shared = {name: value for name, value in parameters.items() if name.startswith("encoder.")}

    def losses(shared: dict[str, Tensor], sample: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
        image, targets = sample
        outputs = functional_call(model, {**parameters, **shared}, (image[None],))
        targets = {name: value[None] for name, value in targets.items()}
        return torch.stack([task.loss(outputs[task.name], targets).mean() for task in TWO_DIGITS])

    return noise.per_sample_gradients(losses, shared, (data.images, data.targets), chunk_size=chunk_size)


def gradients_of_copies(model: DigitNet, parameters: Tensor, data: TwoDigits) -> tuple[Tensor, Tensor]:
    """Losses and gradients of several copies of a network at once.

    Args:
        model: The network, whose own parameters are not used.
        parameters: `[copies, P]`, all parameters of each copy, in the order of `model.parameters()`, those of the
            encoder first.
        data: Images that all copies see, `[B, 1, 12, 12]`, or images of each copy, `[copies, B, 1, 12, 12]`.

    Returns:
        `(losses, gradients)`: mean loss of each task, `[copies, T]`, and the gradient of the mean of the tasks' losses,
        `[copies, P]`.
    """
    named = dict(model.named_parameters())

    def mean_loss(vector: Tensor, images: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        parts = torch.split(vector, [parameter.numel() for parameter in named.values()])
        values = {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}
        outputs = functional_call(model, values, (images,))
        losses = torch.stack([task.loss(outputs[task.name], targets).mean() for task in TWO_DIGITS])
        return losses.mean(), losses

    each = 0 if data.images.dim() == 5 else None
    gradients, losses = vmap(grad(mean_loss, has_aux=True), in_dims=(0, each, each))(
        parameters, data.images, data.targets
    )
    return losses, gradients
