"""The pose: which affine transform brings the template onto the target."""
