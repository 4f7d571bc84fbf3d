"""Greedy search as in the paper: each landmark to the candidate with the nearest features."""
