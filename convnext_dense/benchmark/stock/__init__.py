"""The toolboxes' stock models with our backbone: fitted by rule, and checked on generated data."""
