"""Volumes in blocks: the same result as in one piece, on disk, with its pyramid."""

import itertools
import json
import subprocess
import warnings

import numpy as np
import pytest
import scipy.ndimage
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdecon as jd
from jaxdecon.io._pyramid import bin_volume
from jaxdecon.volumes._blocks import BlockGrid
from jaxdecon.volumes._halo import deconvolution_halo, radius
from jaxdecon.volumes._source import Source

from . import _volumes
from ._volumes import BLOCK, OPTIONS, PSF, SHAPE, texture


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return _volumes.write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def image(source):
    return np.asarray(jd.io.read(source))


@pytest.fixture(scope="module")
def done(source):
    """A deconvolved volume, and the run."""
    target = source.parent / "done.ome.zarr"
    return target, jd.volumes.deconvolve(source, target, PSF, **OPTIONS)


sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(sizes, sizes, st.integers(0, 9)), min_size=2, max_size=3),
    st.lists(st.integers(1, 3), max_size=2),
)
def test_blocks_cover_a_volume_once_and_see_their_halo(axes, leading):
    shape, core, halo = zip(*axes, strict=True)
    grid = BlockGrid(tuple(leading), shape, core, halo)
    covered = np.zeros((*leading, *shape), int)
    for block in grid:
        covered[(*block.index, *(slice(a, b) for a, b in block.core))] += 1
        assert block.read_shape == grid.read_shape
        for (a, b), (start, stop), h, n in zip(
            block.core, block.read, halo, shape, strict=True
        ):
            assert start <= max(a - h, 0)
            assert stop >= min(b + h, n)
            assert start >= 0
            assert stop <= n
    assert (covered == 1).all()
    assert len({block.name for block in grid}) == len(grid)


def test_halves_of_a_block_cover_it_and_see_their_halo():
    grid = BlockGrid((), (64, 64), (32, 64), (5, 5))
    first, second = grid.halves(grid[0])
    assert (first.core, second.core) == (((0, 32), (0, 32)), ((0, 32), (32, 64)))
    assert first.read_shape == second.read_shape == (42, 42)
    with pytest.raises(ValueError, match="cannot be cut"):
        BlockGrid((), (1, 1), (1, 1), (0, 0)).halves(
            grid[0].__class__(0, (), ((0, 1),) * 2, ((0, 1),) * 2)
        )


def test_a_radius_holds_nearly_all_of_a_kernel():
    kernel = np.zeros((9, 9))
    kernel[4, 2:7] = 1
    assert radius(kernel) == (0, 2)
    assert deconvolution_halo("auto", kernel, None, 10) == (0, 4)
    assert deconvolution_halo("auto", kernel, None, 30) == (0, 6)
    assert deconvolution_halo("exact", kernel, None, 3) == (24, 24)
    assert deconvolution_halo("exact", kernel, kernel, 3) == (24, 24)
    with pytest.raises(ValueError, match="`halo` is 'far'"):
        deconvolution_halo("far", kernel, None, 3)


def test_equals_the_whole_volume(done, image):
    target, run = done
    whole = np.asarray(jd.richardson_lucy(image, PSF, iterations=3, background=10.0))
    found = np.asarray(jd.io.read(target))
    assert abs(found - whole).max() < 1e-3 * whole.max()
    assert run.blocks == 9
    assert not run.empty


def test_an_exact_halo_leaves_rounding_only(tmp_path):
    """In the middle of a volume, where the border of the field plays no part."""
    image = texture((8, 96, 30), seed=3)
    psf = PSF[2:7, 1:6, 1:6]
    target = tmp_path / "exact.ome.zarr"
    jd.volumes.deconvolve(
        image, target, psf / psf.sum(), iterations=2, block=(8, 32, 30), halo="exact"
    )
    whole = np.asarray(jd.richardson_lucy(image, psf / psf.sum(), iterations=2))
    error = abs(np.asarray(jd.io.read(target)) - whole).max(axis=(0, 2))
    assert error.max() < 1e-5 * whole.max()


