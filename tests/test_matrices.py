"""Files with the matrix of a pose."""

import json
import struct

import numpy as np
import pytest
import scipy.io

from jaxdecon import io

SIZES = {"fixed_voxel_size": (0.5, 0.1, 0.2), "moving_voxel_size": (0.3, 0.3, 0.4)}
PLANES = {name: size[1:] for name, size in SIZES.items()}
MATRIX = np.eye(4)
MATRIX[:3] += np.random.default_rng(0).normal(0, 0.1, (3, 4))


@pytest.mark.parametrize("suffix", io.MATRIX_FORMATS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_written_is_read(tmp_path, suffix, ndim):
    matrix = MATRIX[3 - ndim :, 3 - ndim :]
    sizes = {name: size[-ndim:] for name, size in SIZES.items()}
    path = tmp_path / f"pose{suffix}"
    io.write_matrix(path, matrix, **sizes)
    np.testing.assert_allclose(io.read_matrix(path, **sizes), matrix, atol=1e-10)


def test_the_published_order_is_x_y_z(tmp_path):
    path = tmp_path / "pose.tmx"
    path.write_text("1 2 3 4\n5 6 7 8\n9 10 11 12\n0 0 0 1\n")
    expected = [[11, 10, 9, 12], [7, 6, 5, 8], [3, 2, 1, 4], [0, 0, 0, 1]]
    np.testing.assert_array_equal(io.read_matrix(path), expected)


def test_itk_turns_about_its_centre(tmp_path):
    """Twice as large about (x, y, z) = (1, 2, 3), then shifted by (10, 20, 30)."""
    path = tmp_path / "pose.tfm"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\n"
        "Transform: AffineTransform_double_3_3\n"
        "Parameters: 2 0 0 0 2 0 0 0 2 10 20 30\nFixedParameters: 1 2 3\n"
    )
    ones = dict.fromkeys(SIZES, (1.0, 1.0, 1.0))
    matrix = io.read_matrix(path, **ones)
    there = matrix @ [0, 0, 0, 1]  # (x, y, z): 2 (0 - c) + c + t = t - c
    np.testing.assert_allclose(there[:3], [27, 18, 9])
    finer = io.read_matrix(path, **{**ones, "moving_voxel_size": (0.5, 1.0, 1.0)})
    np.testing.assert_allclose((finer @ [0, 0, 0, 1])[:3], [54, 18, 9])


EULER = (
    "Transform: Euler3DTransform_double_3_3\n"
    "Parameters: 0.1 -0.2 0.3 0.5 -1.5 2.25\nFixedParameters: 1 2 3 0\n"
)
AFFINE = (
    "Transform: AffineTransform_double_3_3\nParameters: 1.1 0.1 0.2 -0.1 0.9 0.05 "
    "0.03 -0.02 1.2 0.5 -1.5 2.25\nFixedParameters: 1 2 3\n"
)
COMPOSITE = "Transform: CompositeTransform_double_3_3\n#Transform 1\n"
OF_SIMPLEITK = {
    "Euler": (EULER, (0.3428061756951144, 15.937309028691196, 35.155691638978695)),
    "Euler, ZYX": (
        EULER.replace("1 2 3 0", "1 2 3 1"),
        (-0.009529733196034229, 15.958926100835704, 35.128803921735184),
    ),
    "versor": (
        "Transform: VersorRigid3DTransform_double_3_3\nParameters: 0.11920159847703672"
        " 0 0.158935464636049 0.5 -1.5 2.25\nFixedParameters: 1 2 3\n",
        (5.4607367139346605, 13.574332811274076, 36.029447464549),
    ),
    "similarity": (
        "Transform: Similarity3DTransform_double_3_3\nParameters: 0.11920159847703672 "
        "0 0.158935464636049 0.5 -1.5 2.25 1.25\nFixedParameters: 1 2 3\n",
        (6.450920892418324, 16.8429160140926, 43.72430933068625),
    ),
    "translation": (
        "Transform: TranslationTransform_double_3_3\n"
        "Parameters: 0.5 -1.5 2.25\nFixedParameters: \n",
        (10.5, 18.5, 32.25),
    ),
    "affine": (AFFINE, (18.6, 17.15, 37.56)),
    "composite": (
        COMPOSITE + EULER,
        (0.3428061756951144, 15.937309028691196, 35.155691638978695),
    ),
    "composite of two": (
        COMPOSITE + EULER + "#Transform 2\n" + AFFINE,
        (8.067098129433012, 14.405550735222421, 43.943474655406085),
    ),
    "Euler, plane": (
        "Transform: Euler2DTransform_double_2_2\n"
        "Parameters: 0.3 0.5 -1.5\nFixedParameters: 1 2\n",
        (4.778664682226341, 20.355738664212964),
    ),
    "similarity, plane": (
        "Transform: Similarity2DTransform_double_2_2\n"
        "Parameters: 1.25 0.3 0.5 -1.5\nFixedParameters: 1 2\n",
        (5.598330852782927, 25.319673330266205),
    ),
}
"""Files of SimpleITK 2.5, and where it says that (x, y, z) = (10, 20, 30) goes."""


