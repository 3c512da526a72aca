"""Deconvolution: schemes, the loop that runs them, back projectors, stopping."""

from ._accelerated import Accelerated as Accelerated
from ._back_projector import KINDS as KINDS
from ._back_projector import back_projector as back_projector
from ._background import estimate_background as estimate_background
from ._driver import deconvolve as deconvolve
from ._flux import FluxPreserving as FluxPreserving
from ._friendly import richardson_lucy as richardson_lucy
from ._friendly import richardson_lucy_scheme as richardson_lucy_scheme
from ._memory import memory_needed as memory_needed
from ._problem import Problem as Problem
from ._result import OverIterationWarning as OverIterationWarning
from ._result import Result as Result
from ._result import Status as Status
from ._richardson_lucy import RichardsonLucy as RichardsonLucy
from ._richardson_lucy import RichardsonLucyState as RichardsonLucyState
from ._scheme import Scheme as Scheme
from ._stopping import RelativeChange as RelativeChange
from ._stopping import StoppingRule as StoppingRule
from ._wiener import wiener as wiener
