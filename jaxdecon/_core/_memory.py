"""How much memory is free, and how much this process has taken."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
EVERY = 0.05
"""Seconds between two looks at what the process holds."""


def available_memory() -> int | None:
    """Free bytes on the default device, or of the machine; None if not known."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return host_memory()


def host_memory() -> int | None:
    """Free bytes of the machine, or of the container; None if not known."""
    known = [b for b in (_machine_memory(), _container_memory()) if b is not None]
    return min(known, default=None)


def _machine_memory() -> int | None:
    try:
        with open("/proc/meminfo") as lines:
            values = dict(line.split(":") for line in lines)
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _container_memory() -> int | None:
    """What a container's limit leaves, where there is one (cgroup v2)."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text()
        used = Path("/sys/fs/cgroup/memory.current").read_text()
        return int(limit) - int(used)
    except (OSError, ValueError):
        return None


def resident_memory() -> int | None:
    """Bytes that this process holds now; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return None


class Peak:
    """The most that was seen of this process's memory.

    Attributes:
        before: bytes when it began.
        most: bytes at most; None where the system does not say.
    """

    def __init__(self) -> None:
        self.before = resident_memory()
        self.most = self.before

    def look(self) -> None:
        """Look now."""
        now = resident_memory()
        if now is not None:
            self.most = max(now, self.most or 0)


@contextlib.contextmanager
def watch_memory() -> Iterator[Peak]:
    """Look at this process's memory now and then, while something runs."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            peak.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.look()
