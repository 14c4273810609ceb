"""The demo: the service with SmolLM2 and real notes from Stack Exchange."""
