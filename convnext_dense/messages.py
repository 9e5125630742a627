"""What a user is told while something works: in the log of a run, or on stderr without one."""

import logging
import sys


def say(text: str, level: int = logging.INFO) -> None:
    """Says a sentence by mmengine's logger, or by the logger ``convnext_dense`` without mmengine.

    mmengine is not imported for it: a model that needs no torch needs no mmengine either. Python's
    logging shows warnings alone where nobody has set it up, so the sentence is at least one there.
    """
    if "mmengine" in sys.modules:
        from mmengine.logging import print_log

        print_log(text, logger="current", level=level)
    else:
        logging.getLogger("convnext_dense").log(max(level, logging.WARNING), text)
