"""Landmark files, one module a format: `parse` reads the text of a file, `render` gives the text to write."""
