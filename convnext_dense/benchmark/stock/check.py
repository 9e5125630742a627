"""One family: is it built, does a loss reach every parameter, is there a prediction?"""

import contextlib
import math
import multiprocessing
import os
import re
import warnings
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from convnext_dense.benchmark.stock.families import Family, configs_folder, nodes
from convnext_dense.benchmark.stock.fitting import fit_our_backbone
from convnext_dense.benchmark.stock.samples import detection_sample, image, segmentation_sample
from convnext_dense.errors import UserError

VARIANTS = ("stock", "ours")
PASSED = "yes"
SECONDS = 300  # after which a family is given up
# Data that is not generated: entry of the model's config, its values, why.
NOT_GENERATED = (
    ("type", "TrackDataPreprocessor", "needs video: it is trained on frames of a sequence"),
    ("type", "ReIDDataPreprocessor", "needs persons' identities: it classifies crops for trackers"),
    ("type", "MultiBranchDataPreprocessor", "needs labelled and unlabelled images in one step"),
    ("type", "BertModel", "needs the vocabulary and the weights of a language model (a download)"),
)
# What an exception says -> the reason in the table.
REASONS = (
    (r"mmcv's operator '(\w+)'", r"needs mmcv's operator \1"),
    (r"No module named '(\w+)", r"needs the package \1"),
    (r"'(mmpretrain)\.\w+ is not in", r"needs the package \1"),
    (r"Please install (\w+) first", r"needs the package \1"),
    (r"batch_norm eps must be positive", "its batch norm has eps=0, which torch refuses"),
    (r"pip install sklearn", "needs the package scikit-learn"),
    (r"skimage is not installed", "needs the package scikit-image"),
    (r"install required packages via `pip install -r requirements/optional.txt`",
     "needs the packages of Stable Diffusion"),
    (r"'super' object has no attribute 'init_weights'",
     "needs CLIP's weights (a download): its head has no other initialisation"),
    (r"index 255 is out of bounds", "its weighted loss has no class for ignored pixels (255)"),
    (r"Given (groups|transposed)=1, weight of size",
     "its next part takes levels that all have the same number of channels"),
    (r"not enough values to unpack|has no attribute 'num_branch'",
     "its head reads the branches of its own backbone"),
    (r"'SSDHead' object has no attribute 'loss_cls'",
     "mmdet 3.3's SSDHead cannot predict: it asks for a loss that it does not have"),
    (r"upper bound and lower bound inconsistent",
     "boxes of its untrained network lie outside of the image, where mmdet's pasting of masks on a "
     "CPU fails"),
    (r"mmdet\.models\.necks\.ssd_neck$", "its neck adds levels to those of its own backbone"),
    (r'file ".*/(\S+)" does not exist', r"its config begins with `\1`, which the wheel lacks"),
    (r"Output size is too small", "its head pools windows that are larger than the feature map"),
    (r"The size of tensor a .* must match the size of tensor b",
     "its head takes levels that all have the same size"),
    (r"expand\(torch\.\w+\{.*the number of sizes provided",
     "its neck takes the tokens of a vision transformer"),
)  # fmt: skip
OUTPUT_NORM = re.compile(r"backbone\.norm[0-3]")
VIEWS = "view size is not compatible"


def check_alone(family: Family) -> dict[str, str]:
    """:func:`check` in a process of its own, which leaves no registry or memory behind.

    Returns:
        Variant -> ``yes`` or a reason.
    """
    context = multiprocessing.get_context("fork")
    answers, answer = context.Pipe(duplex=False)
    process = context.Process(target=lambda: answer.send(check(family)), daemon=True)
    process.start()
    answer.close()
    try:
        if not answers.poll(SECONDS):
            process.kill()
            return dict.fromkeys(VARIANTS, f"takes more than {SECONDS} seconds")
        return answers.recv()
    except EOFError:
        process.join()
        return dict.fromkeys(VARIANTS, f"its process ends with code {process.exitcode}")
    finally:
        process.join()


def check(family: Family) -> dict[str, str]:
    """Both variants of a family; variant -> ``yes`` or a reason."""
    MMLogger.get_instance("stock", log_level="ERROR")
    warnings.simplefilter("ignore")
    outcomes = {}
    for variant in VARIANTS:
        try:
            with silence(), inside(family.toolbox):
                outcomes[variant] = checked(family, ours=variant == "ours")
        except Exception as error:  # whatever a stock model raises is its outcome
            outcomes[variant] = reason_of(error)
    return outcomes


