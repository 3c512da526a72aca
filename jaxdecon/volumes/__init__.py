"""Volumes larger than memory: plan, work through blocks, stitch, take up again."""

from . import multiview_stitcher as multiview_stitcher
from ._blocks import Block as Block
from ._blocks import BlockGrid as BlockGrid
from ._dask import Dask as Dask
from ._deconvolve import deconvolve as deconvolve
from ._engine import Engine as Engine
from ._engine import Local as Local
from ._fuse import fuse as fuse
from ._how import How as How
from ._journal import RunRefused as RunRefused
from ._map_blocks import map_blocks as map_blocks
from ._outcome import BlocksFailed as BlocksFailed
from ._outcome import Progress as Progress
from ._outcome import Run as Run
from ._plan import Plan as Plan
from ._predict import predict as predict
from ._stitch import stitch as stitch
from ._stitch_measure import Stitching as Stitching
from ._task import Outcome as Outcome
from ._task import Task as Task
from ._warp import warp as warp
from ._workers import Workers as Workers
