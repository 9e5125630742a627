"""Reading, checking and describing data, and fitting a config to it."""
