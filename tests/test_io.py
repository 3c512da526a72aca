"""Files: what goes in comes out; foreign dialects; damage; atomic writes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

import jaxdecon as jd
from jaxdecon.io import Image

SUFFIXES = (".ome.zarr", ".ome.tif", ".tif")


def sample(axes="tczyx", dtype="uint16"):
    lengths = dict(zip("tczyx", (2, 3, 5, 70, 66), strict=True))
    shape = tuple(lengths[axis] for axis in axes)
    space = [axis for axis in axes if axis in "zyx"]
    return Image(
        data=(np.random.default_rng(0).random(shape) * 250).astype(dtype),
        axes=axes,
        voxel_size=(0.3, 0.1, 0.11)[-len(space) :],
        origin=(1.5, -20.0, 3.0)[-len(space) :],
        channels=("DAPI", "GFP", "µ-tubulin") if "c" in axes else (),
        time_step=2.5 if "t" in axes else None,
    )


def assert_same(a, b):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert a.axes == b.axes
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a.voxel_size, b.voxel_size, rtol=1e-6)
    np.testing.assert_allclose(a.origin, b.origin, rtol=1e-5)
    assert a.channels == b.channels
    assert a.time_step == b.time_step


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx", "czyx", "tzyx", "tczyx"])
def test_round_trip_loses_nothing(tmp_path, suffix, dtype, axes):
    image, path = sample(axes, dtype), tmp_path / f"image{suffix}"
    jd.io.write(path, image)
    again = jd.io.read(path)
    assert_same(image, again)
    assert not again.notes
    for index, volume in again.volumes():
        np.testing.assert_array_equal(volume, image.data[index])
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif"])
def test_other_types_round_trip(tmp_path, suffix):
    image = sample("zyx", "float64")
    jd.io.write(tmp_path / f"i{suffix}", image)
    assert_same(image, jd.io.read(tmp_path / f"i{suffix}"))


def test_npy_keeps_data_and_says_what_it_lacks(tmp_path):
    jd.io.write(tmp_path / "image.npy", sample("czyx"))
    again = jd.io.read(tmp_path / "image.npy")
    np.testing.assert_array_equal(np.asarray(again), sample("czyx").data)
    assert again.axes == "tzyx"
    assert "no voxel size" in again.notes[0]


def plain_options():
    data = (np.random.default_rng(1).random((6, 64, 48)) * 4000).astype(np.uint16)
    return data, {
        "plain": {},
        "big endian": {"byteorder": ">"},
        "BigTIFF": {"bigtiff": True},
        "LZW": {"compression": "lzw"},
        "deflate": {"compression": "zlib", "predictor": True},
        "tiles": {"tile": (32, 32), "compression": "zstd"},
        "strips": {"rowsperstrip": 5},
    }


@pytest.mark.parametrize("dialect", plain_options()[1])
def test_tiff_dialects(tmp_path, dialect):
    data, options = plain_options()
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, **options[dialect])
    image = jd.io.read(path)
    np.testing.assert_array_equal(np.asarray(image), data)
    assert image.volume().dtype == np.dtype("uint16")
    assert image.axes == "zyx"
    assert image.voxel_size == (None, None, None)
    assert any("no voxel size" in note for note in image.notes)
    with pytest.raises(ValueError, match="along z, y, x is missing"):
        _ = image.known_voxel_size


def test_imagej_hyperstack_big_endian_without_z_spacing(tmp_path):
    data = np.arange(2 * 3 * 2 * 8 * 9, dtype=np.uint16).reshape(2, 3, 2, 8, 9)
    path = tmp_path / "hyper.tif"
    metadata = {"axes": "TZCYX", "unit": "micron", "finterval": 0.5}
    tifffile.imwrite(
        path,
        data.astype(">u2"),
        imagej=True,
        resolution=(10.0, 5.0),
        metadata=metadata,
        byteorder=">",
    )
    image = jd.io.read(path)
    assert image.axes == "tczyx"
    np.testing.assert_array_equal(np.asarray(image), data.transpose(0, 2, 1, 3, 4))
    assert image.voxel_size == (None, pytest.approx(0.2), pytest.approx(0.1))
    assert image.time_step == 0.5
    assert "no voxel size along z in the file" in image.notes


def test_ome_units_are_converted(tmp_path):
    path = tmp_path / "nm.ome.tif"
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 110.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.0001,
        "PhysicalSizeYUnit": "mm",
        "PhysicalSizeZ": 0.3,
        "PhysicalSizeZUnit": "µm",
    }
    tifffile.imwrite(path, np.zeros((3, 4, 5), np.uint8), metadata=metadata)
    np.testing.assert_allclose(jd.io.read(path).voxel_size, (0.3, 0.1, 0.11))


def test_the_bundled_sample_opens():
    from jaxdecon.cli._demo import load_sample

    confocal, widefield, voxel_size = load_sample()
    assert confocal.shape == widefield.shape == (45, 130, 133)
    np.testing.assert_allclose(voxel_size, (0.4994, 0.5119, 0.5119), atol=1e-4)


def test_ome_zarr_04_of_other_programs(tmp_path):
    path = tmp_path / "old.ome.zarr"
    group = zarr.create_group(path, zarr_format=2)
    data = np.random.default_rng(0).random((2, 5, 8, 9)).astype("f4")
    array = group.create_array("s0", shape=data.shape, dtype="f4", chunks=(1, 5, 8, 9))
    array[...] = data
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [
                {"name": "c", "type": "channel"},
                {"name": "z", "type": "space", "unit": "nanometer"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "micrometer"},
            ],
            "datasets": [
                {
                    "path": "s0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1, 300, 0.1, 0.1]},
                        {"type": "translation", "translation": [0, 500, 1, 2]},
                    ],
                }
            ],
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 1, 1]}],
        }
    ]
    group.attrs["omero"] = {"channels": [{"label": "a"}, {"label": "b"}]}
    image = jd.io.read(path)
    np.testing.assert_array_equal(np.asarray(image), data)
    np.testing.assert_allclose(image.voxel_size, (0.6, 0.1, 0.1))
    np.testing.assert_allclose(image.origin, (1.0, 1.0, 2.0))
    assert image.channels == ("a", "b")


def test_ome_zarr_is_sharded_with_a_pyramid_that_other_readers_accept(tmp_path):
    models = pytest.importorskip("ome_zarr_models.v05")
    path = tmp_path / "image.ome.zarr"
    data = np.random.default_rng(0).random((2, 40, 300, 280)).astype(np.float32)
    size, origin = (0.4, 0.1, 0.1), (10.0, 20.0, 30.0)
    jd.io.write(
        path,
        Image(
            data=data, axes="czyx", voxel_size=size, origin=origin, channels=("a", "b")
        ),
    )
    image = models.Image.from_zarr(zarr.open_group(path, mode="r"))
    levels = image.ome_attributes.multiscales[0].datasets
    group = zarr.open_group(path, mode="r")
    first = group["0"]
    assert first.shards == (1, 40, 256, 256)
    assert first.chunks == (1, 40, 64, 64)
    assert first.metadata.dimension_names == ("c", "z", "y", "x")
    assert len(levels) >= 3
    assert group[levels[1].path].shape == (2, 40, 150, 140)
    expected = data.reshape(2, 40, 150, 2, 140, 2).mean((3, 5))
    np.testing.assert_allclose(group["1"][...], expected, rtol=1e-5)
    scale, translation = levels[1].coordinateTransformations
    np.testing.assert_allclose(scale.scale, (1, 0.4, 0.2, 0.2))
    np.testing.assert_allclose(translation.translation, (0, 10, 20.05, 30.05))


def test_odd_sizes_in_the_pyramid_average_what_is_there():
    from jaxdecon.io._pyramid import bin_volume

    data = np.arange(5.0, dtype=np.float32)[None]
    binned = bin_volume(data, (1, 2))
    np.testing.assert_allclose(binned, [[0.5, 2.5, 4.0]])


def test_damage_to_a_chunk_is_found(tmp_path):
    path = tmp_path / "image.ome.zarr"
    data = np.random.default_rng(0).poisson(50, (16, 64, 64)).astype(np.uint16)
    jd.io.write(path, jd.io.Image(data=data, axes="zyx"))
    (file,) = [f for f in (path / "0" / "c").rglob("*") if f.is_file()]
    whole = file.read_bytes()
    for place in np.random.default_rng(1).integers(20, len(whole) // 2, 12):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(bytes(damaged))
        with pytest.raises(Exception, match=r"(?i)zstd|checksum|corrupt|decompress"):
            np.asarray(jd.io.read(path))


def test_reading_is_lazy(tmp_path):
    path = tmp_path / "series.ome.zarr"
    jd.io.write(path, sample())
    os.remove(path / "0" / "c" / "1" / "0" / "0" / "0" / "0")
    image = jd.io.read(path)
    np.testing.assert_array_equal(image.volume((0, 2)), sample().data[0, 2])


def test_time_series_of_files(tmp_path):
    parts = [sample("czyx").data + t for t in range(3)]
    for t, part in enumerate(parts):
        jd.io.write(tmp_path / f"t{t}.tif", sample("czyx").replace(data=part))
    images = [jd.io.read(tmp_path / f"t{t}.tif") for t in range(3)]
    series = jd.io.stack_time(images)
    assert series.axes == "tczyx"
    np.testing.assert_array_equal(np.asarray(series), np.stack(parts))
    np.testing.assert_array_equal(series.volume((2, 1)), parts[2][1])
    with pytest.raises(ValueError, match="image 1 has axes zyx"):
        jd.io.stack_time([images[0], sample("zyx")])


def test_truncated_files_are_refused(tmp_path):
    data = np.random.default_rng(0).integers(0, 999, (8, 64, 64)).astype(np.uint16)
    for name, options in {
        "plain": {},
        "lzw": {"compression": "lzw"},
        "imagej": {"imagej": True},
        "ome": {"ome": True},
    }.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, data, **options)
        whole = path.read_bytes()
        for share in (0.001, 0.3, 0.9):
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(ValueError, match=name):
                np.asarray(jd.io.read(path))


def test_foreign_content_is_refused(tmp_path):
    (tmp_path / "text.tif").write_text("not a TIFF")
    (tmp_path / "text.npy").write_text("not NumPy")
    (tmp_path / "empty.zarr").mkdir()
    zarr.create_group(tmp_path / "group.zarr")
    for name in ("text.tif", "text.npy", "empty.zarr", "group.zarr"):
        with pytest.raises(ValueError, match=name):
            jd.io.read(tmp_path / name)
    with pytest.raises(ValueError, match="unknown suffix"):
        jd.io.read(tmp_path / "image.jpeg")
    with pytest.raises(FileNotFoundError, match="not there"):
        jd.io.read(tmp_path / "missing.tif")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_an_existing_output_is_kept_unless_asked(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    first, second = sample("zyx"), sample("zyx").replace(data=sample("zyx").data + 1)
    jd.io.write(path, first)
    with pytest.raises(FileExistsError, match="overwrite"):
        jd.io.write(path, second)
    np.testing.assert_array_equal(np.asarray(jd.io.read(path)), first.data)
    jd.io.write(path, second, overwrite=True)
    np.testing.assert_array_equal(np.asarray(jd.io.read(path)), second.data)
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(FileNotFoundError, match="create it"):
        jd.io.write(tmp_path / "no" / f"image{suffix}", first)


class Failing:
    """Data that fail half way, as a disk that fills up would."""

    shape, dtype = (3, 4, 5, 6), np.dtype("float32")

    def __getitem__(self, index):
        if index[0] == 1:
            raise OSError(28, "No space left on device")
        return np.zeros((4, 5, 6), np.float32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_nothing_behind(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    image = Image(data=Failing(), axes="tzyx")
    with pytest.raises(OSError, match="No space"):
        jd.io.write(path, image)
    assert os.listdir(tmp_path) == []
    jd.io.write(path, sample("zyx"))
    with pytest.raises(OSError, match="No space"):
        jd.io.write(path, image, overwrite=True)
    assert os.listdir(tmp_path) == [path.name]
    np.testing.assert_array_equal(np.asarray(jd.io.read(path)), sample("zyx").data)


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE as on Linux")
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_a_write_that_the_system_refuses_leaves_nothing_behind(tmp_path, suffix):
    """A real refusal by the operating system, in a process of its own."""
    program = (
        "import resource, signal, sys, numpy as np, jaxdecon as jd\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "data = np.random.default_rng(0).random((20, 100, 100))\n"
        "jd.io.write(sys.argv[1], data.astype('float32'))\n"
    )
    path = tmp_path / f"image{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr or "is the disk full" in done.stderr
    assert os.listdir(tmp_path) == []


def test_conversion_never_wraps_or_clips():
    convert = jd.io.convert
    np.testing.assert_array_equal(convert(np.asarray([0.4, 1.6]), "uint16"), [0, 2])
    with pytest.raises(ValueError, match="do not fit uint16"):
        convert(np.asarray([0.0, 70000.0]), "uint16")
    with pytest.raises(ValueError, match="do not fit uint8"):
        convert(np.asarray([-1.0]), "uint8")
    for dtype in ("int32", "uint32", "uint64"):
        top = np.asarray([float(np.iinfo(dtype).max) + 1], np.float32)
        with pytest.raises(ValueError, match=f"do not fit {dtype}"):
            convert(top, dtype)
    with pytest.raises(ValueError, match="NaN"):
        convert(np.asarray([np.nan]), "uint8")
    with pytest.raises(ValueError, match="do not fit float16"):
        convert(np.asarray([1e6]), "float16")
    scaled = convert(np.asarray([70000.0]), "uint16", scale=0.5)
    np.testing.assert_array_equal(scaled, [35000])


def test_imagej_limits_are_told(tmp_path):
    with pytest.raises(ValueError, match="cannot hold float64"):
        jd.io.write(tmp_path / "a.tif", sample("zyx", "float64"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": "xyz"}, "axes"),
        ({"axes": "yx"}, "shape"),
        ({"voxel_size": (1.0,)}, "voxel_size"),
        ({"voxel_size": (0.0, 1.0, 1.0)}, "positive"),
        ({"channels": ("a", "b")}, "channels"),
    ],
)
def test_contradictory_metadata_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sample("zyx").replace(**change)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "size", [(None, 0.1, 0.1), (0.2, None, 0.1), (0.2, None, None), (None,) * 3]
)
def test_unknown_voxel_sizes_stay_unknown(tmp_path, suffix, size):
    image = sample("zyx").replace(voxel_size=size, origin=(0.0, 0.0, 0.0))
    jd.io.write(tmp_path / f"i{suffix}", image)
    again = jd.io.read(tmp_path / f"i{suffix}")
    assert [s is None for s in again.voxel_size] == [s is None for s in size]
    assert [s for s in again.voxel_size if s] == pytest.approx([s for s in size if s])
    assert again.notes


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_unnamed_axes_are_taken_from_the_innermost(tmp_path, suffix):
    data = np.random.default_rng(0).random((3, 5, 16, 17)).astype(np.float32)
    path = tmp_path / f"stack{suffix}"
    if suffix == ".npy":
        np.save(path, data)
    else:
        tifffile.imwrite(path, data)
    image = jd.io.read(path)
    assert image.axes == "tzyx"
    np.testing.assert_array_equal(np.asarray(image), data)
    assert image.notes


def test_negative_spacing_and_several_images(tmp_path):
    data = np.zeros((4, 8, 8), np.uint16)
    tifffile.imwrite(
        tmp_path / "down.tif",
        data,
        imagej=True,
        resolution=(5.0, 5.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": -0.3},
    )
    assert jd.io.read(tmp_path / "down.tif").voxel_size == pytest.approx(
        (0.3, 0.2, 0.2)
    )
    with tifffile.TiffWriter(tmp_path / "two.ome.tif") as writer:
        writer.write(data)
        writer.write(data + 1)
    assert any("2 images" in n for n in jd.io.read(tmp_path / "two.ome.tif").notes)


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    folder = tmp_path / "results.zarr"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not overwritten"):
        jd.io.write(folder, sample("zyx"), overwrite=True)
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("dtype", ["int64", "float16"])
def test_types_that_ome_tiff_lacks(tmp_path, dtype):
    with pytest.raises(ValueError, match=f"cannot hold {dtype}"):
        jd.io.write(tmp_path / "a.ome.tif", sample("zyx", dtype))
    assert os.listdir(tmp_path) == []


def test_damaged_content_names_the_file(tmp_path):
    np.savez(tmp_path / "a", x=np.ones(3))
    (tmp_path / "a.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "empty.npy").write_bytes(b"")
    group = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    group.create_array("0", shape=(4, 4), dtype="u1")
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    path = tmp_path / "strip.tif"
    tifffile.imwrite(
        path, np.random.default_rng(0).random((99, 99)), compression="zlib"
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"x" * 64
    path.write_bytes(content)
    for name in ("archive.npy", "empty.npy", "old.zarr", "strip.tif"):
        with pytest.raises(ValueError, match=name):
            np.asarray(jd.io.read(tmp_path / name))


def test_a_volume_is_chosen_by_name_or_index():
    image = sample()
    np.testing.assert_array_equal(image.volume(t=1, c=2), image.data[1, 2])
    np.testing.assert_array_equal(image.volume((1, 2)), image.data[1, 2])
    for wrong in ({}, {"t": 0}, {"index": (0,)}, {"index": (0, 0, 0)}):
        with pytest.raises(ValueError, match=r"volume\(t=0, c=0\)"):
            image.volume(**wrong)


def test_lazy_data_are_arrays_where_arrays_are_wanted(tmp_path):
    jd.io.write(tmp_path / "a.tif", sample("czyx"))
    image = jd.io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(image.data), sample("czyx").data)