@pytest.mark.parametrize("back_projector", ["matched", "wiener-butterworth"])
def test_faces_do_not_show(tmp_path, back_projector):
    """Across faces of blocks nothing steps, in terms of the volume in one block."""
    rng = np.random.default_rng(0)
    blur = jd.operators.Convolution.from_psf(PSF, SHAPE, boundary="periodic")
    truth = rng.gamma(0.2, 1000, SHAPE).astype(np.float32)
    image = rng.poisson(np.asarray(blur(truth)) + 10).astype(np.uint16)
    matched = back_projector == "matched"
    found = {}
    for name, block in (("blocks", BLOCK), ("one", SHAPE)):
        target = tmp_path / f"{name}.ome.zarr"
        jd.volumes.deconvolve(
            image,
            target,
            PSF,
            iterations=10 if matched else 2,
            back_projector=back_projector,
            background="auto",
            accelerated=matched,
            restore_flux=True,
            block=block,
        )
        found[name] = np.asarray(jd.io.read(target))
    assert step_at_faces(found["blocks"], found["one"]) < 1.5e-3
    wrong = found["blocks"].copy()
    wrong[:, 32:64] *= 1.005
    assert step_at_faces(wrong, found["one"]) > 3e-3


def step_at_faces(volume, whole):
    """The largest relative step of planes across faces that the whole does not have."""
    ratio = np.log(volume.sum(axis=(0, 2)) / whole.sum(axis=(0, 2)))
    return max(abs(ratio[face] - ratio[face - 1]) for face in (32, 64))


def test_a_linear_function_equals_the_whole_to_rounding(tmp_path, source, image):
    kernel = np.random.default_rng(0).random((3, 5, 7)).astype(np.float32)

    def blur(volume):
        return scipy.ndimage.convolve(np.asarray(volume, np.float32), kernel)

    target = tmp_path / "linear.ome.zarr"
    jd.volumes.map_blocks(blur, source, target, halo=(1, 2, 3), block=BLOCK)
    np.testing.assert_allclose(jd.io.read(target), blur(image), rtol=1e-5)


def test_arguments_travel_with_the_function(tmp_path):
    image = texture((40, 50))
    target = tmp_path / "scaled.ome.zarr"
    jd.volumes.map_blocks(
        lambda volume, factor: volume * factor,
        image,
        target,
        halo=0,
        block=16,
        arguments=(np.float32(2.5),),
    )
    np.testing.assert_allclose(jd.io.read(target), 2.5 * image)


def test_a_function_that_changes_the_shape_is_told(tmp_path):
    with pytest.raises(jd.volumes.BlocksFailed, match=r"returned shape \(4,\)"):
        jd.volumes.map_blocks(
            lambda volume: np.zeros(4),
            np.ones((40, 50)),
            tmp_path / "x.ome.zarr",
            halo=0,
            block=32,
        )


def test_levels_are_means_and_metadata_are_kept(done, source):
    target, _ = done
    levels = jd.io.read_levels(target)
    assert [level.shape for level in levels] == [(24, 72, 80), (24, 36, 40)]
    assert levels[0].voxel_size == (0.3, 0.1, 0.1)
    assert levels[1].voxel_size == (0.3, 0.2, 0.2)
    assert levels[1].origin == (0.0, 0.05, 0.05)
    full = np.asarray(levels[0])
    np.testing.assert_allclose(np.asarray(levels[1]), bin_volume(full, (1, 2, 2)))
    assert levels[0].data.shards == (24, 32, 32)


def test_other_programs_read_it(done):
    models = pytest.importorskip("ome_zarr_models.v05")
    target, _ = done
    models.Image.from_zarr(zarr.open_group(target, mode="r"))


def test_ome_zarr_py_reads_it(done):
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    target, _ = done
    node = next(iter(reader.Reader(parse_url(str(target)))()))
    scale, translation = node.metadata["coordinateTransformations"][1]
    assert scale["scale"] == [0.3, 0.2, 0.2]
    assert translation["translation"] == [0.0, 0.05, 0.05]
    np.testing.assert_array_equal(
        np.asarray(node.data[0]), np.asarray(jd.io.read(target))
    )
    assert len(node.data) == len(jd.io.read_levels(target))


