"""`jaxdecon register`."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._console import progress_bar, say, start_jax
from ._optics import parse_voxel_size


def register(
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="The one that stays.")],
    moving: Annotated[
        Path, typer.Argument(metavar="MOVING", help="The one to bring to it.")
    ],
    model: Annotated[
        str,
        typer.Option(help="translation, rigid, similarity, 9-parameter or affine."),
    ] = "affine",
    start: Annotated[
        str,
        typer.Option(
            help="auto (turns up to 30 degrees, any shift), turns (right angles, too), "
            "centre or identity."
        ),
    ] = "auto",
    initial: Annotated[
        Path | None, typer.Option(help="Matrix to start from, as --matrix writes it.")
    ] = None,
    apply: Annotated[
        Path | None, typer.Option(help="Use this matrix, and register nothing.")
    ] = None,
    fixed_channel: Annotated[int, typer.Option(help="Channel to register.")] = 0,
    moving_channel: Annotated[int, typer.Option(help="Channel to register.")] = 0,
    voxel_size: Annotated[
        str | None,
        typer.Option(help="µm of both, as z,y,x, where the files do not say."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="MOVING on the grid of FIXED, all channels and time points: "
            ".ome.zarr, .ome.tif, .tif or .npy.",
        ),
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            help="File for the matrix: .txt (z, y, x), .tmx (x, y, z) or .tfm (ITK)."
        ),
    ] = None,
    order: Annotated[
        str, typer.Option(help="Interpolation of the output: linear or cubic.")
    ] = "linear",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
) -> None:
    """Bring one volume into the pose of another.

        jaxdecon register view1.tif view2.tif --model rigid -o view2_on_1.ome.tif

    The same for another file with the same pose:

        jaxdecon register view1.tif view2.tif --matrix pose.txt
        jaxdecon register view1.tif other.tif --apply pose.txt -o other_on_1.ome.tif

    A pose that is not to be believed is an error, and nothing is written.
    """
    from .. import io
    from .._core._check import check_choice
    from ..geometry import ORDERS

    check_choice("--order", order, ORDERS)
    if output is None and matrix is None:
        raise ValueError("nothing to write: give --output, --matrix or both.")
    if apply is not None and initial is not None:
        raise ValueError("give --apply or --initial, not both.")
    for target in (output, matrix):
        if target is not None:
            io.check_target(target, overwrite=overwrite)
    if output is not None:
        io.format_of(output)
    images = [_with_size(io.read(path), voxel_size, path) for path in (fixed, moving)]
    start_jax()
    if apply is not None:
        pose = _read_matrix(apply, images)
    else:
        volumes = [
            _volume(image, channel, option)
            for image, channel, option in zip(
                images,
                (fixed_channel, moving_channel),
                ("--fixed-channel", "--moving-channel"),
                strict=True,
            )
        ]
        pose = _register(images, volumes, model, start, initial)
    if matrix is not None:
        io.write_matrix(matrix, pose, overwrite=overwrite, **_sizes(images))
        say(f"wrote {matrix}")
    if output is not None:
        _write(output, images, pose, order, overwrite)
        say(f"wrote {output}")


def _with_size(image: Any, given: str | None, path: Path) -> Any:
    size = parse_voxel_size(given)
    if size is not None:
        if len(size) != len(image.spatial_axes):
            raise ValueError(
                f"--voxel-size is {given}; {path} has axes {image.spatial_axes!r}."
            )
        return image.replace(voxel_size=size)
    for note in image.notes:
        say(f"{path.name}: {note}")
    return image


def _volume(image: Any, channel: int, option: str) -> np.ndarray:
    """The first time point of a channel."""
    channels = image.sizes.get("c", 1)
    if not 0 <= channel < channels:
        raise ValueError(f"{option} is {channel}; there are {channels} channels.")
    leading = image.axes[: -len(image.spatial_axes)]
    return image.volume(tuple(channel if axis == "c" else 0 for axis in leading))


def _register(images, volumes, model, start, initial) -> np.ndarray:
    from .. import registration

    sizes = [image.voxel_size for image in images]
    known = all(None not in size for size in sizes)
    if not known:
        say("voxel sizes not complete: taken as alike, and as cubes")
    found = registration.register(
        *volumes,
        model=model,
        start=start,
        initial=None if initial is None else _read_matrix(initial, images),
        fixed_voxel_size=sizes[0] if known else None,
        moving_voxel_size=sizes[1] if known else None,
    )
    found.raise_for_status()
    say(found.message)
    return np.asarray(found.matrix, float)


def _read_matrix(path: Path, images) -> np.ndarray:
    from .. import io
    from ..geometry import check_matrix

    return check_matrix(str(path), io.read_matrix(path, **_sizes(images)))


def _sizes(images) -> dict[str, Any]:
    """Voxel sizes of both files, where they are known."""
    names = ("fixed_voxel_size", "moving_voxel_size")
    return {
        name: None if None in image.voxel_size else image.voxel_size
        for name, image in zip(names, images, strict=True)
    }


def _write(output, images, pose, order, overwrite) -> None:
    from .. import io

    fixed, moving = images
    shape = fixed.volume_shape
    if len(pose) != len(shape) + 1:
        raise ValueError(
            f"the matrix is {len(pose)} x {len(pose)}; a volume of {len(shape)} axes "
            f"needs {len(shape) + 1}."
        )
    leading = moving.shape[: -len(moving.spatial_axes)]
    with progress_bar() as bar:
        task = bar.add_task("warping", total=max(int(np.prod(leading)), 1), speed="")
        data = _Warped(moving, pose, shape, order, lambda: bar.advance(task))
        result = moving.replace(data=data, voxel_size=fixed.voxel_size)
        io.write(output, result, overwrite=overwrite)


class _Warped:
    """The volumes of an image in another pose; computed when one is sliced."""

    def __init__(self, image, matrix, shape, order, advance):
        self._image, self._matrix, self._order = image, matrix, order
        self._advance = advance
        leading = image.shape[: -len(image.spatial_axes)]
        self.shape, self.dtype = (*leading, *shape), np.dtype(np.float32)
        self._shape = shape

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        from ..geometry import warp

        volume = self._image.volume(tuple(int(i) for i in index))
        result = warp(volume, self._matrix, self._shape, order=self._order)
        self._advance()
        return np.asarray(result, np.float32)
