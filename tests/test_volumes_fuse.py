"""Fusion in blocks: as in one piece, from what each block needs of every view."""

import json

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.volumes._coarse import coarse_copy, to_coarse, to_full
from jaxdecon.volumes._fuse_blocks import MARGIN, box_of
from jaxdecon.volumes._source import Source

from . import _dual_view
from ._volumes import digest

OPTIONS = {"iterations": 2, "background": _dual_view.BACKGROUND, "block": (40, 24, 44)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Views on disk, and all that is known of them."""
    folder = tmp_path_factory.mktemp("views")
    truth, views, psfs, matrix = _dual_view.make()
    paths = []
    for name, view in zip("ab", views, strict=True):
        paths.append(folder / f"{name}.ome.zarr")
        data = np.maximum(np.rint(view), 0).astype(np.uint16)
        size = (0.2,) * 3
        jd.io.write(paths[-1], jd.io.Image(data=data, axes="zyx", voxel_size=size))
    return truth, paths, psfs, [np.eye(4), matrix]


@pytest.fixture(scope="module")
def whole(pair):
    """Views fused in one piece."""
    _, paths, psfs, matrices = pair
    return jd.fuse(
        [np.asarray(jd.io.read(path)) for path in paths],
        psfs,
        matrices=matrices,
        iterations=2,
        background=_dual_view.BACKGROUND,
    )


@pytest.fixture(scope="module")
def fused(pair):
    """Views fused in two blocks, and the run."""
    _, paths, psfs, matrices = pair
    target = paths[0].parent / "fused.ome.zarr"
    run = jd.volumes.fuse(paths, target, psfs, matrices=matrices, **OPTIONS)
    return target, run


def test_equals_the_whole(fused, whole, pair):
    target, run = fused
    found, expected = np.asarray(jd.io.read(target)), np.asarray(whole.image)
    assert run.blocks == 2
    light = found.sum() / expected.sum()
    assert light == pytest.approx(1, rel=0.01)
    assert abs(found / light - expected).max() < 2e-3 * expected.max()
    assert _dual_view.ncc(found, pair[0]) > 0.9


def test_poses_are_kept_beside_the_result_and_in_it(fused, pair):
    target, _ = fused
    poses = json.loads((target.parent / "fused.ome.zarr.poses.json").read_text())
    np.testing.assert_allclose(poses["matrices"], pair[3])
    assert poses["grid"] == np.eye(4).tolist()
    image = jd.io.read(target)
    assert image.metadata["fusion"] == poses
    assert image.voxel_size == (0.2, 0.2, 0.2)


def test_a_stopped_fusion_goes_on_and_ends_the_same(pair, fused, tmp_path):
    _, paths, psfs, matrices = pair
    target = tmp_path / "fused.ome.zarr"

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jd.volumes.fuse(
            paths, target, psfs, matrices=matrices, progress=stop, **OPTIONS
        )
    changed = OPTIONS | {"iterations": 3}
    with pytest.raises(jd.volumes.RunRefused, match="iterations"):
        jd.volumes.fuse(paths, target, psfs, matrices=matrices, **changed)
    jd.volumes.fuse(paths, target, psfs, matrices=matrices, **OPTIONS)
    assert digest(target) == digest(fused[0])


@pytest.mark.parametrize("method", ["average", "blending", "maximum", "content"])
def test_blends_equal_the_whole(pair, tmp_path, method):
    _, paths, _, matrices = pair
    options = {"matrices": matrices, "background": 100.0, "method": method}
    exposures = [1.0, 1.3]
    jd.volumes.fuse(
        paths,
        tmp_path / "x.ome.zarr",
        None,
        exposures=exposures,
        region="union",
        block=(16, 60, 60),
        **options,
    )
    expected = jd.fuse(
        [np.asarray(jd.io.read(path)) for path in paths],
        None,
        exposures=exposures,
        region="union",
        **options,
    )
    found = np.asarray(jd.io.read(tmp_path / "x.ome.zarr"))
    scale = float(abs(expected.image).max())
    np.testing.assert_allclose(found, expected.image, atol=2e-3 * scale)


def test_views_that_see_a_part_only(pair, tmp_path):
    """Blocks of the union that one view does not reach have the other's light."""
    _, paths, psfs, _ = pair
    apart = np.eye(4)
    apart[1, 3] = -30.0
    target = tmp_path / "union.ome.zarr"
    jd.volumes.fuse(
        paths,
        target,
        psfs,
        matrices=[np.eye(4), apart],
        exposures=[1, 1],
        region="union",
        iterations=1,
        halo=(4, 4, 4),
        background=100.0,
        block=(40, 20, 44),
    )
    found = np.asarray(jd.io.read(target))
    assert found.shape == (40, 78, 44)
    assert np.isfinite(found).all()
    thirds = [
        found[:, part].sum() for part in (slice(26), slice(26, 52), slice(52, 78))
    ]
    assert min(thirds) > 0.1 * sum(thirds)


@pytest.mark.slow
def test_registers_by_itself(pair, tmp_path):
    truth, paths, psfs, matrices = pair
    target = tmp_path / "own.ome.zarr"
    jd.volumes.fuse(
        paths, target, psfs, iterations=2, background="auto", block=(40, 24, 44)
    )
    poses = json.loads((tmp_path / "own.ome.zarr.poses.json").read_text())
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(truth.shape) - 1)
    off = np.array(poses["matrices"][1]) - matrices[1]
    errors = np.linalg.norm(corners @ off[:3, :3].T + off[:3, 3], axis=1)
    assert errors.max() < 0.15
    assert _dual_view.ncc(np.asarray(jd.io.read(target)), truth) > 0.9


