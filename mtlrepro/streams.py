"""Standard output and standard error of the command line, whose reader may go before the work is done."""

import os
from typing import TextIO


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that is written to it from now on, nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Lasting:
    """Standard error that may be written to after its reader has gone: what is said is then lost, and nothing else.

    Args:
        stream: Standard error as Python opened it; None, as where it was closed, if nobody ever reads it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # It stays open as long as the process.
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: PTH123, SIM115

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            return self._stream.write(text)
        except OSError:
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        """Hand on what is written, or lose it."""
        try:
            self._stream.flush()
        except OSError:
            discard(self._stream)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
