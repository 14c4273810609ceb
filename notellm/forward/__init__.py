"""The packed forward pass: prompts without padding behind a cached prefix."""
