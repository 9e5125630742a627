"""Evaluates a classifier beyond the validation set."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.classification.load_trained import open_classifier
from convnext_dense.classification.robustness import evaluation
from convnext_dense.config.load import load_config
from convnext_dense.predictor import choose_device
from convnext_dense.runs.work_folder import resolve_checkpoint


def run(args: argparse.Namespace) -> None:
    """The command."""
    if args.out:
        make_folder(Path(args.out).parent)
    options = evaluation.Options(
        corrupt=args.corrupt,
        corruptions=tuple(args.corruptions),
        severities=tuple(args.severities),
        seed=args.seed,
        limit=args.limit,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the figures alone
        config = load_config(args.config) if args.config else None
        checkpoint = resolve_checkpoint(args.checkpoint)
        model = open_classifier(checkpoint, config, args.ema, args.size)
        model.to(choose_device(args.device))
        figures = evaluation.evaluate(model, args.data, args.suite, options, print)
    result = dict(suite=args.suite, data=args.data, checkpoint=checkpoint, ema=args.ema, **figures)
    if args.out:
        write_atomically(Path(args.out), json.dumps(result, indent=2))
    print(
        json.dumps(result, indent=2) if args.json else "\n".join(evaluation.figure_lines(figures))
    )
