"""Measures of agreement between images, and of data with a model."""

from ._beads import BeadWidths as BeadWidths
from ._beads import bead_widths as bead_widths
from ._likelihood import poisson_deviance as poisson_deviance
from ._psnr import psnr as psnr
from ._residual import Whiteness as Whiteness
from ._residual import residual_whiteness as residual_whiteness
from ._resolution import image_resolution as image_resolution
from ._shells import ShellCorrelation as ShellCorrelation
from ._shells import fourier_shell_correlation as fourier_shell_correlation
from ._similarity import ncc as ncc
from ._split import split_photons as split_photons
from ._ssim import ssim as ssim
