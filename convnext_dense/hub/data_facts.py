"""What the training data of a run was, where it is still at hand."""

import contextlib
import io
from dataclasses import dataclass, field

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, init_default_scope

from convnext_dense.config.plain import PACKAGES
from convnext_dense.config.reading import import_registering_modules
from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.tasks import ClassCounts, task_of


@dataclass
class DataFacts:
    """Counts of the data.

    Attributes:
        images: Number of images by split (``train``, ``val``).
        counts: How often each class occurs in the training data; None where that is not counted.
        note: Why there are no counts; empty where there are.
    """

    images: dict[str, int] = field(default_factory=dict)
    counts: ClassCounts | None = None
    note: str = ""


def count_data(cfg: Config) -> DataFacts:
    """Builds the datasets of a run and counts; data that is gone is a note and no error.

    Args:
        cfg: The resolved config with the paths of this machine.
    """
    facts = DataFacts()
    imports = (cfg.get("custom_imports") or {}).get("imports") or []
    if any(str(name).split(".")[0] not in PACKAGES for name in imports):
        facts.note = "they are read by code of the author's own"
        return facts
    task = task_of(cfg)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools' output
            import_registering_modules(cfg)
            init_default_scope(cfg.get("default_scope", "mmengine"))
            for split in ("train", "val"):
                if not (loader := cfg.get(f"{split}_dataloader")):
                    continue
                with opening_annotation_files():
                    dataset = DATASETS.build(loader.dataset)
                facts.images[split] = len(dataset)
                if split == "train":
                    opened = [
                        image
                        for data in task.datasets(cfg, split)
                        for image in task.check_images(cfg, data, every=False, training=True)
                    ]
                    facts.counts = task.count_classes(cfg, dataset, opened)
    # Data that is missing, moved or changed can fail in any way; the model is pushed all the same.
    except Exception as error:
        # The reason is for the author alone: the card is public, and it may name paths.
        print_log(f"The card has no counts of the data: {type(error).__name__}: {error}")
        facts = DataFacts(note="the data was not at hand when this card was written")
    return facts
