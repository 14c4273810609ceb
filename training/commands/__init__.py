"""The sub-commands of `notellm-train`, one file per subject."""
