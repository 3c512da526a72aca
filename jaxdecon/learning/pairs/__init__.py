"""Training pairs: simulated, from files, normalised, cut and batched."""
