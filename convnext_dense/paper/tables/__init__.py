"""The paper's tables: printed figures, and a comparison with ours."""
