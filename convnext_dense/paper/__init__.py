"""The paper's tables: printed figures, costs of the models, and commands that reproduce rows."""
