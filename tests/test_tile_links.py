"""Shifts of pairs of tiles, with honest errors, and positions that fit all of them."""

import dataclasses
import time

import jax
import numpy as np
import pytest
import scipy.ndimage

from jaxdecon.registration._links import FLOOR, Links, solve_links
from jaxdecon.registration._links_graph import unchecked_links
from jaxdecon.registration._pairs import register_pairs
from jaxdecon.volumes._tile_links import (
    default_search,
    measure_links,
    measure_parts,
    neighbours,
)
from jaxdecon.volumes._tile_positions import tiles_at

from ._mosaics import position_error, simulate

SHAPE, SEARCH = (14, 38, 40), (3, 5, 5)


def pairs_of(count, *, photons, shape=SHAPE, most=2.5, seed=0):
    """Crops of periodic textures, the second shifted by a Fourier phase, exactly."""
    rng = np.random.default_rng(seed)
    large = tuple(n + 30 for n in shape)
    waves = np.meshgrid(*map(np.fft.fftfreq, large), indexing="ij")
    box = tuple(slice(15, 15 + n) for n in shape)
    fixed, moving, shifts = [], [], []
    for _ in range(count):
        texture = scipy.ndimage.gaussian_filter(
            rng.normal(size=large), 1.6, mode="wrap"
        )
        texture = np.maximum(texture / texture.std(), 0) ** 2
        shift = rng.uniform(-most, most, len(shape))
        phase = np.exp(
            -2j * np.pi * sum(w * s for w, s in zip(waves, shift, strict=True))
        )
        there = np.fft.ifftn(np.fft.fftn(texture) * phase).real
        bright = [photons * np.maximum(t[box], 0) + 5 for t in (texture, there)]
        fixed.append(100 + rng.poisson(bright[0]))
        moving.append(90 + 1.4 * rng.poisson(bright[1]))
        shifts.append(shift)
    return np.array(fixed, np.float32), np.array(moving, np.float32), np.array(shifts)


@pytest.fixture(scope="module")
def many():
    fixed, moving, shifts = pairs_of(60, photons=3)
    return register_pairs(fixed, moving, search=SEARCH), shifts


def test_shifts_are_found_to_a_fraction_of_a_voxel(many):
    found, shifts = many
    assert np.asarray(found.usable).all()
    error = np.asarray(found.shift) - shifts
    assert np.sqrt((error**2).mean()) < 0.05
    assert abs(error.mean(0)).max() < 0.02


def test_standard_errors_are_honest(many):
    found, shifts = many
    root = np.linalg.cholesky(np.asarray(found.covariance, float))
    error = np.asarray(found.shift) - shifts
    normalised = np.linalg.solve(root, error[..., None])[..., 0]
    assert 0.8 < normalised.std() < 1.4
    assert abs(normalised).max() < 6


def test_noise_alone_is_not_usable(many):
    rng = np.random.default_rng(3)
    noise = rng.poisson(20, (2, 60, *SHAPE)).astype(np.float32)
    found = register_pairs(*noise, search=SEARCH)
    assert not np.asarray(found.usable).any()


def test_constant_crops_are_not_usable_and_give_no_nan(many):
    texture = pairs_of(1, photons=4)[0]
    crops = np.concatenate([np.zeros_like(texture), texture])
    other = np.concatenate([texture, np.full_like(texture, 7)])
    rest = 58  # the same program as the other tests
    crops, other = (np.concatenate([c, *[c[:1]] * rest]) for c in (crops, other))
    found = register_pairs(crops, other, search=SEARCH)
    assert not np.asarray(found.usable).any()
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(found))


