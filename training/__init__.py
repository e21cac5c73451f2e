"""Training: data, losses, schedules, recipes and their results."""
