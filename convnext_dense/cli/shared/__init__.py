"""Parts that commands share: flags, the end of a command, the surroundings of a run."""
