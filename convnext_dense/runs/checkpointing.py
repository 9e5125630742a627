"""The order of saving, pointing to and removing checkpoints; finding the newest whole one.

The file itself is written, under a temporary name that is renamed, by
``DenseRunner.save_checkpoint``.
"""

import os
import re
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import torch
from mmengine import hooks
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from convnext_dense.atomic_files import explaining_full_disks, replacing, write_atomically
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS

POINTER = "last_checkpoint"
NAME = re.compile(r"(epoch|iter)_(\d+)\.pth")


@HOOKS.register_module()
class WholeCheckpointHook(hooks.CheckpointHook):
    """mmengine's CheckpointHook in an order that may break off anywhere: save, point, remove.

    mmengine removes the oldest checkpoint and the former best one before their successors are
    written, writes ``last_checkpoint`` in place, and removes whatever path a resumed checkpoint
    calls its best one. This project's runner takes this class wherever a config names mmengine's.
    """

    def before_train(self, runner) -> None:
        """Takes from a resumed checkpoint numbers and names, never paths."""
        hub = runner.message_hub
        if "keep_ckpt_ids" in hub.runtime_info:
            kept = hub.get_info("keep_ckpt_ids")
            hub.update_info("keep_ckpt_ids", [step for step in kept if type(step) is int])
        super().before_train(runner)
        self._former: dict[str, str | None] = {}
        # The newest checkpoint here: its weights' iteration, and its file.
        source = Path(runner._load_from) if runner._resume and runner._load_from else None
        resumed_here = source is not None and source.parent == Path(self.out_dir)
        self._newest = (runner.iter, source) if resumed_here else None
        if self.save_best is not None:
            self._best = {
                key: path and os.path.join(self.out_dir, Path(str(path)).name)
                for key, path in self._best.items()
            }

    @property
    def _best(self) -> dict[str, str | None]:
        """The best checkpoint of each figure; mmengine keeps a single one elsewhere."""
        if len(self.key_indicators) == 1:
            return {self.key_indicators[0]: self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    @_best.setter
    def _best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = paths

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict[str, Any]) -> None:
        self._remove_former_best()
        kept = [step]
        if self.max_keep_ckpts > 0:
            kept = [*(old for old in self.keep_ckpt_ids if old != step), step]
            # The file also names those that go once it is there: a run that was killed in between
            # removes them when it resumes.
            runner.message_hub.update_info("keep_ckpt_ids", kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._newest = (meta["iter"], Path(self.last_ckpt))
        if is_main_process():
            write_atomically(Path(runner.work_dir) / POINTER, self.last_ckpt)
        if self.max_keep_ckpts > 0:
            for old in kept[: -self.max_keep_ckpts]:
                self._remove(os.path.join(self.out_dir, self.filename_tmpl.format(old)))
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))

    def after_val_epoch(self, runner, metrics: dict[str, float]) -> None:
        """Saves the best checkpoint, and notes in those of these weights what was found out."""
        known = set(self._best.values()) if self.save_best else set()
        super().after_val_epoch(runner, metrics)
        found = runner.message_hub.runtime_info.get(BEST_THRESHOLDS)
        if not found or not is_main_process():
            return
        evaluated = set(self._best.values()) - known if self.save_best else set()
        if self._newest and self._newest[0] == runner.iter:
            evaluated.add(self._newest[1])
        for path in map(Path, filter(None, evaluated)):
            add_to_meta(path, BEST_THRESHOLDS, found)

    def after_train(self, runner) -> None:
        """Saves the end of a run that stopped before its last iteration."""
        stopped = runner.train_loop.stop_training
        if stopped and (self._newest is None or self._newest[0] != runner.iter):
            step = runner.epoch if self.by_epoch else runner.iter
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        super().after_train(runner)

    def _save_best_checkpoint(self, runner, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        unknown = [name for name in self.key_indicators if name not in (*metrics, "auto")]
        if unknown:
            raise UserError(
                f"There is no figure {unknown[0]} to keep the best checkpoint by (--save-best): "
                f"the evaluation has {', '.join(metrics)}."
            )
        self._former = self._best
        self._best = dict.fromkeys(self._former)  # what mmengine does not know it cannot remove
        super()._save_best_checkpoint(runner, metrics)
        self._remove_former_best()
        former = list(self._former.values())  # "auto" has found its figure's name meanwhile
        self._best = {
            key: path or old for (key, path), old in zip(self._best.items(), former, strict=True)
        }
        self._former = {}

    def _remove_former_best(self) -> None:
        """Removes the best checkpoints that have a successor by now."""
        if not self._former:
            return
        for old, new in zip(self._former.values(), self._best.values(), strict=True):
            if old and new and old != new:
                self._remove(old)

    def _remove(self, path: str) -> None:
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)


