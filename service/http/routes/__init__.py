"""The calls of the API, a module for each group: they read requests and write responses, nothing else."""
