"""Whole jobs from files to files: placing, cohorts, activation maps, the demo."""
