"""PSFs of other programs for `psfs.py`; runs under a Python that has them.

Serves one request per line of standard input, a JSON object: "program", its settings,
and "optics", a dictionary with lengths in µm. What the programs mean by arguments:

- psfmodels computes the radial profile at `fine` points per pixel and interpolates
  linearly; with "integrate" every pixel is the mean over `fine`^2 points, as it does by
  itself (3), else its centre is taken. z counts from the coverslip. Odd sizes only.
- psf_generator puts the first and the last pixel at the ends of its field and of its
  range of defocus: their distance is n / (n - 1) of what is asked for. With layers it
  takes positions for those in a medium of index n_s, but angles for those in the
  immersion: they come out stretched by n_i / n_s, and its z runs the other way.
"""

import json

import numpy as np
from _peers import serve

PICOMETRES = 1e6  # psf_generator rounds its range of defocus to whole units


def psfmodels(optics, fine, integrate):
    import psfmodels

    o = optics
    planes, _, n = o["shape"]
    z = (np.arange(planes) - planes // 2) * o["dz"] + o["depth"]
    names = ("ni", "ng", "tg")
    params = {name: o[name] for name in (*names, "ns", "ti0")}
    params |= {f"{name}0": o[name] for name in names}
    params |= {"NA": o["na"], "sf": fine if integrate else 1, "mode": 1}
    make = getattr(psfmodels, f"{o['model']}_psf")
    step = 1 if integrate else fine  # its own way to fine points, mode 0, is broken
    optics = o["dxy"] / step, o["depth"], o["wavelength"], params
    return make(z, n * step, *optics, normalize=False)[
        :, step // 2 :: step, step // 2 :: step
    ]


def psf_generator(optics, grid, pupil, conventions="ours", double=False):
    import torch

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else usual)
    try:
        return _psf_generator(optics, grid, pupil, conventions == "ours")
    finally:
        torch.set_default_dtype(usual)


def _psf_generator(optics, grid, pupil, like_ours):
    """Intensity; of all polarisations alike where `like_ours`."""
    from psf_generator import propagators

    kind = f"{optics['model'].capitalize()}{grid}Propagator"
    make = getattr(propagators, kind)
    arguments = _arguments(optics, pupil, like_ours)
    parts = [{}]
    if like_ours and optics["model"] == "scalar":
        # A uniform pupil.
        uniform = {"Spherical": {"cos_factor": True}}
        parts = [uniform.get(grid, {"sz_correction": False})]
    elif like_ours:
        # Circularly polarised light does for both if the pupil is round.
        parts = [{"e0x": 1.0, "e0y": 1.0j}]
        if any(optics["zernike"]):
            parts = [{"e0x": 1.0, "e0y": 0.0}, {"e0x": 0.0, "e0y": 1.0}]
        parts = [{**part, "apod_factor": True} for part in parts]
    fields = [make(**arguments, **part).compute_focus_field() for part in parts]
    psf = sum((field.abs() ** 2).sum(1).numpy() for field in fields)
    return psf[::-1] if optics["layers"] else psf


def _arguments(optics, pupil, like_ours):
    o = optics
    planes, _, n = o["shape"]
    unit = PICOMETRES * (o["ni"] / o["ns"] if like_ours else 1)
    arguments = {
        "n_pix_pupil": pupil,
        "n_pix_psf": n,
        "na": o["na"],
        "wavelength": PICOMETRES * o["wavelength"],
        "pix_size": unit * o["dxy"] * (n - 1) / n,
        "defocus_step": unit * o["dz"] * (planes - 1) / planes,
        "n_defocus": planes,
        "gibson_lanni": o["layers"],
        "n_s": o["ns"],
        "z_p": PICOMETRES * o["depth"],
        "t_i0": PICOMETRES * o["ti0"],
        "zernike_coefficients": o["zernike"],
    }
    for name, value in (("i", o["ni"]), ("g", o["ng"])):
        arguments |= {f"n_{name}": value, f"n_{name}0": value}
    return arguments | {"t_g": PICOMETRES * o["tg"], "t_g0": PICOMETRES * o["tg"]}


def prepare(line, _):
    request = json.loads(line)
    make = {"psfmodels": psfmodels, "psf_generator": psf_generator}
    make = make[request.pop("program")]
    return lambda: make(**request)


if __name__ == "__main__":
    serve(prepare)
