"""TIFF series, HDF5, N5 and BigDataViewer: real files, values, laziness, damage."""

import json
import os
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import tifffile

import jaxdecon as jd

h5py = pytest.importorskip("h5py")
tensorstore = pytest.importorskip("tensorstore")

INDICES = (
    (),
    ...,
    1,
    (slice(1, 3), slice(None), slice(2, 9, 3)),
    (-1, ..., slice(0, 4)),
    (slice(None), 2, np.int64(3)),
    (0, 1, 2),
    slice(2, 2),
)


def numbers(*shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 60000, shape).astype(dtype)


def assert_reads(image, expected):
    """The same values for every kind of index, here and after a trip to a worker."""
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(image), expected)
    for data in (image.data, pickle.loads(pickle.dumps(image.data))):
        for index in INDICES:
            selected = data[index]
            assert isinstance(selected, np.ndarray)
            np.testing.assert_array_equal(selected, expected[index])
    for wrong in (expected.shape[0], (slice(None),) * 9, slice(None, None, -1)):
        with pytest.raises(IndexError):
            image.data[wrong]


# TIFF series


def write_planes(folder, volume, name="z{}.tif"):
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(volume):
        tifffile.imwrite(
            folder / name.format(z),
            plane,
            imagej=True,
            resolution=(10.0, 5.0),
            metadata={"unit": "um"},
        )


@pytest.mark.parametrize("given", ["", "*.tif", "z?*.tif", "z{z}.tif"])
def test_planes_are_a_volume_in_natural_order(tmp_path, given):
    volume = numbers(12, 9, 11)
    write_planes(tmp_path / "planes", volume)
    (tmp_path / "planes" / "notes.txt").write_text("settings of the microscope")
    image = jd.io.read(tmp_path / "planes" / given)
    assert image.axes == "zyx"
    assert image.voxel_size == (None, pytest.approx(0.2), pytest.approx(0.1))
    assert image.notes == ("no voxel size along z in the files",)
    assert image.data.path == tmp_path / "planes"
    assert_reads(image, volume)


def test_fields_of_the_name_are_axes(tmp_path):
    data = numbers(2, 3, 4, 6, 7)
    for t, c, z in np.ndindex(2, 3, 4):
        name = ("GFP", "DAPI", "mCherry-2")[c]
        file = tmp_path / f"t{5 * t}" / f"img_c{name}_z{z:03}.tif"
        file.parent.mkdir(exist_ok=True)
        tifffile.imwrite(file, data[t, c, z])
    (tmp_path / "t0" / "img_cGFP_zlast.tif").write_text("another kind of file")
    image = jd.io.read(tmp_path / "t{t}" / "img_c{c}_z{z}.tif")
    assert image.axes == "tczyx"
    assert image.channels == ("DAPI", "GFP", "mCherry-2")
    np.testing.assert_array_equal(np.asarray(image), data[:, [1, 0, 2]])
    np.testing.assert_array_equal(image.volume(t=1, c=1), data[1, 0])
    np.testing.assert_array_equal(image.data[:, 0, 1:3, 2], data[:, 1, 1:3, 2])
    assert image.data.path == tmp_path


