"""Transforms: from template points to target points, LPS mm, fitted to landmarks or found by the search."""
