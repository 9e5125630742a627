"""Parameters and multiply-adds of the paper's models."""
