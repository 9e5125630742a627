"""Images of any number of channels and any type: what a file holds, how a model reads it."""
