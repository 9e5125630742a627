"""A run's config as another machine can use it: no path of this one, nothing of this run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import SPLITS, datasets

# Entries of one run; a model's next user starts without them.
OF_A_RUN = ("data_root", "launcher", "load_from", "randomness", "resume", "work_dir")
BACKENDS = [dict(type="JsonVisBackend"), dict(type="TensorboardVisBackend")]


def portable_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a resolved config without its run.

    Paths below the data root become relative to it, those of own data to the folder's name; of any
    other absolute path the name is left. The backbone starts from no file, since the weights hold
    it.

    Args:
        content: The config as plain data.
    """
    cfg = Config(dict(content))
    roots = {str(cfg.get("data_root") or ""): ""}
    for split in SPLITS:
        for dataset in datasets(cfg, split):
            folder = Path(str(dataset.data_root))
            if folder.is_absolute() and not any(r and folder.is_relative_to(r) for r in roots):
                roots[str(folder)] = folder.name
    roots.pop("", None)
    config = _without_paths(cfg.to_dict(), roots)
    for key in OF_A_RUN:
        config.pop(key, None)
    if backbone := (config.get("model") or {}).get("backbone"):
        backbone.pop("init_cfg", None)
    config.pop("vis_backends", None)
    if "visualizer" in config:
        config["visualizer"]["vis_backends"] = BACKENDS
    hooks = config.get("custom_hooks") or []
    config["custom_hooks"] = [hook for hook in hooks if hook.get("type") != "TrackerHook"]
    return config


def _without_paths(node: Any, roots: Mapping[str, str]) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_paths(value, roots) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_without_paths(value, roots) for value in node)
    if not isinstance(node, str):
        return node
    for root, name in roots.items():
        if Path(node).is_relative_to(root):
            return str(Path(name) / Path(node).relative_to(root))
    return Path(node).name if Path(node).is_absolute() else node
