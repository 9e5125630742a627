"""Predicts images and videos."""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from convnext_dense.atomic_files import make_folder, replacing
from convnext_dense.data.images import IMAGE_SUFFIXES, write_image
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Result
from convnext_dense.inference.model import Model, is_export, load
from convnext_dense.inference.output.formats import Writer, open_writer
from convnext_dense.inference.output.videos import writing_video
from convnext_dense.inference.results import DetectionResult, PanopticResult, SegmentationResult
from convnext_dense.inference.sources import VIDEO_SUFFIXES, files, open_video, video_of
from convnext_dense.inference.trained.opening import is_model
from convnext_dense.runs.progress import new_progress

DEFAULT_MODEL = "cascade_convnext_t_3x"


def run(args: argparse.Namespace) -> None:
    """Predicts what the flags name.

    Raises:
        UserError: For what can be found wrong before the first image; at the end, where images were
            left out.
    """
    source, config, words = split_words(args.words)
    named = list(dict.fromkeys(name for word in words for name in files(word)))
    out = Path(args.out or Path("predictions", _stem(words[0])))
    stems, names = unique_stems(named), unique_names(named)
    _refuse_overwriting(named, stems, out)
    if args.probabilities and any(video_of(name) is not None for name in named):
        raise UserError("--probabilities is for images: a video's would fill a disk.")
    model = load(source, config, args.device, args.ema)
    if not isinstance(model, Model):
        raise UserError(f"{source} is a backbone alone, which finds nothing: name a whole model.")
    model.check_options(**_options(args))
    make_folder(out)
    job = Job(model, args, out, names)
    videos = {name: stem for name, stem in stems.items() if video_of(name) is not None}
    images = {name: stem for name, stem in stems.items() if name not in videos}
    job.run(images, videos)
    print(f"{job.summary()}: {out}")
    if job.left_out:
        first = " ".join(job.left_out[:5])
        raise UserError(f"{len(job.left_out)} images were left out. {first}")


