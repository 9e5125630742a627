"""Repeats the step of a dump and says where its numbers go wrong first."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.amp import autocast
from torch import nn

from convnext_dense.engine.finite_checks import WENT_WRONG
from convnext_dense.engine.plain_batches import from_plain
from convnext_dense.engine.random_state import restore
from convnext_dense.errors import RunEndedError, UserError
from convnext_dense.weights import read_checkpoint

NEEDED = ("state_dict", "batches", "pictures", "random_state", "loss_scale", "iteration")


def replay(cfg: Config, path: str) -> list[str]:
    """Repeats a step: the weights, batches and random numbers of the dump, nothing of the data.

    Args:
        cfg: The run's config; its model must be the dump's. What the dump says of it is not run.
        path: A file that FiniteChecksHook wrote.

    Returns:
        Lines for the user, where all is finite this time.

    Raises:
        UserError: When the file is no dump, or of another model.
        RunEndedError: When the numbers go wrong again; its sentence is the report.
    """
    dump = read_checkpoint(path)
    if missing := [name for name in NEEDED if name not in dump]:
        raise UserError(f"{path} is no dump of a step: it has no {', '.join(missing)}.")
    init_default_scope(cfg.get("default_scope", "mmengine"))
    try:
        model = MODELS.build(cfg.model)
        model.load_state_dict(dump["state_dict"])
    except (TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is of another model than the config's: give the config in its run's work "
            f"folder ({str(error).splitlines()[-1].strip()})."
        ) from error
    model.to(get_device()).train()
    terms = _repeat_all(model, cfg.optim_wrapper, dump)
    lines = [f"Iteration {dump['iteration']}, on {get_device()}:"]
    for values, images in zip(terms, dump["pictures"], strict=True):
        lines += [f"  {name} {value:g}" for name, value in values.items()]
        lines += [f"  images: {', '.join(images) or 'unknown'}"]
    bad = [name for name, p in model.named_parameters() if not _finite(p.grad)]
    if not bad and all(_is_finite(value) for values in terms for value in values.values()):
        return [*lines, "All numbers are finite this time."]
    # Once more, and layers are watched: a block whose layers are is computed in another way.
    with _first_findings(model) as findings:
        _repeat_all(model, cfg.optim_wrapper, dump)
    lines += [f"  {what}: {where}" for what, where in findings.items()]
    if bad:
        lines.append(f"  parameters whose gradient is not finite: {len(bad)}, {bad[0]} first")
    raise RunEndedError("\n".join([*lines, "The numbers go wrong again."]), WENT_WRONG)


def _repeat_all(model: nn.Module, wrapper: dict, dump: dict[str, Any]) -> list[dict[str, float]]:
    """Repeats the step's batches from its random numbers; returns the loss terms of each."""
    restore(dump["random_state"])
    model.zero_grad()
    return [
        _repeat(model, wrapper, from_plain(batch), dump["loss_scale"]) for batch in dump["batches"]
    ]


def _repeat(model: nn.Module, wrapper: dict, batch: Any, scale: float) -> dict[str, float]:
    """Forward and backward of a batch as the run made them; returns the loss terms."""
    mixed = wrapper["type"] == "AmpOptimWrapper"
    precision = autocast(dtype=getattr(torch, wrapper.get("dtype") or "float16"))
    with precision if mixed else contextlib.nullcontext():
        data = model.data_preprocessor(batch, True)
        losses = model._run_forward(data, mode="loss")
    loss, terms = model.parse_losses(losses)
    (loss * scale).backward()
    return {name: float(value.detach()) for name, value in terms.items()}


@contextlib.contextmanager
def _first_findings(model: nn.Module) -> Iterator[dict[str, str]]:
    """Notes the first layer whose output, and the first whose gradient, is not finite."""
    findings: dict[str, str] = {}

    def watch(name: str, layer: nn.Module):
        text = f"{name} ({type(layer).__name__})"

        def look(module, inputs, output) -> None:
            finite_input = all(map(_finite, inputs))
            for tensor in output if isinstance(output, list | tuple) else [output]:
                if not _finite(tensor):
                    cause = "" if finite_input else ", whose input is not finite either"
                    findings.setdefault("first output that is not finite", text + cause)
                elif isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                    tensor.register_hook(look_back)

        def look_back(gradient) -> None:
            if not _finite(gradient):
                findings.setdefault("first gradient that is not finite, of the output of", text)

        return look

    hooks = [
        layer.register_forward_hook(watch(name, layer))
        for name, layer in model.named_modules()
        if not any(layer.children())
    ]
    try:
        yield findings
    finally:
        for hook in hooks:
            hook.remove()


def _finite(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) or bool(value.isfinite().all())


def _is_finite(value: float) -> bool:
    return value - value == 0  # inf - inf and nan - nan are nan