def test_padding_does_not_matter_and_far_shifts_are_unwrapped():
    """Crops that have only their ends in common, in a padded array."""
    fixed, moving, shifts = pairs_of(2, photons=30, shape=(60, 64), most=0.5)
    # fixed(p) = whole(p + 40): the shift is 40 more than that of the whole stacks.
    first, second = fixed[:, :, 40:], moving
    padded = np.zeros((2, 2, 72, 80), np.float32)
    padded[0, :, :60, :24], padded[1, :, :60, :64] = first, second
    found = register_pairs(
        *padded,
        fixed_size=(60, 24),
        moving_size=(60, 64),
        expected=(0, 38),
        search=6,
    )
    assert np.asarray(found.usable).all()
    assert abs(np.asarray(found.shift) - shifts - [0, 40]).max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"moving": np.zeros((1, 4, 5, 7))}, "one shape for both"),
        ({"search": (1, 2)}, "`search` is"),
        ({"expected": np.zeros((4, 3))}, "`expected` has shape"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(arguments, message):
    crops = np.zeros((2, 4, 5, 6))
    with pytest.raises(ValueError, match=message):
        register_pairs(crops, **{"moving": crops, **arguments})


def grid(rows, columns, *, jitter=5.0, wrong=0.0, seed=0, diagonal=True):
    """Nominal and true positions, links, and which of them are wrong."""
    rng = np.random.default_rng(seed)
    index = np.arange(rows * columns).reshape(rows, columns)
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    nominal = 900.0 * np.stack([0 * y.ravel(), y.ravel(), x.ravel()], 1)
    truth = nominal + rng.normal(0, jitter, nominal.shape)
    joined = [(index[:-1], index[1:]), (index[:, :-1], index[:, 1:])]
    if diagonal:
        joined += [(index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in joined])
    sigma = rng.uniform(0.02, 0.1, len(pairs))
    offsets = truth[pairs[:, 1]] - truth[pairs[:, 0]]
    offsets = offsets + sigma[:, None] * rng.normal(size=offsets.shape)
    bad = rng.random(len(pairs)) < wrong
    signs = rng.choice([-1, 1], offsets.shape)
    offsets[bad] += (signs * rng.uniform(15, 50, offsets.shape))[bad]
    covariance = sigma[:, None, None] ** 2 * np.eye(3)
    return (
        nominal,
        truth,
        Links.from_offsets(pairs, offsets, covariance=covariance),
        bad,
    )


def spread(found, truth):
    error = found.positions - truth
    return abs(error - error.mean(0)).max()


def test_positions_are_the_weighted_least_squares_solution():
    nominal, _, links, _ = grid(3, 4)
    found = solve_links(nominal, links, stage_sigma=50.0)
    count, d = nominal.shape
    matrix, side = np.zeros((2, count * d, count * d)), np.zeros(count * d)
    matrix = matrix[0]

    def add(a, b, wanted, precision):
        row = np.zeros((d, count, d))
        row[:, b] += np.eye(d)
        if a is not None:
            row[:, a] -= np.eye(d)
        row = row.reshape(d, -1)
        matrix[:] += row.T @ precision @ row
        side[:] += row.T @ precision @ wanted

    for (a, b), offset, own in zip(
        links.pairs, links.offset, links.covariance, strict=True
    ):
        precision = np.linalg.inv(own + FLOOR**2 * np.eye(d))
        add(a, b, offset, precision)
        add(a, b, nominal[b] - nominal[a], np.eye(d) / (2 * 50.0**2))
    for tile in range(count):
        add(None, tile, nominal[tile], np.eye(d) / (100 * 50.0) ** 2)
    expected = np.linalg.solve(matrix, side).reshape(count, d)
    # Their common place is all but free, and so is what rounding makes of it.
    np.testing.assert_allclose(
        found.positions - found.positions.mean(0),
        expected - expected.mean(0),
        atol=1e-7,
    )
    assert not found.rejected.any()
    assert found.components == (tuple(range(count)),)


@pytest.mark.parametrize("wrong", [0.03, 0.1])
def test_wrong_links_are_found_and_do_no_harm(wrong):
    nominal, truth, links, bad = grid(10, 10, wrong=wrong, seed=1)
    found = solve_links(nominal, links)
    assert bad.sum() >= 4
    np.testing.assert_array_equal(found.rejected, bad)
    assert spread(found, truth) < 0.25
    assert "at odds" in found.message


def test_ten_thousand_tiles_take_seconds():
    nominal, truth, links, bad = grid(100, 100, wrong=0.01)
    start = time.perf_counter()
    found = solve_links(nominal, links)
    assert time.perf_counter() - start < 20
    np.testing.assert_array_equal(found.rejected, bad)
    assert spread(found, truth) < 0.3


def test_of_two_links_that_contradict_each_other_the_likelier_is_kept():
    """A tile at the corner of two links, one of which is wrong: the stage decides."""
    nominal, truth, links, _ = grid(3, 3, jitter=2.0, diagonal=False)
    offsets = links.offset.copy()
    wrong = int(np.flatnonzero((links.pairs == [0, 1]).all(1))[0])
    offsets[wrong] += [0, 30, -25]
    found = solve_links(nominal, dataclasses.replace(links, first=offsets))
    assert np.flatnonzero(found.rejected).tolist() == [wrong]
    assert spread(found, truth) < 0.3


def test_a_tile_without_links_moves_with_its_neighbours():
    nominal, truth, links, _ = grid(3, 3, jitter=0.0)
    truth = truth + np.where(nominal[:, 2:] > 0, [[0, 0, 12.0]], 0)  # both columns
    offsets = truth[links.pairs[:, 1]] - truth[links.pairs[:, 0]]
    lone = (links.pairs == 5).any(1)
    links = dataclasses.replace(links, first=offsets, usable=~lone)
    found = solve_links(nominal, links)
    assert found.components == ((0, 1, 2, 3, 4, 6, 7, 8), (5,))
    moved = found.positions - nominal
    np.testing.assert_allclose(moved[5], moved[[1, 2, 4, 7, 8]].mean(0), atol=0.01)


def test_groups_that_nothing_links_stay_where_the_stage_says():
    nominal, truth, links, _ = grid(2, 6)
    column = nominal[:, 2] / 900
    apart = (column[links.pairs[:, 0]] <= 2) != (column[links.pairs[:, 1]] <= 2)
    links = Links.from_offsets(links.pairs[~apart], links.offset[~apart])
    found = solve_links(nominal, links)
    assert found.components == ((0, 1, 2, 6, 7, 8), (3, 4, 5, 9, 10, 11))
    for group in found.components:
        group = list(group)
        mean = (found.positions - nominal)[group].mean(0)
        np.testing.assert_allclose(mean, 0, atol=1e-6)
        error = (found.positions - truth)[group]
        assert abs(error - error.mean(0)).max() < 0.5


def test_links_in_no_loop_are_told():
    pairs = np.array([(0, 1), (1, 2), (2, 0), (2, 3), (4, 5), (5, 4), (6, 3)])
    expected = [False, False, False, True, False, False, True]
    assert unchecked_links(8, pairs).tolist() == expected


def test_affine_tiles_are_found_from_their_points():
    rng = np.random.default_rng(0)
    nominal, _, links, _ = grid(3, 3)
    size = np.array([40, 1000, 1000])
    matrices = np.tile(np.eye(4), (9, 1, 1))
    matrices[:, :3, :3] += rng.normal(0, 1, (9, 3, 3)) * 1e-3 * [10, 1, 1]
    matrices[:, :3, 3] = nominal + rng.normal(0, 3, (9, 3))
    pairs = np.repeat(links.pairs, 12, 0)
    low = np.maximum(0, nominal[pairs[:, 1]] - nominal[pairs[:, 0]])
    high = np.minimum(size, size + nominal[pairs[:, 1]] - nominal[pairs[:, 0]])
    first = rng.uniform(low, high)
    there = np.einsum("nij,nj->ni", matrices[pairs[:, 0], :3, :3], first)
    there = there + matrices[pairs[:, 0], :3, 3] - matrices[pairs[:, 1], :3, 3]
    second = np.linalg.solve(matrices[pairs[:, 1], :3, :3], there[..., None])[..., 0]
    base = Links.from_offsets(pairs, first)
    points = dataclasses.replace(base, second=second)
    found = solve_links(nominal, points, shapes=np.tile(size, (9, 1)), model="affine")
    shifts = solve_links(nominal, points)
    assert found.rms < 0.02
    assert shifts.rms > 10 * found.rms
    residual = points.first - points.second
    assert residual.shape == found.residual.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nominal": np.zeros((4, 2))}, "dimensions"),
        ({"nominal": np.zeros((3, 3))}, "name tile"),
        ({"nominal": np.full((4, 3), np.nan)}, "finite"),
        ({"model": "rigid"}, "`model` is 'rigid'"),
        ({"model": "affine"}, "`shapes`"),
        ({"stage_sigma": 0}, "`stage_sigma`"),
    ],
)
def test_links_that_do_not_fit_are_refused(change, message):
    nominal, _, links, _ = grid(2, 2)
    with pytest.raises(ValueError, match=message):
        solve_links(**{"nominal": nominal, "links": links, **change})


