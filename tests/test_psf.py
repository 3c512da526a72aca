import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import jaxdecon as jd

from ._x64 import x64

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}


@pytest.mark.parametrize("shape", [(15, 16, 17), (16, 15), (9, 9, 9)])
def test_psfs_are_centred_normalised_and_not_negative(shape):
    size = (0.2, 0.1, 0.1)[-len(shape) :]
    for psf in (jd.psf.gaussian(shape, 3.0), jd.psf.widefield(shape, size, **OPTICS)):
        assert psf.shape == shape
        assert psf.dtype == jnp.result_type(float)  # float32 unless x64 is enabled
        np.testing.assert_allclose(psf.sum(), 1, rtol=1e-5)
        assert float(psf.min()) >= 0
        peak = np.unravel_index(np.argmax(psf), shape)
        assert peak == tuple(n // 2 for n in shape)


def test_gaussian_has_the_width_asked_for():
    widths = jd.psf.fwhm(jd.psf.gaussian((41, 41, 41), (9.0, 6.5, 5.0)))
    np.testing.assert_allclose(widths, (9.0, 6.5, 5.0), rtol=0.01)


def test_widefield_in_focus_is_the_airy_pattern():
    psf = np.asarray(jd.psf.widefield((1, 1, 101), (1.0, 0.02, 0.02), **OPTICS))[0, 0]
    v = 2 * np.pi * 1.1 / 0.52 * 0.02 * (np.arange(101) - 50)
    with np.errstate(invalid="ignore"):
        airy = np.where(v == 0, 1, (2 * scipy.special.j1(v) / v) ** 2)
    np.testing.assert_allclose(psf / psf.max(), airy, atol=2e-6)


def test_widefield_axial_profile_has_its_closed_form():
    # Without the factor f/f_z of a solid angle, the on-axis amplitude is the integral
    # of f exp(2 pi i z f_z) over f, elementary after the substitution f df = -f_z df_z.
    psf = np.asarray(jd.psf.widefield((101, 1, 1), (0.05, 0.1, 0.1), **OPTICS))[:, 0, 0]
    z = 0.05 * (np.arange(101) - 50)
    high = 1.33 / 0.52
    low = np.sqrt(high**2 - (1.1 / 0.52) ** 2)

    def primitive(k):
        c = 2j * np.pi * np.where(z == 0, 1, z)
        return np.exp(c * k) * (k / c - 1 / c**2)

    amplitude = primitive(high) - primitive(low)
    amplitude[z == 0] = (high**2 - low**2) / 2
    expected = abs(amplitude) ** 2
    np.testing.assert_allclose(psf / psf.max(), expected / expected.max(), atol=5e-6)


def test_widefield_planes_carry_equal_energy():
    psf = np.asarray(jd.psf.widefield((9, 151, 151), (0.15, 0.06, 0.06), **OPTICS))
    energy = psf.sum((1, 2))
    np.testing.assert_allclose(energy / energy[4], 1, atol=0.02)


def test_widefield_does_not_depend_on_the_grid():
    coarse = jd.psf.widefield((11, 11, 11), (0.3, 0.1, 0.1), **OPTICS)
    fine = jd.psf.widefield((21, 21, 21), (0.15, 0.05, 0.05), **OPTICS)[::2, ::2, ::2]
    np.testing.assert_allclose(
        coarse / coarse.max(), fine / fine.max(), atol=5e-6, rtol=1e-3
    )


def test_widefield_is_differentiable():
    def axial_width(na, wavelength, index, size):
        psf = jd.psf.widefield(
            (21, 9, 9), size, na=na, wavelength=wavelength, index=index
        )
        z = jnp.arange(21) - 10
        return (psf.sum((1, 2)) * z**2).sum() + (psf[10] * jnp.arange(9.0) ** 2).sum()

    arguments = (1.0, 0.5, 1.4, jnp.asarray([0.2, 0.1, 0.1]))
    with x64():
        gradient = jax.grad(axial_width, (0, 1, 2, 3))(*arguments)
        for which, step in enumerate((1e-5, 1e-5, 1e-5, jnp.asarray([1e-5, 0, 0]))):
            up, down = list(arguments), list(arguments)
            up[which], down[which] = up[which] + step, down[which] - step
            slope = (axial_width(*up) - axial_width(*down)) / 2e-5
            ours = gradient[which] if which < 3 else gradient[3][0]
            np.testing.assert_allclose(ours, slope, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"na": 1.4}, "cannot reach"),
        ({"wavelength": 520.0}, "nm"),
        ({"wavelength": -0.5}, "positive"),
        ({"index": float("nan")}, "positive"),
        ({"model": "exact"}, "known are"),
    ],
)
def test_widefield_refuses_impossible_optics(change, message):
    with pytest.raises(ValueError, match=message):
        jd.psf.widefield((5, 5, 5), 0.1, **{**OPTICS, **change})
    with pytest.raises(TypeError, match="positive numbers"):
        jd.psf.widefield((5, 5, 5), 0.1, **{**OPTICS, "na": "1.2"})
    with pytest.raises(ValueError, match="nm"):
        jd.psf.widefield((5, 5, 5), (200.0, 100.0, 100.0), **OPTICS)