@dataclass
class Job:
    """One run of the command.

    Attributes:
        model, args, out: What it predicts with, the flags, and the folder of the results.
        names: What each source is called in the results.
        left_out: A sentence for each image that could not be predicted.
    """

    model: Model
    args: argparse.Namespace
    out: Path
    names: dict[str, str]
    left_out: list[str] = field(default_factory=list)
    count: int = 0
    unit: str = "image"
    objects: int = 0
    found: set[str] = field(default_factory=set)

    def run(self, images: dict[str, str], videos: dict[str, str]) -> None:
        """Predicts images and videos, given with the stems of their files."""
        name, model = self.args.format, self.model
        self.unit = "image" if images else "frame"
        with new_progress() as progress, ExitStack() as stack:
            writer = None
            if images or name != "json":  # a video has lines of JSON
                writer = stack.enter_context(open_writer(name, self.out, model.classes, model.task))
            if images:
                self._images(images, writer, progress)
            for video, stem in videos.items():
                self._video(video, stem, writer, progress)

    def _images(self, images: dict[str, str], writer: Writer, progress) -> None:
        task = progress.add_task("predict", total=len(images), figures="")

        def leave_out(name: str, error: UserError) -> None:
            self.left_out.append(f"{name}: {error}")
            progress.advance(task)

        for result in self._results(list(images), leave_out):
            stem = images[result.source.path]
            source = replace(result.source, name=self.names[result.source.path])
            result = replace(result, source=source)
            (self.out / stem).parent.mkdir(parents=True, exist_ok=True)
            writer.add(result, stem)
            drawn = cv2.cvtColor(result.draw(), cv2.COLOR_RGB2BGR)
            write_image(self.out / f"{stem}.jpg", drawn)
            result.write_files(self.out / stem)
            progress.advance(task)

    def _video(self, name: str, stem: str, writer: Writer | None, progress) -> None:
        """A video with the results drawn into it, and a line of JSON for every frame.

        A camera is ended by Ctrl-C: what it has shown until then is kept.
        """
        video = video_of(name)
        capture, facts = open_video(video)
        capture.release()
        task = progress.add_task(stem, total=facts.frames or None, figures="")
        ended = None
        with (
            writing_video(self.out / f"{stem}.mp4", facts.rate) as drawn,
            replacing(self.out / f"{stem}.jsonl") as lines,
            lines.open("w", encoding="utf-8") as file,
        ):
            try:
                for result in self._results(video, None):
                    file.write(json.dumps(result.to_dict()) + "\n")
                    drawn.add(result.draw())
                    if writer is not None and self.args.format != "json":
                        self._frame(result, f"{stem}_{result.source.frame:06d}", writer)
                    progress.advance(task)
            except KeyboardInterrupt as error:
                if isinstance(video, str):
                    raise
                ended = error
        if ended is not None:
            raise ended

    def _frame(self, result: Result, stem: str, writer: Writer) -> None:
        """A frame in a format that knows images alone: written as one, where it is looked for."""
        source = replace(result.source, name=f"{stem}.jpg", path=str(self.out / f"{stem}.jpg"))
        if self.args.format != "csv":
            write_image(self.out / f"{stem}.jpg", cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR))
        else:
            source = result.source
        writer.add(replace(result, source=source), stem)

    def _results(self, source, on_error) -> Iterator[Result]:
        options = dict(_options(self.args), value_range=self.args.value_range)
        for result in self.model.predict(source, on_error=on_error, **options):
            self._count(result)
            yield result

    def _count(self, result: Result) -> None:
        self.count += 1
        if isinstance(result, DetectionResult | PanopticResult):
            self.objects += len(result)
        elif isinstance(result, SegmentationResult):
            self.found |= set(result.shares)
        else:
            self.found.add(result.name)

    def summary(self) -> str:
        """What was found in all, in a few words."""
        if self.model.task == "detection":
            found = counted(self.objects, "detection", "detections")
        elif self.model.task == "panoptic":
            found = counted(self.objects, "segment", "segments")
        else:
            found = counted(len(self.found), "class", "classes")
        return f"{found} in {counted(self.count, self.unit, f'{self.unit}s')}"


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that may not fit the model."""
    names = ("batch_size", "threshold", "tile", "overlap", "whole", "tta", "probabilities")
    return {name: getattr(args, name) for name in names}


def counted(number: int, one: str, several: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else several}"


def split_words(words: Sequence[str]) -> tuple[str, str | None, list[str]]:
    """Model, config and sources of the command line.

    Raises:
        UserError: For a model without a source.
    """
    first, *others = words
    if _looks_like_source(first) or not others:
        if not others and not _looks_like_source(first) and _is_model(first):
            raise UserError(f"{first} is a model: name images, a folder or a video after it.")
        return DEFAULT_MODEL, None, list(words)
    second, *rest = others
    if rest and not _looks_like_source(second):
        return second, first, rest
    return first, None, others


def _is_model(word: str) -> bool:
    return is_export(word) or is_model(word)


def _looks_like_source(word: str) -> bool:
    return Path(word).suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) or word.isdigit()


def unique_names(sources: Sequence[str]) -> dict[str, str]:
    """What each source is called: its file's name, below the common folder where two have one."""
    names = {source: Path(source).name for source in sources}
    if len(set(names.values())) == len(names) or any("://" in source for source in sources):
        return names
    common = os.path.commonpath([Path(source).absolute().parent for source in sources])
    return {source: Path(os.path.relpath(source, common)).as_posix() for source in sources}


def unique_stems(names: Sequence[str]) -> dict[str, str]:
    """The stem of the files of each source: its own, or its whole name where two have the same.

    Files of one name in several folders keep their folders below the common one.
    """
    below = {
        source: str(Path(name).with_suffix("")) for source, name in unique_names(names).items()
    }
    if any(os.sep in name for name in below.values()) and len(set(below.values())) == len(below):
        return below
    stems, wholes = Counter(map(_stem, names)), Counter(Path(name).name for name in names)
    found: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        stem, whole = _stem(name), Path(name).name
        unique = whole if wholes[whole] == 1 else f"{whole}_{number}"
        found[name] = stem if stems[stem] == 1 else unique
    return found


def _stem(name: str) -> str:
    if isinstance(video_of(name), int):
        return f"camera_{name}"
    path = Path(name)
    return (path.name if path.is_dir() else path.stem) or "images"


def _refuse_overwriting(names: Sequence[str], stems: dict[str, str], out: Path) -> None:
    endings = (".jpg", ".mp4", "_labels.png", "_segments.png")
    written = {(out / f"{stem}{ending}").resolve() for stem in stems.values() for ending in endings}
    if clash := written & {Path(name).resolve() for name in names}:
        raise UserError(f"--out would overwrite {sorted(clash)[0]}: name another folder.")