def test_boxes_hold_what_a_region_maps_to_and_have_one_shape():
    rng = np.random.default_rng(0)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 3] = rng.uniform(60, 90, 3)
    shapes = set()
    for start in ((0, 0, 0), (5, 9, 13), (16, 0, 24)):
        region = tuple((a, a + n) for a, n in zip(start, (12, 14, 16), strict=True))
        box = box_of(region, matrix, (200, 200, 200))
        points = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in region]), -1)
        at = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        for axis, (a, b) in enumerate(box):
            assert a <= max(at[:, axis].min() - MARGIN + 1e-6, 0)
            assert b - 1 >= at[:, axis].max() + MARGIN - 1
        shapes.add(tuple(b - a for a, b in box))
    assert len(shapes) == 1
    assert box_of(((0, 9),) * 3, np.eye(4), (5, 100, 100))[0] == (0, 5)


def test_a_coarse_copy_is_the_mean_wherever_it_comes_from(pair):
    path = pair[1][0]
    data = np.asarray(jd.io.read(path))
    found = coarse_copy(Source(data), (), 2**14)
    assert found.step == (2, 2, 2)
    expected = data.reshape(20, 2, 24, 2, 22, 2).mean((1, 3, 5))
    np.testing.assert_allclose(found.volume, expected)
    pose = np.eye(4)
    pose[:3, 3] = (3.0, -2.0, 1.0)
    there = to_coarse(pose, found, found)
    np.testing.assert_allclose(there[:3, 3], (1.5, -1.0, 0.5))
    np.testing.assert_allclose(to_full(there, found, found), pose)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psfs": None}, "one of `psfs` for each"),
        ({"sources": "one"}, "two or more are needed"),
        ({"method": "mean"}, "`method` is 'mean'"),
        ({"boundary": "periodic"}, "`boundary` is 'periodic'"),
        ({"matrices": [np.eye(4)]}, "`matrices` has 1 parts for 2 views"),
        ({"background": "dark"}, "`background` is 'dark'"),
    ],
)
def test_bad_input_is_told(pair, tmp_path, change, message):
    _, paths, psfs, matrices = pair
    given = {"sources": paths, "psfs": psfs, "matrices": matrices} | change
    given["sources"] = paths[:1] if given["sources"] == "one" else given["sources"]
    with pytest.raises(ValueError, match=message):
        jd.volumes.fuse(
            given.pop("sources"), tmp_path / "x.ome.zarr", given.pop("psfs"), **given
        )


@pytest.mark.slow
def test_worker_processes_fuse_to_the_same_bytes(pair, fused, tmp_path):
    _, paths, psfs, matrices = pair
    target = tmp_path / "workers.ome.zarr"
    engine = jd.volumes.Workers(1)
    jd.volumes.fuse(paths, target, psfs, matrices=matrices, engine=engine, **OPTIONS)
    assert digest(target) == digest(fused[0])
