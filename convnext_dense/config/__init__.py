"""From a config file and flags to a checked config; knows no data."""
