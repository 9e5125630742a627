"""``--fit-memory``: the memory of a training step predicted, and a setting that fits chosen."""
