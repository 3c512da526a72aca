"""Linear transforms in the files of ITK and ANTs: text (.tfm), MATLAB level 4 (.mat).

They map physical places (x, y, z) of the fixed to places of the moving image. Where an
image lies in that space its own file says: here the first voxel is at zero and the axes
are straight, as for arrays and TIFF. An image with an origin or with directions (NIfTI
and DICOM, in ITK's space from right to left, front to back, foot to head) needs them
multiplied to the matrix.
"""

import functools
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEADER = "#Insight Transform File V1.0"
PRECISIONS = ("f8", "f4", "i4", "i2", "u2", "u1")
"""Of MATLAB level 4, by the tens of a variable's type."""

Record = tuple[str, np.ndarray, np.ndarray]
"""Kind, parameters and fixed parameters of a transform."""


def read_itk(path: Path) -> np.ndarray:
    """The matrix on (z, y, x, 1) between physical places; of a composite, the product.

    Raises:
        ValueError: a damaged file, a transform that is not linear, or several.
    """
    is_mat = path.suffix.lower() == ".mat"
    records = _mat_records(path) if is_mat else _text_records(path)
    kinds = [record[0] for record in records]
    is_composite = bool(kinds) and kinds[0].startswith("CompositeTransform")
    parts = records[is_composite:]
    if not parts or (len(parts) > 1 and not is_composite):
        raise ValueError(
            f"{path} holds {', '.join(kinds) or 'no transform'}; one linear transform "
            f"is needed."
        )
    # What is last in the queue of a composite is applied first.
    return reversed_axes(
        functools.reduce(np.matmul, (_matrix(path, *p) for p in parts))
    )


def as_itk(physical: np.ndarray, suffix: str) -> bytes:
    """A file, `.tfm` or `.mat`, of a matrix on (z, y, x, 1) between physical places."""
    matrix = reversed_axes(physical)
    d = len(matrix) - 1
    kind = f"AffineTransform_double_{d}_{d}"
    numbers = np.concatenate([matrix[:d, :d].ravel(), matrix[:d, d]])
    if suffix == ".mat":
        return _mat_variable(kind, numbers) + _mat_variable("fixed", np.zeros(d))
    lines = [
        HEADER,
        "#Transform 0",
        f"Transform: {kind}",
        "Parameters: " + " ".join(f"{v:.17g}" for v in numbers),
        "FixedParameters: " + " ".join(["0"] * d),
        "",
    ]
    return "\n".join(lines).encode()


def reversed_axes(matrix: np.ndarray) -> np.ndarray:
    """The same map on (x, y, z, 1) instead of (z, y, x, 1), or back."""
    order = [*range(len(matrix) - 2, -1, -1), len(matrix) - 1]
    return matrix[np.ix_(order, order)]


def _text_records(path: Path) -> list[Record]:
    fields: list[dict[str, str]] = []
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key == "Transform":
            fields.append({})
        if fields and not line.startswith("#"):
            fields[-1][key] = value.strip()
    try:
        return [
            (
                f["Transform"],
                np.array(f.get("Parameters", "").split(), float),
                np.array(f.get("FixedParameters", "").split(), float),
            )
            for f in fields
        ]
    except ValueError as error:
        raise ValueError(
            f"{path} has parameters that are no numbers: {error}"
        ) from None


def _mat_records(path: Path) -> list[Record]:
    data, at = path.read_bytes(), 0
    records: list[Record] = []
    while at < len(data):
        try:
            name, values, at = _next_variable(data, at)
        except (ValueError, IndexError, struct.error):
            raise ValueError(
                f"{path} is damaged, or no file of MATLAB level 4, which ITK and ANTs "
                f"write."
            ) from None
        if name == "fixed" and records:
            records[-1] = (*records[-1][:2], values)
        else:
            records.append((name, values, np.zeros(0)))
    return records


def _next_variable(data: bytes, at: int) -> tuple[str, np.ndarray, int]:
    """Name and numbers of the variable at an offset, and the offset of the next."""
    # Thousands tell the byte order, tens the precision.
    order = "<" if struct.unpack_from("<I", data, at)[0] < 1000 else ">"
    kind, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", data, at)
    if kind % 10 or imaginary or min(rows, columns, length) < 0:
        raise ValueError
    dtype = np.dtype(order + PRECISIONS[kind // 10 % 10])
    start = at + 20 + length
    name = data[at + 20 : start].rstrip(b"\0").decode("ascii")
    values = np.frombuffer(data, dtype, rows * columns, start).astype(float)
    return name, values, start + dtype.itemsize * values.size


def _mat_variable(name: str, values: np.ndarray) -> bytes:
    label = name.encode() + b"\0"
    head = struct.pack("<5i", 0, len(values), 1, 0, len(label))
    return head + label + values.astype("<f8").tobytes()


def _matrix(
    path: Path, kind: str, numbers: np.ndarray, fixed: np.ndarray
) -> np.ndarray:
    """The matrix on (x, y, z, 1) of a transform about a centre."""
    name = kind.split("_")[0]
    if name not in _KINDS:
        raise ValueError(f"{path} holds {kind}; known are {', '.join(_KINDS)}.")
    dimensions, parts = _KINDS[name]
    if numbers.size not in dimensions:
        needed = " or ".join(str(n) for n in dimensions)
        raise ValueError(
            f"{path} has {numbers.size} parameters; {kind} needs {needed}."
        )
    d = dimensions[numbers.size]
    linear, shift = parts(numbers, fixed)
    centre = fixed[:d] if fixed.size else np.zeros(d)
    matrix = np.eye(d + 1)
    matrix[:d, :d] = linear
    matrix[:d, d] = shift + centre - linear @ centre
    return matrix


def _affine(p: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = 2 if p.size == 6 else 3
    return p[: d * d].reshape(d, d), p[d * d :]


def _euler(p: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = (_turn(axis, p[axis]) for axis in range(3))
    is_zyx = fixed.size > 3 and fixed[3]
    return (z @ y @ x if is_zyx else z @ x @ y), p[3:]


def _turn(axis: int, angle: float) -> np.ndarray:
    """The right-handed rotation about x, y or z."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[i, j], [i, j]] = np.cos(angle)
    matrix[[i, j], [j, i]] = -np.sin(angle), np.sin(angle)
    return matrix


def _plane_turn(angle: float) -> np.ndarray:
    return _turn(2, angle)[:2, :2]


def _versor(v: np.ndarray) -> np.ndarray:
    """The rotation by a unit quaternion's vector part; its scalar part is positive."""
    w = np.sqrt(max(0.0, 1 - v @ v))
    cross = np.cross(np.eye(3), v)
    return (w**2 - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * cross


_Parts = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
_KINDS: dict[str, tuple[dict[int, int], _Parts]] = {
    "AffineTransform": ({6: 2, 12: 3}, _affine),
    "MatrixOffsetTransformBase": ({6: 2, 12: 3}, _affine),
    "TranslationTransform": ({2: 2, 3: 3}, lambda p, _: (np.eye(p.size), p)),
    "Euler2DTransform": ({3: 2}, lambda p, _: (_plane_turn(p[0]), p[1:])),
    "Similarity2DTransform": ({4: 2}, lambda p, _: (p[0] * _plane_turn(p[1]), p[2:])),
    "Euler3DTransform": ({6: 3}, _euler),
    "VersorRigid3DTransform": ({6: 3}, lambda p, _: (_versor(p[:3]), p[3:])),
    "Similarity3DTransform": ({7: 3}, lambda p, _: (p[6] * _versor(p[:3]), p[3:6])),
}
"""Dimensions by the number of parameters, and linear part and shift from them."""