def test_ngff_zarr_reads_it(done):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    target, _ = done
    image = ngff_zarr.from_ngff_zarr(str(target)).images[0]
    assert image.scale == {"z": 0.3, "y": 0.1, "x": 0.1}
    np.testing.assert_array_equal(
        np.asarray(image.data), np.asarray(jd.io.read(target))
    )


def test_coarse_levels_below_a_shard_are_made_at_the_end(tmp_path):
    image = texture((300, 300))
    target = tmp_path / "plane.ome.zarr"
    jd.volumes.map_blocks(lambda v: v * 1.0, image, target, halo=0, block=64)
    levels = [np.asarray(level) for level in jd.io.read_levels(target)]
    assert [level.shape for level in levels] == [
        (300, 300),
        (150, 150),
        (75, 75),
        (38, 38),
    ]
    for fine, coarse in itertools.pairwise(levels):
        np.testing.assert_allclose(coarse, bin_volume(fine, (2, 2)), rtol=1e-6)


def test_channels_and_times_have_their_own_psf_and_background(tmp_path):
    planes = np.stack(
        [[texture((40, 44), seed=2 * t + c) for c in (0, 1)] for t in (0, 1)]
    )
    planes[:, 1] += 90
    image = jd.io.Image(data=planes, axes="tcyx", channels=("a", "b"))
    psfs = [PSF[4] / PSF[4].sum(), np.asarray(jd.psf.gaussian((5, 5), 1.5))]
    target = tmp_path / "tc.ome.zarr"
    jd.volumes.deconvolve(
        image, target, psfs, iterations=3, background=[10, 100], block=40
    )
    found = jd.io.read(target)
    assert (found.axes, found.channels) == ("tcyx", ("a", "b"))
    for t in (0, 1):
        for c, level in ((0, 10), (1, 100)):
            whole = jd.richardson_lucy(
                planes[t, c], psfs[c], iterations=3, background=level
            )
            np.testing.assert_allclose(
                found.volume(t=t, c=c), whole, atol=2e-3 * float(whole.max())
            )


@pytest.mark.parametrize("order", ["linear", "cubic"])
def test_warps_equal_the_whole(tmp_path, source, image, order):
    pose = jd.geometry.Transform(
        parameters=np.array([0.2, 0.1, -0.15, 3, -4, 2.5], np.float32),
        centre=np.array([12.0, 36.0, 40.0]),
        model="rigid",
    )
    target = tmp_path / "warped.ome.zarr"
    matrix, shape = np.asarray(pose.matrix, float), (30, 60, 90)
    jd.volumes.warp(
        source, target, matrix, shape=shape, order=order, block=(30, 20, 45)
    )
    whole = jd.warp(image, matrix, shape, order=order)
    np.testing.assert_allclose(
        np.asarray(jd.io.read(target)), whole, atol=1e-3 * image.max()
    )
    with pytest.raises(ValueError, match="`matrix` has shape"):
        jd.volumes.warp(source, target, np.eye(3))


def test_a_constant_start_is_the_same_for_all_blocks(tmp_path, source, image):
    target = tmp_path / "constant.ome.zarr"
    options = {"iterations": 10, "background": 10.0, "init": "constant"}
    jd.volumes.deconvolve(source, target, PSF, block=BLOCK, **options)
    whole = np.asarray(jd.richardson_lucy(image, PSF, **options))
    found = np.asarray(jd.io.read(target))
    assert abs(found - whole).max() < 1e-3 * whole.max()


def test_steps_of_a_pyramid_are_those_of_its_voxels(tmp_path):
    """Also of one whose sizes were rounded down, and of few planes."""
    data = np.zeros((9, 201, 100), np.uint16)
    data[:, 100:110] = 100
    path = tmp_path / "floor.ome.zarr"
    jd.io.write(path, jd.io.Image(data=data, axes="zyx", voxel_size=(0.1,) * 3))
    opened = Source(path)
    assert [step for _, step in opened.levels()] == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    group = zarr.open_group(path, mode="r+")
    del group["1"]
    level = group.create_array("1", shape=(4, 100, 50), chunks=(4, 50, 50), dtype="u2")
    level[...] = data[:8:2, :200:2, ::2]
    assert Source(path).levels()[1][1] == (2, 2, 2)
    run = jd.volumes.map_blocks(
        lambda v: v,
        path,
        tmp_path / "out.ome.zarr",
        halo=0,
        block=(9, 50, 100),
        skip_below=1,
    )
    assert sorted(run.empty) == ["0.0.0", "0.150.0", "0.200.0", "0.50.0"]
    np.testing.assert_array_equal(jd.io.read(tmp_path / "out.ome.zarr"), data)


