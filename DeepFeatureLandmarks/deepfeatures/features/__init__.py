"""Networks applied to volumes: dense features, patch features, activation maps."""

SMALLEST_PATCH = 4  # voxels along an edge
