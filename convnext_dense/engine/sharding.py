"""FSDP: weights, gradients and the optimizer's state divided among the processes.

By torch's ``fully_shard``, which leaves the model's class, the names of its parameters and the
groups of the optimizer as they are. mmengine's own way (FSDPStrategy) belongs to its
FlexibleRunner, a second engine without this one's loops, hooks and checkpoints. What is saved is
whole: a run goes on with any number of processes, with or without FSDP.
"""

import copy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from convnext_dense.config.launcher import world_size
from convnext_dense.engine.gathering import GatheringHook
from convnext_dense.engine.random_state import without_drawing
from convnext_dense.errors import UserError
from convnext_dense.models.block import Block
from convnext_dense.models.lora import without_adapters


def use_fsdp(cfg: Config) -> None:
    """Has a run divide its model (``--fsdp``).

    Raises:
        UserError: For a single process, or fp16.
    """
    if world_size(cfg.launcher) == 1:
        raise UserError(
            "--fsdp divides the model among processes, but there is one: start several "
            "(docs/several_machines.md has the commands)."
        )
    if cfg.optim_wrapper.get("dtype") == "float16":
        raise UserError(
            "--fsdp trains in bf16 or float32: each process would scale its fp16 losses by itself."
        )
    cfg.fsdp = True
    cfg.custom_hooks.append(dict(type="ShardedStateHook"))


def plain_model(runner) -> nn.Module:
    """The model that trains, without a wrapper for several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def is_sharded(model: nn.Module) -> bool:
    """Whether the processes share this model."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module) -> nn.Module:
    """Divides a model that is equal in all processes; its blocks are gathered one at a time."""
    processes = torch.distributed.get_world_size()
    mesh = init_device_mesh(torch.device(get_device()).type, (processes,))
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def shard_for_training(model: nn.Module, wrapper: OptimWrapper) -> None:
    """Divides a model whose optimizer is built and has not stepped."""
    before = dict(model.named_parameters())
    shard(model)
    after = dict(model.named_parameters())
    shard_of = {parameter: after[name] for name, parameter in before.items()}
    for group in wrapper.optimizer.param_groups:
        group["params"] = [shard_of[parameter] for parameter in group["params"]]
    if wrapper.clip_grad_kwargs:
        clip = wrapper.clip_func
        wrapper.clip_func = lambda *args, **kwargs: gather_tensors(clip(*args, **kwargs))


def describe_shards(model: nn.Module) -> str:
    """A phrase on what this process holds of a divided model."""
    mine = sum(parameter.to_local().numel() for parameter in model.parameters())
    everything = sum(parameter.numel() for parameter in model.parameters())
    return f"this process holds {mine:,} of {everything:,} parameters."


def copy_model(model: nn.Module, cfg: Config | None) -> nn.Module:
    """A copy of a model, divided as it is; adapters are merged.

    Args:
        model: The model.
        cfg: The run's config, from which the copy of a divided one is built.
    """
    if not is_sharded(model):
        return without_adapters(copy.deepcopy(model))
    built = without_drawing(lambda: MODELS.build(cfg.model).to(get_device()))
    other = shard(built)
    other.load_state_dict(model.state_dict())
    return other


def gather_tensors(value: Any) -> Any:
    """Puts the parts of all tensors in nested dicts and lists together, on the CPU.

    All processes must call it; what is not divided stays as it is.
    """
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return type(value)((key, gather_tensors(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(gather_tensors, value))
    return value


def load_gathered(model: nn.Module, state: dict[str, Tensor], strict: bool = True) -> None:
    """Loads a whole state into a model, of which this process may hold a part."""
    own = model.state_dict()
    parts = {
        name: own_shard(value, own[name]) if name in own else value for name, value in state.items()
    }
    model.load_state_dict(parts, strict=strict)


def divide_optimizer_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Replaces whole tensors of a saved state by this process's parts of them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        for name, value in saved["state"].get(number, {}).items():
            if value.shape == parameter.shape:  # not the count of steps
                saved["state"][number][name] = own_shard(value, parameter)


def own_shard(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, divided as ``like`` is."""
    if not isinstance(like, DTensor):
        return value
    # Every process has read the whole tensor: nothing is sent.
    return distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


@HOOKS.register_module()
class ShardedStateHook(GatheringHook):
    """Saves the whole model and the whole optimizer's state of a run with ``--fsdp``."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._gathered: dict[str, Any] = {}

    def gather(self, runner) -> None:
        """Puts the parts together."""
        self._gathered = dict(
            state_dict=gather_tensors(runner.model.state_dict()),
            optimizer=gather_tensors(runner.optim_wrapper.state_dict()),
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Replaces the first process's parts."""
        checkpoint.update({key: v for key, v in self._gathered.items() if key in checkpoint})
        self._gathered = {}
