"""The module's self-test, and the stand-ins that it needs."""
