"""Speed and memory of our models compared with other libraries', in one interleaved run.

The models are our backbone as its users run it, with its four output norms, which timm's features
lack; our classifiers; whole detectors and segmentors. A peer of the same variant gets our random
weights, and its outputs must equal ours before anything is timed. Any other model is compared in
speed only, and the table says so.

The models take turns in each round, in alternating order, so that a machine that slows down slows
all of them. The ratio is the quotient of the printed medians.
"""

import gc
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from convnext_dense import processor
from convnext_dense.benchmark import networks, whole_models
from convnext_dense.benchmark.batch_size import largest_batch
from convnext_dense.benchmark.memory import peak_memory_mb
from convnext_dense.benchmark.modes import AUTO, Options, make_step
from convnext_dense.benchmark.timing import Summary, WarmUp, run_rounds, summarise, warm_up
from convnext_dense.errors import UserError

FIELDS = ("name", "mode", "batch_size", "images_per_s", "iqr", "peak_memory_mb", "ratio")
# (height, width) where neither the command line nor a config gives it.
SIZES = {networks.FEATURE_MAPS: (512, 512), networks.LOGITS: (224, 224)}  # 224: the paper's table 1


@dataclass(frozen=True)
class Measurement(Summary):
    """The results of one model.

    Attributes:
        name: As on the command line: ``tiny``, ``timm:convnext_tiny``.
        mode: A name in ``MODES``.
        batch_size: Images per iteration.
        image_size: (height, width) in pixels.
        peak_memory_mb: See :func:`peak_memory_mb`.
        warmup_s: Seconds before the first round, without ``compile_s``.
        compile_s: Seconds of the first iteration, which compiles; None without ``compile``. For the
            first model they include the compiler's start.
        same_weights: Whether a peer's outputs were compared with ours; None for our model.
    """

    name: str
    mode: str
    batch_size: int
    image_size: tuple[int, int]
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
    models: Sequence[str], peers: Sequence[str] | None, options: Options
) -> list[Measurement]:
    """Measures each model together with its peers.

    Args:
        models: Variants, ``cls:VARIANT`` or configs.
        peers: ``LIBRARY:NAME`` or configs, the same for every model. None for timm's model of the
            variant; in ``detect`` and ``segment`` for the other models, as peers of the first.
        options: How to measure.

    Returns:
        For each model: its row, then those of its peers.

    Raises:
        UserError: For an unknown name, outputs that differ from a peer's with the same weights,
            or models that do not fit into the GPU's memory.
    """
    if peers is None and options.mode in whole_models.EXPECTED_CONFIG:
        models, peers = models[:1], models[1:]
    for model in models:  # all names, before the first measurement takes its minutes
        networks.check_model(model, options.mode)
        for peer in peers or ():
            _check_peer(peer, model, options.mode)
    if options.threads:
        torch.set_num_threads(options.threads)
    measurements = []
    for model in models:
        model_peers = networks.default_peers(model) if peers is None else peers
        measurements += _compare_one(model, model_peers, options)
    return measurements


def _check_peer(peer: str, model: str, mode: str) -> None:
    if not whole_models.is_config(peer):
        if mode in whole_models.EXPECTED_CONFIG:
            raise UserError(f"{mode} compares configs: {peer!r} is no config file.")
        networks.check_peer(peer)
        return
    networks.check_model(peer, mode)
    if networks.output_of(peer) != networks.output_of(model):
        raise UserError(
            f"{model} gives feature maps and {peer} logits: compare cls:{model} with it."
        )


def _compare_one(model: str, peers: Sequence[str], options: Options) -> list[Measurement]:
    names = [model, *peers]
    options = _complete_options(names, options)
    try:
        summaries, warm_ups = _measure_together(names, options)
    except torch.OutOfMemoryError as error:
        height, width = options.image_size
        raise UserError(
            f"{' and '.join(names)} do not fit into the GPU's memory at {options.batch_size} "
            f"images of {height} x {width}: lower --batch-size or --image-size."
        ) from error
    torch.cuda.empty_cache()  # for the processes that measure memory
    return [
        Measurement(
            **asdict(summary),
            name=name,
            mode=options.mode,
            batch_size=options.batch_size,
            image_size=options.image_size,
            peak_memory_mb=peak_memory_mb(name, options),
            warmup_s=warm.rest_s if options.compile else warm.first_s + warm.rest_s,
            compile_s=warm.first_s if options.compile else None,
            same_weights=networks.is_same_network(model, name) if i else None,
        )
        for i, (name, summary, warm) in enumerate(zip(names, summaries, warm_ups, strict=True))
    ]


