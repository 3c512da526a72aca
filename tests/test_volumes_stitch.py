"""Tiles to one volume on disk: placed, evened, blended; taken up again."""

import json
import warnings

import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd

from . import _mosaics
from ._volumes import digest


@pytest.fixture(scope="module")
def mosaic():
    return _mosaics.simulate(seed=3)


@pytest.fixture(scope="module")
def stitched(mosaic, tmp_path_factory):
    """The result of stitching, and the run."""
    target = tmp_path_factory.mktemp("mosaic") / "mosaic.ome.zarr"
    run = jd.volumes.stitch(
        mosaic.stacks,
        target,
        positions=mosaic.nominal,
        voxel_size=(1.0, 0.5, 0.5),
        block=(32, 128, 128),
        background=_mosaics.BACKGROUND,
        search=(6, 20, 20),
    )
    return target, run


def test_tiles_are_placed_and_blended(mosaic, stitched):
    target, run = stitched
    found = run.stitching.positions
    error = (found - found.mean(0)) - (mosaic.truth - mosaic.truth.mean(0))
    assert abs(error).max() < 0.5
    image = jd.io.read(target)
    assert image.voxel_size == (1.0, 0.5, 0.5)
    low, high = found.min(0), (found + mosaic.shape).max(0)
    assert image.shape == tuple(np.ceil(high).astype(int) - np.floor(low).astype(int))
    np.testing.assert_allclose(image.origin, np.floor(low) * (1.0, 0.5, 0.5))
    facts = json.loads((target.parent / "mosaic.ome.zarr.tiles.json").read_text())
    np.testing.assert_allclose(facts["positions"], found)
    assert len(facts["links"]) == len(run.stitching.links)


def test_blocks_equal_one_piece(mosaic, stitched, tmp_path):
    target = tmp_path / "whole.ome.zarr"
    run = jd.volumes.stitch(
        mosaic.stacks,
        target,
        positions=mosaic.nominal,
        voxel_size=(1.0, 0.5, 0.5),
        block=(64, 512, 512),
        background=_mosaics.BACKGROUND,
        search=(6, 20, 20),
    )
    assert run.blocks == 1
    assert stitched[1].blocks > 1
    np.testing.assert_array_equal(jd.io.read(target), jd.io.read(stitched[0]))


def test_a_stopped_run_goes_on_without_registering_again(
    mosaic, stitched, tmp_path, monkeypatch
):
    target = tmp_path / "again.ome.zarr"
    arguments = {
        "positions": mosaic.nominal,
        "voxel_size": (1.0, 0.5, 0.5),
        "block": (32, 128, 128),
        "background": _mosaics.BACKGROUND,
        "search": (6, 20, 20),
    }

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jd.volumes.stitch(mosaic.stacks, target, progress=stop, **arguments)
    monkeypatch.setattr(jd.volumes._stitch_measure, "measure_links", None)
    jd.volumes.stitch(mosaic.stacks, target, **arguments)
    assert digest(target) == digest(stitched[0])
    sides = [t.with_name(t.name + ".tiles.json") for t in (target, stitched[0])]
    assert sides[0].read_text() == sides[1].read_text()
    with pytest.raises(jd.volumes.RunRefused, match="weights"):
        jd.volumes.stitch(mosaic.stacks, target, weights="cosine", **arguments)


def test_what_is_overwritten_is_measured_anew(mosaic, tmp_path):
    target = tmp_path / "x.ome.zarr"
    options = {"positions": mosaic.nominal[:2], "equalise": False}
    jd.volumes.stitch(mosaic.stacks[:2], target, search=(6, 20, 20), **options)
    seen = []
    with pytest.warns(UserWarning, match="2 groups"):
        jd.volumes.stitch(
            mosaic.stacks[:2],
            target,
            search=0,
            overwrite=True,
            show_stitching=seen.append,
            **options,
        )
    assert seen[0].placement is not None
    np.testing.assert_allclose(
        np.diff(seen[0].positions, axis=0), np.diff(mosaic.nominal[:2], axis=0), atol=3
    )


