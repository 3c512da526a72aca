"""Tiles and where they are, their brightness, and the mosaic they make."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.io import Image
from jaxdecon.registration._links import Links, solve_links
from jaxdecon.report._stitch_figure import stitch_figure
from jaxdecon.volumes._mosaic import (
    WEIGHTS,
    mosaic_box,
    mosaic_halo,
    mosaic_region,
)
from jaxdecon.volumes._tile_gains import Gains, measure_gains
from jaxdecon.volumes._tile_positions import (
    tiles_at,
    tiles_from_metadata,
    tiles_from_pattern,
    tiles_from_table,
)
from jaxdecon.volumes._tile_shading import FlatField
from jaxdecon.volumes._tiles import Tile

from ._mosaics import BACKGROUND, shading


def stack(shape=(3, 6, 7), seed=0, dtype=np.uint16):
    return np.random.default_rng(seed).integers(100, 1000, shape).astype(dtype)


def save(folder, names, shape=(3, 6, 7), **metadata):
    for seed, name in enumerate(names):
        image = Image(data=stack(shape, seed), axes="zyx", **metadata)
        jd.io.write(folder / name, image)


def test_a_tile_reads_what_is_asked_for(tmp_path):
    data = stack((2, 5, 8, 9))
    size = (2.0, 0.5, 0.5)
    jd.io.write(tmp_path / "a.ome.tif", Image(data=data, axes="czyx", voxel_size=size))
    for source in (tmp_path / "a.ome.tif", data):
        tile = Tile.open(source, (1, 2, 3))
        assert (tile.shape, tile.channels, tile.origin) == ((5, 8, 9), 2, (1, 2, 3))
        part = tile.read(((1, 3), (2, 5), (0, 9)), channel=1)
        np.testing.assert_array_equal(part, data[1, 1:3, 2:5])
    assert Tile.open(tmp_path / "a.ome.tif").voxel_size == size
    with pytest.raises(ValueError, match="`channel` is 2"):
        tile.read(channel=2)


def test_a_plane_is_a_tile_of_one_plane():
    data = stack((8, 9))
    tile = Tile.open(data, (4, 5))
    assert (tile.shape, tile.origin) == ((1, 8, 9), (0, 4, 5))
    np.testing.assert_array_equal(
        tile.read(((0, 1), (1, 4), (2, 9))), data[None, 1:4, 2:]
    )


def test_a_time_series_must_say_which_time():
    series = Image(data=stack((2, 3, 6, 7)), axes="tzyx")
    with pytest.raises(ValueError, match="2 time points"):
        Tile.open(series)
    tile = Tile.open(series, time=1)
    np.testing.assert_array_equal(tile.read(), series.data[1])


def test_positions_in_micrometres():
    images = [Image(data=stack(), axes="zyx", voxel_size=(2, 0.5, 0.5))] * 2
    tiles = tiles_at(images, [(0, 0, 0), (4, 0, 10)], unit="um")
    assert [t.origin for t in tiles] == [(0, 0, 0), (2, 0, 20)]
    tiles = tiles_at([stack()] * 2, [(0, 0), (3, 6)], unit="um", voxel_size=(1.5, 3))
    assert tiles[1].origin == (0, 2, 2)
    with pytest.raises(ValueError, match="give `voxel_size`"):
        tiles_at([stack()] * 2, [(0, 0, 0), (4, 0, 10)], unit="um")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origins": [(0, 0, 0)]}, "for 2 tiles"),
        ({"origins": [(0, 0, 1), (0, 0, 1)]}, "are both at"),
        ({"origins": [(0, 0, 1), (0, 0, np.inf)]}, "finite"),
        ({"unit": "mm"}, "`unit` is 'mm'"),
        ({"sources": [stack(), stack(dtype=np.uint8)]}, "dtype uint16, .* uint8"),
        ({"sources": [stack(), stack((6, 7))]}, "axes zyx, .* yx"),
        ({"sources": [stack((2, 3, 6, 7)), stack((3, 3, 6, 7))]}, "channels 2, .* 3"),
        ({"sources": [], "origins": np.zeros((0, 3))}, "`tiles` is empty"),
        (
            {
                "sources": [
                    Image(data=stack(), axes="zyx", voxel_size=(s, 1, 1))
                    for s in (1, 2)
                ]
            },
            "voxel size",
        ),
    ],
)
def test_tiles_that_do_not_go_together_are_refused(change, message):
    arguments = {"sources": [stack()] * 2, "origins": [(0, 0, 0), (0, 0, 5)]}
    with pytest.raises(ValueError, match=message):
        tiles_at(**{**arguments, **change})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "file,z,y,x\na.tif,0,0,0\nb.tif,1,2.5,6\n"),
        ("t.tsv", "x\ty\tz\tfile\tunit\n0\t0\t0\ta.tif\tpx\n6\t2.5\t1\tb.tif\tpx\n"),
        ("um.csv", "file, z, y, x, unit\na.tif, 0, 0, 0, um\nb.tif, 2, 1.25, 3, um\n"),
        (
            "TileConfiguration.txt",
            "# Define the number of dimensions\ndim = 3\n\n# coordinates\n"
            "a.tif; ; (0.0, 0.0, 0.0)\nb.tif; ; (6, 2.5, 1)\n",
        ),
    ],
)
def test_tables(tmp_path, name, text):
    save(tmp_path, ["a.tif", "b.tif"], voxel_size=(2, 0.5, 0.5))
    (tmp_path / name).write_text(text, encoding="utf-8")
    tiles = tiles_from_table(tmp_path / name)
    assert [t.name for t in tiles] == ["a.tif", "b.tif"]
    assert [t.origin for t in tiles] == [(0, 0, 0), (1, 2.5, 6)]
    (only,) = tiles_from_table(tmp_path / name, files=[tmp_path / "b.tif"])
    assert only.origin == (1, 2.5, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,z,y\na.tif,0,0\n", "header with file"),
        ("file,z,y,x\na.tif,0,0\n", "line 2"),
        ("file,z,y,x\na.tif,0,0,here\n", "numbers needed"),
        ("file,z,y,x\na.tif,0,0,0\na.tif,0,0,5\n", "listed twice"),
        ("file,z,y,x,unit\na.tif,0,0,0,um\nb.tif,0,0,5,px\n", "one for all"),
        ("file,z,y,x\n", "lists no tiles"),
        ("a.tif; ; (0, 0, 0)\nb.tif; (1, 2)\n", "line 2"),
    ],
)
def test_tables_that_cannot_be_read_say_where(tmp_path, text, message):
    save(tmp_path, ["a.tif", "b.tif"])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        tiles_from_table(tmp_path / "t.csv")


def test_a_tile_that_is_not_in_the_table_is_named(tmp_path):
    save(tmp_path, ["a.tif", "b.tif"])
    (tmp_path / "t.csv").write_text("file,z,y,x\na.tif,0,0,0\nc.tif,0,0,3\n")
    with pytest.raises(ValueError, match=r"no position for b\.tif"):
        tiles_from_table(tmp_path / "t.csv", files=[tmp_path / "b.tif"])
    with pytest.raises(FileNotFoundError, match=r"c\.tif"):
        tiles_from_table(tmp_path / "t.csv")


def test_positions_of_metadata(tmp_path):
    for name, origin in (("a", (0, 0, 0)), ("b", (4, 0, 1.5))):
        image = Image(data=stack(), axes="zyx", voxel_size=(2, 0.5, 0.5), origin=origin)
        jd.io.write(tmp_path / f"{name}.ome.tif", image)
        jd.io.write(tmp_path / f"{name}.ome.zarr", image)
    for suffix in (".ome.tif", ".ome.zarr"):
        tiles = tiles_from_metadata([tmp_path / f"{n}{suffix}" for n in "ab"])
        np.testing.assert_allclose([t.origin for t in tiles], [(0, 0, 0), (2, 0, 3)])
    save(tmp_path, ["c.tif", "d.tif"])
    with pytest.raises(ValueError, match="hold no positions"):
        tiles_from_metadata([tmp_path / "c.tif", tmp_path / "d.tif"])


def test_positions_of_file_names(tmp_path):
    names = [f"tile_{row}_{column:02d}.tif" for row in (1, 2) for column in (9, 10)]
    save(tmp_path, [*names, "other.tif"], shape=(3, 10, 20))
    tiles = tiles_from_pattern(tmp_path / "tile_{row}_{col}.tif", 0.1)
    assert [t.name for t in tiles] == names
    np.testing.assert_allclose(
        [t.origin for t in tiles], [(0, 0, 0), (0, 0, 18), (0, 9, 0), (0, 9, 18)]
    )
    tiles = tiles_from_pattern(tmp_path / "tile_{x}_{y}.tif", (0, 0.5, 0.25))
    np.testing.assert_allclose(
        [t.origin for t in tiles], [(0, 0, 0), (0, 0, 15), (0, 5, 0), (0, 5, 15)]
    )
    with pytest.raises(FileNotFoundError, match="no file in"):
        tiles_from_pattern(tmp_path / "scan_{row}_{col}.tif", 0.1)
    with pytest.raises(ValueError, match="it needs names"):
        tiles_from_pattern(tmp_path / "tile_{page}.tif", 0.1)
    with pytest.raises(ValueError, match="`overlap` is"):
        tiles_from_pattern(tmp_path / "tile_{row}_{col}.tif", 1.5)
    save(tmp_path, ["tile_1_9.tif"], shape=(3, 10, 20))
    with pytest.raises(ValueError, match="same numbers"):
        tiles_from_pattern(tmp_path / "tile_{row}_{col}.tif", 0.1)


def scene(shape=(8, 60, 70), seed=0, width=1.5):
    rng = np.random.default_rng(seed)
    volume = scipy.ndimage.gaussian_filter(rng.normal(size=shape), width)
    return (200 + 400 * volume / volume.std()).astype(np.float32)


ORIGINS = np.array([(0, 0, 0), (0, 1, 38), (0, 30, 2), (0, 29, 36)], float)


def cut(volume, origins=ORIGINS, shape=(8, 30, 32)):
    boxes = [
        tuple(slice(int(o), int(o) + n) for o, n in zip(p, shape, strict=True))
        for p in origins
    ]
    return tiles_at([volume[box] for box in boxes], origins), boxes


@pytest.mark.parametrize("weights", WEIGHTS)
def test_tiles_at_whole_voxels_make_the_volume(weights):
    volume = scene()
    tiles, boxes = cut(volume)
    assert mosaic_box(tiles, ORIGINS) == ((0, 8), (0, 60), (0, 70))
    assert mosaic_box(tiles, ORIGINS - 0.5) == ((-1, 8), (-1, 60), (-1, 70))
    found = mosaic_region(
        tiles, ORIGINS, (0, 0, 0), (8, 60, 70), weights=weights, fill=-1
    )
    count = np.zeros(volume.shape, int)
    for part in boxes:
        count[part] += 1
    assert {0, 1, 2} <= set(np.unique(count))
    np.testing.assert_array_equal(found[count == 0], -1)
    np.testing.assert_array_equal(found[count == 1], volume[count == 1])
    np.testing.assert_allclose(found[count > 1], volume[count > 1], rtol=1e-6)


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_mosaic_does_not_depend_on_its_regions(weights, order):
    tiles, _ = cut(scene())
    rng = np.random.default_rng(0)
    places = ORIGINS + rng.uniform(-2, 2, ORIGINS.shape)
    field = FlatField(coefficients=(0.1, -0.1, 0.2, 0.0, 0.1), degree=2)
    gains = Gains(
        gains=rng.uniform(0.9, 1.1, 4),
        offsets=rng.uniform(-5, 5, 4),
        flat_field=field,
        background=50.0,
    )
    options = {"weights": weights, "order": order, "gains": gains, "fill": 3.0}
    whole = mosaic_region(tiles, places, (-3, -4, -5), (14, 70, 80), **options)
    assert (whole == 3).any()
    parts = np.full_like(whole, np.nan)
    for z in (0, 5):
        for y in (0, 21, 40):
            for x in (0, 37):
                box = tuple(
                    slice(a, b)
                    for a, b in (
                        (z, {0: 5, 5: 14}[z]),
                        (y, {0: 21, 21: 40, 40: 70}[y]),
                        (x, {0: 37, 37: 80}[x]),
                    )
                )
                start = [s.start + o for s, o in zip(box, (-3, -4, -5), strict=True)]
                shape = [s.stop - s.start for s in box]
                parts[box] = mosaic_region(tiles, places, start, shape, **options)
    np.testing.assert_array_equal(parts, whole)
    assert mosaic_halo(weights) == (32 if weights == "content" else 2)


@pytest.mark.parametrize(("order", "scipy_order"), [("linear", 1), ("cubic", None)])
def test_a_tile_between_voxels_is_interpolated(order, scipy_order):
    volume = scene()
    place = np.array([[1.25, -2.6, 3.5]])
    tiles = tiles_at([volume], [(0, 0, 0)])
    found = mosaic_region(tiles, place, (4, 3, 8), (3, 30, 40), order=order)
    at = np.stack(np.meshgrid(*map(np.arange, (3, 30, 40)), indexing="ij"))
    at = at + (np.array([4, 3, 8]) - place[0]).reshape(3, 1, 1, 1)
    if scipy_order is not None:
        expected = scipy.ndimage.map_coordinates(volume, at, order=scipy_order)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=0.02)
        return
    # Keys' cubic keeps polynomials of second degree.
    grid = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"))

    def surface(p):
        z, y, x = (c / 10 for c in p)
        return 3 + z**2 - y * x + 0.5 * x**2 + 2 * y - z * y**2

    tiles = tiles_at([surface(grid).astype(np.float32)], [(0, 0, 0)])
    found = mosaic_region(tiles, place, (4, 3, 8), (3, 30, 40), order=order)
    np.testing.assert_allclose(found, surface(at), atol=2e-4)


def test_shifts_of_every_tile_are_where_the_positions_say():
    """A mosaic of tiles rendered at fractions of voxels shows one smooth scene."""
    rng = np.random.default_rng(1)
    places = ORIGINS + rng.uniform(-0.5, 0.5, ORIGINS.shape)

    def smooth(z, y, x):
        return 500 + 80 * np.sin(z / 5) + 100 * np.cos(y / 7) * np.sin(x / 6)

    stacks = []
    for place in places:
        grid = np.meshgrid(*map(np.arange, (8, 30, 36)), indexing="ij")
        stacks.append(smooth(*(g + p for g, p in zip(grid, place, strict=True))))
    tiles = tiles_at(stacks, ORIGINS)
    shape = (6, 55, 66)
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    expected = smooth(*(g + 1.0 for g in grid))
    for order, most in (("linear", 1.5), ("cubic", 0.25)):
        found = mosaic_region(tiles, places, (1, 1, 1), shape, order=order)
        seen = found > 0
        assert seen.mean() > 0.95
        assert abs(found - expected)[seen].max() < most


def test_weights_fall_towards_borders():
    ones = np.ones((4, 20, 30), np.float32)
    tiles = tiles_at([ones, 3 * ones], [(0, 0, 0), (0, 0, 20)])
    places = [t.origin for t in tiles]
    values = {
        w: mosaic_region(tiles, places, (0, 0, 0), (4, 20, 50), weights=w)[1, 9]
        for w in ("linear", "cosine", "nearest")
    }
    for line in values.values():
        np.testing.assert_array_equal(line[:20], 1)
        np.testing.assert_array_equal(line[30:], 3)
        np.testing.assert_allclose(line[20:30] + line[29:19:-1], 4, rtol=1e-6)
    np.testing.assert_allclose(np.diff(values["linear"][20:30]), 2 / 11, rtol=1e-5)
    np.testing.assert_array_equal(values["nearest"][20:30], [1] * 5 + [3] * 5)
    assert (np.diff(values["cosine"][19:31]) > 0).all()


def test_content_prefers_the_sharper_tile():
    sharp = scene((8, 40, 40))
    dull = scipy.ndimage.gaussian_filter(sharp, 3)
    tiles = tiles_at([dull, sharp], [(0, 0, 0), (0, 0, 1)])
    places = np.array([(0, 0, 0), (0, 0, 0.0)])
    found = mosaic_region(tiles, places, (0, 0, 0), sharp.shape, weights="content")
    assert abs(found - sharp).mean() < 0.2 * abs(found - dull).mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "max"}, "`weights` is 'max'"),
        ({"order": "nearest"}, "`order` is 'nearest'"),
        ({"start": (0, 0.5, 0)}, "whole"),
        ({"shape": (0, 4, 4)}, "1 or more"),
        ({"positions": np.zeros((3, 3))}, "`positions` has shape"),
        ({"gains": Gains.none(2)}, "`gains` are of 2 tiles"),
    ],
)
def test_regions_that_do_not_fit_are_refused(change, message):
    tiles, _ = cut(scene())
    arguments = {"positions": ORIGINS, "start": (0, 0, 0), "shape": (4, 4, 4)}
    with pytest.raises(ValueError, match=message):
        mosaic_region(tiles, **{**arguments, **change})


def lit(*, factors, field, offsets=(0, 0, 0, 0), size=(6, 80, 90), step=(56, 62)):
    """2 x 2 tiles of one scene through a shading, with gains and offsets."""
    volume = np.maximum(scene((6, 140, 160), seed=3, width=(1, 6, 6)), 40)
    origins = np.array([(0, y, x) for y in (0, step[0]) for x in (0, step[1])], float)
    boxes = [
        tuple(slice(int(o), int(o) + n) for o, n in zip(p, size, strict=True))
        for p in origins
    ]
    stacks = [
        BACKGROUND + b + a * field * volume[box]
        for a, b, box in zip(factors, offsets, boxes, strict=True)
    ]
    return volume, tiles_at([s.astype(np.float32) for s in stacks], origins), origins


def test_gains_alone():
    factors = np.array([1.0, 1.2, 0.85, 0.95])
    _, tiles, origins = lit(factors=factors, field=1)
    found = measure_gains(tiles, origins, background=BACKGROUND, flat_field=False)
    np.testing.assert_allclose(
        found.gains, factors / np.exp(np.log(factors).mean()), rtol=1e-3
    )
    assert found.flat_field is None


def test_gains_and_shading_make_one_scene_again():
    rng = np.random.default_rng(0)
    factors = np.array([1.0, 1.08, 1.06, 0.95])
    factors /= np.exp(np.log(factors).mean())
    field = shading((80, 90), depth=0.3)
    volume, tiles, origins = lit(factors=factors, field=field)
    stacks = [t.image.data + rng.normal(0, 5, t.shape) for t in tiles]
    stacks[0][:, 66:, 10:24] += 2000  # something that moved
    tiles = tiles_at([s.astype(np.float32) for s in stacks], origins)
    found = measure_gains(tiles, origins, background=BACKGROUND)
    assert found.flat_field is not None
    # The scale is free; a slope that gains could explain is not certain to be one.
    quotient = np.log(found.flat_field.profile((80, 90)) / field)
    y, x = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 90), indexing="ij")
    plane = np.stack([np.ones_like(y), y, x], -1).reshape(-1, 3)
    slope = np.linalg.lstsq(plane, quotient.ravel(), rcond=None)[0]
    assert abs(quotient.ravel() - plane @ slope).max() < 0.02
    assert abs(slope).max() < 0.05
    shape = (6, 136, 152)
    flat = mosaic_region(tiles, origins, (0, 0, 0), shape, gains=found) - BACKGROUND
    raw = mosaic_region(tiles, origins, (0, 0, 0), shape) - BACKGROUND
    truth = volume[:, :136, :152]

    def misfit(image):
        ratio = np.log(np.median(image / truth, 0))
        ratio[60:86, 4:30] = np.nan  # where it moved
        return np.nanstd(ratio)

    assert misfit(raw) > 0.1
    assert misfit(flat) < 0.3 * misfit(raw)
    assert found.spread < 0.02


def test_a_slope_is_told_from_gains_by_many_tiles():
    """Along a row of tiles, a slope of the shading would be a large trend of gains."""
    volume = np.maximum(scene((2, 60, 460), seed=5), 40)
    line = np.exp(0.15 * np.linspace(-1, 1, 60))
    origins = np.array([(0, 0, 40 * n) for n in range(10)], float)
    stacks = [(volume[:, :, int(o) : int(o) + 60] * line) for o in origins[:, 2]]
    tiles = tiles_at([s.astype(np.float32) for s in stacks], origins)
    found = measure_gains(tiles, origins)
    assert found.flat_field is not None
    profile = found.flat_field.profile((60, 60))[30]
    np.testing.assert_allclose(profile / profile[30], line / line[30], rtol=0.03)
    assert abs(np.diff(np.log(found.gains))).max() < 0.02  # of 0.2 between neighbours


def test_offsets():
    factors, offsets = np.array([1.0, 1.1, 0.95, 1.0]), np.array([0, 12, -6, -6])
    _, tiles, origins = lit(factors=factors, field=1, offsets=offsets)
    found = measure_gains(
        tiles, origins, background=BACKGROUND, flat_field=False, offsets=True
    )
    without = measure_gains(tiles, origins, background=BACKGROUND, flat_field=False)
    assert abs(found.offsets - offsets).max() < 2
    assert found.spread < 0.5 * without.spread


def test_tiles_that_are_not_compared_keep_their_brightness():
    factors = np.array([1.0, 1.2, 0.85, 3.0])
    _, tiles, origins = lit(factors=factors, field=1)
    pairs = [(1, 0), (0, 2)]
    found = measure_gains(
        tiles, origins, background=BACKGROUND, flat_field=False, pairs=pairs
    )
    assert found.gains[3] == pytest.approx(1, rel=0.1)
    ratio = found.gains[:3] / found.gains[0]
    np.testing.assert_allclose(ratio, [1, 1.2, 0.85], rtol=2e-3)
    apart = measure_gains(tiles, origins * 10, background=BACKGROUND)
    np.testing.assert_array_equal(apart.gains, 1)


def test_dark_overlaps_give_no_gains():
    empty = np.full((4, 20, 30), BACKGROUND, np.float32)
    tiles = tiles_at([empty, empty], [(0, 0, 0), (0, 0, 20)])
    found = measure_gains(tiles, [t.origin for t in tiles], background=BACKGROUND)
    np.testing.assert_array_equal(found.gains, 1)
    assert found.patches == 0


def placed(layers=1):
    """A placement with a rejected link and a tile that nothing holds."""
    grid = [(z, y, x) for z in range(layers) for y in range(2) for x in range(3)]
    nominal = np.array(grid) * [20.0, 80.0, 80.0]
    truth = nominal + np.random.default_rng(0).uniform(-8, 8, nominal.shape)
    steps = ((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5), (0, 4), (1, 3))
    pairs = np.array([(a + 6 * z, b + 6 * z) for z in range(layers) for a, b in steps])
    if layers > 1:
        pairs = np.concatenate([pairs, [(n, n + 6) for n in range(5)]])
    offsets = truth[pairs[:, 1]] - truth[pairs[:, 0]]
    offsets[0] += 30
    usable = (pairs != 5).all(1)
    links = Links.from_offsets(pairs, offsets, usable=usable)
    links = dataclasses.replace(links, ncc=np.linspace(0.3, 0.95, len(pairs)))
    return (
        solve_links(nominal, links),
        links,
        nominal,
        np.tile([25, 100, 100], (len(nominal), 1)),
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_the_figure_shows_tiles_and_links(layers, tmp_path):
    pytest.importorskip("matplotlib")
    found, links, nominal, shapes = placed(layers)
    assert found.rejected.sum() == 1
    figure = stitch_figure(found, links, nominal, shapes, title="mine")
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    left, right = figure.subfigs
    plans = [a for a in left.axes if a.get_title().startswith("from")]
    assert len(plans) == layers
    dashed, solid, hatched, used, unused, rejected = plans[0].collections
    count = len(nominal)
    sizes = [len(c.get_paths()) for c in (dashed, solid, hatched)]
    assert sizes == [count, count, len([g for g in found.components if len(g) == 1])]
    assert hatched.get_hatch() == "////"
    corner = solid.get_paths()[2].vertices.min(0)[::-1]
    np.testing.assert_allclose(corner, found.positions[2, 1:], atol=1e-6)
    kept = links.usable & ~found.rejected
    np.testing.assert_allclose(used.get_array(), links.ncc[kept])
    assert len(unused.get_segments()) == (~links.usable).sum()
    (line,) = rejected.get_segments()
    a, b = links.pairs[found.rejected][0]
    middles = (found.positions + shapes / 2)[[a, b]][:, [2, 1]]
    np.testing.assert_allclose(line, middles)
    assert "rejected: 0-1" in figure.get_suptitle()
    assert sum(p.get_height() for p in right.axes[0].patches) == kept.sum()


def test_a_figure_that_does_not_fit_is_refused():
    found, links, nominal, shapes = placed()
    with pytest.raises(ValueError, match="`nominal` has shape"):
        stitch_figure(found, links, nominal[:-1], shapes)
    with pytest.raises(ValueError, match="`links` are 1"):
        stitch_figure(found, Links.from_offsets([(0, 1)], [[0, 0, 0]]), nominal, shapes)
