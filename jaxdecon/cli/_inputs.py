"""What the arguments of a command line mean: files, outputs, numbers."""

import glob
import re
from pathlib import Path
from typing import Any

from ._console import say

FIELD = re.compile(r"((^|[._-]+)[a-zA-Z]?)?\{[tcz]\}")
"""A field of a pattern that stands for one image, with a lone letter before it."""


def expand(inputs: list[str]) -> list[Path]:
    """Files of the inputs; `*` and `?` are expanded, in natural order.

    A folder, "planes/z{z}.tif" and "file.h5:/path" are one input each, as they are for
    `io.read`.
    """
    files: list[Path] = []
    for entry in inputs:
        if is_there(entry):
            files.append(Path(entry))
            continue
        found = sorted(glob.glob(entry, recursive=True), key=_natural)
        if not found:
            raise FileNotFoundError(f"no file {entry}.")
        files.extend(Path(f) for f in found)
    return files


def _natural(name: str) -> list[Any]:
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]


def is_there(entry: str) -> bool:
    """Whether an input can be opened as it is; of a pattern `io.read` says that."""
    return bool(FIELD.search(entry)) or split_inside(entry)[0].exists()


def split_inside(path: str | Path) -> tuple[Path, str]:
    """A file, and what a colon behind it names inside: "a.h5:/path"."""
    from ..io import READ_ONLY

    text = str(path)
    if Path(text).exists():
        return Path(text), ""
    for suffix in READ_ONLY:
        end = text.lower().rfind(f"{suffix}:") + len(suffix)
        if end > len(suffix):
            return Path(text[:end]), text[end + 1 :]
    return Path(text), ""


def plan_outputs(
    files, output, suffix, *, series: bool, what: str = "deconvolved"
) -> list[Path]:
    """An output for every input, or one for a series; `what` goes into their names."""
    from ..io import FORMATS, format_of

    sources = files[:1] if series else files
    for file in sources:
        if not (file.is_dir() or FIELD.search(str(file))):
            format_of(file)
    if suffix not in FORMATS:
        raise ValueError(f"--suffix is {suffix!r}; known: {', '.join(FORMATS)}.")
    if output is not None and (_is_image(output) or not Path(output).is_dir()):
        if len(sources) > 1:
            raise ValueError(
                f"--output {output} is one file for {len(sources)} inputs; give a "
                f"folder that exists, or --series."
            )
        return [Path(output)]
    targets = [
        (folder if output is None else Path(output)) / f"{stem}_{what}{suffix}"
        for folder, stem in map(_place, sources)
    ]
    return _distinct(sources, targets)


def _distinct(sources: list[Path], targets: list[Path]) -> list[Path]:
    """The targets, if no two inputs would be written to the same one."""
    owner: dict[Path, Path] = {}
    for source, target in zip(sources, targets, strict=True):
        if target in owner:
            raise ValueError(
                f"{owner[target]} and {source} would both be written to {target}; "
                f"deconvolve them one at a time."
            )
        owner[target] = source
    return targets


def _is_image(path: str) -> bool:
    from ..io import FORMATS

    return path.lower().rstrip("/").endswith(tuple(FORMATS))


def _place(source: Path) -> tuple[Path, str]:
    """Folder and name of an input, of which those of its output are made.

    "a.h5:/t0/raw" is called a_t0_raw, and a pattern by what is left of it without its
    fields: img_z{z}.tif is img, planes/z{z}.tif is planes, and lies beside the folder.
    """
    file, inside = split_inside(source)
    stem = FIELD.sub("", _without_suffix(file.name))
    if not stem:
        file, stem = file.absolute().parent, file.absolute().parent.name
    return file.parent, "_".join([stem, *filter(None, inside.split("/"))])


def _without_suffix(name: str) -> str:
    from ..io import FORMATS, READ_ONLY

    for suffix in sorted(FORMATS | READ_ONLY, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def with_voxel_size(image, given, name):
    """The image with the voxel size that the user gave, saying what it replaces."""
    if given is None:
        return image
    if len(given) != len(image.spatial_axes):
        raise ValueError(
            f"--voxel-size has {len(given)} numbers; {name} has axes "
            f"{image.spatial_axes!r}."
        )
    pairs = list(zip(image.voxel_size, given, strict=True))
    if any(old is not None and abs(new / old - 1) > 0.01 for old, new in pairs):
        known = ", ".join("?" if s is None else f"{s:.4g}" for s in image.voxel_size)
        say(f"{name}: voxel size ({known}) µm in the file, {given} used")
    notes = tuple(note for note in image.notes if "no voxel size" not in note)
    return image.replace(voxel_size=given, notes=notes)


def parse_resolution(text: str) -> Any:
    """A name, or numbers separated by commas."""
    if text.startswith("fwhm"):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--resolution is {text!r}; fwhm, fwhm/sqrt2 or voxels as z,y,x are needed."
        ) from None


def parse_background(text: str) -> float | None:
    """A number, or None for "auto"."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--background is {text!r}; a number or auto.") from None
