"""The server: who may come in, and a process for each browser."""
