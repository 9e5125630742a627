"""What is looked at before a run: data, weights, disk space, one trial step, the environment."""
