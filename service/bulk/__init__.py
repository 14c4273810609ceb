"""The commands for files of notes and for the index: `notellm-serve ingest`, `export`, `import`, `migrate`, `optimize` and `map`."""
