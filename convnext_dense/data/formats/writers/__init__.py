"""Writers, a module for each format: ``write(folder, splits, place, remarks)``."""