def itk(text):
    return f"#Insight Transform File V1.0\n#Transform 0\n{text}"


def place(matrix, point, fixed_voxel_size, moving_voxel_size):
    """Where a matrix between voxels moves a place (x, y, z)."""
    voxel = np.array(point)[::-1] / fixed_voxel_size
    there = matrix[:-1, :-1] @ voxel + matrix[:-1, -1]
    return (there * moving_voxel_size)[::-1]


@pytest.mark.parametrize("name", OF_SIMPLEITK)
def test_simpleitk_moves_points_likewise(tmp_path, name):
    text, there = OF_SIMPLEITK[name]
    path = tmp_path / "pose.tfm"
    path.write_text(itk(text))
    sizes = SIZES if len(there) == 3 else PLANES
    found = place(io.read_matrix(path, **sizes), (10, 20, 30)[: len(there)], **sizes)
    np.testing.assert_allclose(found, there, rtol=1e-12)


OF_ANTS = (  # in single precision
    "0a0000000c00000001000000000000001a000000416666696e655472616e73666f726d5f666c6f6174"
    "5f335f33001fe27f3f5d2314bc76fdeb3cef458b3b3d9b7c3fbd1f263ec3e0f4bc40ec25be46807c3f"
    "82ddcbbf9aaf883e2027163f0a00000003000000010000000000000006000000666978656400ba8eb8"
    "4053b6ad40a6709540"
)
OF_SIMPLEITK_MAT = (
    "000000000300000001000000000000001c00000045756c657232445472616e73666f726d5f646f7562"
    "6c655f325f3200333333333333d33f000000000000e03f000000000000f8bf00000000020000000100"
    "00000000000006000000666978656400000000000000f03f0000000000000040"
)


