"""The table of docs/export.md: every model for every target, size and precision, exported.

    python benchmarks/export_table.py "Cascade Mask R-CNN=work_dirs/shapes" UperNet=work_dirs/seg
        --calibration data/shapes/train --data-root data

Each cell is one export with its comparison: the largest difference from the model in torch, or why
there is none. The models may be trained miniatures; a network of random weights has results that
any rounding changes. ``NAME=SOURCE#backbone`` exports the backbone alone.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

from convnext_dense.errors import UserError
from convnext_dense.export.parity.check import Parity
from convnext_dense.export.run import ExportFlags, export

# Column -> flags of the export.
COLUMNS = {
    "onnx": dict(to="onnx"),
    "onnx, fp16": dict(to="onnx", half=True),
    "onnx, int8": dict(to="onnx", int8=True),
    "openvino": dict(to="openvino"),
    "openvino, bf16": dict(to="openvino", half=True),
    "openvino, int8": dict(to="openvino", int8=True),
    "torch-export": dict(to="torch-export"),
    "tensorrt (its ONNX)": dict(to="tensorrt"),
}
SIZES = {"any": {}, "fixed": dict(sizes="fixed")}
SHORT = ("half", "int8")  # of one size these are the same graph: they are exported for any alone
# What a cell shows of a comparison, the first that it has.
SHOWN = {
    "box AP": "AP",
    "mIoU": "mIoU",
    "largest probability difference": "prob.",
    "stage 4, relative": "rel.",
}


def main() -> None:
    """Prints the table, a row as soon as it is there."""
    args = parse()
    print("| model | size |", " | ".join(COLUMNS), "|")
    print("|---|---|" + "---|" * len(COLUMNS))
    reasons: list[str] = []
    for model in args.models:
        name, _, source = model.partition("=")
        source, _, part = source.partition("#")
        for size, flags in SIZES.items():
            size_flags = dict(flags, input_size=args.input_size) if flags else {}
            cells = []
            for column in COLUMNS.values():
                if flags and set(column) & set(SHORT):
                    cells.append("")
                    continue
                chosen = {**column, **size_flags, "part": part or None}
                if chosen.pop("int8", False):
                    chosen["int8"] = args.calibration
                cells.append(cell(source, chosen, args, reasons))
                print(f"{name}, {size}: {cells[-1]}", file=sys.stderr)
            print(f"| {name} | {size} |", " | ".join(cells), "|", flush=True)
    print()
    for number, reason in enumerate(reasons, start=1):
        print(f"{number}. {reason}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--calibration", required=True, help="folder of images for int8")
    parser.add_argument("--data-root")
    parser.add_argument("--number", type=int, default=8, help="images that are compared")
    parser.add_argument("--input-size", type=int, nargs=2, default=(192, 256))
    return parser.parse_args()


def cell(source: str, flags: dict, args: argparse.Namespace, reasons: list[str]) -> str:
    """What one export came to; a new reason is added to those of the table."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        common = dict(out=str(Path(folder, "out")), number=args.number, data_root=args.data_root)
        try:
            _, parity = export(ExportFlags(source, **flags, **common))
        except UserError as error:
            reason = str(error).replace(folder, "")
            if reason not in reasons:
                reasons.append(reason)
            return f"no ({reasons.index(reason) + 1})"
    return shown(parity)


def shown(parity: Parity) -> str:
    """The most telling difference of a comparison."""
    rows = {row.what: row.difference for row in parity.rows}
    name = next(name for name in SHOWN if name in rows)
    return f"{SHOWN[name]} {rows[name]:.1g}"


if __name__ == "__main__":
    main()
