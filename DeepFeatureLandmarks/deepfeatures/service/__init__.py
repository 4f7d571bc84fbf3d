"""The worker process, its client, and what they say to each other."""
