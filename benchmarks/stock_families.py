"""The table of docs/families.md: stock model families of mmdet and mmsegmentation, checked.

    python benchmarks/stock_families.py --out docs/families.md
    python benchmarks/stock_families.py --out docs/families.md mmdet/carafe mmseg/psanet
    python benchmarks/stock_families.py --out docs/families.md --missing

Each family is one of its configs, with images of 128 x 128 pixels and generated labels: as it is,
and with our backbone in place of its own. ``yes``: it is built, one loss has a gradient for every
trainable parameter, and it predicts. Named families are checked anew, the other rows stay; the page
is written after each family, and ``--missing`` goes on where a run was ended.
"""

import argparse
import sys
from pathlib import Path

import torch

import convnext_dense  # noqa: F401  (registers the backbone)
from convnext_dense.atomic_files import write_atomically
from convnext_dense.benchmark.stock.check import check_alone, registry_of
from convnext_dense.benchmark.stock.families import TOOLBOXES, families
from convnext_dense.benchmark.stock.table import Row, read, replace


def main() -> None:
    """Checks the families, and writes the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", metavar="TOOLBOX/FAMILY", help="all where none")
    parser.add_argument("--missing", action="store_true", help="only families without a row")
    parser.add_argument("--out", type=Path, required=True, help="page that holds the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for toolbox in TOOLBOXES:
        registry_of(toolbox)  # imported once, for every family's process
    every = {f"{one.toolbox}/{one.name}": one for toolbox in TOOLBOXES for one in families(toolbox)}
    if unknown := set(args.families) - set(every):
        parser.error(f"no family {', '.join(sorted(unknown))}; one is {next(iter(every))}")
    rows = {f"{row.toolbox}/{row.name}": row for row in read(args.out)}
    for name in args.families or every:
        if args.missing and name in rows:
            continue
        rows[name] = Row.of(every[name], check_alone(every[name]))
        print(f"{name}: {rows[name].outcomes}", file=sys.stderr)
        shown = [rows[name] for name in every if name in rows]
        write_atomically(args.out, replace(args.out, shown))


if __name__ == "__main__":
    main()
