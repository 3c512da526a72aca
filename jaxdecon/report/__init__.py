"""Figures of a run, and pictures of volumes (needs the extra `plots`)."""

from ._back_projector_figure import back_projector_figure as back_projector_figure
from ._figure import check_plots as check_plots
from ._figure import deconvolution_figure as deconvolution_figure
from ._fusion_figure import fusion_figure as fusion_figure
from ._fusion_figure import median_widths as median_widths
from ._prediction_figure import prediction_figure as prediction_figure
from ._projections import projections as projections
from ._projections import rotating_projection as rotating_projection
from ._projections import write_movie as write_movie
from ._projections import write_projections as write_projections
from ._psf_field_figure import psf_field_figure as psf_field_figure
from ._psf_figure import psf_figure as psf_figure
from ._registration_figure import registration_figure as registration_figure
from ._stitch_figure import stitch_figure as stitch_figure
from ._training_figure import training_figure as training_figure
