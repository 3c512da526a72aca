"""Iterations and seconds to the quality of 20 and of 50 matched updates.

    python tests/benchmarks/acceleration.py [--data FOLDER]

On two simulated noisy phantoms and on stacks of real microscopes (and one simulated
light sheet pair) in FOLDER; sets that are not there are said and left out. Quality: the
correlation (NCC) with the truth or the sharper instrument, the width of beads, or the
deviance of photons that were held out. Seconds are those of warm, compiled runs of that
many iterations. "-" means not reached within 50 iterations; then the best is given.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, table
from _objects import BACKGROUND, make

import jaxdecon as jd
from jaxdecon import deconvolution as decon
from jaxdecon.metrics import ncc, poisson_deviance, split_photons

MOST = 50
TARGETS = (20, 50)
MATCHED = "matched"
METHODS = {
    MATCHED: {},
    "accelerated": {"accelerated": True},
    "Wiener–Butterworth": {
        "back_projector": "wiener-butterworth",
        "restore_flux": True,
    },
    "the same, accelerated": {
        "back_projector": "wiener-butterworth",
        "restore_flux": True,
        "accelerated": True,
    },
    "OMW": {"back_projector": "omw", "alpha": 0.005, "restore_flux": True},
}
BEADS = ((24, 36, 125), (24, 73, 29), (24, 111, 44))
BEAD_OF_THE_PSF = (24, 82, 75)


def phantom(kind):
    """NCC to the truth, and held-out photons, of a simulated image."""
    truth, psf, image = make(kind, 64, 200)
    setting = {"psf": psf, "background": BACKGROUND}
    yield f"{kind}, NCC", {**setting, "image": image, "score": partial_ncc(truth)}
    training, unseen = split_photons(image, key=jax.random.key(0), share=0.9)
    yield (
        f"{kind}, held-out deviance",
        {
            **setting,
            "image": training / 0.9,
            "unseen": unseen / 0.1,
            "score": lambda value: 0.0,
        },
    )


def partial_ncc(truth):
    """Higher is better; scores are to fall."""
    truth = jnp.asarray(truth, jnp.float32)
    return lambda value: -ncc(value, truth)


def bars(folder):
    """A simulated object with real programs' data; circular."""
    read = functools.partial(_read, folder / "decon_gt")
    image, psf, truth = (
        read(f"flowdec_bars_{n}.tif") for n in ("data", "kernel", "actual")
    )
    yield "bars, NCC", {"image": image, "psf": psf, "score": partial_ncc(truth)}


def light_sheet(folder):
    """One view of the simulated pair."""
    read = functools.partial(_read, folder / "dualview_sim")
    image, psf, truth = (
        read(f"{n}.ome.tif") for n in ("viewA", "PSFA", "ground_truth")
    )
    setting = {"image": image, "psf": psf, "background": 100.0}
    yield "light sheet, NCC", {**setting, "score": partial_ncc(truth)}


def nucleus(folder):
    """The bundled nucleus against the confocal one, aligned by whole voxels."""
    confocal, widefield = _read(folder / "wf_confocal", "neubias_dna_conf_wf.tif")
    size = (0.4994, 0.5119, 0.5119)
    psf = jd.psf.widefield((89, 65, 65), size, na=1.4, wavelength=0.46, index=1.518)
    there = jnp.asarray(confocal[2:, :, : confocal.shape[2] - 3])

    def score(value):
        return -ncc(value[: value.shape[0] - 2, :, 3:], there)

    setting = {"psf": np.asarray(psf), "background": 650.0, "boundary": "reflect"}
    yield "nucleus, NCC", {**setting, "image": widefield, "score": score}


