"""Other programs on the scene of `peers.py`; runs under a Python that has them.

Serves one request per line of standard input, "NAME ITERATIONS", and answers with JSON:
wall and CPU seconds, and where the result was saved. Every program gets what it wants:
the PSF at its size or at the image's, centred; start and threads as it has them.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

_KEPT = []


def embed(psf, shape):
    """The PSF in the middle of zeros of `shape`."""
    padding = []
    for n, m in zip(shape, psf.shape, strict=True):
        before = n // 2 - m // 2
        padding.append((before, n - m - before))
    return np.pad(psf, padding)


def scikit_image(image, psf):
    from skimage.restoration import richardson_lucy

    return lambda count: richardson_lucy(image, psf, num_iter=count, clip=False)


def scipy_circular(image, psf):
    return _scipy(image, psf, image.shape)


def scipy_extended(image, psf):
    import scipy.fft as sf

    sizes = zip(image.shape, psf.shape, strict=True)
    return _scipy(
        image, psf, tuple(sf.next_fast_len(n + m - 1, True) for n, m in sizes)
    )


def _scipy(image, psf, shape):
    """What one writes by hand, with scipy.fft on two threads."""
    import scipy.fft as sf

    kernel = np.zeros(shape, np.float32)
    kernel[tuple(slice(m) for m in psf.shape)] = psf
    kernel = np.roll(kernel, [-(m // 2) for m in psf.shape], (0, 1, 2))
    inside = tuple(slice(n) for n in image.shape)

    def convolve(x, otf):
        return sf.irfftn(sf.rfftn(x, workers=2) * otf, s=shape, workers=2)

    def run(count):
        otf = sf.rfftn(kernel, workers=2)
        back = otf.conj()
        data = np.zeros(shape, np.float32)
        data[inside] = image
        weight = np.zeros(shape, np.float32)
        weight[inside] = 1
        share = np.maximum(convolve(weight, back), 1e-3)
        estimate = np.full(shape, image.mean(), np.float32)
        for _ in range(count):
            ratio = data / np.maximum(convolve(estimate, otf), 1e-6)
            estimate *= convolve(ratio, back) / share
        return estimate[inside]

    return run


def redlionfish(image, psf):
    from RedLionfishDeconv import doRLDeconvolutionFromNpArrays as solve

    kernel = embed(psf, image.shape)
    return lambda count: solve(image, kernel, niter=count, method="cpu")


def sdeconv(image, psf):
    return _sdeconv(image, psf, 0)


def sdeconv_padded(image, psf):
    return _sdeconv(image, psf, max(psf.shape) // 2)


def _torch():
    """PyTorch, such that torchvision can be imported beside it."""
    import torch

    if not hasattr(torch.ops.torchvision, "nms"):
        # The registry's torchvision wants operators that a CPU build of torch lacks.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
        _KEPT.append(library)
    return torch


def _sdeconv(image, psf, padding):
    torch = _torch()
    from sdeconv.deconv import SRichardsonLucy

    kernel = torch.from_numpy(embed(psf, image.shape))
    data = torch.from_numpy(image)

    def run(count):
        return SRichardsonLucy(kernel, niter=count, pad=padding)(data).numpy()

    return run


def flowdec(image, psf):
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    from flowdec import data as fd_data
    from flowdec import restoration

    algorithm = restoration.RichardsonLucyDeconvolver(
        3, pad_mode="none", start_mode="input"
    ).initialize()
    acquisition = fd_data.Acquisition(data=image, kernel=psf)
    return lambda count: algorithm.run(acquisition, niter=count).data


def cubic(image, psf):
    from cubic.preprocessing import richardson_lucy_xp

    return lambda count: richardson_lucy_xp(image, psf, n_iter=count)


def cubic_padded(image, psf):
    from cubic.preprocessing import richardson_lucy_xp

    return lambda count: richardson_lucy_xp(image, psf, n_iter=count, noncirc=True)


def deepinv(image, psf):
    return _deepinv(image, psf, "circular")


def deepinv_extended(image, psf):
    return _deepinv(image, psf, "valid")


def _deepinv(image, psf, padding):
    """MLEM, from ones; "valid" reconstructs the margin of the field, too."""
    torch = _torch()
    from deepinv.optim import MLEM
    from deepinv.physics import Blur

    physics = Blur(torch.from_numpy(psf)[None, None], padding=padding, use_fft=True)
    data = torch.from_numpy(image)[None, None]

    def run(count):
        with torch.no_grad():
            result = MLEM(max_iter=count)(data, physics)[0, 0].numpy()
        margins = [(n - m) // 2 for n, m in zip(result.shape, image.shape, strict=True)]
        return result[
            tuple(slice(a, a + n) for a, n in zip(margins, image.shape, strict=True))
        ]

    return run


def clij2_extended(image, psf):
    from clij2fft.richardson_lucy import richardson_lucy_nc

    return lambda count: richardson_lucy_nc(image, psf, count)


PEERS = {
    "SciPy by hand, circular": scipy_circular,
    "SciPy by hand, extended": scipy_extended,
    "scikit-image": scikit_image,
    "RedLionfish": redlionfish,
    "sdeconv": sdeconv,
    "sdeconv, padded": sdeconv_padded,
    "flowdec": flowdec,
    "cubic": cubic,
    "cubic, padded": cubic_padded,
    "deepinv": deepinv,
    "deepinv, extended": deepinv_extended,
    "clij2-fft, extended": clij2_extended,
}


def serve(prepare):
    """Answer every line of standard input.

    `prepare(line, arrays)` gives the function to time.
    """
    folder = Path(sys.argv[1])
    arrays = dict(np.load(folder / "arrays.npz"))
    answers, sys.stdout = sys.stdout, sys.stderr  # what peers print is no answer
    for line in sys.stdin:
        answer = {}
        try:
            with contextlib.redirect_stdout(sys.stderr):
                run = prepare(line.rstrip("\n"), arrays)
                wall, cpu = time.perf_counter(), time.process_time()
                result = run()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            np.save(folder / "result.npy", np.asarray(result))
            answer = {"wall": wall, "cpu": cpu}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main():
    made = {}

    def prepare(line, arrays):
        name, count = line.rsplit(" ", 1)
        if name not in made:
            made[name] = PEERS[name](arrays["image"], arrays["psf"])
        return lambda: made[name](int(count))

    serve(prepare)


if __name__ == "__main__":
    main()
