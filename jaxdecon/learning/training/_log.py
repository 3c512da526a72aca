"""Losses for TensorBoard."""

import os
from collections.abc import Mapping
from typing import Any


class Log:
    """Event files in a folder, or nothing.

    Args:
        folder: for the files; None: none are written.
        start: steps that an earlier run did; what a log there says of later ones is
            hidden.

    Raises:
        ImportError: tensorboardX is missing; the message names the extra.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, start: int = 0):
        self._writer: Any = None
        if folder is not None:
            self._writer = _writer_class()(
                os.fspath(folder),
                purge_step=start + 1,
                # Two runs that begin in one second would share a file.
                filename_suffix=f".{start:09}",
            )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, after a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write all that is left."""
        if self._writer is not None:
            self._writer.close()


def check_log() -> None:
    """Refuse a log that could not be written, before any work is done."""
    _writer_class()


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            'a log for TensorBoard needs tensorboardX: install "jaxdecon[tensorboard]".'
        ) from error
    return SummaryWriter
