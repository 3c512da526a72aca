"""Trained networks put to use: models, their files, prediction, export."""