def add_to_meta(path: Path, key: str, value: Any) -> None:
    """Rewrites a checkpoint with one more entry under ``meta``; all else stays as it is.

    A checkpoint is written before its own evaluation, so that a kill costs no training; what the
    evaluation finds out is added afterwards. A kill leaves the old file or the new one.

    Raises:
        UserError: When the disk is full; the file stays as it was.
    """
    content = dict(read_checkpoint(path))
    content["meta"] = {**content["meta"], key: value}
    remedy = "The checkpoint is whole without it: make room and start again with --resume."
    with explaining_full_disks(f"The checkpoint {path}", remedy), replacing(path) as temporary:
        torch.save(content, temporary)


def newest_whole(work_dir: Path) -> Path | None:
    """The newest checkpoint of a work folder that is whole, wherever the folder was moved to.

    That is the one that ``last_checkpoint`` names, unless it is damaged or missing, or the run was
    killed with a newer one written and not yet named. One line says so.

    Raises:
        UserError: When there are checkpoints and none is whole.
    """
    pointer = work_dir / POINTER
    named = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
    checkpoints = in_order(work_dir, Path(named).name)
    damaged = []
    for path in checkpoints:
        if is_whole(path):
            break
        damaged.append(path.name)
    else:
        if not checkpoints:
            return None
        raise UserError(
            f"None of the {len(checkpoints)} checkpoints in {work_dir} is whole "
            f"({', '.join(damaged)}): copy them again, or start a new run in another folder."
        )
    if path.name != Path(named).name and os.environ.get("RANK", "0") == "0":
        reason = f"{POINTER} names {Path(named).name}" if named else f"no {POINTER} names one"
        if damaged:
            reason = f"{', '.join(damaged)} cannot be used (cut off or damaged)"
        print_log(f"{work_dir}: {reason}; the newest whole checkpoint is {path.name}.")
    return path


def in_order(work_dir: Path, named: str = "") -> list[Path]:
    """The checkpoints of a folder, whole or not, those to prefer first.

    Args:
        named: The file name of the one that ``last_checkpoint`` names. It comes first, since a run
            may have gone back to an earlier checkpoint, and copying a folder changes its times;
            only what was written after it, further on, comes before it.
    """
    found = [path for path in work_dir.glob("*.pth") if NAME.fullmatch(path.name)]
    found.sort(key=lambda path: (_written(path), _step(path)), reverse=True)
    target = work_dir / named
    if not named or not target.is_file():
        return found
    later = [path for path in found if _is_further(path, target)]
    rest = [path for path in found if path != target and path not in later]
    return [*later, target, *rest]


def is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as torch wrote it: the archive's own checksums.

    Reads the file once, as loading it does afterwards.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            has_data = any(name.endswith("data.pkl") for name in archive.namelist())
            return has_data and archive.testzip() is None
    # A damaged file can make the reader fail in any way (also NotImplementedError, EOFError).
    except Exception:
        return False


def _step(path: Path) -> int:
    found = NAME.fullmatch(path.name)
    return int(found[2]) if found else -1


def _is_further(path: Path, other: Path) -> bool:
    kinds = NAME.fullmatch(path.name), NAME.fullmatch(other.name)
    return (
        all(kinds)
        and kinds[0][1] == kinds[1][1]
        and _step(path) > _step(other)
        and _written(path) >= _written(other)
    )


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # a run that is under way has removed it just now
        return 0


def check_resumable(checkpoint: dict[str, Any], filename: str) -> None:
    """Refuses to resume what is not the checkpoint of a run.

    mmengine would execute a config that it finds in the file under the name that old versions
    used (``meta.config``); it is removed.

    Raises:
        UserError: When the file knows no position in a training.
    """
    meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
    positions = [meta.get(name) for name in ("epoch", "iter")] if isinstance(meta, dict) else []
    if not positions or {type(number) for number in positions} != {int} or not hub:
        raise UserError(
            f"{filename} holds weights, but no run that could be resumed: start a new run from "
            "them with --load-from."
        )
    meta.pop("config", None)
