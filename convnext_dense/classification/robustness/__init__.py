"""Evaluation of classifiers beyond the validation set: corruptions and other test suites."""
