"""Checkpoints of random weights, as runs write them: a config inside, classes named."""

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.load import load_config
from convnext_dense.data.coco.fit_config import set_num_classes
from convnext_dense.data.labels.fit_config import set_label_classes
from convnext_dense.tasks import task_of

LIVELY = ("rpn_cls", "rpn_reg", "fc_cls", "fc_reg")  # layers that start close to 0
CONFIGS = Path(__file__).parents[2] / "configs"
NO_DATA = "nowhere"  # a data root without data: exports then compare on drawn images


def write_checkpoint(
    path: Path, config: str, classes: int = 3, options: dict[str, Any] | None = None
) -> Path:
    """Writes a dense model's checkpoint; layers that start at 0 are made to do something."""
    cfg = load_config(
        CONFIGS / f"{config}.py", data_root=path.parent / NO_DATA, cfg_options=options
    )
    task = task_of(cfg)
    fit = {"detection": set_num_classes, "segmentation": set_label_classes}[task.name]
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        cfg.model.backbone.init_cfg = None
        fit(cfg, classes, "the test")
        model = MODELS.build(cfg.model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.3)
            if any(word in name for word in LIVELY):
                parameter.mul_(6)
    names = tuple(f"class {number}" for number in range(classes))
    meta = dict(dataset_meta=dict(classes=names), cfg=cfg.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path
