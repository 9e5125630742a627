"""Opens a classifier's images before a run."""

import os

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from convnext_dense.data.check_images import SAMPLE, SHOWN, build_dataset, refuse_unreadable
from convnext_dense.data.image_scan import (
    DecodingOpener,
    OpenedImage,
    open_classified,
    open_each,
    open_in_parallel,
)

SKIPPING = "SkipUnreadableHook"


def check_classified_images(cfg: Config, dataset: ConfigDict, every: bool) -> list[OpenedImage]:
    """Opens a sample of the images, or all of them.

    A run skips a few images that cannot be read; they are tolerated here too, up to its limit.

    Raises:
        UserError: For more of them, or a class none of whose images can be read.
    """
    kind, root = DATASETS.get(dataset.type), dataset.data_root
    if every:
        built = build_dataset(cfg, dataset, transform=[])
        opened = open_in_parallel(DecodingOpener(built), range(len(built)), root)
    else:
        opened = open_each(open_classified, kind.some_files(root, dataset.reader, SAMPLE))
    broken = [image for image in opened if image.unreadable]
    hooks = [hook for hook in cfg.get("custom_hooks", []) if hook.get("type") == SKIPPING]
    limit = max((hook.get("limit", 0) for hook in hooks), default=0)
    if len(broken) > limit or len(broken) == len(opened):
        refuse_unreadable(opened, root, len(opened))
    for folder in sorted({os.path.dirname(image.path) for image in broken}):
        _refuse_unreadable_class(folder)
    for image in broken[:SHOWN]:
        print_log(f"{image.path} cannot be read and will be skipped ({image.unreadable}).")
    return opened


def _refuse_unreadable_class(folder: str) -> None:
    """Looks for an image of a class that can be read, where one of the sample cannot."""
    opened = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        opened.append(open_classified(os.path.join(folder, name)))
        if not opened[-1].unreadable:
            return
    refuse_unreadable(opened, folder, len(opened))
