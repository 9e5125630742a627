"""Puts a trained model on the Hugging Face Hub."""

import argparse
import re
import tempfile
from pathlib import Path

from convnext_dense.errors import UserError
from convnext_dense.hub import make_folder, push
from convnext_dense.hub.endpoint import PREFIX, parse_name
from convnext_dense.hub.snapshot import CARD


def run(args: argparse.Namespace) -> None:
    """The command.

    Raises:
        UserError: For flags that do not go together, and as :func:`convnext_dense.hub.push`.
    """
    if args.dry_run and args.to_folder:
        raise UserError("--dry-run keeps nothing and --to-folder keeps the files: give one.")
    if args.repo is None and not (args.to_folder or args.dry_run):
        raise UserError("push needs OWNER/NAME, the repository on the Hub.")
    name = re.sub(r"[^\w.-]+", "-", Path(args.work_dir).resolve().name)
    repo, _ = parse_name(args.repo or f"owner/{name}")
    choice = dict(checkpoint=args.checkpoint, ema=args.ema, license=args.license)
    if args.dry_run:
        with tempfile.TemporaryDirectory(prefix="push_") as folder:
            made = make_folder(args.work_dir, repo, Path(folder) / "model", **choice)
            print((made / CARD).read_text(encoding="utf-8"))
            print(_list(made))
    elif args.to_folder:
        print(_list(make_folder(args.work_dir, repo, Path(args.to_folder), **choice)))
    else:
        print(push(args.work_dir, args.repo, private=args.private, **choice))
        print(f'Use it: convnext_dense.load("{PREFIX}{repo}")')


def _list(folder: Path) -> str:
    sizes = [(path, path.stat().st_size) for path in sorted(folder.iterdir())]
    return "\n".join(f"{size / 1e6:10.2f} MB  {path}" for path, size in sizes)