@pytest.mark.parametrize(
    ("content", "there"),
    [
        (OF_ANTS, (9.003313783250476, 24.201088037729797, 27.75273209895049)),
        (OF_SIMPLEITK_MAT, OF_SIMPLEITK["Euler, plane"][1]),
    ],
)
def test_matlab_files_of_ants_and_simpleitk(tmp_path, content, there):
    path = tmp_path / "pose0GenericAffine.mat"
    path.write_bytes(bytes.fromhex(content))
    sizes = SIZES if len(there) == 3 else PLANES
    found = place(io.read_matrix(path, **sizes), (10, 20, 30)[: len(there)], **sizes)
    np.testing.assert_allclose(found, there, rtol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_scipy_reads_what_we_write_and_we_what_it_writes(tmp_path, ndim):
    ones = dict.fromkeys(SIZES, (1.0,) * ndim)
    matrix = MATRIX[3 - ndim :, 3 - ndim :]
    io.write_matrix(tmp_path / "ours.mat", matrix, **ones)
    found = scipy.io.loadmat(tmp_path / "ours.mat")
    numbers = found[f"AffineTransform_double_{ndim}_{ndim}"]
    assert numbers.shape == (ndim * (ndim + 1), 1)
    expected = matrix[-2::-1, -2::-1].ravel()
    np.testing.assert_array_equal(numbers[: ndim**2, 0], expected)
    np.testing.assert_array_equal(numbers[ndim**2 :, 0], matrix[-2::-1, -1])
    np.testing.assert_array_equal(found["fixed"], np.zeros((ndim, 1)))
    kind = f"MatrixOffsetTransformBase_double_{ndim}_{ndim}"
    variables = {kind: numbers, "fixed": np.zeros((ndim, 1))}
    scipy.io.savemat(tmp_path / "theirs.mat", variables, format="4")
    np.testing.assert_allclose(io.read_matrix(tmp_path / "theirs.mat", **ones), matrix)


def test_the_other_byte_order(tmp_path):
    head = (
        struct.pack(">5i", 1000, 2, 1, 0, 33) + b"TranslationTransform_double_2_2\0\0"
    )
    path = tmp_path / "pose.mat"
    path.write_bytes(head + struct.pack(">2d", 3, 4))
    ones = dict.fromkeys(SIZES, (1.0, 1.0))
    np.testing.assert_array_equal(io.read_matrix(path, **ones)[:2, 2], [4, 3])


@pytest.mark.parametrize("damage", ["cut", "level 5", "text"])
def test_damaged_matlab_files_are_refused(tmp_path, damage):
    path = tmp_path / "pose.mat"
    io.write_matrix(path, MATRIX, **SIZES)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif damage == "text":
        path.write_text("1 0 0 0\n" * 4)
    else:
        scipy.io.savemat(path, {"AffineTransform_double_3_3": np.ones((12, 1))})
    with pytest.raises(ValueError, match="damaged"):
        io.read_matrix(path, **SIZES)


def test_a_matlab_file_without_the_parts_kinds_is_refused(tmp_path):
    """SimpleITK writes the numbers of a composite's part, and not what they are."""
    path = tmp_path / "pose.mat"
    name = b"CompositeTransform_double_3_3\0"
    path.write_bytes(struct.pack("<5i", 0, 0, 0, 0, len(name)) + name)
    with pytest.raises(ValueError, match="holds CompositeTransform"):
        io.read_matrix(path, **SIZES)


ROWS = [[1.0, 0.1, 0.2, 5.0], [-0.1, 0.9, 0.0, 6.0], [0.05, 0.0, 1.1, 7.0]]
HOMOGENEOUS = np.array([*ROWS, [0, 0, 0, 1]])
ONES = dict.fromkeys(SIZES, (1.0, 1.0, 1.0))
TURN = [[0, -1], [1, 0]]


def transformation(kind, **values):
    return {"type": kind, **values}


def read_json(tmp_path, content, name="pose.json", **sizes):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return io.read_matrix(path, **(sizes or ONES))


def test_ome_json_is_an_affine_between_named_systems(tmp_path):
    path = tmp_path / "pose.json"
    io.write_matrix(path, HOMOGENEOUS, fixed_voxel_size=0.5, moving_voxel_size=0.25)
    content = json.loads(path.read_text())
    (entry,) = content["coordinateTransformations"]
    assert [s["name"] for s in content["coordinateSystems"]] == ["fixed", "moving"]
    assert (entry["input"]["name"], entry["output"]["name"]) == ("fixed", "moving")
    expected = [[*(0.5 * np.array(row[:3])), 0.25 * row[3]] for row in ROWS]
    np.testing.assert_allclose(entry["affine"], expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda entry: entry,
        lambda entry: [entry],
        lambda entry: {"coordinateTransformations": [entry]},
        lambda entry: {"ome": {"coordinateTransformations": [entry]}},
        lambda entry: {
            "zarr_format": 3,
            "attributes": {"ome": {"scene": {"coordinateTransformations": [entry]}}},
        },
    ],
)
@pytest.mark.parametrize("name", ["pose.json", "zarr.json", ".zattrs"])
def test_ome_json_in_all_its_wrappings(tmp_path, wrap, name):
    entry = transformation("affine", affine=ROWS, input="fixed", output="moving")
    found = read_json(tmp_path, wrap(entry), name)
    np.testing.assert_allclose(found, HOMOGENEOUS)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (transformation("identity"), np.eye(3)),
        (transformation("scale", scale=[2, 3]), np.diag([2, 3, 1])),
        (
            transformation("translation", translation=[2, 3]),
            [[1, 0, 2], [0, 1, 3], [0, 0, 1]],
        ),
        (
            transformation("rotation", rotation=TURN),
            [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        ),
        (
            transformation("affine", affine=[[1, 2, 3], [4, 5, 6], [0, 0, 1]]),
            [[1, 2, 3], [4, 5, 6], [0, 0, 1]],
        ),
        (
            transformation(
                "sequence",
                transformations=[
                    transformation("identity"),
                    transformation("translation", translation=[0.1, 0.9]),
                    transformation("scale", scale=[2, 3]),
                ],
            ),
            [[2, 0, 0.2], [0, 3, 2.7], [0, 0, 1]],
        ),
        (
            [
                transformation("scale", scale=[2, 3]),
                transformation("translation", translation=[1, 4]),
            ],
            [[2, 0, 1], [0, 3, 4], [0, 0, 1]],
        ),
    ],
)
def test_ome_transformations(tmp_path, entry, expected):
    ones = dict.fromkeys(SIZES, (1.0, 1.0))
    np.testing.assert_allclose(read_json(tmp_path, entry, **ones), expected)


def in_systems(entry, fixed, moving):
    """A transformation between axes, given as (name, type, unit)."""
    names = ("name", "type", "unit")
    systems = [
        {"name": name, "axes": [dict(zip(names, axis, strict=False)) for axis in axes]}
        for name, axes in (("a", fixed), ("b", moving))
    ]
    entry = {**entry, "input": {"name": "a"}, "output": {"name": "b", "path": "b"}}
    return {"coordinateSystems": systems, "coordinateTransformations": [entry]}


