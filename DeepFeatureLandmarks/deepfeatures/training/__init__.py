"""Training networks from synthetic volumes and from unlabelled scans."""
