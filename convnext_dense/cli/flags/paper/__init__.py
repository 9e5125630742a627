"""The flags of what shows and repeats the paper."""
