"""An export from beginning to end: the graph, the comparison, the folder."""

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from convnext_dense.atomic_files import make_folder
from convnext_dense.config.names import EXPORTED
from convnext_dense.config.plain import format_plain, read_plain
from convnext_dense.errors import UserError
from convnext_dense.export.exportable import Exportable, exportable
from convnext_dense.export.int8 import CHOICES, calibration_images, quantise
from convnext_dense.export.parity.blame import where_it_breaks
from convnext_dense.export.parity.check import Parity, check_parity
from convnext_dense.export.parity.pictures import Pictures, choose_pictures, drawn_pictures
from convnext_dense.export.targets import NEEDS, TARGETS, require
from convnext_dense.exported.description import FILE, Description, read_description
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.model import Model
from convnext_dense.inference.trained.loading import load_trained
from convnext_dense.inference.trained.opening import Opened
from convnext_dense.version import __version__

BUILDS_ELSEWHERE = "tensorrt"  # its graph is compared in onnxruntime


@dataclass(frozen=True)
class ExportFlags:
    """See ``convnext-dense export --help``; names and meanings are those of the flags."""

    checkpoint: str
    to: str = "onnx"
    config: str | None = None
    out: str | None = None
    half: bool = False
    int8: str | None = None
    sizes: str = "dynamic"
    input_size: Sequence[int] | None = None
    part: str | None = None
    images: str | None = None
    number: int = 12
    data_root: str | None = None
    ema: bool = False


def export(flags: ExportFlags) -> tuple[Path, Parity]:
    """Exports a model, and compares it with the original.

    Returns:
        The folder, and the comparison.

    Raises:
        UserError: For a model that cannot be exported, and where results differ.
    """
    for package, extra in NEEDS[flags.to]:
        require(package, extra)
    _check(flags)
    out = Path(flags.out or Path("exports", f"{_stem(flags.checkpoint)}-{flags.to}"))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name another folder with --out.")
    trained = load_trained(flags.checkpoint, flags.config, "cpu", flags.ema, flags.part)
    model = exportable(trained.network, flags.part, flags.input_size, trained.legend.palette)
    make_folder(out.parent)
    if flags.to == BUILDS_ELSEWHERE and hasattr(model.module, "trim"):
        model.module.trim = False  # sizes that depend on values cost an engine its speed
    pictures = _pictures(trained, model.description, flags)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staged:
        if flags.int8:
            folder, parity = _quantised(trained, model, pictures, flags, Path(staged))
        else:
            folder = Path(staged, "model")
            folder.mkdir()
            description = TARGETS[flags.to](model, folder, flags.half)
            parity = _compare(folder, description, trained, model, pictures)
            if parity.broken:
                _refuse(parity, where_it_breaks(trained, model, description))
        _describe(folder, trained, parity, flags)
        if out.is_dir():
            out.rmdir()
        shutil.move(folder, out)
    return out, parity


def _quantised(
    trained: Model, model: Exportable, pictures: Pictures, flags: ExportFlags, staged: Path
) -> tuple[Path, Parity]:
    """The first choice of 8-bit layers whose loss is small."""
    images = calibration_images(flags.int8, model.description)
    for number, choice in enumerate(CHOICES):
        folder = staged / f"model{number}"
        folder.mkdir()
        change = partial(quantise, choice=choice, images=images)
        description = TARGETS[flags.to](model, folder, False, change)
        description = replace(description, precision="int8")
        parity = _compare(folder, description, trained, model, pictures)
        figures = ", ".join(
            f"{row.what} {row.torch:.3f} -> {row.exported:.3f}" if row.torch is not None
            else f"{row.what} {row.difference:.3g}"
            for row in parity.rows
        )  # fmt: skip
        print(f"8 bits in {choice.name}: {figures}")
        if not parity.broken:
            return folder, parity
        shutil.rmtree(folder)
    return _refuse(parity, "the 8 bits, whichever layers have them")


def _refuse(parity: Parity, part: str) -> NoReturn:
    print(parity.table())
    names = ", ".join(row.what for row in parity.broken)
    raise UserError(
        f"The exported model is not the trained one: {names} outside of what is allowed; the "
        f"difference begins in {part}. Nothing was written."
    )


def _check(flags: ExportFlags) -> None:
    """Refuses flags that do not go together."""
    if flags.int8 and flags.half:
        raise UserError("--int8 and --half are two precisions: give one of them.")
    if flags.int8 and flags.to not in ("onnx", "openvino"):
        raise UserError("--int8 is for --to onnx and --to openvino.")
    if flags.half and flags.to == "torch-export":
        raise UserError("--half is for onnx, openvino and tensorrt: torch.export keeps 32 bits.")
    if flags.input_size is not None and flags.sizes != "fixed":
        raise UserError("--input-size belongs to --sizes fixed: add it.")
    if flags.sizes == "fixed" and flags.input_size is None:
        raise UserError(
            "--sizes fixed needs --input-size HEIGHT WIDTH, such as 800 1344 for a detector of "
            "COCO."
        )
    if flags.number < 1:
        raise UserError(f"--number must be at least 1, got {flags.number}.")


def _compare(
    folder: Path,
    description: Description,
    trained: Model,
    model: Exportable,
    pictures: Pictures,
) -> Parity:
    """The comparison of both models; writes the description that opens the exported one."""
    here = description
    if description.target == BUILDS_ELSEWHERE:
        here = replace(description, target="onnx", precision="fp32")
    (folder / FILE).write_text(here.to_json(), "utf-8")
    parity = check_parity(trained, load_exported(folder), model, pictures)
    (folder / FILE).write_text(description.to_json(), "utf-8")
    return parity


def _pictures(trained: Model, description: Description, flags: ExportFlags) -> Pictures:
    if description.task == "backbone":
        return drawn_pictures(description.channels, flags.number)
    return choose_pictures(trained.network, flags.images, flags.number, flags.data_root)


def _describe(folder: Path, trained: Model, parity: Parity, flags: ExportFlags) -> None:
    """Completes ``model.json``, and writes the config where there is one."""
    description = read_description(folder)
    try:
        thresholds = trained.best_thresholds if description.task == "detection" else None
    except UserError:
        thresholds = None
    facts: dict[str, Any] = dict(
        checkpoint=Path(trained.source).name,
        sha256=_fingerprint(Path(trained.source)),
        convnext_dense=__version__,
        torch=torch.__version__,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        exported=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        parity=parity.to_json(),
    )
    whole = replace(description, best_thresholds=thresholds, provenance=facts)
    (folder / FILE).write_text(whole.to_json(), "utf-8")
    if (config := _config(trained.network.opened)) is not None:
        text = format_plain(config, Path(EXPORTED).suffix)
        (folder / EXPORTED).write_text(text, "utf-8")  # for the test of the exported model


def _config(opened: Opened) -> dict[str, Any] | None:
    """The config of a checkpoint as data; None for one that brings none."""
    if opened.config is not None:
        return opened.config.to_dict()
    try:  # a classifier is built from a part of its config
        return read_plain((opened.content.get("meta") or {})["cfg"])
    except (KeyError, TypeError, AttributeError, SyntaxError, ValueError):
        return None  # another project's


def _fingerprint(path: Path) -> str | None:
    """SHA-256 of the checkpoint, where it is a file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stem(source: str) -> str:
    path = Path(source.removeprefix("hf:"))
    return path.stem if path.suffix else path.name
