"""Notes and behaviour: file formats and readers."""
