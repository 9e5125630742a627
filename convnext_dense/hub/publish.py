"""Pushing a trained model to the Hub: a folder that stands alone, and its upload."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.atomic_files import explaining_full_disks, write_atomically
from convnext_dense.atomic_files import make_folder as make_parent
from convnext_dense.config.plain import format_plain, format_python, read_plain
from convnext_dense.config.renamed import rename_saved
from convnext_dense.data.class_names import class_names
from convnext_dense.errors import UserError
from convnext_dense.hub.data_facts import count_data
from convnext_dense.hub.endpoint import LOG_IN, explaining_hub, parse_name
from convnext_dense.hub.model_card import model_card
from convnext_dense.hub.portable_config import portable_config
from convnext_dense.hub.snapshot import CARD, CONFIG, WEIGHTS
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.runs.run_summary import of_weights
from convnext_dense.runs.saved_runs import read_folder
from convnext_dense.tasks import check_predicts
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import take_average
from convnext_dense.weights.loading import find_state_dict
from convnext_dense.weights.saving import write_safetensors

KEPT_META = ("best_thresholds", "epoch", "iter")
KINDS = ("thing_classes", "stuff_classes")  # a panoptic model's heads are built from them


def push(
    work_dir: str | os.PathLike,
    repo: str,
    *,
    checkpoint: str | os.PathLike | None = None,
    ema: bool = False,
    license: str | None = None,
    private: bool = False,
) -> str:
    """Uploads a trained model to the Hub; :func:`make_folder` says what is uploaded.

    Args:
        work_dir: Work folder of a training.
        repo: ``owner/name``; the repository is made if there is none.
        checkpoint: One of the folder's checkpoints instead of the newest whole one.
        ema: Take the averaged weights.
        license: Identifier such as ``apache-2.0`` for the card.
        private: Make a new repository that others do not see.

    Returns:
        The address of the commit.

    Raises:
        UserError: When there is nothing to push, no token, or the Hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    repo, revision = parse_name(repo)
    if revision:
        raise UserError(f"A push goes to {repo} itself: leave out @{revision}.")
    if get_token() is None:
        raise UserError(f"A push to {repo} needs a token: {LOG_IN}.")
    with tempfile.TemporaryDirectory(prefix="push_") as folder:
        target = Path(folder) / "model"
        make_folder(work_dir, repo, target, checkpoint=checkpoint, ema=ema, license=license)
        with explaining_hub(repo):
            api = HfApi(library_name="convnext_dense")
            api.create_repo(repo, private=private or None, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=target, commit_message="Push by convnext-dense"
            )
    return str(done.commit_url)


def make_folder(
    work_dir: str | os.PathLike,
    repo: str,
    target: Path,
    *,
    checkpoint: str | os.PathLike | None = None,
    ema: bool = False,
    license: str | None = None,
) -> Path:
    """Makes the folder that is pushed: ``model.safetensors``, ``config.yaml`` and the card.

    The weights' header holds classes, colours, best thresholds and the config too, so that the file
    stands alone. Neither has a path of this machine.

    Args:
        work_dir, repo, checkpoint, ema, license: As :func:`push`.
        target: The folder; absent, or empty.

    Returns:
        ``target``.

    Raises:
        UserError: When the work folder has no checkpoint or the target is in use.
    """
    run = read_folder(Path(work_dir))
    source = _checkpoint(Path(work_dir), checkpoint)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already: name a folder that is new or empty.")
    content = read_checkpoint(source)
    if ema:
        content = take_average(content, str(source))
    run = replace(run, metrics=of_weights(run.metrics, ema))
    state, _ = find_state_dict(content, ema=False)
    cfg = _config_of(content, source)
    check_predicts(cfg, str(source))
    classes = class_names(cfg, content, str(source))
    portable = portable_config(cfg.to_dict())
    card = model_card(
        run,
        repo,
        classes,
        count_data(cfg),
        license=license,
        ema=ema,
        iteration=(content.get("meta") or {}).get("iter"),
    )
    text = format_python("".join(f"{key} = {value!r}\n" for key, value in portable.items()))
    meta = {**_meta(content, classes, run.metrics), "cfg": text}
    make_parent(target.parent)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with explaining_full_disks(f"The folder {target}", "Make room and start again."):
            write_safetensors(made / WEIGHTS, state, meta)
            write_atomically(made / CONFIG, format_plain(portable, ".yaml"))
            write_atomically(made / CARD, card)
        made.chmod(0o755)
        os.replace(made, target)  # an empty folder gives way
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return target


def _checkpoint(work_dir: Path, named: str | os.PathLike | None) -> Path:
    if named is not None:
        path = Path(named) if Path(named).is_file() else work_dir / named
        if not path.is_file():
            raise UserError(f"There is no checkpoint {named}, nor is there one in {work_dir}.")
        return path
    found = newest_whole(work_dir)
    if found is None:
        raise UserError(f"{work_dir} holds no checkpoint (.pth): there is nothing to push.")
    return found


def _config_of(content: Mapping[str, Any], source: Path) -> Config:
    """The config that a run stores in its checkpoint, read as data."""
    text = (content.get("meta") or {}).get("cfg")
    if not isinstance(text, str):
        raise UserError(f"{source} stores no config: only checkpoints of a training can be pushed.")
    try:
        cfg = Config(read_plain(text))
    except (SyntaxError, ValueError) as error:
        raise UserError(
            f"The config in {source} is more than plain data ({error}) and cannot be pushed."
        ) from error
    rename_saved(cfg)
    return cfg


def _meta(content: Mapping[str, Any], classes: tuple[str, ...], metrics: Mapping) -> dict[str, Any]:
    """What a model's user needs beside the weights, as JSON knows it."""
    meta = content.get("meta") or {}
    of_data = meta.get("dataset_meta") or {}
    palette = of_data.get("palette")
    colours = (
        [[int(part) for part in colour] for colour in palette] if palette is not None else None
    )
    found = {"best_thresholds": metrics.get("best_thresholds"), **meta}
    kept = {key: found[key] for key in KEPT_META if found.get(key) is not None}
    kinds = {key: list(of_data[key]) for key in KINDS if key in of_data}
    return {"dataset_meta": {"classes": list(classes), "palette": colours, **kinds}, **kept}
