"""Private plumbing below every other floor: pytrees, checks, sums."""
