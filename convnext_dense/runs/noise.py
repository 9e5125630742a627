"""What libraries say that a user can do nothing about: each with the reason why it is left out.

Nothing else is left out. A warning is matched by its text, its category and the module it is
attributed to, so that the same warning about a user's code is shown.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryWarning:
    """A warning of Python's ``warnings``.

    Attributes:
        message: Its beginning, as a regular expression.
        category: Its class.
        module: The module whose line it is attributed to, as a regular expression.
        reason: Why a user need not read it.
    """

    message: str
    category: type[Warning]
    module: str
    reason: str


TOOLBOXES = r"(mmcv|mmdet|mmengine|mmseg)(\.|$)"
WARNINGS = (
    LibraryWarning("", FutureWarning, TOOLBOXES, "about the toolboxes' own calls"),
    LibraryWarning(
        "DeprecationWarning: |.*would be deprecated soon",
        UserWarning,
        TOOLBOXES,
        "about names inside of the toolboxes, whose versions are locked",
    ),
    LibraryWarning(
        "To copy construct from a tensor", UserWarning, r"mmdet\.", "one copy more, equal numbers"
    ),
    LibraryWarning(
        "Creating a tensor from a list of numpy", UserWarning, r"mmdet\.", "slow, equal numbers"
    ),
    LibraryWarning(
        "torch.meshgrid: in an upcoming release",
        UserWarning,
        r"torch\.functional",
        "mmdet's grids of points; torch names its own line, whoever calls",
    ),
    LibraryWarning(
        "Default ``avg_non_ignore`` is False", UserWarning, r"(mmdet|mmseg)\.", "as the recipes are"
    ),
    LibraryWarning(
        "Seems like `optimizer.step|Detected call of `scheduler.step",
        UserWarning,
        r"mmengine\.optim\.",
        "the optimizer steps inside of a wrapper, and not where a step is skipped",
    ),
    LibraryWarning(
        "The length of history buffer",
        UserWarning,
        r"mmengine\.logging\.",
        "a resumed run needs the last values only",
    ),
    LibraryWarning(
        "Multi-processing start method|Setting (OMP|MKL)_NUM_THREADS",
        UserWarning,
        r"mmengine\.utils\.",
        "the config's env_cfg says so",
    ),
    LibraryWarning(
        "Warning: The [a-z]+ is out of bounds",
        UserWarning,
        r"mmengine\.visualization\.",
        "it is drawn up to the image's edge",
    ),
)
# Beginnings of records of mmengine's logger that the log file has, and the console has not.
LOGGED = {
    "Hooks will be executed in the following order": "a list of a hundred lines, for debugging",
    "Distributed training is not used, all SyncBatchNorm": "settled when the config is read",
    '"FileClient" will be deprecated': "mmengine's checkpoint hook calls it",
    '"HardDiskBackend" is the alias of': "mmengine's checkpoint hook names it",
    "Checkpoints will be saved to": "the first lines and the last ones name the work folder",
    "Resumed iteration number is not divisible by": "the gradients of its batches are resumed too",
    "Exp name:": "the first line names the config",
}
# Lines that pycocotools prints whenever an annotation file is opened.
PRINTED = re.compile(
    r"loading annotations into memory\.\.\.|Done \(t=.*|creating index\.\.\.|index created!"
)


def filter_warnings() -> None:
    """Leaves out :data:`WARNINGS` from here on, in this process."""
    for known in WARNINGS:
        warnings.filterwarnings("ignore", known.message, known.category, known.module)


def is_noise(message: str) -> bool:
    """Whether a record of mmengine's logger is for the log file alone."""
    return message.startswith(tuple(LOGGED))


@contextmanager
def quiet_annotation_files() -> Iterator[None]:
    """Leaves out what pycocotools prints of an annotation file; other prints go through."""
    try:
        from pycocotools import coco as module
    except ImportError:  # a part of the extra `detection`: without it no such file is opened
        yield
        return
    if "print" in vars(module):  # left out already
        yield
        return

    def print_rest(*words, **options) -> None:
        if not PRINTED.fullmatch(" ".join(map(str, words))):
            print(*words, **options)

    module.print = print_rest
    try:
        yield
    finally:
        del module.print
