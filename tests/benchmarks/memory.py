"""Peak memory of Richardson-Lucy: predicted, planned by the compiler, and used.

    python tests/benchmarks/memory.py [--size 128] [--peers PYTHON]

Every case runs in a process of its own, driven step by step as `jaxdecon deconvolve`
does. Planned: what the compiler reserves for one update, in padded float32 volumes.
Used: the growth of the process's peak resident size (VmHWM) over its size just
before the call, after a call on a tiny image has loaded what can be; compiling for the
new shape counts.
"""

import argparse
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

PSF_SIZE = 33
CASES = [("periodic", "matched"), ("extend", "matched"), ("reflect", "matched")]
CASES += [(boundary, "wiener-butterworth") for boundary in ("periodic", "extend")]


def status(field):
    """A size from /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+)", text)
    assert found
    return int(found[1]) * 1024


def reset_peak():
    """Let the peak resident size start again from the present one."""
    Path("/proc/self/clear_refs").write_text("5")


def run_ours(n, boundary, kind):
    """Predicted and used bytes of one case, and the voxels of its grid."""
    import numpy as np

    import jaxdecon as jd

    rng = np.random.default_rng(0)
    psf = np.asarray(jd.psf.gaussian((PSF_SIZE,) * 3, (9.0, 4.0, 4.0)))

    def solve(size):
        image = rng.random((size,) * 3, np.float32) + 1
        base = status("VmRSS")
        reset_peak()
        blur = jd.operators.Convolution.from_psf(psf, image.shape, boundary=boundary)
        scheme = jd.deconvolution.richardson_lucy_scheme(
            blur, psf, back_projector=kind, restore_flux=kind != "matched"
        )
        jd.deconvolve(image, blur, scheme, iterations=5, progress=lambda count: None)
        return blur, scheme, image, status("VmHWM") - base

    solve(20)
    blur, scheme, image, used = solve(n)
    predicted = jd.deconvolution.memory_needed(
        (n,) * 3, psf.shape, boundary=boundary, matched=kind == "matched"
    )
    return {
        "grid": math.prod(blur.grid),
        "used": used,
        "predicted": predicted,
        "planned": planned(blur, scheme, image),
    }


def planned(blur, scheme, image):
    """Bytes that the compiler plans for one update: arguments, results, temporaries."""
    import jax

    from jaxdecon.deconvolution import Problem, _driver

    problem = Problem(data=jax.numpy.asarray(image), operator=blur, background=0.0)
    options = {"iterations": 5, "keep": "last"}
    carry = _driver._begin_jit(problem, scheme, None, **options)
    step = _driver._step_jit.lower(problem, scheme, None, carry).compile()
    plan = step.memory_analysis()
    sizes = plan.argument_size_in_bytes + plan.output_size_in_bytes
    return sizes + plan.temp_size_in_bytes - plan.alias_size_in_bytes


def run_scikit_image(n):
    """Growth of the process by scikit-image's implementation."""
    import numpy as np

    # Only one of the interpreters that run this file has it.
    richardson_lucy = importlib.import_module("skimage.restoration").richardson_lucy
    image = np.random.default_rng(0).random((n,) * 3).astype(np.float32) + 1
    psf = np.ones((PSF_SIZE,) * 3, np.float32) / PSF_SIZE**3
    richardson_lucy(image[:20, :20, :20], psf[:5, :5, :5], num_iter=1, clip=False)
    base = status("VmRSS")
    reset_peak()
    richardson_lucy(image, psf, num_iter=5, clip=False)
    return {"used": status("VmHWM") - base, "process": status("VmHWM")}


def child(python, *arguments):
    """Run this file in another process and return what it printed."""
    command = [python, __file__, *map(str, arguments)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(text.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--peers", help="Python with scikit-image")
    parser.add_argument("--case", nargs="+")
    arguments = parser.parse_args()
    n = arguments.size
    if arguments.case:
        run = run_scikit_image if arguments.case[0] == "scikit-image" else run_ours
        rest = arguments.case[1:] if run is run_scikit_image else arguments.case
        print(json.dumps(run(n, *rest)))
        return
    from _common import header, table

    header(f"Peak memory at {n}^3, PSF {PSF_SIZE}^3")
    rows = []
    for case in CASES:
        found = child(sys.executable, "--size", n, "--case", *case)
        volume = 4 * found["grid"]
        used, predicted = found["used"], found["predicted"]
        row = [*case, found["planned"] / volume, used / 2**20, used / volume]
        row.append(predicted / 2**20)
        rows.append([*row, f"{predicted / used - 1:+.0%}"])
    if arguments.peers:
        found = child(arguments.peers, "--size", n, "--case", "scikit-image")
        used = found["used"]
        row = ["scikit-image", "matched", "", used / 2**20, used / 4 / n**3]
        rows.append([*row, "", ""])
    table(
        [
            *("boundary", "back projector", "planned volumes"),
            *("used MiB", "used volumes"),
            *("predicted MiB", "prediction off by"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
