"""The masks of mmdet's detectors in a config: a head, a type of head, or the whole model."""

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense.config.config_tree import SPLITS, evaluators, walk
from convnext_dense.data.coco.evaluation_limits import METRIC
from convnext_dense.data.head_classes import kind_of, models_inside
from convnext_dense.errors import UserError

# Heads of boxes and masks in one -> the same head without its masks; the settings hold where the
# config states none: exp_on_reg is that of mmdet's recipe, with_objectness the default with masks.
SEPARATE_NORMS = dict(type="RTMDetSepBNHead", exp_on_reg=True, with_objectness=False)
BOXES_ALONE = {
    "WholeMasksRTMDetHead": SEPARATE_NORMS,
    "RTMDetInsSepBNHead": SEPARATE_NORMS,
    "RTMDetInsHead": dict(type="RTMDetHead"),
}
MASK_SETTINGS = (
    "loss_mask",
    "num_prototypes",
    "dyconv_channels",
    "num_dyconvs",
    "mask_loss_stride",
)
ROI_MASKS = ("mask_head", "mask_roi_extractor")
MASKS_ALONE = ("mask_head", "panoptic_head")  # of models that are nothing without masks
NEED_MASKS = ("CopyPaste", "PasteObjects")  # steps of a pipeline, whatever the model predicts


def predicts_masks(model: ConfigDict) -> bool:
    """Whether a model of this config finds masks beside boxes."""
    return any(
        (part.get("roi_head") or {}).get("mask_head")
        or kind_of(part.get("bbox_head") or {}) in BOXES_ALONE
        or any(part.get(name) for name in MASKS_ALONE)
        for _, part in models_inside(model)
    )


def drop_mask_branch(cfg: Config) -> None:
    """Turns a detector with masks into one of boxes: for data or a checkpoint without masks.

    Raises:
        UserError: For a model that finds masks and nothing else.
    """
    before = predicts_masks(cfg.model)
    for place, part in models_inside(cfg.model):
        for name in MASKS_ALONE:
            if part.get(name) and _reads_masks(cfg):
                raise UserError(
                    f"model.{place}{name} learns from masks, and there are none in the data, or "
                    "--boxes leaves them out: take a detector of boxes, such as RTMDet or DINO, or "
                    "data with masks."
                )
        for name in ROI_MASKS:
            (part.get("roi_head") or {}).pop(name, None)
        head = part.get("bbox_head") or {}
        if of_boxes := BOXES_ALONE.get(kind_of(head)):
            for name in MASK_SETTINGS:
                head.pop(name, None)
            head.update({**of_boxes, **head}, type=of_boxes["type"])
    if before:
        print_log("Without masks in the data or the checkpoint, the model has no mask branch.")
    evaluate_boxes_only(cfg)


def _reads_masks(cfg: Config) -> bool:
    nodes = walk(cfg.get("train_dataloader") or cfg.get("test_dataloader"))
    return any(node.get("with_mask") for node in nodes)


def read_what_is_predicted(cfg: Config) -> None:
    """Leaves masks out where the model predicts none, unless images are mixed by them."""
    if predicts_masks(cfg.model):
        return
    mixes = any(node.get("type") in NEED_MASKS for node in walk(cfg.get("train_dataloader")))
    evaluate_boxes_only(cfg, SPLITS[1:] if mixes else SPLITS)


def evaluate_boxes_only(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Neither reads nor evaluates the masks of some splits."""
    for split in splits:
        # Hooks may hold a pipeline for the last epochs of a training.
        nodes = [
            cfg.get(f"{split}_dataloader"),
            cfg.get("custom_hooks") if split == "train" else [],
        ]
        for node in walk(nodes):
            if node.get("type") == "LoadAnnotations":
                node.with_mask = False
        for evaluator in evaluators(cfg, split):
            if evaluator.get("type") == METRIC:
                evaluator.metric = ["bbox"]
