"""Speed and memory of the backbone beside other libraries' models, in one interleaved run.

What is compared: our backbone as its users run it, with its four output norms, which timm's
features lack. timm's model of the same variant gets our random weights, and its features must equal
our stages' outputs before anything is timed; any other model is compared for speed alone.

Rounds alternate between the models and turn their order every time, so that a machine that slows
down slows all of them; ratios are taken within a round.
"""

import platform
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from convnext_dense.errors import UserError
from convnext_dense.models.trunk import parse_arch
from convnext_dense.paper import peers as networks
from convnext_dense.paper.steps import Options, make_step
from convnext_dense.paper.timing import Summary, WarmUp, run_rounds, summarise, warm_up

MIB = 2**20


@dataclass(frozen=True)
class Measurement(Summary):
    """One model's figures.

    Attributes:
        name: As on the command line: ``tiny``, ``timm:convnext_tiny``.
        peak_memory_mb: See :func:`peak_memory_mb`.
        warmup_s: Seconds before the first round, without ``compile_s``.
        compile_s: Seconds of the first, compiling iteration; None without ``compile``. The first
            model's contain the compiler's own start.
        same_weights: A peer whose features were checked against ours; None for ours.
    """

    name: str
    peak_memory_mb: float | None
    warmup_s: float
    compile_s: float | None
    same_weights: bool | None


def parse_image_size(text: str) -> tuple[int, int]:
    """Turns ``512`` or ``800x1280`` into (height, width).

    Raises:
        UserError: For anything else.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise UserError(f"Image size {text!r} is neither S nor HxW: write 512 or 800x1280.")
    return int(match[1]), int(match[2] or match[1])


def compare(
    variants: Sequence[str], peers: Sequence[str] | None, options: Options
) -> list[Measurement]:
    """Measures each variant beside its peers.

    Args:
        variants: Names in :data:`convnext_dense.models.VARIANTS`.
        peers: ``timm:NAME``, the same for every variant; None for timm's model of the variant.
        options: How to measure.

    Returns:
        For each variant: ours first, then its peers.

    Raises:
        UserError: For an unknown name, features that differ from a peer's with the same weights,
            or models that do not fit into the GPU's memory.
    """
    for variant in variants:  # all names, before the first model costs its minutes
        parse_arch(variant)
    for peer in peers or ():
        networks.check_peer(peer)
    if options.threads:
        torch.set_num_threads(options.threads)
    found = []
    for variant in variants:
        chosen = networks.default_peers(variant) if peers is None else peers
        found += _compare_one(variant, chosen, options)
    return found


def _compare_one(variant: str, peers: Sequence[str], options: Options) -> list[Measurement]:
    names = [variant, *peers]
    try:
        summaries, warm = _race(names, options)
    except torch.OutOfMemoryError as error:
        height, width = options.image_size
        raise UserError(
            f"{' and '.join(names)} do not fit into the GPU's memory at {options.batch_size} "
            f"pictures of {height} x {width}: lower --batch-size or --image-size."
        ) from error
    torch.cuda.empty_cache()  # the processes that measure memory need the room
    return [
        Measurement(
            **asdict(summary),
            name=name,
            peak_memory_mb=peak_memory_mb(name, options),
            warmup_s=w.rest_s if options.compile else w.first_s + w.rest_s,
            compile_s=w.first_s if options.compile else None,
            same_weights=None if name == variant else networks.is_same_network(variant, name),
        )
        for name, summary, w in zip(names, summaries, warm, strict=True)
    ]


def _race(names: Sequence[str], options: Options) -> tuple[list[Summary], list[WarmUp]]:
    if options.compile:
        torch.compiler.reset()  # its cache holds eight networks: a ninth would run uncompiled
    built = [networks.build(name, options.image_size).to(options.device) for name in names]
    ours = built[0]
    for name, peer in zip(names[1:], built[1:], strict=True):
        if networks.is_same_network(names[0], name):
            networks.copy_weights(ours, peer, name)
            networks.check_features(ours, peer, name, options.device)
    steps = [make_step(network, options) for network in built]
    warm = [warm_up(step, options.device) for step in steps]
    seconds = run_rounds(steps, [w.count for w in warm], options.rounds, options.device)
    return summarise(options.batch_size / seconds), warm


def peak_memory_mb(name: str, options: Options) -> float | None:
    """Measures weights, pictures, activations and gradients at their peak, in a fresh process.

    Returns:
        MiB allocated on the GPU, or by which the resident memory grew on the CPU. None on a CPU
        whose system does not tell it (no /proc), or where the compiler's memory would be counted.
    """
    if options.compile and options.device == "cpu":
        return None
    # Not forked: a child of a process that ran parallel code can hang.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_memory_here, name, options).result()


def _peak_memory_here(name: str, options: Options) -> float | None:
    if options.threads:
        torch.set_num_threads(options.threads)
    before = _resident_mib("VmRSS")
    step = make_step(networks.build(name, options.image_size), options)
    step()
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # compiling is over
    step()
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    peak = _resident_mib("VmHWM")
    return None if before is None or peak is None else peak - before


def _resident_mib(field: str) -> float | None:
    """This process's size from /proc; getrusage's ru_maxrss would start at the parent's."""
    status = Path("/proc/self/status")
    line = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(line[1]) / 1024 if line else None


def to_json(found: Sequence[Measurement], options: Options) -> list[dict]:
    """One row a model: its figures, and the options under which they are true."""
    used = asdict(replace(options, threads=torch.get_num_threads()))
    return [{"name": one.name, **asdict(one), **used, "torch": torch.__version__} for one in found]


def format_table(found: Sequence[Measurement], options: Options) -> str:
    """A plain table, and a line each on the run and on what it compares."""
    width = max(len(one.name) for one in found)
    lines = [f"{'':{width}}  images/s  (quartiles)         ratio  peak MiB  warm-up s"]
    for one in found:
        low, high = one.quartiles
        ratio = "-" if one.ratio is None else f"{one.ratio:.3f}"
        memory = "-" if one.peak_memory_mb is None else f"{one.peak_memory_mb:.0f}"
        compiling = "" if one.compile_s is None else f" + {one.compile_s:.1f} compiling"
        lines.append(
            f"{one.name:{width}}  {one.images_per_s:8.2f}  {f'({low:.2f} to {high:.2f})':18}"
            f"  {ratio:>5}  {memory:>8}  {one.warmup_s:9.1f}{compiling}"
        )
    flags = [f"amp {options.amp}", *(f for f in ("channels_last", "compile") if asdict(options)[f])]
    cuda = options.device == "cuda"
    device = torch.cuda.get_device_name() if cuda else f"cpu {platform.machine()}"
    height, width = options.image_size
    checked = ", ".join(one.name for one in found if one.same_weights) or "none"
    lines += [
        f"{options.mode}, {options.batch_size} x 3 x {height} x {width}, {', '.join(flags)}, "
        f"{options.rounds} rounds; torch {torch.__version__}, {device}, "
        f"{torch.get_num_threads()} threads",
        "Ours includes its four output norms, which timm's features lack; the ratio is of images/s "
        "to the first peer.",
        f"Same weights and features as ours: {checked}.",
    ]
    return "\n".join(lines)
