"""Files with the matrix of a pose."""

import numpy as np
import pytest

from jaxdecon import io

SIZES = {"fixed_voxel_size": (0.5, 0.1, 0.2), "moving_voxel_size": (0.3, 0.3, 0.4)}
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
    with pytest.raises(ValueError, match="suffix"):
        io.write_matrix(tmp_path / "pose.mat", MATRIX)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept(tmp_path):
    path = tmp_path / "pose.txt"
    io.write_matrix(path, MATRIX)
    with pytest.raises(FileExistsError):
        io.write_matrix(path, 2 * MATRIX)
    np.testing.assert_allclose(io.read_matrix(path), MATRIX, atol=1e-10)
