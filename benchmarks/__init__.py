"""Side-by-side runs on the same checkpoint, notes and machine; each prints ratios."""
