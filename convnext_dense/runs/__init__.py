"""A run's files and processes: work folder, checkpoints, signals, peers, data workers."""

AUTO = "auto"  # --resume without a checkpoint: the newest one of the work folder
