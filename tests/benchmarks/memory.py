"""Peak memory of Richardson-Lucy: predicted, planned by the compiler, and used.

    python tests/benchmarks/memory.py [--size 128] [--peers PYTHON]

Every case runs in a process of its own, driven step by step as `jaxdecon deconvolve`
does. Used: the growth of the process's peak resident size (VmHWM) over its size just
before the call, after a call on a tiny image has loaded and compiled what can be.
"""

import argparse
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
        # The image itself was there before.
        return math.prod(blur.grid), status("VmHWM") - base + image.nbytes

    solve(20)
    grid, used = solve(n)
    predicted = jd.deconvolution.memory_needed(
        (n,) * 3, psf.shape, boundary=boundary, matched=kind == "matched"
    )
    return {"grid": grid, "used": used, "predicted": predicted}


def run_scikit_image(n):
    """Growth of the process by scikit-image's implementation."""
    import numpy as np
    from skimage.restoration import richardson_lucy

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
        row = [*case, used / 2**20, used / volume, predicted / 2**20]
        rows.append([*row, f"{predicted / used - 1:+.0%}"])
    if arguments.peers:
        found = child(arguments.peers, "--size", n, "--case", "scikit-image")
        used = found["used"]
        rows.append(["scikit-image", "matched", used / 2**20, used / 4 / n**3, "", ""])
    table(
        [
            *("boundary", "back projector", "used MiB", "padded volumes"),
            *("predicted MiB", "prediction off by"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
