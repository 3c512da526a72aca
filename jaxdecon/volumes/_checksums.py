"""Checksums of all files of a result, as `sha256sum -c` reads them."""

import hashlib
import os
from pathlib import Path


def write_checksums(folder: Path, target: Path) -> None:
    """Write a line per file of a folder, with paths from the folder's own parent.

    Check them there with `sha256sum -c`.
    """
    files = sorted(
        Path(place) / name for place, _, names in os.walk(folder) for name in names
    )
    lines = [f"{_digest(file)}  {file.relative_to(folder.parent)}\n" for file in files]
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text("".join(lines))
    os.replace(partial, target)


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