def test_neighbours_are_all_that_overlap():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 300, (80, 3))
    shapes = rng.integers(20, 60, (80, 3))
    found = neighbours(places, shapes, least=3)
    stop = np.minimum((places + shapes)[:, None], places + shapes)
    common = (stop - np.maximum(places[:, None], places) >= 3).all(-1)
    expected = np.argwhere(np.triu(common, 1))
    assert len(expected) > 5
    np.testing.assert_array_equal(found, expected)


def test_neighbours_of_ten_thousand_tiles_are_quick():
    nominal, _, links, _ = grid(100, 100)
    start = time.perf_counter()
    found = neighbours(nominal, np.tile([50, 1000, 1000], (10_000, 1)))
    assert time.perf_counter() - start < 5
    assert len(found) == len(links)


def test_default_search():
    assert default_search((30, 260, 2000)) == (8, 26, 200)
    assert default_search((1, 50, 6)) == (0, 8, 3)


@pytest.fixture(scope="module")
def mosaic():
    """3 x 3 tiles with stage errors up to 10 voxels, the last one empty."""
    return simulate(empty=(8,))


@pytest.fixture(scope="module")
def measured(mosaic):
    tiles = tiles_at(mosaic.stacks, mosaic.nominal)
    return tiles, measure_links(tiles, search=(6, 20, 20))


