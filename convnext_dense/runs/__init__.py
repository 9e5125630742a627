"""A run's files and processes: work folder, checkpoints, signals, peers, data workers."""
