"""Prints a config with its bases and options, or writes it as plain YAML or JSON.

python tools/print_config.py CONFIG --out config.yaml

A Python config is executed by whoever loads it. YAML and JSON are data: all tools take them too.
"""

import argparse
from pathlib import Path

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.cli.shared import arguments
from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.config.options import merge_options
from convnext_dense.config.plain import SUFFIXES, format_plain
from convnext_dense.config.reading import read_config
from convnext_dense.errors import UserError


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_config_argument(parser)
    arguments.add_option_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help=f"{', '.join(SUFFIXES)}; default: print YAML")
    return parser.parse_args()


def main() -> None:
    args = parse_flags()
    suffix = Path(args.out).suffix if args.out else SUFFIXES[0]
    if suffix not in SUFFIXES:
        raise UserError(f"--out must end in {', '.join(SUFFIXES)}, got {args.out}.")
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    text = format_plain(cfg.to_dict(), suffix)
    if not args.out:
        print(text, end="")
        return
    make_folder(Path(args.out).parent)
    write_atomically(Path(args.out), text)
    print(args.out)
