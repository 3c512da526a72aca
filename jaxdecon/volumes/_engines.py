"""Choose an engine by what is given for it."""

from typing import Any

from ._engine import Engine, Local
from ._workers import Workers, gpus


def as_engine(given: Any) -> Engine:
    """The engine for None, an address, a Dask client, or an engine itself.

    Raises:
        TypeError: something else.
    """
    if given is None:
        return Workers() if len(gpus()) > 1 else Local()
    if isinstance(given, str) or type(given).__module__.startswith("distributed"):
        from ._dask import Dask

        return Dask.connected(given)
    if not callable(getattr(given, "map", None)):
        raise TypeError(
            f"`engine` is {given!r}; None, a dask.distributed client, the address of a "
            f"scheduler ('tcp://...'), or an engine is needed."
        )
    return given


def workers_of(engine: Engine) -> int:
    """How many blocks an engine does at a time."""
    return int(getattr(engine, "workers", 1))
