"""A random stream of a balancer's own, saved with it."""

from typing import Any

import torch

from mtlrepro.balancers.base import Balancer


class RandomState(Balancer):
    """Mixin for methods that draw numbers: a generator per balancer, never torch's global one.

    Args:
        seed: Any integer.
    """

    seed: int
    _generator: torch.Generator | None = None
    _saved: torch.Tensor | None = None

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the stream on a device; it starts from `seed`, or from where a loaded state left it."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
            if self._saved is not None:
                self._generator.set_state(self._saved)
                self._saved = None
        return self._generator

    def generators(self) -> list[torch.Generator]:
        """List the stream, once it is in use."""
        return [] if self._generator is None else [self._generator]

    def get_extra_state(self) -> dict[str, Any]:
        """Add the stream's position."""
        position = self._saved if self._generator is None else self._generator.get_state()
        return {**super().get_extra_state(), "generator": position}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the stream's position; it continues on the kind of device that it was saved from."""
        super().set_extra_state(state)
        self._generator, self._saved = None, state["generator"]
