"""`jaxdecon register`."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._console import progress_bar, say, start_jax
from ._optics import parse_voxel_size
from ._outputs import Overwrite


def register(
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="The one that stays.")],
    moving: Annotated[
        Path, typer.Argument(metavar="MOVING", help="The one to bring to it.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="translation, rigid, similarity, 9-parameter or affine; or several, "
            "ever freer, as rigid,affine."
        ),
    ] = "affine",
    metric: Annotated[
        str,
        typer.Option(
            help="ncc, local-ncc (uneven light), ssd (same brightness) or mi (another "
            "channel or modality)."
        ),
    ] = "ncc",
    start: Annotated[
        str,
        typer.Option(
            help="auto (turns up to 30 degrees, any shift), turns (right angles, too), "
            "moments, projections, centre or identity."
        ),
    ] = "auto",
    robust: Annotated[
        bool,
        typer.Option("--robust", help="What only one file shows is to count little."),
    ] = False,
    mask: Annotated[
        Path | None, typer.Option(help="Of FIXED: only where it is above 0 counts.")
    ] = None,
    moving_mask: Annotated[
        Path | None, typer.Option(help="Of MOVING, likewise.")
    ] = None,
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
            help="File for the matrix: .txt (z, y, x), .tmx (x, y, z), .tfm or .mat "
            "(ITK, ANTs) or .json (OME-Zarr)."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="PNG of before and after, and the score of every pass."),
    ] = None,
    order: Annotated[
        str, typer.Option(help="Interpolation of the output: linear or cubic.")
    ] = "linear",
    overwrite: Overwrite = False,
) -> None:
    """Bring one volume into the pose of another.

        jaxdecon register view1.tif view2.tif --model rigid -o view2_on_1.ome.tif

    The same for another file with the same pose:

        jaxdecon register view1.tif view2.tif --matrix pose.txt
        jaxdecon register view1.tif other.tif --apply pose.txt -o other_on_1.ome.tif

    A pose that is not to be believed is an error; only its figure is written.
    """
    _check_options(output, matrix, figure, apply, initial, order, overwrite)
    from .. import io

    paths = (fixed, moving)
    images = [_with_size(io.read(path), voxel_size, path) for path in paths]
    physical = matrix is not None and matrix.suffix.lower() in (".tfm", ".mat", ".json")
    if physical and None in _sizes(images).values():
        raise ValueError(f"{matrix} is about places in µm: give --voxel-size.")
    start_jax()
    if apply is not None:
        pose = _read_matrix(apply, images)
    else:
        volumes = _volumes(images, (fixed_channel, moving_channel))
        masks = [
            None if path is None else io.read(path) for path in (mask, moving_mask)
        ]
        found = _register(
            *(images, volumes, masks),
            model=tuple(model.split(",")),
            metric=metric,
            start=start,
            robust=robust,
            initial=None if initial is None else _read_matrix(initial, images),
        )
        if figure is not None:
            _draw(figure, paths, images, volumes, found, overwrite)
        found.raise_for_status()
        pose = np.asarray(found.matrix, float)
    if matrix is not None:
        io.write_matrix(matrix, pose, overwrite=overwrite, **_sizes(images))
        say(f"wrote {matrix}")
    if output is not None:
        _write(output, images, pose, order, overwrite)
        say(f"wrote {output}")


def _check_options(output, matrix, figure, apply, initial, order, overwrite) -> None:
    """Before anything is read."""
    from .. import io
    from .._core._check import check_choice
    from ..geometry import ORDERS

    check_choice("--order", order, ORDERS)
    if output is None and matrix is None and figure is None:
        raise ValueError("nothing to write: give --output, --matrix or --figure.")
    if apply is not None and initial is not None:
        raise ValueError("give --apply or --initial, not both.")
    if figure is not None:
        from .. import report

        report.check_plots()
        if apply is not None:
            raise ValueError("with --apply nothing is registered: no --figure.")
    if matrix is not None and matrix.suffix.lower() not in io.MATRIX_FORMATS:
        raise ValueError(
            f"--matrix is {matrix}; the suffix is to be one of "
            f"{', '.join(io.MATRIX_FORMATS)}."
        )
    for target in (output, matrix, figure):
        if target is not None:
            io.check_target(target, overwrite=overwrite)
    if output is not None:
        io.format_of(output, writing=True)


def _volumes(images, channels) -> list[np.ndarray]:
    names = ("--fixed-channel", "--moving-channel")
    return [
        _volume(image, channel, name)
        for image, channel, name in zip(images, channels, names, strict=True)
    ]


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


def _register(images, volumes, masks, **options) -> Any:
    from .. import registration

    sizes = [image.voxel_size for image in images]
    known = all(None not in size for size in sizes)
    if not known:
        say("voxel sizes not complete: taken as alike, and as cubes")
    mask, moving_mask = (m if m is None else _volume(m, 0, "mask") for m in masks)
    found = registration.register(
        *volumes,
        fixed_voxel_size=sizes[0] if known else None,
        moving_voxel_size=sizes[1] if known else None,
        mask=mask,
        moving_mask=moving_mask,
        **options,
    )
    if found.converged:
        say(found.message)
    return found


def _draw(path, names, images, volumes, found, overwrite: bool) -> None:
    from .. import io, report

    sizes = [None if None in i.voxel_size else i.voxel_size for i in images]
    fixed, moving = volumes
    figure = report.registration_figure(
        fixed,
        moving,
        found,
        voxel_size=sizes[0],
        moving_voxel_size=sizes[1],
        title=f"{names[1].name} on {names[0].name}",
    )
    with io.atomic_target(path, overwrite=overwrite) as partial:
        figure.savefig(partial, format="png")
    say(f"wrote {path}")


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
