"""Flags that commands share."""

import argparse
import os
from dataclasses import fields
from typing import Any

from convnext_dense.cli.shared.parser import OPTIONAL, OptionsAction
from convnext_dense.config.names import shipped_configs
from convnext_dense.runs import AUTO

TRACKERS = ("wandb", "mlflow", "clearml", "trackio", "none")
LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
CONFIG_HELP = (
    "name of a shipped config, work folder, folder of an exported model, or file: .py is executed "
    "as a program, .yaml and .json are read as data"
)


def add_optional_positional(
    parser: argparse.ArgumentParser, name: str, **kwargs: Any
) -> argparse.Action:
    """A positional argument that may be left out: None then."""
    parser.set_defaults(**{OPTIONAL: (*(parser.get_default(OPTIONAL) or ()), name)})
    return parser.add_argument(name, nargs="?", **kwargs)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of every tool that reads a config."""
    add_config_argument(parser)
    add_data_arguments(parser)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """The config file itself."""
    config = parser.add_argument("config", help=CONFIG_HELP)
    config.completer = complete_config


def add_optional_config(parser: argparse.ArgumentParser, when: str) -> None:
    """The config file of a command that can do without; ``when`` says where."""
    add_optional_positional(
        parser, "config", help=f"{CONFIG_HELP}; {when}"
    ).completer = complete_config


def complete_config(prefix: str, **_: object) -> list[str]:
    """Shipped configs and files that a shell may complete; called by argcomplete."""
    from argcomplete.completers import FilesCompleter

    names = [name for name in shipped_configs() if name.startswith(prefix)]
    return [*names, *FilesCompleter()(prefix)]


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data lie, and entries of the config to replace."""
    parser.add_argument(
        "--data-root",
        help="folder that holds coco/, shapes/ ... (default: $CONVNEXT_DENSE_DATA, then data)",
    )
    add_option_arguments(parser)


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """Entries of the config to replace."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        metavar="KEY=VALUE",
        help="replace entries of the config, e.g. train_dataloader.batch_size=4",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the tools that train."""
    parser.add_argument("--work-dir", help="folder of the run (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=AUTO,
        metavar="CKPT",
        help="continue the run in the work folder, or from this checkpoint",
    )
    parser.add_argument(
        "--warm-restart",
        action="store_true",
        help="with --resume: begin the schedule anew, warmup and full rate, in what is left",
    )
    parser.add_argument("--load-from", metavar="CKPT", help="start from these weights")
    parser.add_argument(
        "--amp",
        choices=("off", "fp16", "bf16"),
        help="mixed precision on a GPU instead of the config's; a CPU trains in float32",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, train one step, evaluate two images, print a page and stop",
    )
    parser.add_argument(
        "--scan", action="store_true", help="open every image and label before the first step"
    )
    add_tracker_argument(parser)
    _add_step_arguments(parser)
    _add_origin_arguments(parser)


def add_tracker_argument(parser: argparse.ArgumentParser) -> None:
    """Where a run is logged to beside its work folder."""
    parser.add_argument(
        "--log",
        nargs="+",
        choices=TRACKERS,
        metavar="TRACKER",
        help="log there too: wandb, mlflow, clearml, trackio; none: not even where the config says",
    )


def _add_step_arguments(parser: argparse.ArgumentParser) -> None:
    """How steps are made."""
    parser.add_argument("--seed", type=int, help="random seed (default: drawn and logged)")
    parser.add_argument(
        "--deterministic", action="store_true", help="deterministic GPU kernels, slower"
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the batch"
    )
    parser.add_argument(
        "--max-iters", type=int, metavar="N", help="stop after N iterations, then evaluate"
    )
    parser.add_argument(
        "--accumulate", type=int, metavar="N", help="batches whose gradients make one step"
    )
    parser.add_argument(
        "--fit-memory",
        nargs="?",
        const=AUTO,
        type=_gib,
        metavar="GIB",
        help="choose batch, accumulation and checkpointing for this memory, keeping the recipe's "
        "images a step (default: what the GPU has free)",
    )
    parser.add_argument(
        "--fsdp", action="store_true", help="divide the model among the processes, to save memory"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile each block of the backbone"
    )
    parser.add_argument(
        "--shape-buckets",
        type=int,
        metavar="PIXELS",
        help="with --compile: pad a detector's batches to multiples of PIXELS, so that few sizes "
        "are compiled, each by itself",
    )


def _gib(text: str) -> float | str:
    """A number of GiB; argparse hands on what stands for the flag without one too."""
    if text == AUTO:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number of GiB, such as 8, not {text!r}") from None


def _add_origin_arguments(parser: argparse.ArgumentParser) -> None:
    """Where a backbone or a repeated step comes from."""
    parser.add_argument(
        "--backbone-weights",
        metavar="WORK_DIR|CKPT|NAME",
        help="start the backbone from a pretraining run, a file, or weights by name "
        "(docs/weights.md)",
    )
    parser.add_argument(
        "--ema", action="store_true", help="take the averaged weights of --backbone-weights"
    )
    add_weights_prefix(parser)
    parser.add_argument(
        "--replay",
        metavar="DUMP",
        help="repeat the step that ended a run with exit code 3, and say where it goes wrong",
    )


def add_weights_prefix(parser: argparse.ArgumentParser) -> None:
    """Which backbone of a file is meant."""
    parser.add_argument(
        "--weights-prefix",
        metavar="P",
        help="where the backbone lies in a file of several, such as teacher.backbone",
    )


def add_ema_argument(parser: argparse.ArgumentParser) -> None:
    """Which of a checkpoint's two sets of weights is meant."""
    parser.add_argument(
        "--ema",
        action="store_true",
        help="take the averaged weights of a run with --average-weights",
    )


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the tools that run in several processes."""
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none")
    # torchrun sets LOCAL_RANK; torch.distributed.launch passes the flag.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_tile_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the commands that look at images in tiles."""
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="look at square tiles of each image at full size, and merge what they show",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="with --tile: share of a tile that the next one shows too (default: 0.2)",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="with --tile: look at the whole image too, shrunk, for what is larger than a tile",
    )


def to_flags(kind: type, args: argparse.Namespace, **others: Any) -> Any:
    """A frozen dataclass of flags from what a parser has read; the parser may know more."""
    names = {field.name for field in fields(kind)} - set(others)
    return kind(**{name: value for name, value in vars(args).items() if name in names}, **others)


def set_local_rank(local_rank: int) -> None:
    """Tells mmengine the rank that torch.distributed.launch passed as a flag."""
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
