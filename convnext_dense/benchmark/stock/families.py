"""The stock model families of mmdet and mmsegmentation: one config of each, made small."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

TOOLBOXES = ("mmdet", "mmseg")
SIZE = 128  # of the images, in pixels
# Networks whose layers exist for one image size only.
SIZES = {("mmdet", "ssd"): 300, ("mmseg", "mobilenet_v3"): 512}
# Where the plainest name does not work as it is: RPN alone lacks an argument of this head.
CHOSEN = {
    ("mmdet", "cascade_rpn"): "cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco",
}
# Parts of names of plain configs, the best first: a family is shown by the first it has.
DATA = ("coco", "ade20k", "cityscapes")
SMALL = ("r18", "r50_fpn_1x", "r50_fpn", "r50", "s50", "b0", "_s_", "-s_", "tiny", "-t", "r101")
# Proposals, samples and queries: images of this size have not more places.
MOST = dict(nms_pre=100, max_per_img=20, num=16, num_queries=100, num_proposals=20)
WITHOUT_MODEL = ("_base_", "common")
# Entries that would fetch a file.
FETCHING = ("pretrained", "teacher_ckpt", "checkpoint_file")


@dataclass(frozen=True)
class Family:
    """A folder of a toolbox's configs, shown by one of its files."""

    toolbox: str
    name: str
    config: Path

    @property
    def size(self) -> int:
        """Height and width of its images, in pixels."""
        return SIZES.get((self.toolbox, self.name), SIZE)

    def read(self) -> Config:
        """Its config; ``model`` is small and asks for no file."""
        config = Config.fromfile(self.config, import_custom_modules=False)
        config.model = made_small(config.model.to_dict(), self.size)
        return config


def configs_folder(toolbox: str) -> Path:
    """Where the toolbox's wheel has its configs; paths in them are relative to the parent."""
    (package,) = importlib.util.find_spec(toolbox).submodule_search_locations
    return Path(package, ".mim", "configs")


def families(toolbox: str) -> list[Family]:
    """One config of each folder, in alphabetical order."""
    folders = [path for path in sorted(configs_folder(toolbox).iterdir()) if path.is_dir()]
    return [
        Family(toolbox, folder.name, representative(folder, CHOSEN.get((toolbox, folder.name))))
        for folder in folders
        if folder.name not in WITHOUT_MODEL
    ]


def representative(folder: Path, chosen: str | None = None) -> Path:
    """The plainest config of a folder: common data, a small network, then the shortest name."""
    if chosen:
        return folder / f"{chosen}.py"

    def place(path: Path, parts: tuple[str, ...]) -> int:
        return next((i for i, part in enumerate(parts) if part in path.stem), len(parts))

    def rank(path: Path) -> tuple[int, int, int, str]:
        return place(path, DATA), place(path, SMALL), len(path.stem), path.stem

    return min(folder.glob("*.py"), key=rank)


def nodes(tree: Any) -> Iterator[dict]:
    """Every dict of a config's tree, the outer ones first."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, dict | list | tuple):
            yield from nodes(child)


def made_small(model: dict, size: int) -> dict:
    """The model for images of ``size`` pixels, without pretrained files; changed in place."""
    for node in nodes(model):
        for key in FETCHING:
            if isinstance(node.get(key), str):
                node[key] = None
        for key in ("img_size", "crop_size"):
            if key in node:
                node[key] = (size, size)
        for key, most in MOST.items():
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)
        if isinstance(node.get("init_cfg"), dict) and "checkpoint" in node["init_cfg"]:
            node["init_cfg"] = None
        if node.get("type") == "MMSyncBN":  # of one process, as torch's is made later
            node["type"] = "BN"
        # Padding to the size of the schedule, or resizing to others.
        node.pop("batch_augments", None)
    preprocessor = model.get("data_preprocessor") or {}
    if preprocessor.get("type") == "SegDataPreProcessor" and "size_divisor" not in preprocessor:
        preprocessor["size"] = (size, size)
    return model
