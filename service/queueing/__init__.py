"""Who waits for the model, in which order, and who is refused."""
