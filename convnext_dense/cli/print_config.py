"""Prints a config with its bases and options, or writes it as YAML or JSON."""

import argparse
from pathlib import Path

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.config.options import merge_options
from convnext_dense.config.plain import SUFFIXES, format_plain
from convnext_dense.config.reading import read_config
from convnext_dense.errors import UserError


def run(args: argparse.Namespace) -> None:
    """The command."""
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