def test_a_wrong_link_and_an_empty_tile_do_no_harm(tmp_path):
    mosaic = _mosaics.simulate(empty=(4,), seed=5)
    target = tmp_path / "empty.ome.zarr"
    with pytest.warns(UserWarning, match="2 groups, 1 of one tile"):
        run = jd.volumes.stitch(
            mosaic.stacks,
            target,
            positions=mosaic.nominal,
            background=_mosaics.BACKGROUND,
            search=(6, 20, 20),
            equalise=False,
        )
    with_light = [n for n in range(9) if n != 4]
    found, true = run.stitching.positions[with_light], mosaic.truth[with_light]
    assert abs((found - found.mean(0)) - (true - true.mean(0))).max() < 0.5
    assert jd.io.read(target).dtype == mosaic.stacks[0].dtype


def test_tiles_apart_are_reported(mosaic, tmp_path):
    far = [mosaic.stacks[0], mosaic.stacks[8]]
    with pytest.warns(UserWarning, match="group"):
        run = jd.volumes.stitch(
            far,
            tmp_path / "far.ome.zarr",
            positions=mosaic.nominal[[0, 8]],
            equalise=False,
        )
    assert len(run.stitching.placement.components) == 2


def test_all_channels_follow_the_one_that_is_registered(tmp_path):
    one, other = _mosaics.simulate(seed=3), _mosaics.simulate(seed=3, dim=30.0)
    tiles = [
        jd.io.Image(data=np.stack(pair), axes="czyx", channels=("a", "b"))
        for pair in zip(other.stacks, one.stacks, strict=True)
    ]
    target = tmp_path / "channels.ome.zarr"
    run = jd.volumes.stitch(
        tiles,
        target,
        positions=one.nominal,
        channel=1,
        weights="nearest",
        search=(6, 20, 20),
    )
    found = jd.io.read(target)
    assert (found.axes, found.channels) == ("czyx", ("a", "b"))
    assert len(run.stitching.gains) == 2
    first, second = np.asarray(found)
    lit = (first > 0) & (second > 0)
    assert np.corrcoef(first[lit], second[lit])[0, 1] > 0.5


@pytest.mark.slow
def test_affine_tiles_are_blended_through_their_matrices(mosaic, tmp_path):
    target = tmp_path / "affine.ome.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run = jd.volumes.stitch(
            mosaic.stacks,
            target,
            positions=mosaic.nominal,
            model="affine",
            dtype="float32",
            search=(6, 20, 20),
            equalise=False,
            background=_mosaics.BACKGROUND,
            block=(32, 128, 128),
        )
    matrices = run.stitching.placement.matrices
    assert abs(matrices[:, :3, :3] - np.eye(3)).max() > 1e-3
    image = np.asarray(jd.io.read(target))
    low = np.floor(matrices[:, :3, 3].min(0)).astype(int)
    places = np.stack(np.indices(image.shape), -1).reshape(-1, 3) + low
    near, values = [], []
    for stack, matrix in zip(mosaic.stacks, matrices, strict=True):
        back = np.linalg.inv(matrix)
        at = places @ back[:3, :3].T + back[:3, 3]
        depth = np.minimum(at, np.array(stack.shape) - 1 - at).min(1)
        near.append(depth > -0.01)
        seen = scipy.ndimage.map_coordinates(stack.astype(float), at.T, order=1)
        values.append(np.where(depth > 0, seen, 0))
    alone = (np.sum(near, 0) == 1) & (np.sum(values, 0) > 0)
    expected = np.sum(values, 0)[alone]  # there the mosaic is that tile, interpolated
    assert alone.mean() > 0.2
    np.testing.assert_allclose(image.ravel()[alone], expected, atol=0.05)


@pytest.mark.parametrize(
    ("tiles", "options", "message"),
    [
        ("scan.tif", {}, "several paths, or a pattern"),
        ("t_{row}_{col}.tif", {}, "give the `overlap`"),
        ("stacks", {"positions": [[0, 0, 0]]}, "`origins` has shape"),
        ("stacks", {"model": "bent"}, "`model` is 'bent'"),
        ("stacks", {"weights": "even"}, "`weights` is 'even'"),
        ("stacks", {"positions": "nominal", "unit": "inch"}, "`unit` is 'inch'"),
    ],
)
def test_bad_input_is_told(mosaic, tmp_path, tiles, options, message):
    tiles = mosaic.stacks if tiles == "stacks" else tiles
    if options.get("positions") == "nominal":
        options = options | {"positions": mosaic.nominal}
    with pytest.raises(ValueError, match=message):
        jd.volumes.stitch(tiles, tmp_path / "x.ome.zarr", **options)
    assert list(tmp_path.iterdir()) == []
