"""Measures of agreement between images, and of data with a model."""

from ._likelihood import poisson_deviance as poisson_deviance
from ._similarity import ncc as ncc
from ._split import split_photons as split_photons
