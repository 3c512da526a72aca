import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

from jaxdecon import fourier


def test_next_fast_len_is_the_least_smooth_number():
    def is_smooth(n):
        for prime in (2, 3, 5, 7):
            while n % prime == 0:
                n //= prime
        return n == 1

    for n in range(1, 400):
        fast = fourier.next_fast_len(n)
        assert fast >= n
        assert is_smooth(fast)
        assert not any(is_smooth(m) for m in range(n, fast))


@pytest.mark.parametrize("size", [(4, 5), (5, 4), (1, 7)])
def test_embedded_kernel_convolves_like_scipy(size):
    rng = np.random.default_rng(0)
    kernel, image = rng.random(size, np.float32), rng.random((9, 10), np.float32)
    transfer = fourier.transfer_function(jnp.asarray(kernel), image.shape)
    ours = fourier.filter_real(jnp.asarray(image), transfer)
    # SciPy centres even kernels on n // 2, too.
    expected = scipy.ndimage.convolve(image, kernel, mode="wrap")
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_a_kernel_larger_than_the_grid_wraps_and_keeps_its_sum():
    kernel = np.random.default_rng(0).random((11, 6)).astype(np.float32)
    embedded = fourier.embed_kernel(jnp.asarray(kernel), (4, 4))
    expected = np.zeros((4, 4), np.float32)
    for i, j in np.ndindex(*kernel.shape):
        expected[(i - 5) % 4, (j - 3) % 4] += kernel[i, j]
    np.testing.assert_allclose(embedded, expected, rtol=1e-5)


def test_unwrapped_kernel_is_odd_and_symmetric():
    kernel = jnp.fft.fftshift(jnp.fft.irfftn(jnp.ones((8, 5)), s=(8, 8)))
    kernel = kernel + 0.1
    opened = np.asarray(fourier.unwrap_kernel(kernel))
    assert opened.shape == (9, 9)
    np.testing.assert_allclose(opened, opened[::-1, ::-1], atol=1e-6)
    np.testing.assert_allclose(opened.sum(), kernel.sum(), rtol=1e-5)


def test_frequency_grid():
    ky, kx = fourier.frequency_grid((5, 6))
    np.testing.assert_allclose(ky[:, 0], scipy.fft.fftfreq(5))
    np.testing.assert_allclose(kx[0], scipy.fft.rfftfreq(6))
    assert fourier.frequency_grid((5, 6), real=False)[1].shape == (1, 6)