@pytest.mark.parametrize(
    "prior",
    [
        jd.deconvolution.Tikhonov(weight=0.05, order=0),
        jd.deconvolution.TotalVariation(weight=0.02),
    ],
)
def test_penalties_weigh_the_same_in_all_blocks(tmp_path, prior):
    """A dim and a bright half of a volume."""
    image = texture((16, 64, 48), seed=6).astype(np.float32)
    image[:, :32] /= 8
    target = tmp_path / "prior.ome.zarr"
    options = {"iterations": 10, "prior": prior}
    jd.volumes.deconvolve(image, target, PSF, block=(16, 32, 48), **options)
    one = tmp_path / "one.ome.zarr"
    jd.volumes.deconvolve(image, one, PSF, block=(16, 64, 48), **options)
    found, whole = np.asarray(jd.io.read(target)), np.asarray(jd.io.read(one))
    assert abs(found - whole).max() < 1e-3 * whole.max()


def test_constant_parts_are_not_taken_for_nothing(tmp_path):
    image = np.full((8, 64, 32), 1000, np.uint16)
    image[:, 40:] = texture((8, 24, 32)) + 1000
    target = tmp_path / "plateau.ome.zarr"
    run = jd.volumes.deconvolve(image, target, PSF, iterations=2, block=(8, 32, 32))
    assert not run.empty
    assert np.asarray(jd.io.read(target))[:, 4:24].min() > 900
    dark = jd.volumes.deconvolve(
        image * 0 + 7, tmp_path / "dark.ome.zarr", PSF, iterations=2, background=7
    )
    assert len(dark.empty) == 1


def test_a_pyramid_is_found_from_its_full_image(source):
    opened = Source(jd.io.read(source))
    assert [step for _, step in opened.levels()] == [(1, 1, 1), (1, 2, 2)]
    assert Source(np.zeros((8, 8))).levels() == []


def test_into_a_zarr_array(tmp_path, source, image):
    target = zarr.create_array(
        tmp_path / "given.zarr",
        shape=SHAPE,
        chunks=(24, 16, 16),
        shards=(24, 32, 32),
        dtype="uint16",
    )
    run = jd.volumes.map_blocks(
        lambda v: v + 0.4, source, target, halo=0, block=(24, 64, 32)
    )
    np.testing.assert_array_equal(target[...], image)
    assert run.path == tmp_path / "given.zarr"
    with pytest.raises(ValueError, match="shards of"):
        jd.volumes.map_blocks(
            abs, source, target, halo=0, block=(24, 48, 32), resume=False
        )
    mixed = zarr.create_array(
        tmp_path / "mixed.zarr", shape=(2, *SHAPE), chunks=(2, 24, 16, 16), dtype="f4"
    )
    with pytest.raises(ValueError, match="several volumes in one"):
        jd.volumes.map_blocks(abs, np.stack([image] * 2), mixed, halo=0)
    memory = zarr.create_array({}, shape=SHAPE, chunks=SHAPE, dtype="f4")
    with pytest.raises(ValueError, match="array in memory"):
        jd.volumes.map_blocks(abs, image, memory, halo=0, engine=jd.volumes.Workers(1))
    jd.volumes.map_blocks(abs, image, memory, halo=0)
    np.testing.assert_array_equal(memory[...], image)
    with pytest.raises(ValueError, match=r"`target` has shape"):
        jd.volumes.map_blocks(abs, image[:10], target, halo=0)


