"""The paper's tables: as printed, and beside our figures."""
