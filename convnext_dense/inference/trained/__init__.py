"""Models of torch: from what a user names to a network that predicts."""
