"""Steps with images that are made up: the model of a run as it trains, and one step of it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError
from convnext_dense.models.lora import add_adapters
from convnext_dense.preflight.memory.curve import Curve, record_step
from convnext_dense.preflight.memory.image_size import Size
from convnext_dense.tasks import task_of


def build_trial_model(cfg: Config, checkpointing: bool | str | None) -> nn.Module:
    """The model of a config as it trains, on the device, with weights as they are built.

    Stochastic depth is off: a batch that drops no sample needs the most.
    """
    described = cfg.model.copy()
    if checkpointing is not None:
        described = Config(dict(model=described.to_dict())).model
        described.backbone.with_cp = checkpointing
    for node in walk(described):
        if node.get("type") == "SyncBN":  # one process tries; the memory is the same
            node["type"] = "BN"
    model = MODELS.build(described)
    if cfg.get("lora"):
        add_adapters(model.backbone, cfg.lora["rank"])
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model.to(get_device()).train()


def record(cfg: Config, model: nn.Module, images: int, size: Size) -> Curve:
    """One step with images of a size.

    Raises:
        UserError: Where even this one finds no room.
    """
    batch = task_of(cfg).trial_batch(cfg, images, size)
    model.zero_grad(set_to_none=True)
    device = torch.device(get_device()).type

    def step() -> None:
        with precision(cfg, device):
            arguments = model.data_preprocessor.cast_data(batch)
            losses = model(**arguments, mode="loss")
        model.parse_losses(losses)[0].backward()

    try:
        return record_step(model, step, device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"--fit-memory: there is not even room for a step of {images} image of {size[0]} x "
            f"{size[1]} pixels: end other programs on this GPU, or take a smaller model."
        ) from error
    finally:
        model.zero_grad(set_to_none=True)


def precision(cfg: Config, device: str) -> AbstractContextManager:
    """Mixed precision as the run's."""
    wrapper = cfg.optim_wrapper
    if wrapper.get("type") != "AmpOptimWrapper":
        return nullcontext()
    return torch.autocast(device, getattr(torch, wrapper.get("dtype") or "float16"))


def batch_norms(cfg: Config) -> bool:
    """Whether a batch norm learns from the batches of a config's model."""
    return any(node.get("type") in ("BN", "SyncBN") for node in walk(cfg.model))


def least_batch(cfg: Config) -> int:
    """The fewest images of a batch: two where a batch norm may have a map of one pixel."""
    return 2 if batch_norms(cfg) else 1
