"""Memory of training steps as ``--fit-memory`` predicts it, beside the measured one.

    python benchmarks/training_memory.py
    python benchmarks/training_memory.py --only shapes

Measured is a process of its own for each row, on the GPU where there is one: two steps with images
and objects that are made up. On a CPU the images of the large models are smaller than the recipe's,
and the process's resident memory is measured, without the program itself. Prints a row for each
case: what was predicted, what was needed, and the ratio of both.
"""

import argparse

import torch

from convnext_dense.benchmark.training_memory import Case, measured_mib, predicted_mib, settled
from convnext_dense.text_table import format_columns

CLASSIFIER = "convnext_t_in1k_300e"
DETECTOR = "mask_rcnn_convnext_t_3x"
SEGMENTOR = "upernet_convnext_t_512_160k"
SMALL, WHOLE = (480, 640), None  # height and width; None: the recipe's largest


def cases(large: tuple[int, int] | None) -> list[Case]:
    """The rows of the table; the large detectors have images of this size."""
    return [
        Case("convnext_a_shapes", images=32),
        Case("upernet_convnext_a_shapes", images=4),
        Case("mask_rcnn_convnext_a_shapes", images=4),
        Case("mask_rcnn_convnext_a_shapes", "block", images=2, accumulated=2),
        Case(CLASSIFIER, images=16),
        Case(CLASSIFIER, "gelu", images=16),
        Case(SEGMENTOR, images=2),  # its batch norms need two
        Case(SEGMENTOR, "block", images=2, accumulated=2),
        Case(DETECTOR, size=large),
        Case(DETECTOR, "block", images=2, size=large),
        Case("cascade_convnext_t_3x", "gelu", accumulated=2, size=large),
        Case("rtmdet_convnext_t_100e", size=large),
        Case("dino_convnext_t_12e", size=large),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="cases with it in their names")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    rows = [("config", "checkpointing", "images", "size", "predicted", "measured", "ratio")]
    torch.set_num_threads(args.threads)
    for case in cases(WHOLE if torch.cuda.is_available() else SMALL):
        if args.only in case.config:
            rows.append(compared(case))
            print(*format_columns(rows, "<<>>>>>")[-1:], sep="\n", flush=True)
    print(*format_columns(rows, "<<>>>>>"), sep="\n")


def compared(case: Case) -> tuple[str, ...]:
    """A row of the table."""
    predicted, measured = predicted_mib(case), measured_mib(case)
    height, width = settled(case)[1]
    return (
        case.config,
        str(case.checkpointing or "off"),
        f"{case.images} x {case.accumulated}",
        f"{height} x {width}",
        f"{predicted:.0f} MiB",
        "-" if measured is None else f"{measured:.0f} MiB",
        "-" if measured is None else f"{measured / predicted:.2f}",
    )


if __name__ == "__main__":
    main()
