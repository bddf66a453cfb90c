"""A latent world model, its policy and its planners, for tasks that have observations but no physical state."""
