"""`jaxdecon register`: a pose is found, written, applied, or not believed."""

import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.__main__ import main

pytestmark = pytest.mark.usefixtures("wide_terminal")

SIZE = (0.3, 0.1, 0.1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two views of specks, one of them turned and with two channels; noise."""
    folder = tmp_path_factory.mktemp("register")
    rng = np.random.default_rng(0)
    specks = np.zeros((32, 60, 60), np.float32)
    specks[tuple(rng.integers(0, n, 300) for n in specks.shape)] = 1000
    scene = scipy.ndimage.gaussian_filter(specks, (1.5, 2.5, 2.5))
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]]
    matrix[:3, 3] = (1.5, -2.0, 6.0)
    middle = (slice(4, 28), slice(6, 54), slice(6, 54))
    fixed = scene[middle]
    shift = np.eye(4)
    shift[:3, 3] = (4, 6, 6)
    moved = np.asarray(jd.warp(scene, shift @ np.linalg.inv(matrix), fixed.shape))
    write = {"fixed": (fixed, "zyx"), "moving": (np.stack([moved, 2 * moved]), "czyx")}
    write["noise"] = (rng.normal(100, 10, fixed.shape), "zyx")
    for name, (data, axes) in write.items():
        image = jd.io.Image(data=data.astype(np.float32), axes=axes, voxel_size=SIZE)
        jd.io.write(folder / f"{name}.ome.tif", image)
    return folder, matrix, fixed


def run(*arguments):
    return main(["register", *(str(part) for part in arguments)])


def test_a_pose_is_written_and_applied(files, tmp_path, capsys):
    folder, matrix, fixed = files
    pose, out, again = (tmp_path / n for n in ("pose.txt", "a.ome.tif", "b.ome.tif"))
    pair = (folder / "fixed.ome.tif", folder / "moving.ome.tif")
    assert run(*pair, "--model", "rigid", "-o", out, "--matrix", pose) == 0
    assert "converged" in capsys.readouterr().out
    np.testing.assert_allclose(np.loadtxt(pose), matrix, atol=0.03)
    result = jd.io.read(out)
    assert result.axes == "czyx"
    np.testing.assert_allclose(result.voxel_size, SIZE)
    first, second = np.asarray(result)
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
    seen = first > 0
    assert np.corrcoef(first[seen], fixed[seen])[0, 1] > 0.98
    assert run(*pair, "--apply", pose, "-o", again) == 0
    np.testing.assert_allclose(np.asarray(jd.io.read(again))[0], first, atol=0.5)


@pytest.mark.slow
def test_options_reach_the_registration(files, tmp_path):
    """The second channel inverted, under a mask, in two stages, with a figure."""
    folder, matrix, fixed = files
    inside = np.zeros(fixed.shape, np.float32)
    inside[2:-2, 4:-4, 4:-4] = 1
    np.save(tmp_path / "mask.npy", inside)
    moved = np.asarray(jd.io.read(folder / "moving.ome.tif"))[1]
    image = jd.io.Image(data=500 - moved, axes="zyx", voxel_size=SIZE)
    jd.io.write(tmp_path / "inverted.ome.tif", image)
    pose, figure = tmp_path / "pose.mat", tmp_path / "pose.png"
    options = ["--metric", "mi", "--model", "translation,rigid", "--start", "moments"]
    options += ["--mask", tmp_path / "mask.npy", "--matrix", pose, "--figure", figure]
    pair = (folder / "fixed.ome.tif", tmp_path / "inverted.ome.tif")
    assert run(*pair, *options) == 0
    sizes = {"fixed_voxel_size": SIZE, "moving_voxel_size": SIZE}
    np.testing.assert_allclose(jd.io.read_matrix(pose, **sizes), matrix, atol=0.1)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_pose_that_is_not_believed_writes_nothing(files, tmp_path, capsys):
    folder, _, _ = files
    out, figure = tmp_path / "out.ome.tif", tmp_path / "out.png"
    pair = (folder / "fixed.ome.tif", folder / "noise.ome.tif")
    assert run(*pair, "-o", out, "--figure", figure) == 1
    assert "registration failed" in capsys.readouterr().err
    assert not out.exists()
    assert figure.exists()  # to see why


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to write"),
        (("--matrix", "p.txt", "--moving-channel", 2), "--moving-channel is 2"),
        (("--matrix", "p.txt", "--order", "quintic"), "--order"),
        (("--matrix", "p.txt", "--model", "elastic"), "model"),
        (("-o", "out.xyz"), "out.xyz"),
        (("--matrix", "p.txt", "--metric", "nmi"), "metric"),
        (("--matrix", "p.csv"), "--matrix"),
        (("--figure", "p.png", "--apply", "a.txt"), "--figure"),
        (("-o", "o.npy", "--apply", "a.txt", "--initial", "b.txt"), "not both"),
    ],
)
def test_bad_options_are_refused(
    files, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = files
    pair = (folder / "fixed.ome.tif", folder / "moving.ome.tif")
    assert run(*pair, *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
