"""The commands: one module each, opened by the scripts in tools/."""
