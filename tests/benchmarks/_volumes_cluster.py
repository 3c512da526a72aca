"""A Dask cluster of processes that can be killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Cluster:
    """A scheduler and workers without nannies, as processes that can be killed."""

    def __init__(self, folder, workers=2):
        self.file = folder / "scheduler.json"
        self.file.unlink(missing_ok=True)
        local = ["--host", "127.0.0.1"]
        self.scheduler = self.process(
            "scheduler", *local, "--port", "0", "--scheduler-file", self.file
        )
        while not self.file.exists():
            time.sleep(0.1)
        self.address = json.loads(self.file.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--local-directory", folder]
        self.workers = [
            self.process("worker", self.address, *local, *options)
            for _ in range(workers)
        ]

    @staticmethod
    def process(kind, *arguments):
        """`dask scheduler` or `dask worker`."""
        module = f"distributed.cli.dask_{kind}"
        command = [sys.executable, "-m", module, *map(str, arguments), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
        return subprocess.Popen(command, **quiet, env=os.environ | {"PYTHONPATH": path})

    def close(self):
        """End what is still there."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
