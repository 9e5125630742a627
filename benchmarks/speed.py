"""The speed lines of gpu.py: our model with the kernels and on the plain path, and a peer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from detector import detector_config, training_step, views_step
from mmengine.config import Config

from convnext_dense.benchmark import throughput
from convnext_dense.benchmark.modes import Options
from convnext_dense.benchmark.timing import Step, run_rounds, summarise, warm_up

ROOT = Path(__file__).parents[1]
DETECTOR = str(ROOT / "configs/detection/cascade_convnext_t_3x.py")
PLAIN = str(ROOT / "benchmarks/plain_cascade_convnext_t.py")
STOCK = str(ROOT / "benchmarks/stock_cascade_convnext_t.py")


@dataclass(frozen=True)
class Line:
    """One measurement, and the target ratio to the peer.

    Attributes:
        model, plain, peer: As ``tools/benchmark.py`` takes them.
        mode: One of its modes; ``views`` is a detector's test in several views.
        wanted: Target ratio of images/s to the peer's.
        ideal: Images/s that memory (4.3 TB/s) and arithmetic (790 TFLOP/s bf16) of an H200 allow,
            by count: docs/kernels.md. None where it was not counted.
        memory: Upper limit of the ratio of peak memory; None for no limit.
        batch_size, image_size, compile: See :class:`Options`.
    """

    model: str
    plain: str
    peer: str
    mode: str
    wanted: float
    ideal: float | None = None
    memory: float | None = None
    batch_size: int = 256
    image_size: tuple[int, int] = (224, 224)
    compile: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is a detector's step that ``tools/benchmark.py`` does not have."""
        return self.model == DETECTOR and self.mode != "detect"


def against_timm(model: str, mode: str, *wanted, **options) -> Line:
    """A line of one of our networks; the plain network and the peer get its weights."""
    variant = model.removeprefix("cls:")
    names = model, f"plain:convnext_{variant}", f"timm:convnext_{variant}"
    return Line(*names, mode, *wanted, **options)


DETECTORS = partial(Line, DETECTOR, PLAIN, STOCK, wanted=1.3, batch_size=1, image_size=(800, 1333))
# The compiled networks, which take minutes, come last.
LINES = {
    "speed/train-cls-tiny": against_timm("cls:tiny", "train", 1.5, 16_200, 0.75),
    "speed/infer-cls-tiny": against_timm("cls:tiny", "infer", 1.8, 56_000),
    "speed/train-cls-base": against_timm("cls:base", "train", 1.5, 6_200, 0.75),
    "speed/train-tiny": against_timm("tiny", "train", 1.5, 663, None, 2, (800, 1280)),
    "speed/train-detector": replace(DETECTORS(mode="train"), batch_size=2),
    "speed/detect-detector": DETECTORS(mode="detect"),
    "speed/views-detector": replace(DETECTORS(mode="views"), image_size=(480, 640)),
    "speed/train-cls-tiny-compiled": against_timm("cls:tiny", "train", 1.15, 16_200, compile=True),
    "speed/infer-cls-tiny-compiled": against_timm("cls:tiny", "infer", 1.15, 56_000, compile=True),
    "speed/train-cls-base-compiled": against_timm("cls:base", "train", 1.15, 6_200, compile=True),
}


def measure(line: Line, device: str, small: bool, rounds: int) -> dict:
    """Measures a line.

    Returns:
        The figures of its :class:`Row`, by name.
    """
    if small:
        line = replace(line, batch_size=1, image_size=(64, 96))
    if line.whole:
        ours, plain, peer = _detectors(line, device, small, rounds)
        return _figures(line, ours, plain, peer)
    options = Options(
        mode=line.mode,
        device=device,
        amp="bf16",
        channels_last=True,
        compile=line.compile,
        batch_size=line.batch_size,
        image_size=line.image_size,
        rounds=rounds,
    )
    ours, plain, peer = throughput.compare([line.model], [line.plain, line.peer], options)
    figures = _figures(line, *(row.images_per_s for row in (ours, plain, peer))) | dict(
        of_ideal=ours.images_per_s / line.ideal if line.ideal else None,
        said=f"memory wanted <= {line.memory}" if line.memory else "",
    )
    if ours.peak_memory_mb and peer.peak_memory_mb:
        figures["memory"] = ours.peak_memory_mb / peer.peak_memory_mb
    return figures


def _figures(line: Line, ours: float, plain: float, peer: float) -> dict:
    ratios = dict(ratio=ours / peer, wanted=line.wanted, to_plain=ours / plain)
    return dict(ours=ours, plain=plain, peer=peer) | ratios


def _detectors(line: Line, device: str, small: bool, rounds: int) -> list[float]:
    """Images/s of a step of our detector, of the plain one and of the stock one."""

    def make(cfg: Config, stock: bool) -> Step:
        if line.mode == "train":
            return training_step(cfg, device, line.image_size, line.batch_size)
        return views_step(cfg, device, line.image_size, stock)

    makers: list[Callable[[], Step]] = [
        partial(make, detector_config(path, small), path == STOCK)
        for path in (line.model, line.plain, line.peer)
    ]
    steps = [make_step() for make_step in makers]
    counts = [warm_up(step, device).count for step in steps]
    seconds = run_rounds(steps, counts, rounds, device)
    return [row.images_per_s for row in summarise(line.batch_size / seconds)]
