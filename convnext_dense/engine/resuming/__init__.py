"""Resuming a run with other settings: what of them takes effect, and what cannot."""
