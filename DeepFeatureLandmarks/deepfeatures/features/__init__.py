"""Networks applied to volumes: dense features, patch features, activation maps."""