def test_a_mosaic_is_placed_in_spite_of_an_empty_tile_and_a_wrong_link(
    mosaic, measured
):
    _, links = measured
    wrong = np.flatnonzero(links.usable)[2]
    first = links.first.copy()
    first[wrong] += [3, -15, 9]
    found = solve_links(mosaic.nominal, dataclasses.replace(links, first=first))
    assert np.flatnonzero(found.rejected).tolist() == [wrong]
    assert position_error(found.positions, mosaic, skip=(8,)) < 0.3
    assert found.components == (tuple(range(8)), (8,))
    assert not links.usable[(links.pairs == 8).any(1)].any()
    # The stage is off by 10 voxels; so is the empty tile, with its neighbours.
    assert abs(found.positions[8] - mosaic.truth[8]).max() < 20


def test_offsets_are_within_their_errors(mosaic, measured):
    _, links = measured
    a, b = links.pairs.T
    error = (links.offset - (mosaic.truth[b] - mosaic.truth[a]))[links.usable]
    assert links.usable.sum() >= 10
    sigma = np.sqrt(links.covariance[links.usable].diagonal(axis1=1, axis2=2) + 0.1**2)
    assert abs(error / sigma).max() < 5


@pytest.fixture(scope="module")
def row(mosaic):
    """Two tiles, and their link at half the resolution."""
    tiles = tiles_at(mosaic.stacks[1:3], mosaic.nominal[1:3])
    return tiles, measure_links(tiles, search=(6, 20, 20), binning=(1, 2, 2))


def test_binning_changes_little(measured, row):
    (_, links), (_, binned) = measured, row
    same = (links.pairs == [1, 2]).all(1)
    assert binned.usable.all()
    assert abs(binned.offset - links.offset[same]).max() < 0.2
    assert binned.overlap > 0.5 * links.overlap[same]


def test_parts_of_overlaps_agree_with_the_whole(mosaic, row):
    tiles, links = row
    parts = measure_parts(tiles, links, parts=2)
    assert parts.usable.sum() >= 1
    error = parts.offset[parts.usable] - (mosaic.truth[2] - mosaic.truth[1])
    assert abs(error).max() < 0.5
    for points in (parts.first, parts.second):
        assert (points > -2).all()
        assert (points < np.array(mosaic.shape) + 2).all()
    assert np.ptp(parts.first[:, 1]) > 30  # of both halves along y


def test_a_tile_with_nan_is_named(mosaic):
    stacks = [s.astype(np.float32) for s in mosaic.stacks[:2]]
    stacks[1][3, 3, 3] = np.nan
    tiles = tiles_at(stacks, mosaic.nominal[:2], names=["left", "right"])
    with pytest.raises(ValueError, match="right has NaN"):
        measure_links(tiles, search=(6, 20, 20))
    with pytest.raises(ValueError, match="`search` is"):
        measure_links(tiles, search=2.5)  # pyright: ignore[reportArgumentType]
