"""Evaluation of classifiers on corruptions and other test sets than the validation set."""
