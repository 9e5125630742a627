"""The memory of training steps as ``--fit-memory`` predicts it, beside the measured one.

Measured is a process that trains: on a CPU the growth of its resident memory, with a C library that
returns freed tensors at once; on a GPU the bytes that torch allocated at most. Images and objects
are made up, of the largest size of the config; the images themselves, which the data's loading
holds, are in neither figure.
"""

import gc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from convnext_dense.benchmark.memory import MIB, give_freed_memory_back
from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.preflight.memory.image_size import Size, largest_images
from convnext_dense.preflight.memory.prediction import least_side, predict_memory
from convnext_dense.preflight.memory.trial import build_trial_model, least_batch
from convnext_dense.preflight.step_probe import peak_bytes, reset_peak
from convnext_dense.tasks import task_of


@dataclass(frozen=True)
class Case:
    """A training whose memory is compared.

    Attributes:
        config: File or name of a config.
        checkpointing: The backbone's ``with_cp``.
        images: Of a batch.
        accumulated: Batches of a step.
        size: Height and width of the images; None: the largest of the config.
        options: Entries of the config that are replaced.
    """

    config: str
    checkpointing: bool | str = False
    images: int = 1
    accumulated: int = 1
    size: Size | None = None
    options: dict[str, Any] = field(default_factory=dict)


def predicted_mib(case: Case) -> float:
    """MiB that are predicted for the case."""
    cfg, size = settled(case)
    prediction = predict_memory(cfg, size, case.checkpointing)
    return prediction.bytes(case.images, case.accumulated) / MIB


def measured_mib(case: Case) -> float | None:
    """MiB that two steps of a process of its own need; None where the system does not tell."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_here, case, torch.get_num_threads()).result()


def settled(case: Case) -> tuple[Config, Size]:
    """The config of a case with as many classes as its recipe's data, and its images' size."""
    cfg = load_config(find_config(case.config), cfg_options=case.options)
    cfg.custom_hooks = []  # an average of the weights is no part of a step
    task_of(cfg).assume_classes(cfg)
    return cfg, case.size or largest_images(cfg)


@safe_reading()  # a spawned process does not inherit it
def _measure_here(case: Case, threads: int) -> float | None:
    torch.set_num_threads(threads)
    give_freed_memory_back()
    cfg, size = settled(case)
    cfg.optim_wrapper.accumulative_counts = case.accumulated
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        few = task_of(cfg).trial_batch(cfg, least_batch(cfg), (least_side(cfg),) * 2)
        _train(cfg, case, few)  # imports, and what libraries keep
        batch = task_of(cfg).trial_batch(cfg, case.images, size)
        gc.collect()  # the little model's, whose parts know each other
        before = reset_peak()
        _train(cfg, case, batch)
    peak = peak_bytes()
    return None if before is None or peak is None else (peak - before) / MIB


def _train(cfg: Config, case: Case, batch: dict[str, Any]) -> None:
    """Two steps of a model of its own: the second one has the optimizer's state from the start."""
    model = build_trial_model(cfg, case.checkpointing)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper.copy())
    for _ in range(2 * case.accumulated):
        with wrapper.optim_context(model):
            losses = model(**model.data_preprocessor.cast_data(batch), mode="loss")
        wrapper.update_params(model.parse_losses(losses)[0])
