"""The paper's side of the project: what its tables say, and how this code compares."""
