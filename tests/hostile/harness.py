"""One case through the whole chain: config, data, one step of training, evaluation."""

import gc
import logging
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import FrameType

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from convnext_dense.cli.shared.run_command import sentence
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.errors import UserError
from convnext_dense.preflight.data_check import check_data

SECONDS = 40  # for one case of some tenths of a second, on a machine that others use
outcomes: Counter = Counter()  # (task, what became of a case) -> cases


class Hang(BaseException):
    """A case that does not end."""


@contextmanager
def alarm(seconds: int = SECONDS) -> Iterator[None]:
    """Ends a case that hangs."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(task: str, config: Path, root: Path, workers: int = 0, preflight: bool = True) -> str:
    """Trains one step and evaluates; "trained", or the sentence of a refusal.

    Any other exception is a defect and passes. Without the preflight, which opens files before a
    run, what reads them has to find the same words.
    """
    with judged(task) as found:
        train_and_evaluate(config, root, workers, preflight)
    return found[0]


@contextmanager
def judged(task: str) -> Iterator[list[str]]:
    """Counts what becomes of a case; yields a list that then holds it (see :func:`outcome`)."""
    found: list[str] = []
    with alarm():
        try:
            yield found
            found.append("trained")
        except UserError as error:
            found.append(sentence(error))
            assert_sentence(found[0])
    outcomes[task, "trained" if found == ["trained"] else "refused"] += 1


def assert_sentence(text: str) -> None:
    """One sentence: a line of readable length, no traceback in it."""
    assert text.strip() and "\n" not in text, text
    assert "Traceback" not in text and len(text) < 1500, text


def train_and_evaluate(config: Path, root: Path, workers: int, preflight: bool) -> None:
    """The chain of tools/train.py, but with a model that is built once for all cases."""
    torch.manual_seed(0)
    cfg = load_fitted_config(config, data_root=root, splits=("train", "val"))
    if preflight:
        check_data(cfg)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    for split in ("train", "val"):
        loader = cfg[f"{split}_dataloader"]
        loader.num_workers, loader.persistent_workers = workers, False
    train = DenseRunner.build_dataloader(cfg.train_dataloader, seed=0)
    model, optim_wrapper = build(cfg)
    check_batches(train)
    model.train()
    losses = model.train_step(next(iter(train)), optim_wrapper)
    assert all(torch.isfinite(torch.as_tensor(loss)) for loss in losses.values()), losses
    evaluate(cfg, model)


def check_batches(loader) -> None:
    """As the training loop does."""
    if not len(loader):
        raise UserError("The training images make no batch.")


@torch.no_grad()
def evaluate(cfg: Config, model: nn.Module) -> dict:
    """The evaluation of a validation split."""
    loader = DenseRunner.build_dataloader(cfg.val_dataloader, seed=0)
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    model.eval()
    for batch in loader:
        evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))


def build(cfg: Config) -> tuple[nn.Module, OptimWrapper]:
    """The model and its optimizer as new; built once for each number of classes."""
    text = repr([cfg.model.to_dict(), cfg.optim_wrapper.to_dict()])
    if text not in _built:
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        _built[text] = model, wrapper, deepcopy(model.state_dict())
    model, wrapper, state = _built[text]
    model.load_state_dict(state)
    wrapper.optimizer.state.clear()
    return model, wrapper


_built: dict[str, tuple[nn.Module, OptimWrapper, dict]] = {}


def quiet() -> None:
    """Lets thousands of cases pass without a table of figures and a long collection each."""
    MMLogger.get_instance("hostile", log_level="ERROR")
    logging.getLogger().setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()  # every dataset collects garbage, a third of a second with all modules loaded
