"""Outputs that are there whole or not at all."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")


@contextlib.contextmanager
def atomic_target(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to, moved into place if all goes well.

    If anything fails, a full disk included, what was written is removed and `path` is
    as it was. A run that is killed outright leaves a file or folder whose name begins
    with a dot and ends with `.partial`.

    Args:
        path: where the output shall be, a file or a folder.
        overwrite: replace what is there.

    Raises:
        FileExistsError: `path` is there, and `overwrite` is not set.
        FileNotFoundError: its folder is not there.
    """
    check_target(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        move_into_place(partial, path)
    except OSError as error:
        if error.errno is not None or type(error) is not OSError:
            raise
        # NumPy counts the bytes of a short write and leaves the reason open.
        raise OSError(
            f"{path} could not be written in full ({error}): is the disk full? Nothing "
            f"was left behind."
        ) from error
    finally:
        _remove(partial)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is done."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is not there: create it.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists: choose another output, or overwrite it (`overwrite=True`, "
            f"on the command line `--overwrite`)."
        )
    if path.is_dir() and not any((path / name).exists() for name in ZARR_MARKS):
        raise FileExistsError(
            f"{path} is a folder with other things in it; it is not overwritten."
        )


def move_into_place(partial: Path, path: Path) -> None:
    """Give a finished file or folder its name, in place of what has it."""
    if not (path.is_dir() or partial.is_dir()):
        partial.replace(path)
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    if path.exists():
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
