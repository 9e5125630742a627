"""Flags of fine-tuning: what is trained, on what, and when it ends."""

import argparse

FREEZE = ("none", "stem", "1", "2", "3", "4", "backbone")
AUGMENT = ("recipe", "none", "mild", "lsj", "copy-paste", "mosaic")


def add_finetune_arguments(parser: argparse.ArgumentParser, dense: bool = True) -> None:
    """Flags of the commands that fine-tune; ``dense`` adds those of detection alone."""
    parser.set_defaults(augment=None, balance=False, few=False)
    group = parser.add_argument_group("fine-tuning")
    add_trained_parts_arguments(group)
    add_average_argument(group)
    group.add_argument(
        "--early-stop",
        type=int,
        metavar="PATIENCE",
        help="end after this many evaluations without a better score",
    )
    group.add_argument(
        "--save-best",
        nargs="?",
        const="auto",
        metavar="METRIC",
        help="keep the checkpoint of the best score (default: the task's own)",
    )
    group.add_argument(
        "--balance", action="store_true", help="show images of rare classes more often"
    )
    if not dense:
        return
    add_augment_argument(group)
    group.add_argument("--few", action="store_true", help="a preset for less than 200 images")


def add_average_argument(group: argparse._ActionsContainer) -> None:
    """The moving average of the weights."""
    group.add_argument(
        "--average-weights",
        nargs="?",
        const="auto",
        type=decay,
        metavar="DECAY",
        help="keep the moving average (EMA) of the weights too, and evaluate both (default: "
        "0.9999, less in runs below 100,000 steps)",
    )


def decay(text: str) -> float | str:
    """A number, or ``auto``; argparse calls a wrong one an invalid decay."""
    return text if text == "auto" else float(text)


def add_trained_parts_arguments(group: argparse._ActionsContainer) -> None:
    """Flags that change the optimizer's groups."""
    group.add_argument(
        "--freeze",
        choices=FREEZE,
        help="keep the stem, the stages up to this one, or the whole backbone as it is",
    )
    group.add_argument(
        "--head-lr-mult", type=float, metavar="X", help="multiply the rate of the heads alone"
    )
    group.add_argument(
        "--lora", type=int, metavar="R", help="train adapters of rank R in the backbone's blocks"
    )


def add_augment_argument(parser: argparse._ActionsContainer) -> None:
    """The flag that other commands than the training show data by."""
    parser.add_argument(
        "--augment",
        choices=AUGMENT,
        help="how training images are changed (default: as the recipe does)",
    )
