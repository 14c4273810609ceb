"""Training: turns the platform's notes and behaviour log into a checkpoint directory that the service loads."""