def test_numbered_channels_and_files_that_have_channels(tmp_path):
    data = numbers(3, 2, 6, 7)  # z, c, y, x
    for z, c in np.ndindex(3, 2):
        tifffile.imwrite(tmp_path / f"z{z}c{c}.tif", data[z, c])
    image = jd.io.read(tmp_path / "z{z}c{c}.tif")
    assert image.axes == "czyx"
    assert image.channels == ()
    np.testing.assert_array_equal(np.asarray(image), data.transpose(1, 0, 2, 3))
    for z in range(3):
        tifffile.imwrite(
            tmp_path / f"both{z}.tif", data[z], imagej=True, metadata={"axes": "CYX"}
        )
    image = jd.io.read(tmp_path / "both{z}.tif")
    assert image.axes == "czyx"
    np.testing.assert_array_equal(np.asarray(image), data.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(image.data[1, 2, 3:], data[2, 1, 3:])


def test_volumes_are_a_time_series(tmp_path):
    data = numbers(3, 4, 6, 7)
    for t in range(3):
        jd.io.write(tmp_path / f"{t}.ome.tif", jd.io.Image(data=data[t], axes="zyx"))
    image = jd.io.read(tmp_path)
    assert image.axes == "tzyx"
    assert_reads(image, data)
    os.remove(tmp_path / "1.ome.tif")
    os.remove(tmp_path / "2.ome.tif")
    assert jd.io.read(tmp_path).axes == "zyx"


def test_missing_members_are_told(tmp_path):
    for t, z in np.ndindex(2, 5):
        if (t, z) not in ((0, 2), (1, 2), (1, 4)):
            tifffile.imwrite(tmp_path / f"t{t}z{z}.tif", numbers(4, 4))
    with pytest.raises(
        ValueError, match=r"3 of 10 files .*: t=0 z=2; t=1 z=2; t=1 z=4"
    ):
        jd.io.read(tmp_path / "t{t}z{z}.tif")
    for z in (0, 5, 15, 20):
        tifffile.imwrite(tmp_path / f"plane{z}.tif", numbers(4, 4))
    with pytest.raises(ValueError, match=r"1 of 5 files are missing: z=10\."):
        jd.io.read(tmp_path / "plane{z}.tif")
    notes = jd.io.read(tmp_path / "plane*.tif").notes
    assert "files may be missing: no number 10" in notes


def test_members_that_differ_are_refused(tmp_path):
    write_planes(tmp_path, numbers(3, 5, 6))
    for plane, what in ((numbers(5, 7), "shape"), (numbers(5, 6, dtype="f4"), "dtype")):
        tifffile.imwrite(tmp_path / "z1.tif", plane, imagej=True)
        with pytest.raises(ValueError, match=rf"z1\.tif has {what} .*z0\.tif has"):
            jd.io.read(tmp_path / "z{z}.tif")


def test_series_that_cannot_be_put_together(tmp_path):
    with pytest.raises(FileNotFoundError, match="no TIFF file"):
        jd.io.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file fits"):
        jd.io.read(tmp_path / "z{z}.tif")
    tifffile.imwrite(tmp_path / "z1.tif", numbers(2, 4, 5))
    tifffile.imwrite(tmp_path / "z01.tif", numbers(2, 4, 5))
    with pytest.raises(ValueError, match="the same place"):
        jd.io.read(tmp_path / "z{z}.tif")
    os.remove(tmp_path / "z01.tif")
    with pytest.raises(ValueError, match="axes zyx; z cannot count"):
        jd.io.read(tmp_path / "z{z}.tif")
    with pytest.raises(ValueError, match="a field twice"):
        jd.io.read(tmp_path / "z{z}z{z}.tif")


def test_only_the_planes_that_are_asked_for_are_opened(tmp_path):
    volume = numbers(6, 5, 7)
    write_planes(tmp_path / "p", volume)
    image = jd.io.read(tmp_path / "p")
    (tmp_path / "p" / "z3.tif").write_bytes(b"damaged since")
    np.testing.assert_array_equal(image.data[:3, 1:4], volume[:3, 1:4])
    with pytest.raises((ValueError, tifffile.TiffFileError), match="not a TIFF"):
        image.data[2:5]


def test_a_file_with_a_bracketed_name_is_itself(tmp_path):
    tifffile.imwrite(tmp_path / "odd{z}[1].tif", numbers(2, 4, 5))
    assert jd.io.read(tmp_path / "odd{z}[1].tif").axes == "zyx"
    write_planes(tmp_path / "p[1]", numbers(2, 4, 5))
    assert jd.io.read(tmp_path / "p[1]").axes == "zyx"
    assert jd.io.read(tmp_path / "p[1]" / "z{z}.tif").axes == "zyx"


# HDF5


def test_the_only_dataset_of_an_hdf5_file(tmp_path):
    volume = numbers(6, 8, 10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volume"] = volume
        file["volume"].attrs["element_size_um"] = (0.3, 0.1, 0.11)
        file["times"] = np.arange(5.0)
        file["words"] = np.array([[b"no", b"image"]])
    image = jd.io.read(tmp_path / "a.h5")
    assert image.axes == "zyx"
    np.testing.assert_allclose(image.voxel_size, (0.3, 0.1, 0.11))
    assert image.notes == ("axis 0 of the file has no name; taken as z",)
    assert image.data.path == tmp_path / "a.h5"
    assert_reads(image, volume)


def test_axes_and_byte_order_of_hdf5(tmp_path):
    data = numbers(4, 5, 6, 2, dtype=">f4")
    tags = {"axes": [{"key": key, "typeFlags": 2} for key in "zyxc"]}
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        tagged = file.create_dataset("exported_data", data=data, chunks=True)
        tagged.attrs["axistags"] = json.dumps(tags)
        tagged.attrs["element_size_um"] = (0.0, 0.1, 0.11)
        labelled = file.create_dataset("raw/labelled", data=data[..., 0])
        for axis, letter in enumerate("TYX"):
            labelled.dims[axis].label = letter
    image = jd.io.read(f"{tmp_path}/a.hdf5:/exported_data")
    assert image.axes == "czyx"
    assert image.voxel_size == (None, 0.1, 0.11)
    np.testing.assert_array_equal(np.asarray(image), np.moveaxis(data, -1, 0))
    np.testing.assert_array_equal(image.volume(c=1), data[..., 1])
    assert image.volume(c=1).dtype == np.dtype("f4")
    image = jd.io.read(f"{tmp_path}/a.hdf5:raw/labelled")
    assert image.axes == "tyx"
    with pytest.raises(ValueError, match=r"2 datasets .*exported_data .*raw/labelled"):
        jd.io.read(tmp_path / "a.hdf5")
    with pytest.raises(ValueError, match=r"no dataset 'raw'; it has exported_data"):
        jd.io.read(f"{tmp_path}/a.hdf5:raw")


def test_hdf5_beyond_memory_is_sliced(tmp_path):
    with h5py.File(tmp_path / "big.h5", "w") as file:
        shape = (1_000_000,) * 3
        dataset = file.create_dataset("v", shape, "u2", chunks=(8, 16, 16))
        dataset[500_000:500_004, 7:9, 3] = 5
    data = jd.io.read(tmp_path / "big.h5").data
    region = data[500_000:500_008, :16, :16]
    assert region.shape == (8, 16, 16)
    assert region.sum() == 4 * 2 * 5


def test_damaged_hdf5_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("v", data=numbers(9, 64, 64), compression="gzip")
        offset = file["v"].id.get_chunk_info(0).byte_offset
    image = jd.io.read(tmp_path / "a.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[offset : offset + 64] = b"x" * 64
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.h5: v cannot be decoded: [^\n]*$"):
        image.data[0]
    (tmp_path / "a.h5").write_bytes(content[:3000])
    with h5py.File(tmp_path / "line.h5", "w") as file:
        file["v"] = np.arange(9)
    for name, message in (
        ("text.h5", r"text\.h5 is not a readable HDF5 file"),
        ("a.h5", r"a\.h5 is not a readable HDF5 file: .*truncated"),
        ("line.h5", r"line\.h5 has 0 datasets with two axes"),
        ("line.h5:v", r"'v' has shape \(9,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            jd.io.read(f"{tmp_path}/{name}")
    with pytest.raises(FileNotFoundError, match=r"none\.h5 is not there"):
        jd.io.read(f"{tmp_path}/none.h5:v")
    os.remove(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match=r"a\.h5 is not there"):
        image.data[0]


# N5


def write_n5(folder, data, **attributes):
    """As N5 has it: the fastest axis first."""
    metadata = {
        "dataType": str(data.dtype),
        "dimensions": data.shape[::-1],
        "blockSize": [4] * data.ndim,
        "compression": {"type": "gzip"},
    }
    where = {"driver": "file", "path": str(folder)}
    spec = {"driver": "n5", "kvstore": where, "metadata": metadata}
    tensorstore.open(spec, create=True).result()[...] = data.T
    add_attributes(folder, **attributes)


def add_attributes(folder, **attributes):
    file = folder / "attributes.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | attributes))


def test_n5_counts_its_axes_from_x(tmp_path):
    volume = numbers(6, 8, 10)
    root = tmp_path / "a.n5"
    write_n5(root / "raw", volume, resolution=[110, 100, 300], units=["nm"] * 3)
    add_attributes(root, n5="2.5.0")
    image = jd.io.read(root)
    assert image.axes == "zyx"
    np.testing.assert_allclose(image.voxel_size, (0.3, 0.1, 0.11))
    assert_reads(image, volume)
    assert jd.io.read(f"{root}:/raw/").shape == volume.shape


def test_n5_by_the_letter_of_its_specification(tmp_path):
    """One block: 16-bit mode, 16-bit count of axes, 32-bit lengths, x fastest."""
    volume = numbers(2, 3, 4)
    block = tmp_path / "a.n5" / "0" / "0" / "0"
    block.parent.mkdir(parents=True)
    header = np.array([0, 3], ">u2").tobytes() + np.array([4, 3, 2], ">u4").tobytes()
    block.write_bytes(header + volume.astype(">u2").tobytes())
    add_attributes(
        tmp_path / "a.n5",
        dataType="uint16",
        dimensions=[4, 3, 2],
        blockSize=[4, 3, 2],
        compression={"type": "raw"},
    )
    np.testing.assert_array_equal(np.asarray(jd.io.read(tmp_path / "a.n5")), volume)


def test_the_finest_level_of_an_n5_pyramid(tmp_path):
    data = numbers(2, 6, 8, 10)
    root = tmp_path / "a.n5"
    size = {"unit": "um", "dimensions": [0.11, 0.1, 0.3]}
    write_n5(root / "em" / "s0", data, axes=["x", "y", "z", "c"])
    write_n5(root / "em" / "s1", data[:, ::2, ::2, ::2], downsamplingFactors=[2, 2, 2])
    add_attributes(root / "em", pixelResolution=size)
    image = jd.io.read(root)
    assert image.axes == "czyx"
    np.testing.assert_allclose(image.voxel_size, (0.3, 0.1, 0.11))
    np.testing.assert_array_equal(image.volume(c=1), data[1])
    coarse = jd.io.read(f"{root}:em/s1")
    np.testing.assert_allclose(coarse.voxel_size, (0.6, 0.2, 0.22))
    assert coarse.axes == "tzyx"
    write_n5(root / "labels", data[0])
    with pytest.raises(ValueError, match=r"2 datasets \(em/s0, labels\); say which"):
        jd.io.read(root)


def test_n5_blocks_are_read_when_they_are_needed(tmp_path):
    volume = numbers(6, 8, 10)
    write_n5(tmp_path / "a.n5", volume)
    image = jd.io.read(tmp_path / "a.n5")
    (tmp_path / "a.n5" / "2" / "0" / "0").write_bytes(b"damaged")
    np.testing.assert_array_equal(image.data[:, :, :8], volume[:, :, :8])
    np.testing.assert_array_equal(image.data[4:, 2, 9], volume[4:, 2, 9])
    with pytest.raises(ValueError, match=r"a\.n5 cannot be decoded: .*Error[^\n]*$"):
        image.data[0, 0]


def test_damaged_n5_is_refused(tmp_path):
    root = tmp_path / "a.n5"
    root.mkdir()
    with pytest.raises(ValueError, match="no N5 dataset"):
        jd.io.read(root)
    add_attributes(root, dimensions=[3, 4, 5], dataType="complex")
    with pytest.raises(ValueError, match=r"a\.n5 is no readable N5: [^\n]*$"):
        jd.io.read(root)
    (root / "attributes.json").write_text('{"dimensions": [3,')
    with pytest.raises(ValueError, match=r"attributes\.json is damaged: [^\n]*$"):
        jd.io.read(root)
    with pytest.raises(FileNotFoundError, match="inside is not there"):
        jd.io.read(f"{root}:inside")


# BigDataViewer


def write_xml(path, setups, times, loader="hdf5", missing=(), shape=(6, 8, 10)):
    """Setups by number: attributes (channel, angle); and an affine for every view."""
    root = ElementTree.Element("SpimData", version="0.2")

    def add(parent, tag, text=None, **attributes):
        element = ElementTree.SubElement(parent, tag, attributes)
        element.text = text
        return element

    add(root, "BasePath", ".", type="relative")
    sequence = add(root, "SequenceDescription")
    image = add(sequence, "ImageLoader", format=f"bdv.{loader}")
    suffix = {"hdf5": "h5"}.get(loader, loader)
    add(image, loader, f"{path.stem}.{suffix}", type="relative")
    views = add(sequence, "ViewSetups")
    for number, attributes in setups.items():
        setup = add(views, "ViewSetup")
        add(setup, "id", str(number))
        add(setup, "size", " ".join(str(n) for n in shape[::-1]))
        voxel = add(setup, "voxelSize")
        add(voxel, "unit", "nm")
        add(voxel, "size", "110.0 100.0 300.0")
        owned = add(setup, "attributes")
        for name, value in attributes.items():
            add(owned, name, str(value))
    names = add(views, "Attributes", name="channel")
    for number in (0, 1):
        channel = add(names, "Channel")
        add(channel, "id", str(number))
        add(channel, "name", ("DAPI", "GFP")[number])
    sequence.append(ElementTree.fromstring(times))
    absent = add(sequence, "MissingViews")
    for t, s in missing:
        add(absent, "MissingView", timepoint=str(t), setup=str(s))
    registrations = add(root, "ViewRegistrations")
    for t in range(6):
        for s in setups:
            view = add(
                registrations, "ViewRegistration", timepoint=str(t), setup=str(s)
            )
            # The last one acts first: voxels become anisotropic, then are shifted.
            shift, scale = affines(t, s)
            for matrix in (shift, scale):
                transform = add(view, "ViewTransform", type="affine")
                text = " ".join(repr(float(v)) for v in matrix[:3].ravel())
                add(transform, "affine", text)
    ElementTree.ElementTree(root).write(path, "utf-8", xml_declaration=True)


def affines(t, s):
    """(x, y, z) matrices: a shear with a shift, and the anisotropy of the voxels."""
    shift = np.eye(4)
    shift[:3, 3] = (10 + t, 20 + s, 30)
    shift[0, 2] = 0.25
    return shift, np.diag([1.0, 2.0, 3.0, 1.0])


ONE_TIME = '<Timepoints type="pattern"><integerpattern>0</integerpattern></Timepoints>'
TWO_TIMES = '<Timepoints type="range"><first>0</first><last>1</last></Timepoints>'
CHANNELS = {0: {"channel": 0, "angle": 0}, 1: {"channel": 1, "angle": 0}}


def write_bdv_h5(path, data, dtype="i2"):
    """`data` by (t, setup); stored as Java does, without unsigned types."""
    with h5py.File(path, "w") as file:
        for (t, s), volume in data.items():
            file.create_dataset(
                f"t{t:05}/s{s:02}/0/cells", data=volume.view(dtype), chunks=(3, 4, 4)
            )
            if t == 0:
                file[f"s{s:02}/resolutions"] = np.ones((1, 3))


def write_bdv_n5(path, data):
    for (t, s), volume in data.items():
        write_n5(path / f"setup{s}" / f"timepoint{t}" / "s0", volume)


def views(times, setups):
    return {(t, s): numbers(6, 8, 10, seed=9 * t + s) for t in times for s in setups}


@pytest.mark.parametrize("loader", ["hdf5", "n5"])
def test_channels_and_times_of_a_bigdataviewer_data_set(tmp_path, loader):
    data = views((0, 1), (0, 1))
    if loader == "hdf5":
        write_bdv_h5(tmp_path / "a.h5", data)
    else:
        write_bdv_n5(tmp_path / "a.n5", data)
    write_xml(tmp_path / "a.xml", CHANNELS, TWO_TIMES, loader)
    image = jd.io.read(tmp_path / "a.xml")
    assert image.axes == "tczyx"
    assert image.channels == ("DAPI", "GFP")
    assert not image.notes
    np.testing.assert_allclose(image.voxel_size, (0.3, 0.1, 0.11))
    expected = np.stack([np.stack([data[t, s] for s in (0, 1)]) for t in (0, 1)])
    assert expected.max() > 2**15  # what int16 would show as negative
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(np.asarray(image), expected)
    again = pickle.loads(pickle.dumps(image.data))
    for index in (np.s_[1], np.s_[:, 1, 2:4, ..., 3], np.s_[0, 1, 2, 3, 4]):
        np.testing.assert_array_equal(again[index], expected[index])
    one = jd.io.read(f"{tmp_path}/a.xml:1")
    assert one.axes == "tzyx"
    np.testing.assert_array_equal(np.asarray(one), expected[:, 1])
    text = (tmp_path / "a.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace("DAPI", "0").replace("GFP", "1"))
    assert jd.io.read(tmp_path / "a.xml").channels == ()


def test_registrations_are_matrices_in_zyx_order(tmp_path):
    write_bdv_h5(tmp_path / "a.h5", views((0, 1), (0, 1)))
    write_xml(tmp_path / "a.xml", CHANNELS, TWO_TIMES)
    image = jd.io.read(tmp_path / "a.xml")
    matrices = np.array(image.metadata["transforms"])
    assert matrices.shape == (2, 2, 4, 4)
    z, y, x = 1.0, 5.0, 7.0
    # Scaled by (1, 2, 3) along x, y, z; then sheared along x and shifted.
    world = (3 * z + 30, 2 * y + 20 + 1, x + 0.25 * 3 * z + 10 + 1, 1.0)
    np.testing.assert_allclose(matrices[1, 1] @ (z, y, x, 1.0), world)
    single = jd.io.read_bdv(tmp_path / "a.xml", setup=0)
    np.testing.assert_array_equal(single.metadata["transforms"], matrices[:, 0])
    jd.io.write(tmp_path / "a.ome.zarr", image)
    assert jd.io.read(tmp_path / "a.ome.zarr").metadata == image.metadata


def test_setups_of_other_kinds_need_a_choice(tmp_path):
    data = views((0,), (0, 3))
    write_bdv_h5(tmp_path / "a.h5", data)
    angles = {0: {"channel": 0, "angle": 0}, 3: {"channel": 0, "angle": 90}}
    write_xml(tmp_path / "a.xml", angles, ONE_TIME)
    message = r"0 \(channel 0, angle 0\), 3 \(channel 0, angle 90\); choose one"
    with pytest.raises(ValueError, match=message):
        jd.io.read(tmp_path / "a.xml")
    image = jd.io.read_bdv(tmp_path / "a.xml", setup=3)
    assert image.axes == "zyx"
    assert np.shape(image.metadata["transforms"]) == (4, 4)
    assert_reads(image, data[0, 3])
    with pytest.raises(ValueError, match="no setup 1; it has 0"):
        jd.io.read_bdv(tmp_path / "a.xml", setup=1)
    with pytest.raises(ValueError, match="whole number"):
        jd.io.read(f"{tmp_path}/a.xml:left")


def test_views_that_were_never_taken_are_zero(tmp_path):
    times = "<Timepoints type='pattern'><integerpattern>0, 2-4:2</integerpattern>"
    data = views((0, 4), (0,))
    write_bdv_h5(tmp_path / "a.h5", data)
    one = {0: {"channel": 0}}
    write_xml(tmp_path / "a.xml", one, times + "</Timepoints>", missing=[(2, 0)])
    image = jd.io.read(tmp_path / "a.xml")
    assert_reads(image, np.stack([data[0, 0], 0 * data[0, 0], data[4, 0]]))
    assert image.notes == ("views that were never taken read as 0: t=2 setup=0",)
    write_xml(tmp_path / "a.xml", one, times + "</Timepoints>")
    with pytest.raises(ValueError, match=r"a\.h5 lacks t00002/s00/0/cells"):
        jd.io.read(tmp_path / "a.xml")


def test_listed_times_and_other_types_of_data(tmp_path):
    data = {(t, 0): numbers(4, 5, 6, dtype="u1", seed=t) for t in (1, 3)}
    write_bdv_h5(tmp_path / "a.h5", data, "u1")
    times = "".join(f"<timepoint><id>{t}</id></timepoint>" for t in (1, 3))
    write_xml(
        tmp_path / "a.xml", {0: {}}, f'<Timepoints type="list">{times}</Timepoints>'
    )
    assert_reads(jd.io.read(tmp_path / "a.xml"), np.stack(list(data.values())))


def test_a_partition_of_a_bigdataviewer_data_set_may_be_missing(tmp_path):
    """Large data sets have a file per time and setup, linked from the main one."""
    data = views((0, 1), (0,))
    for t in (0, 1):
        write_bdv_h5(tmp_path / f"a-{t}.h5", {(t, 0): data[t, 0]})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for t in (0, 1):
            name = f"t{t:05}"
            file[name] = h5py.ExternalLink(f"a-{t}.h5", f"/{name}")
    write_xml(tmp_path / "a.xml", {0: {"channel": 0}}, TWO_TIMES)
    assert_reads(jd.io.read(tmp_path / "a.xml"), np.stack([data[0, 0], data[1, 0]]))
    os.remove(tmp_path / "a-1.h5")
    with pytest.raises(ValueError, match=r"a\.h5 lacks t00001/s00/0/cells"):
        jd.io.read(tmp_path / "a.xml")


def test_damaged_bigdataviewer_data_sets_are_refused(tmp_path):
    path = tmp_path / "a.xml"
    write_xml(path, CHANNELS, ONE_TIME)
    with pytest.raises(FileNotFoundError, match=r"a\.h5, which .*a\.xml names"):
        jd.io.read(path)
    data = views((0,), (0, 1))
    data[0, 1] = data[0, 1][:3]
    write_bdv_h5(tmp_path / "a.h5", data)
    with pytest.raises(ValueError, match=r"view t=0 setup=1 has shape \(3, 8, 10\)"):
        jd.io.read(path)
    with pytest.raises(ValueError, match=r"a\.h5 holds .* read its \.xml"):
        jd.io.read(tmp_path / "a.h5")
    text = path.read_text()
    for old, new, message in (
        ("bdv.hdf5", "bdv.imaris", r"format 'bdv\.imaris'; known are bdv\.hdf5"),
        ("<id>1</id>", "<id>one</id>", r"a\.xml has damaged metadata: [^\n]*'one'"),
        ("1.0 0.0", "1.0", "damaged metadata"),
        ("ImageLoader", "Imagination", "not the XML of a BigDataViewer"),
        ("</SpimData>", "", r"a\.xml is not readable XML"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            jd.io.read(path)
    write_bdv_n5(tmp_path / "a.n5", data)
    with pytest.raises(ValueError, match=r"a\.n5 holds .*setup0/timepoint0/s0.*\.xml"):
        jd.io.read(tmp_path / "a.n5")


# The metadata of OME-Zarr


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_channels_of_ome_zarr_say_which_values_to_show(tmp_path, dtype):
    """As the specification wants; a viewer that finds the range need not read all."""
    data = np.zeros((2, 2, 3, 8, 70), dtype)
    data[0, 0], data[1, 0], data[:, 1] = 20, 300, 7
    image = jd.io.Image(data=data, axes="tczyx", channels=("a", "b"))
    jd.io.write(tmp_path / "a.ome.zarr", image)
    attributes = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())
    channels = attributes["attributes"]["ome"]["omero"]["channels"]
    windows = [channel["window"] for channel in channels]
    assert [(w["start"], w["end"]) for w in windows] == [(20, 300), (7, 8)]
    whole = (0, 65535) if dtype == "uint16" else (20, 300)
    assert (windows[0]["min"], windows[0]["max"]) == whole
    assert [channel["label"] for channel in channels] == ["a", "b"]


def test_axes_that_ome_zarr_cannot_hold_are_refused(tmp_path):
    image = jd.io.Image(data=np.zeros((3, 4)), axes="tx")
    with pytest.raises(ValueError, match="cannot hold axes 'tx'"):
        jd.io.write(tmp_path / "a.ome.zarr", image)
    assert os.listdir(tmp_path) == []


# All of them


def test_what_is_only_read_is_not_written(tmp_path):
    for name in ("a.h5", "a.n5", "a.xml"):
        with pytest.raises(ValueError, match=r"read but not written.*\.ome\.zarr"):
            jd.io.write(tmp_path / name, np.zeros((3, 4, 5)))
        assert jd.io.format_of(tmp_path / name)
    assert jd.io.format_of("a.h5:/path/in.file") == "HDF5"


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("h5py", "a.h5", "hdf5"), ("tensorstore", "a.n5", "n5")],
)
def test_a_missing_library_names_the_extra(tmp_path, monkeypatch, module, name, extra):
    write_bdv_h5(tmp_path / "a.h5", views((0,), (0,)))
    write_n5(tmp_path / "a.n5", numbers(3, 4, 5))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"jaxdecon\[{extra}\]"):
        jd.io.read(tmp_path / name)


def test_importing_io_loads_no_library_of_these_formats():
    program = (
        "import sys, jaxdecon.io\n"
        "print({'h5py', 'tensorstore', 'yaozarrs'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr
