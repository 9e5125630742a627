"""Commands that rewrite files of others: checkpoints and annotations."""
