"""Guided search: coarse-to-fine block matching with regularization."""