def beads(folder):
    """Widths of three beads, with a PSF cut from a fourth."""
    image = _read(folder / "beads_psf", "tnia_Bead_Image1_crop.tif")
    z, y, x = BEAD_OF_THE_PSF
    cut = image[z - 16 : z + 17, y - 16 : y + 17, x - 16 : x + 17]
    psf = np.asarray(jd.psf.from_measured(cut, voxel_size=None).psf)

    def score(value):
        return jnp.stack([_relative_width(value, bead) for bead in BEADS]).mean()

    setting = {"psf": psf, "background": float(np.median(image))}
    yield "beads, width", {**setting, "image": image, "score": score}


def _relative_width(value, bead):
    """Mean over the axes of the FWHM through a bead, in voxels over its usual ones."""
    widths = []
    for axis, usual in enumerate((4.4, 10.3, 7.2)):
        line = jnp.moveaxis(value, axis, 0)[:, *np.delete(bead, axis)]
        line = jax.lax.dynamic_slice(line, (max(bead[axis] - 12, 0),), (25,))
        widths.append((line > line.max() / 2).sum() / usual)
    return jnp.stack(widths).mean()


def _read(folder, name):
    return np.asarray(jd.io.read(folder / name)).astype(np.float32)


SETS = {
    "decon_gt": bars,
    "dualview_sim": light_sheet,
    "wf_confocal": nucleus,
    "beads_psf": beads,
}


def curve(problem, scheme, score, unseen):
    """The score after every iteration; less is better."""

    @jax.jit
    def run(problem, scheme):
        def step(state, _):
            state = scheme.update(problem, state)
            if unseen is not None:
                return state, poisson_deviance(unseen, problem.predict(state.estimate))
            return state, score(problem.operator.image_region(state.estimate))

        return jax.lax.scan(step, scheme.init(problem), length=MOST)[1]

    return np.asarray(run(problem, scheme))


def compare(name, *, image, psf, score, background=0.0, boundary="extend", unseen=None):
    """Rows of one set: iterations and seconds of every method to both targets."""
    blur = jd.operators.Convolution.from_psf(psf, image.shape, boundary=boundary)
    problem = decon.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.float32(background)
    )
    schemes = {
        label: decon.richardson_lucy_scheme(blur, psf, **options)
        for label, options in METHODS.items()
    }
    curves = {k: curve(problem, s, score, unseen) for k, s in schemes.items()}
    for target in TARGETS:
        wanted = curves[MATCHED][target - 1]
        counts = {label: first(c, wanted) for label, c in curves.items()}
        seconds = timed(problem, schemes, counts)
        for label, found in counts.items():
            reached = f"{found}" if found else f"- ({abs(curves[label].min()):.4g})"
            yield [
                *(name, f"{target}: {abs(wanted):.4g}", label, reached),
                counts[MATCHED] / found if found else "",
                seconds.get(label, ""),
                seconds[MATCHED] / seconds[label] if found else "",
            ]


def first(values, wanted):
    """Iterations after which a score is as low as wanted; 0: never."""
    reached = np.flatnonzero(values <= wanted + 1e-6 * abs(wanted))
    return int(reached[0]) + 1 if reached.size else 0


def timed(problem, schemes, counts):
    """Wall seconds of the iterations that were needed."""

    def solve(label):
        return functools.partial(
            decon._driver.estimate, problem, schemes[label], iterations=counts[label]
        )

    runs = {label: solve(label) for label, count in counts.items() if count}
    return {k: wall for k, (wall, _) in interleaved(runs, 3).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the real stacks")
    arguments = parser.parse_args()
    header("Iterations to the quality of matched Richardson–Lucy")
    cases = [case for kind in ("cells", "blobs") for case in phantom(kind)]
    for folder, load in SETS.items():
        if arguments.data is not None and (arguments.data / folder).is_dir():
            cases += load(arguments.data)
        else:
            print(f"{folder} is not there; left out")
    rows = [row for name, setting in cases for row in compare(name, **setting)]
    table(
        ["data", "quality of", "scheme", "iterations", "ratio", "s", "time ratio"], rows
    )


if __name__ == "__main__":
    main()
