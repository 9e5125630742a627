"""Names of earlier versions, as resolved configs in work folders and checkpoints hold them."""

from copy import deepcopy
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import walk

# Registered name in an older config -> the present one. The first five are mmengine's own: a
# run takes this project's in their place.
TYPES = {
    "CheckpointHook": "WholeCheckpointHook",
    "ClearMLVisBackend": "ClearMLTracker",
    "LocalVisBackend": "JsonVisBackend",
    "MLflowVisBackend": "MLflowTracker",
    "WandbVisBackend": "WandbTracker",
    "ClassPicturesHook": "DrawClassesHook",
    "LabelPicturesHook": "DrawLabelsHook",
    "LabelledPictures": "LabelledImages",
    "LoadPicture": "LoadImage",
    "NumbersHook": "FiniteChecksHook",
    "PictureSampler": "ImageSampler",
    "SkippedPicturesHook": "SkipUnreadableHook",
    "collate_pictures": "collate_images",
}
# Module that an older config imports (custom_imports) -> the present one.
MODULES = {
    "convnext_dense.classification.pictures": "convnext_dense.classification.dataset",
    "convnext_dense.classification.show": "convnext_dense.classification.draw_results",
    "convnext_dense.classification.skipping": "convnext_dense.data.decoding.unreadable",
    "convnext_dense.classification.skip_unreadable": "convnext_dense.data.decoding.unreadable",
    "convnext_dense.engine.averaging": "convnext_dense.engine.weight_averaging",
    "convnext_dense.engine.checkpointing": "convnext_dense.runs.checkpointing",
    "convnext_dense.engine.interrupt": "convnext_dense.runs.signals",
    "convnext_dense.engine.numbers": "convnext_dense.engine.finite_checks",
    "convnext_dense.engine.progress": "convnext_dense.runs.progress",
    "convnext_dense.engine.scalars": "convnext_dense.runs.json_log",
    "convnext_dense.engine.tta": "convnext_dense.engine.multi_view_test",
    "convnext_dense.inference.tiled_views": "convnext_dense.inference.trained.tiled_views",
    "convnext_dense.models.convnext": "convnext_dense.models.backbone",
    "convnext_dense.models.roadmap_steps": "convnext_dense.models.roadmap.steps",
    "convnext_dense.pictures": "convnext_dense.data.bands.load_image",
    "convnext_dense.segmentation.labels": "convnext_dense.segmentation.load_labels",
    "convnext_dense.segmentation.linear_head": "convnext_dense.segmentation.heads.linear_head",
    "convnext_dense.segmentation.pictures": "convnext_dense.segmentation.draw_results",
}


def rename_saved(cfg: Config) -> None:
    """Replaces names of earlier versions in a config by the present ones, in place."""
    for node in walk(cfg._cfg_dict):
        _rename_type(node)
    imports = (cfg.get("custom_imports") or {}).get("imports")
    if isinstance(imports, str):
        cfg.custom_imports["imports"] = MODULES.get(imports, imports)
    elif imports:
        cfg.custom_imports["imports"] = [MODULES.get(name, name) for name in imports]


def rename_types(node: Any) -> Any:
    """The same for a part of a config, in a copy; other objects than dicts stay as they are."""
    if not isinstance(node, dict):
        return node
    renamed = deepcopy(node)
    for inner in walk(renamed):
        _rename_type(inner)
    return renamed


def _rename_type(node: dict) -> None:
    name = node.get("type")
    if isinstance(name, str) and name in TYPES:
        node["type"] = TYPES[name]
