"""The demo: SmolLM2 and real notes from Stack Exchange."""
