"""Ablation of the backbone's fast path: its choices, and the implementations of each."""
