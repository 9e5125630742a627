"""Random numbers that go on where they were: a resumed run draws what it would have drawn."""

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.registry import HOOKS
from mmengine.runner import set_random_seed

from convnext_dense.engine.gathering import GatheringHook

SAVED = "random_state"


@HOOKS.register_module()
class RandomStateHook(GatheringHook):
    """Saves the state of Python's, numpy's and torch's random numbers in every checkpoint.

    Evaluations leave the state as it was: a run that was resumed after one goes on as the run that
    had it. The run's seed comes from the checkpoint too, so that the order of the images stays.
    """

    priority = "LOWEST"  # restores after all that others draw

    def __init__(self) -> None:
        self._resumed: list[dict] | None = None
        self._before_evaluation: dict | None = None
        self._gathered: list[dict] = []

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Takes the state and the seed of a checkpoint that is resumed."""
        if not runner._resume:
            return
        self._resumed = checkpoint.get(SAVED)
        seed = checkpoint["meta"].get("seed")
        batches = runner.train_dataloader.batch_sampler
        for part in (batches, batches.sampler):
            if seed is not None and "seed" in vars(part):
                part.seed = seed

    def before_train(self, runner) -> None:
        """Restores the resumed state of this process."""
        if self._resumed is None:
            return
        if len(self._resumed) == runner.world_size:
            restore(self._resumed[runner.rank])
        else:
            runner.logger.warning(
                f"The checkpoint is of {len(self._resumed)} processes, this run has "
                f"{runner.world_size}: random numbers start anew, from seed + rank."
            )
        self._resumed = None

    def before_val_epoch(self, runner) -> None:
        """Remembers the state."""
        self._before_evaluation = snapshot()

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Gives it back."""
        restore(self._before_evaluation)
        self._before_evaluation = None

    def gather(self, runner) -> None:
        """Collects the states of all processes; all of them must call it."""
        self._gathered = all_gather_object(self._before_evaluation or snapshot())

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Saves what was gathered: one state a process."""
        checkpoint[SAVED] = self._gathered


def snapshot() -> dict[str, Any]:
    """The state of all random numbers, as plain data and tensors."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    keys = torch.from_numpy(keys.astype(np.int64))
    return dict(
        python=random.getstate(),
        numpy=(name, keys, int(position), int(has_gauss), float(gauss)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    )


def restore(state: dict[str, Any]) -> None:
    """Restores what :func:`snapshot` returned; a GPU's state where there is one."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def seed_each_process(seed: int, rank: int) -> None:
    """Has each process draw random numbers of its own, from seed + rank as the official release.

    Else all of them would drop the same samples and mix in the same shares. The first process goes
    on with the numbers that it has begun, so that it draws what a run in one process draws.

    Args:
        seed: The run's seed, equal in all processes.
        rank: The number of this process.
    """
    if rank:
        set_random_seed((seed + rank) % 2**32)  # numpy takes no more


def without_drawing(draw: Callable[[], Any]) -> Any:
    """Calls a function and undoes what it did to the random numbers."""
    before = snapshot()
    result = draw()
    restore(before)
    return result


def use_repeatable_kernels(deterministic: bool) -> None:
    """Has torch add in the same order every time: always on the CPU, on a GPU if asked to.

    On the CPU one operator of our models depends on which thread comes first: the gradient of
    ``table[rows]`` where rows repeat (Swin's table of relative positions) is added atomically. On
    a GPU there are more, and some have no other kernel: torch names those in a warning.

    Args:
        deterministic: Whether a GPU run is to give up speed for it (``--deterministic``).
    """
    on_cpu = not torch.cuda.is_available()
    if on_cpu or deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch refuses to go without
        torch.use_deterministic_algorithms(True, warn_only=not on_cpu)
        # Not to fill each new tensor with nan: that helps to find bugs, and takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False