@contextlib.contextmanager
def inside(toolbox: str) -> Iterator[None]:
    """Names are looked up in the toolbox, and configs that a config names are found."""
    before = os.getcwd()
    os.chdir(configs_folder(toolbox).parent)  # contextlib.chdir is in Python 3.11 and later
    try:
        with DefaultScope.overwrite_default_scope(toolbox):
            yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """The toolboxes print while they build."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def reason_of(error: Exception) -> str:
    """One short sentence about an exception; one without words is told by where it was raised."""
    text = str(error).strip() or f"in {_module(error)}"
    if isinstance(error, UserError):
        return text
    for pattern, reason in REASONS:
        if found := re.search(pattern, text):
            return found.expand(reason)
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def _module(error: Exception) -> str:
    *_, (frame, _) = walk_tb(error.__traceback__)
    return frame.f_globals["__name__"]


def checked(family: Family, *, ours: bool) -> str:
    """:func:`check_variant`; with contiguous maps where a head cannot read channels-last ones."""
    try:
        return check_variant(family, ours=ours)
    except RuntimeError as error:
        if not ours or VIEWS not in str(error):
            raise
    outcome = check_variant(family, ours=True, channels_last=False)
    return f"{outcome}; with `channels_last=False`"


def check_variant(family: Family, *, ours: bool, **backbone_options: Any) -> str:
    """``yes``, or why a gradient is missing; raises what the model raises.

    Raises:
        UserError: If the family needs data that is not generated, or a backbone unlike ours.
    """
    torch.manual_seed(0)
    config = family.read()
    for key, value, reason in NOT_GENERATED:
        if any(node.get(key) == value for node in nodes(config.model)):
            raise UserError(reason)
    registry = registry_of(family.toolbox)
    if ours:
        fit_our_backbone(config.model, registry, family.size, **backbone_options)
    model = revert_sync_batchnorm(registry.build(config.model))
    model.init_weights()
    MessageHub.get_current_instance().update_info("epoch", 0)  # TOOD asks the runner's
    missing = without_gradient(model, batch(family, config, images=2))
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(batch(family, config, images=1)), mode="predict")
    if not any(name.startswith("pred_") for name in results[0].all_keys()):
        raise UserError("predicts nothing")
    return missing or PASSED


def registry_of(toolbox: str) -> Any:
    """The toolbox's registry of models, with everything in it."""
    if toolbox == "mmdet":
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
    else:
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    return MODELS


def batch(family: Family, config: Config, images: int) -> dict:
    """Images and samples as the toolbox's loader gives them."""
    classes = [
        node["num_classes"] for node in nodes(config.model) if node.get("num_classes", 0) >= 1
    ]
    classes = min(classes, default=1)
    if family.toolbox == "mmseg":
        samples = [segmentation_sample(family.size, i, classes) for i in range(images)]
    else:
        scales = [
            node["scale_factor"]
            for node in nodes(config.to_dict())
            if node.get("type") == "SegRescale"
        ]
        scale = min(scales, default=1)
        samples = [detection_sample(family.size, i, classes, scale) for i in range(images)]
        # mmdet's reader of panoptic data has them where nothing is said.
        reads_masks = any(
            node.get("with_mask", "LoadPanopticAnnotations" in str(node.get("type")))
            for node in nodes(config.to_dict())
        )
        for sample in samples:
            if "rpn_head" in config.model:  # it would be left out where there are proposals
                del sample.proposals
            if not reads_masks:  # RTMDet assigns by masks where there are some
                del sample.gt_instances.masks
    return dict(inputs=[image(family.size, i) for i in range(images)], data_samples=samples)


def without_gradient(model: torch.nn.Module, data: dict) -> str:
    """One loss backwards; what it does not reach, or an empty text."""
    model.train()
    losses = model(**model.data_preprocessor(data, True), mode="loss")
    loss, _ = model.parse_losses(losses)
    if not math.isfinite(loss.item()):
        raise UserError(f"its loss is {loss.item()}")
    loss.backward()
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    missing = [name for name, parameter in trained if parameter.grad is None]
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in missing))
    if modules and all(OUTPUT_NORM.fullmatch(name) for name in modules):
        return (
            f"no gradient for {', '.join(modules)}, output norms of maps that nothing reads: "
            "`out_indices` leaves them out"
        )
    shown = ", ".join(modules[:2]) + (" ..." if len(modules) > 2 else "")
    return f"no gradient for {len(missing)} parameters: {shown}" if missing else ""
