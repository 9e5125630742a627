"""Parameters and multiply-adds of the paper's models, counted on the meta device."""
