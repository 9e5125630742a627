"""The images that both models see: the data's with their annotations, a folder's, or drawn ones."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from pycocotools.coco import COCO

from convnext_dense.config.data_root import set_data_root
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.coco.fit_config import annotation_path, coco_datasets, image_folder
from convnext_dense.data.image_scan import evenly_spaced
from convnext_dense.data.images import find_images
from convnext_dense.data.labels.fit_config import label_datasets
from convnext_dense.data.shapes.drawing import CLASSES, draw_image
from convnext_dense.inference.network import Network
from convnext_dense.runs.noise import quiet_annotation_files

SIZES = ((240, 320), (333, 500), (480, 270), (129, 97), (600, 800), (211, 640))  # drawn images
RADII = (0.06, 0.2)  # of shapes, in parts of the short side


@dataclass(frozen=True)
class Pictures:
    """Images to compare two models on.

    Attributes:
        images: Files, or arrays (RGB, or the bands that the model has channels for).
        source: What they are, in words.
        truth: COCO of the images (their ``ids``), or their label arrays; None without annotations.
        ids: Ids of the images in the COCO file.
    """

    images: list[Any]
    source: str
    truth: Any = None
    ids: tuple[int, ...] = ()


def choose_pictures(
    network: Network, folder: str | None, count: int, data_root: str | None = None
) -> Pictures:
    """Images of a folder, else the test data of the config where it is here, else drawn ones.

    Args:
        network: The trained network.
        folder: ``--images``.
        count: How many images at most.
        data_root: ``--data-root``: in front of the config's folders.

    Raises:
        UserError: For a folder without images.
    """
    if folder is not None:
        found = find_images(folder)
        chosen = [str(found[place]) for place in evenly_spaced(len(found), count)]
        return Pictures(chosen, f"{len(chosen)} images of {folder}")
    read = {"detection": _coco_images, "segmentation": _labelled_images}.get(network.task)
    if read is not None:
        cfg = deepcopy(network.opened.config)
        set_data_root(cfg, data_root)
        if (found := read(cfg, network.classes, count)) is not None:
            return found
    return drawn_pictures(network.reading.channels, count)


def _coco_images(cfg: Config, classes: Sequence[str], count: int) -> Pictures | None:
    for data in coco_datasets(cfg, "test"):
        if not Path(annotation_path(data)).is_file():
            continue
        with quiet_annotation_files():
            truth = COCO(annotation_path(data))
        annotated = [key for key in sorted(truth.imgs) if truth.getAnnIds(imgIds=[key])]
        ids = [annotated[place] for place in evenly_spaced(len(annotated), count)]
        paths = [str(Path(image_folder(data), truth.imgs[key]["file_name"])) for key in ids]
        names = [category["name"] for category in truth.dataset["categories"]]
        if ids and all(Path(path).is_file() for path in paths) and set(classes) <= set(names):
            source = f"{len(ids)} annotated images of {annotation_path(data)}"
            return Pictures(paths, source, truth, tuple(ids))
    return None


def _labelled_images(cfg: Config, classes: Sequence[str], count: int) -> Pictures | None:
    for data in label_datasets(cfg, "test"):
        loader = [step for step in data.pipeline if step["type"] == "LoadLabels"]
        folder = Path(data.data_root, data.data_prefix.img_path)
        if not loader or not folder.is_dir():
            continue
        data.metainfo = dict(data.get("metainfo") or {}, classes=tuple(classes))
        built = build_dataset(cfg, data, pipeline=[dict(loader[0], num_classes=len(classes))])
        samples = [built[place] for place in evenly_spaced(len(built), count)]
        if samples:
            paths = [sample["img_path"] for sample in samples]
            labels = [np.asarray(sample["gt_seg_map"]) for sample in samples]
            return Pictures(paths, f"{len(paths)} annotated images of {folder}", labels)
    return None


def drawn_pictures(channels: int, count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Pictures:
    """Shapes on patterned grounds, by default in sizes that divide badly; always the same."""
    random = np.random.default_rng(0)
    images = []
    for number in range(count):
        size = sizes[number % len(sizes)]
        classes = random.integers(0, len(CLASSES), 6).tolist()
        radii = tuple(share * min(size) for share in RADII)
        image = draw_image(random, size, classes, radii, 0.3).image[..., ::-1]
        bands = [image[..., band % 3] for band in range(channels)]
        images.append(np.ascontiguousarray(np.stack(bands, -1)))
    return Pictures(images, f"{count} drawn images: the data of the config is not here")
