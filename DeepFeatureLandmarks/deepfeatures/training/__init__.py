"""Training networks from synthetic volumes, from unlabelled scans, and from annotated ones."""
