"""The paper's tables beside ours: complexity, roadmap, tables, reproduce."""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError
from convnext_dense.paper.costs import complexity
from convnext_dense.paper.reproduce import chain, commands
from convnext_dense.paper.roadmap import costs
from convnext_dense.paper.tables import compare


def run(args: argparse.Namespace) -> None:
    """The command."""
    {
        "complexity": count,
        "roadmap": walk,
        "tables": put_side_by_side,
        "reproduce": repeat,
    }[args.subject](args)


def count(args: argparse.Namespace) -> None:
    with contextlib.redirect_stdout(sys.stderr):  # the libraries' chatter is not the answer
        counts = [
            complexity.count_dense_row(row, CONFIGS) for row in complexity.rows_named(args.only)
        ]
    print(json.dumps(counts, indent=2) if args.json else complexity.format_table(counts))


def put_side_by_side(args: argparse.Namespace) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        found = compare.compare_tables(args.table, CONFIGS, args.runs, args.benchmark)
    print(json.dumps(found, indent=2) if args.json else compare.format_tables(found))


def repeat(args: argparse.Namespace) -> None:
    row = chain.find_row(args.row)
    if args.gpus < 0:
        raise UserError(f"--gpus must be at least 0, got {args.gpus}.")
    root = Path(os.path.relpath(CONFIGS.parent))
    settings = chain.ReproduceSettings(root, Path(args.work_dir), args.data_root, args.gpus)
    steps = chain.steps_of_row(row, settings)
    if args.print:
        print(commands.format_steps(steps))
        return
    commands.check_requirements(steps, settings)
    commands.run_steps(steps, lambda line: print(line, flush=True))


def walk(args: argparse.Namespace) -> None:
    results = costs.read_results(args.results)
    counts = {name: costs.count_steps(name, results) for name in costs.regimes_named(args.regime)}
    if args.draw:
        from convnext_dense.paper.roadmap.drawings import draw_roadmap  # imports matplotlib

        for path in draw_roadmap(args.draw, counts):
            print(path, file=sys.stderr)
    if args.json:
        print(json.dumps([row for rows in counts.values() for row in rows], indent=2))
    else:
        print("\n\n".join(costs.format_table(rows) for rows in counts.values()))
