"""The command line: parse, call, show progress.

Exit codes: 0 done; 1 the work failed (a full disk, no memory, a failed self-test);
2 wrong usage or unusable input, with one line that says what to do; 130 interrupted.
"""

from ._app import run as run