def test_fwhm_interpolates_and_says_when_it_cannot():
    line = np.zeros((5, 9), np.float32)
    line[2] = [0, 0, 1, 2, 4, 3, 1, 0, 0]
    widths = np.asarray(jd.psf.fwhm(line))
    assert widths[1] == pytest.approx(1 + 1.5)
    assert widths[0] == pytest.approx(1.0)
    assert np.isnan(jd.psf.fwhm(np.ones((5, 5), np.float32))).all()


def measured_bead():
    """An off-centre bead on a pedestal; (z, y, x) with FWHM (5, 4, 4)."""
    bead = np.asarray(jd.psf.gaussian((31, 25, 25), (5.0, 4.0, 4.0)))
    return 5000 * np.roll(bead, (2, -3, 1), (0, 1, 2)) + 100


def test_measured_psf_is_cleaned_and_every_step_is_told():
    prepared = jd.psf.from_measured(measured_bead(), energy=0.999)
    psf, text = np.asarray(prepared.psf), "; ".join(prepared.messages)
    expected = jd.psf.gaussian(psf.shape, (5.0, 4.0, 4.0))
    np.testing.assert_allclose(psf, expected, atol=0.002 * psf.max())
    assert all(n % 2 == 1 for n in psf.shape)
    assert psf.shape < (31, 25, 25)
    for word in ("background of 100", "-2 x 3 x -1", "cut from", "normalised"):
        assert word in text


def test_measured_psf_is_resampled_to_the_data():
    prepared = jd.psf.from_measured(
        measured_bead(), voxel_size=(0.2, 0.1, 0.1), target_voxel_size=(0.3, 0.08, 0.1)
    )
    widths = jd.psf.fwhm(prepared.psf)
    np.testing.assert_allclose(widths, (5 * 2 / 3, 5, 4), rtol=0.04)
    assert any("resampled" in message for message in prepared.messages)


def test_measured_psf_is_centred_on_its_centroid_to_a_fraction_of_a_voxel():
    axes = [np.arange(n) for n in (21, 22, 23)]
    centre = (9.7, 11.4, 12.25)
    profiles = [np.exp(-((a - c) ** 2) / 6) for a, c in zip(axes, centre, strict=True)]
    bead = np.einsum("i,j,k", *profiles).astype(np.float32)
    psf = np.asarray(jd.psf.from_measured(bead, centre="centroid", energy=1).psf)
    indices = np.indices(psf.shape).reshape(3, -1)
    centroid = indices @ psf.ravel()
    np.testing.assert_allclose(centroid, [n // 2 for n in psf.shape], atol=0.01)


@pytest.mark.parametrize("energy", [0.9, 0.99, 1.0])
def test_energy_crop_keeps_at_least_what_was_asked(energy):
    psf = jd.psf.widefield((21, 33, 32), (0.3, 0.1, 0.1), **OPTICS)
    cropped = jd.psf.crop_to_energy(psf, energy)
    assert float(cropped.sum()) >= energy - 1e-5
    peak = np.unravel_index(np.argmax(cropped), cropped.shape)
    assert peak == tuple(n // 2 for n in cropped.shape)


def test_unusable_measurements_are_refused():
    good = measured_bead()
    bad = {
        "zero everywhere": np.zeros((5, 5, 5)),
        "NaN": np.where(good > 120, np.nan, good),
        "negative": good - 150,
        "nothing above": np.full((5, 5, 5), 7.0),
    }
    for message, array in bad.items():
        with pytest.raises(ValueError, match=message):
            jd.psf.from_measured(array)
    with pytest.raises(ValueError, match="both are"):
        jd.psf.from_measured(good, voxel_size=(1, 1, 1))
    with pytest.raises(ValueError, match="energy"):
        jd.psf.from_measured(good, energy=0)


def test_unequal_lateral_voxels():
    tall = jd.psf.widefield((5, 21, 21), (0.2, 0.11, 0.05), **OPTICS)
    wide = jd.psf.widefield((5, 21, 21), (0.2, 0.05, 0.11), **OPTICS)
    np.testing.assert_allclose(tall, wide.transpose(0, 2, 1), atol=1e-6)
