"""Evaluation of models against baselines: recall over the full pool, hashtags and categories."""