def test_units_become_micrometres_and_axes_get_their_order(tmp_path):
    nanometres = [(name, "space", "nanometer") for name in "zyx"]
    backwards = [(name, "space", "micrometer") for name in "xyz"]
    rows = np.array(ROWS)[::-1]
    entry = transformation("affine", affine=rows.tolist())
    found = read_json(tmp_path, in_systems(entry, nanometres, backwards))
    expected = HOMOGENEOUS @ np.diag([1e3, 1e3, 1e3, 1])
    np.testing.assert_allclose(found, expected)


def test_from_moving_to_fixed_is_turned_round(tmp_path):
    entry = transformation("affine", affine=ROWS, input="moving", output="fixed")
    found = read_json(tmp_path, entry)
    np.testing.assert_allclose(found @ HOMOGENEOUS, np.eye(4), atol=1e-12)


def test_channels_and_times_must_be_left_alone(tmp_path):
    rows = np.eye(5, 6)
    rows[2:, 2:] = ROWS
    entry = transformation("affine", affine=rows.tolist())
    np.testing.assert_allclose(read_json(tmp_path, entry), HOMOGENEOUS)
    axes = [("t", "time"), ("c", "channel"), *((n, "space") for n in "zyx")]
    found = read_json(tmp_path, in_systems(entry, axes, axes))
    np.testing.assert_allclose(found, HOMOGENEOUS)
    for place_, value in {(0, 5): 2.0, (1, 1): 3.0, (3, 1): 0.5}.items():
        changed = rows.copy()
        changed[place_] = value
        with pytest.raises(ValueError, match="not of space"):
            read_json(tmp_path, transformation("affine", affine=changed.tolist()))


def test_planes_of_a_volume(tmp_path):
    """Voxel sizes of two axes: the first of three is a channel."""
    entry = transformation("affine", affine=[[1, 0, 0, 0], [0, 1, 2, 3], [0, 4, 6, 5]])
    ones = dict.fromkeys(SIZES, (1.0, 1.0))
    found = read_json(tmp_path, entry, **ones)
    np.testing.assert_allclose(found, [[1, 2, 3], [4, 6, 5], [0, 0, 1]])


ARRAY = [(f"dim_{i}", "array") for i in range(3)]
PARSECS = [(name, "space", "parsec") for name in "zyx"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"multiscales": []}, "no coordinate transformation"),
        ([], "no coordinate transformation"),
        (3, "no valid"),
        (transformation("displacements", path="field"), "'displacements'"),
        (transformation("affine", path="matrix"), "in the file"),
        (transformation("affine", affine=[[1, 2], [3]]), "is needed"),
        (transformation("rotation", rotation=[[1, 0, 0]]), "is needed"),
        (transformation("scale", scale=["a", "b", "c"]), "is needed"),
        (transformation("scale", scale=[1, 2]), "3 are needed"),
        (transformation("sequence"), "no valid"),
        ([transformation("identity", input="a", output="b")] * 2, "2 transformations"),
        (in_systems(transformation("identity"), ARRAY, ARRAY), "0 axes of space"),
        (in_systems(transformation("identity"), PARSECS, PARSECS), "parsec"),
    ],
)
def test_other_json_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path, content)


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "pose.json").write_text("1 0 0")
    with pytest.raises(ValueError, match="no JSON"):
        io.read_matrix(tmp_path / "pose.json", **ONES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n3 4\n", r"\(4, 4\) are needed"),
        ("a pose\n", "no matrix of numbers"),
        ("#Insight Transform File V1.0\nTransform: BSplineTransform\n", "BSpline"),
        (
            "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
            "Parameters: 1 2 3\n",
            "3 parameters",
        ),
        (itk("Transform: TranslationTransform\nParameters: a b\n"), "no numbers"),
        (itk(AFFINE + AFFINE), "one linear transform"),
        (itk(""), "no transform"),
    ],
)
def test_files_with_something_else_are_refused(tmp_path, text, message):
    path = tmp_path / "pose.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        io.read_matrix(path, **SIZES)


def test_physical_places_need_voxel_sizes(tmp_path):
    with pytest.raises(ValueError, match="voxel sizes"):
        io.write_matrix(tmp_path / "pose.tfm", MATRIX)
    with pytest.raises(ValueError, match="3 numbers each"):
        io.write_matrix(tmp_path / "pose.mat", MATRIX, **PLANES)
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        io.write_matrix(tmp_path / "pose.mat", MATRIX[:3], **SIZES)
    with pytest.raises(ValueError, match="suffix"):
        io.write_matrix(tmp_path / "pose.csv", MATRIX)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept(tmp_path):
    path = tmp_path / "pose.txt"
    io.write_matrix(path, MATRIX)
    with pytest.raises(FileExistsError):
        io.write_matrix(path, 2 * MATRIX)
    np.testing.assert_allclose(io.read_matrix(path), MATRIX, atol=1e-10)
