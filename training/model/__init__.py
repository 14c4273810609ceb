"""The model that is trained: base, projection, adapters, losses."""
