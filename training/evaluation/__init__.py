"""What a model is worth: recall over the full pool, hashtags, categories, against baselines."""
