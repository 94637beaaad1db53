"""The network of the chapter on gradient noise: several copies at once against one at a time."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import DigitNet, gradients_of_copies, task_losses


@pytest.mark.parametrize("own_images", [False, True])
def test_gradients_of_copies_equal_those_of_each_copy_alone(own_images):
    torch.manual_seed(0)
    model = DigitNet().double()
    data = two_digits(24).to("cpu", torch.float64)
    start = parameters_to_vector(model.parameters()).detach()
    copies = start + 0.1 * torch.randn(3, len(start), dtype=torch.float64)
    index = torch.arange(24).view(3, 8)
    losses, gradients = gradients_of_copies(model, copies, data[index] if own_images else data)
    for copy, rows, loss, gradient in zip(copies, index, losses, gradients, strict=True):
        vector_to_parameters(copy, model.parameters())
        alone = task_losses(model, data[rows] if own_images else data)
        torch.testing.assert_close(loss, alone.detach())
        single = torch.autograd.grad(alone.mean(), list(model.parameters()))
        torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in single]))
