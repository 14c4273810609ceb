"""Which models are loaded and which one answers; moving from one to another."""