def test_an_array_is_written_all_over(tmp_path):
    """Also where blocks have no signal."""
    image = np.zeros((128, 128), np.uint16)
    image[:64] = 50
    source = tmp_path / "half.ome.zarr"
    jd.io.write(source, jd.io.Image(data=image, axes="yx"))
    target = zarr.create_array(
        tmp_path / "seven.zarr", shape=(128, 128), chunks=(64, 64), dtype="f4"
    )
    target[...] = 7
    run = jd.volumes.map_blocks(
        lambda v: v, source, target, halo=0, block=64, skip_below=10
    )
    assert len(run.empty) == 2
    np.testing.assert_array_equal(target[...], image)


def test_wide_integers_are_kept_or_refused(tmp_path):
    image = np.full((8, 8), 2**31 - 1, np.int64)
    target = tmp_path / "wide.ome.zarr"
    jd.volumes.map_blocks(lambda v: v, image, target, halo=0, dtype="int32")
    np.testing.assert_array_equal(jd.io.read(target), image)
    with pytest.raises(jd.volumes.BlocksFailed, match="int32 must hold them"):
        jd.volumes.map_blocks(
            lambda v: v, image * 2, tmp_path / "x.ome.zarr", halo=0, dtype="int32"
        )


def test_values_that_do_not_fit_are_an_error(tmp_path):
    with pytest.raises(jd.volumes.BlocksFailed, match="do not fit uint8"):
        jd.volumes.map_blocks(
            abs, np.full((8, 8), 300), tmp_path / "x.ome.zarr", halo=0, dtype="uint8"
        )


def test_blocks_without_signal_are_skipped_and_listed(tmp_path):
    image = np.zeros((24, 256, 96), np.uint16)
    image[:, :64] = texture((24, 64, 96))
    source = tmp_path / "dark.ome.zarr"
    jd.io.write(source, jd.io.Image(data=image, axes="zyx"))
    seen = []

    def look(volume):
        seen.append(volume.shape)
        return volume

    target = tmp_path / "out.ome.zarr"
    run = jd.volumes.map_blocks(
        look, source, target, halo=(0, 4, 4), block=(24, 64, 96), skip_below=5
    )
    assert run.empty == ("0.128.0", "0.192.0")
    assert len(seen) == 2
    np.testing.assert_array_equal(np.asarray(jd.io.read(target)), image)
    plan = jd.volumes.map_blocks(
        look,
        source,
        tmp_path / "b.ome.zarr",
        halo=(0, 4, 4),
        block=(24, 64, 96),
        skip_below=5,
        dry_run=True,
    )
    assert "4 (1 x 4 x 1 per volume), 2 without signal" in str(plan)


def test_a_dry_run_plans_and_writes_nothing(tmp_path, source):
    plan = jd.volumes.deconvolve(
        source, tmp_path / "x.ome.zarr", PSF, dry_run=True, **OPTIONS
    )
    assert list(tmp_path.iterdir()) == []
    text = str(plan)
    assert "9 (1 x 3 x 3 per volume)" in text
    assert f"overhead {plan.overhead:.0%}" in text
    computed = 9 * np.prod(plan.grid.read_shape)
    assert plan.overhead == pytest.approx(computed / np.prod(SHAPE) - 1)
    assert plan.bytes_to_read == computed * 2
    assert plan.bytes_to_write == np.prod(SHAPE) * 4
    assert isinstance(plan, jd.volumes.Plan)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert plan.device_bytes > 4 * 4 * np.prod(plan.grid.read_shape)


def test_automatic_blocks_keep_to_the_budget(tmp_path):
    image = np.zeros((200, 400, 400), np.uint16)
    plans = [
        jd.volumes.deconvolve(
            image,
            tmp_path / "x.ome.zarr",
            PSF,
            iterations=2,
            memory=memory,
            dry_run=True,
        )
        for memory in (0.25e9, 1e9, 8e9)
    ]
    for plan, memory in zip(plans, (0.25e9, 1e9, 8e9), strict=True):
        assert isinstance(plan, jd.volumes.Plan)
        assert isinstance(plan, jd.volumes.Plan)
        assert plan.device_bytes + plan.host_bytes < memory
    overheads = [plan.overhead for plan in plans]
    assert overheads == sorted(overheads, reverse=True)
    assert plans[-1].grid.core == (200, 400, 400)
    with pytest.raises(MemoryError, match="blocks of"):
        jd.volumes.deconvolve(
            image, tmp_path / "x.ome.zarr", PSF, iterations=2, memory=1e6, dry_run=True
        )


