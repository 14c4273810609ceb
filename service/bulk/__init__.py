"""Files of notes, in and out: `notellm-serve ingest`, `export` and `import`."""
