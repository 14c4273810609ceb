"""From the platform's notes to a checkpoint directory that the service loads."""
