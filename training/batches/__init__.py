"""Batches: who is in them, and as which tensors."""
