"""HTTP: requests in, responses out, nothing else."""