def _complete_options(names: Sequence[str], options: Options) -> Options:
    """The options with the models' image size, number of classes and batch size."""
    ours, output = names[0], networks.output_of(names[0])
    if options.image_size is None:
        config = whole_models.is_config(ours)
        size = whole_models.input_size(ours) if config else SIZES[output]
        options = replace(options, image_size=size)
    if output == networks.LOGITS:
        options = replace(options, num_classes=networks.classes_of(ours))
    if options.batch_size == AUTO:
        options = replace(options, batch_size=_fitting_batch(names, options))
    return options


def _fitting_batch(names: Sequence[str], options: Options) -> int:
    """The largest batch that every model can run while all of them are on the GPU."""
    built = [networks.build(n, options.image_size, options.num_classes) for n in names]

    def fits(size: int) -> bool:
        trial = replace(options, batch_size=size, compile=False)
        try:
            steps = [make_step(network, trial) for network in built]  # each with its images
            for step in steps:
                step()
        except torch.OutOfMemoryError:
            return False
        finally:
            steps = None
            gc.collect()
            torch.cuda.empty_cache()
        return True

    return largest_batch(fits)


def _measure_together(names: Sequence[str], options: Options) -> tuple[list[Summary], list[WarmUp]]:
    if options.compile:
        torch.compiler.reset()  # its cache holds eight networks; a ninth would not be compiled
    size, classes = options.image_size, options.num_classes
    built = [networks.build(name, size, classes).to(options.device) for name in names]
    ours = built[0]
    for name, peer in zip(names[1:], built[1:], strict=True):
        if networks.is_same_network(names[0], name):
            networks.copy_weights(ours, peer, name)
            networks.check_features(ours, peer, name, options.device)
    steps = [make_step(network, options) for network in built]
    warm_ups = [warm_up(step, options.device) for step in steps]
    counts = [warm.count for warm in warm_ups]
    seconds = run_rounds(steps, counts, options.rounds, options.device)
    return summarise(options.batch_size / seconds), warm_ups


def to_json(rows: Sequence[Measurement]) -> list[dict]:
    """One dict per model, with exactly the keys ``FIELDS``."""
    return [{field: getattr(row, field) for field in FIELDS} for row in rows]


def format_table(rows: Sequence[Measurement], options: Options) -> str:
    """A plain table, with lines on the run's options and on the comparison."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  images/s  (quartiles)         ratio  peak MiB  warm-up s"]
    for row in rows:
        low, high = row.quartiles
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        memory = "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"
        compiling = "" if row.compile_s is None else f" + {row.compile_s:.1f} compiling"
        lines.append(
            f"{row.name:{width}}  {row.images_per_s:8.2f}  {f'({low:.2f} to {high:.2f})':18}"
            f"  {ratio:>5}  {memory:>8}  {row.warmup_s:9.1f}{compiling}"
        )
    flags = [f"amp {options.amp}", *(f for f in ("channels_last", "compile") if asdict(options)[f])]
    cuda = options.device == "cuda"
    device = torch.cuda.get_device_name() if cuda else processor.describe()
    sizes = {f"{row.batch_size} x 3 x {row.image_size[0]} x {row.image_size[1]}" for row in rows}
    lines += [
        f"{options.mode}, {', '.join(sorted(sizes))}, {', '.join(flags)}, "
        f"{options.rounds} rounds; torch {torch.__version__}, {device}, "
        f"{torch.get_num_threads()} threads",
        "The ratio is of images/s to the first peer.",
        *_notes(rows),
    ]
    return "\n".join(lines)


def _notes(rows: Sequence[Measurement]) -> list[str]:
    """Sentences on the comparability of the rows."""
    notes = []
    if any(networks.is_backbone(row.name) for row in rows if row.same_weights is None):
        notes.append("Our backbone includes its four output norms, which timm's features lack.")
    same = dict.fromkeys(row.name for row in rows if row.same_weights)
    other = dict.fromkeys(row.name for row in rows if row.same_weights is False)
    if same:
        notes.append(f"Same weights and outputs as ours: {', '.join(same)}.")
    if other:
        notes.append(f"Another network, not comparable in its outputs: {', '.join(other)}.")
    return notes
