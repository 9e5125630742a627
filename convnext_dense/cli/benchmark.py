"""Measures models beside others', or the input."""

import argparse
import json
import sys
from dataclasses import asdict

import torch

from convnext_dense.benchmark import coco_evaluation, data_loading, exported, throughput
from convnext_dense.benchmark.modes import AUTO, Options
from convnext_dense.config.names import shipped_configs
from convnext_dense.errors import UserError


def run(args: argparse.Namespace) -> None:
    """The command."""
    if bool(args.models) != (args.mode != "evaluation"):
        raise UserError(
            "evaluation measures no MODEL." if args.models else f"{args.mode} needs a MODEL."
        )
    if args.rounds is None:
        args.rounds = coco_evaluation.ROUNDS if args.mode == "evaluation" else 10
    if any(peer.startswith(exported.PREFIX) for peer in args.against or ()):
        _measure_exports(args)
        return
    args.models = [find_config_or_variant(model) for model in args.models]
    args.against = args.against and [find_config_or_variant(model) for model in args.against]
    if args.mode == "evaluation":
        measured = coco_evaluation.measure(args.pictures, args.rounds)
        rows = throughput.to_json(measured)
        print(json.dumps(rows, indent=2) if args.json else coco_evaluation.format_table(measured))
        return
    if args.mode == "data":
        if args.batch_size == AUTO:
            raise UserError("data measures no model: give --batch-size a number.")
        measured = data_loading.measure(
            args.models[0],
            args.data_root,
            args.workers,
            args.batch_size,
            args.rounds,
            args.cfg_options,
        )
        rows = [asdict(row) for row in measured]
        print(json.dumps(rows, indent=2) if args.json else data_loading.format_table(measured))
        return
    options = Options(
        mode=args.mode,
        device=args.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        amp=args.amp,
        channels_last=args.channels_last,
        compile=args.compile,
        batch_size=1 if args.batch_size is None else args.batch_size,
        image_size=args.image_size and throughput.parse_image_size(args.image_size),
        rounds=args.rounds,
        threads=args.threads,
    )
    measured = throughput.compare(args.models, args.against, options)
    # With --json what has no field there, such as warm-up and compile time, goes beside it.
    print(throughput.format_table(measured, options), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(throughput.to_json(measured), indent=2))


def _measure_exports(args: argparse.Namespace) -> None:
    """A trained model beside its exports."""
    if len(args.models) != 1:
        raise UserError("Exports are compared with one MODEL: the checkpoint they were made of.")
    measured = exported.measure(
        args.models[0],
        args.against,
        args.mode,
        args.image_size and throughput.parse_image_size(args.image_size),
        args.rounds,
        args.threads,
        args.compile,
    )
    table = exported.format_table(measured, args.rounds)
    print(json.dumps(exported.to_json(measured), indent=2) if args.json else table)


def find_config_or_variant(model: str) -> str:
    """The file of a shipped config's name; a variant such as ``tiny``, or a path, as it is."""
    return str(shipped_configs().get(model, model))
