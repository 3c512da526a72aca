"""Figures of a run (needs the extra `plots`)."""

from ._back_projector_figure import back_projector_figure as back_projector_figure
from ._figure import check_plots as check_plots
from ._figure import deconvolution_figure as deconvolution_figure
from ._psf_figure import psf_figure as psf_figure
from ._registration_figure import registration_figure as registration_figure
