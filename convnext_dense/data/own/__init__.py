"""A user's own data: what the flags name, and its division into splits."""