def test_what_all_blocks_share_is_measured_once(done):
    manifest = json.loads(
        (done[0].parent / "done.ome.zarr.journal/manifest.json").read_text()
    )
    assert manifest["shared"] == {
        "background": [10.0],
        "scales": [None],
        "momenta": [None],
        "means": [None],
    }
    assert manifest["finished"]


def test_light_is_kept_by_unmatched_back_projectors(tmp_path, source, image):
    target = tmp_path / "flux.ome.zarr"
    options = {"iterations": 2, "back_projector": "wiener-butterworth"}
    jd.volumes.deconvolve(
        source, target, PSF, background=10, restore_flux=True, block=BLOCK, **options
    )
    blur = jd.operators.Convolution.from_psf(PSF, SHAPE, boundary="reflect")
    found = np.asarray(jd.io.read(target))
    recorded = image.sum() - 10.0 * image.size
    assert float(blur(found).sum()) == pytest.approx(recorded, rel=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jd.deconvolution.OverIterationWarning)
        plain = jd.richardson_lucy(image, PSF, background=10, keep="last", **options)
    assert abs(float(blur(plain).sum()) / recorded - 1) > 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary": "periodic"}, "`boundary` is 'periodic'"),
        ({"halo": -1}, "`halo` is -1"),
        ({"halo": (1, 2)}, "`halo` is"),
        ({"block": (8, 8)}, "`block` is"),
        ({"block": "large"}, "`block` is 'large'"),
        ({"background": [1, 2]}, "2 of `background` and 1 channels"),
        ({"background": -3}, "`background` is -3"),
        ({"dtype": "complex64"}, "`dtype` is 'complex64'"),
        ({"iterations": 0}, "`iterations` is 0"),
    ],
)
def test_bad_options_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        jd.volumes.deconvolve(
            np.ones((8, 16, 16)),
            tmp_path / "x.ome.zarr",
            PSF,
            **({"iterations": 2} | options),
        )
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_and_engines_are_refused(tmp_path):
    image = np.ones((8, 16, 16))
    with pytest.raises(ValueError, match=r"end it in \.ome\.zarr"):
        jd.volumes.deconvolve(image, tmp_path / "x.tif", PSF, iterations=2)
    with pytest.raises(FileNotFoundError, match="create it"):
        jd.volumes.deconvolve(image, tmp_path / "no/x.ome.zarr", PSF, iterations=2)
    with pytest.raises(TypeError, match="`engine` is 3"):
        jd.volumes.deconvolve(
            image, tmp_path / "x.ome.zarr", PSF, iterations=2, engine=3
        )


def test_nan_and_negative_values_name_their_block(tmp_path):
    image = np.ones((8, 64, 64), np.float32)
    image[0, 0, 1], image[0, 40, 40] = 2, np.nan
    with pytest.raises(jd.volumes.BlocksFailed, match="NaN or infinite"):
        jd.volumes.deconvolve(
            image, tmp_path / "x.ome.zarr", PSF, iterations=2, block=32
        )
    image[0, 40, 40] = -5
    with pytest.raises(jd.volumes.BlocksFailed, match="down to -5"):
        jd.volumes.deconvolve(
            image, tmp_path / "y.ome.zarr", PSF, iterations=2, block=32
        )


def test_checksums_are_those_of_sha256sum(tmp_path, source):
    target = tmp_path / "summed.ome.zarr"
    jd.volumes.map_blocks(abs, source, target, halo=0, block=BLOCK, checksums=True)
    sums = tmp_path / "summed.ome.zarr.journal" / "SHA256SUMS"
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", str(sums)], cwd=tmp_path, capture_output=True
    )
    assert checked.returncode == 0
    (target / "0" / "zarr.json").write_text("{}")
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", str(sums)], cwd=tmp_path, capture_output=True
    )
    assert checked.returncode != 0
