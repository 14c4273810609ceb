"""The sub-commands of `notellm-train`, a file a noun."""
