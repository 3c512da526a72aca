"""What an OME-TIFF says of the optics arrives."""

import numpy as np
import pytest
import tifffile

import jaxdecon as jd

XML = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
  <Instrument ID="Instrument:0">
    <Objective ID="Objective:0" LensNA="0.3" Immersion="Air"/>
    <Objective ID="Objective:1" LensNA="1.2" Immersion="Water"/>
  </Instrument>
  <Image ID="Image:0">
    <InstrumentRef ID="Instrument:0"/>
    <ObjectiveSettings ID="Objective:1"{index}/>
    <Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="4"
        SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1"
        PhysicalSizeZ="0.3">
      <Channel ID="Channel:0:0" SamplesPerPixel="1" EmissionWavelength="520"
          ExcitationWavelength="488" AcquisitionMode="WideField"/>
      <Channel ID="Channel:0:1" SamplesPerPixel="1" EmissionWavelength="0.61"
          EmissionWavelengthUnit="µm" PinholeSize="40"
          AcquisitionMode="LaserScanningConfocalMicroscopy"/>
      <TiffData/>
    </Pixels>
  </Image>
</OME>"""


def optics(tmp_path, xml):
    path = tmp_path / "cells.ome.tif"
    data = np.zeros((6, 4, 5), np.uint8)
    tifffile.imwrite(
        path, data, description=xml.encode(), metadata=None, photometric="minisblack"
    )
    image = jd.io.read(path)
    assert image.shape == (2, 3, 4, 5)
    return image.metadata["optics"], image


def test_lens_and_channels(tmp_path):
    found, _ = optics(tmp_path, XML.format(index=""))
    assert found == {
        "na": 1.2,
        "immersion": "water",
        "index": 1.333,
        "channels": [
            {
                "wavelength": pytest.approx(0.52),
                "excitation": pytest.approx(0.488),
                "mode": "widefield",
            },
            {"wavelength": 0.61, "mode": "confocal", "pinhole": 40.0},
        ],
    }


def test_a_measured_index_is_preferred_and_kept_in_ome_zarr(tmp_path):
    found, image = optics(tmp_path, XML.format(index=' RefractiveIndex="1.34"'))
    assert found["index"] == 1.34
    jd.io.write(tmp_path / "cells.ome.zarr", image)
    assert jd.io.read(tmp_path / "cells.ome.zarr").metadata["optics"] == found


def test_nothing_is_made_up(tmp_path):
    plain = XML.replace('LensNA="1.2" Immersion="Water"', 'LensNA="wide"')
    plain = plain.replace("EmissionWavelength=", "Color=").replace("520", "1")
    found, _ = optics(tmp_path, plain.format(index=""))
    assert "na" not in found
    assert "index" not in found
    assert "wavelength" not in found["channels"][0]
