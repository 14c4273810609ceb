"""The training loop, and going on after an interruption."""
