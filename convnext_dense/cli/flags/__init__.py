"""The flags of each command: modules that import neither torch nor mmengine."""
