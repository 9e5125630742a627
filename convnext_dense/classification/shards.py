"""WebDataset shards with random access: tars of ``<key>.jpg`` (or .png ...) and ``<key>.cls``.

timm reads shards as a stream, and repeats or drops images until all workers have the same number.
For exact counts and resuming, each shard is indexed once here (only headers are read), and its
images are read by offset. ``ImageSampler`` reads from a few shards at a time, as a stream does.
"""

import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from timm.data import get_img_extensions
from timm.data.readers.reader import Reader

from convnext_dense.errors import UserError

LABEL = ".cls"
LABEL_BYTES = 64  # longer files are not a number
COLUMNS = 3  # offset and size of the image in bytes, label


class ShardReader(Reader):
    """The labelled images of all ``*.tar`` of a folder.

    The index of ``x.tar`` is saved as ``x.tar.index.npz`` in the same folder, if that is writable,
    and rebuilt if the shard has changed.

    Args:
        root: The folder.

    Attributes:
        groups: Shard index of each image.
        num_labels: The largest label plus 1.

    Raises:
        UserError: For a folder without shards, or for a shard that is not a tar, lacks labels,
            has labels that are not numbers from 0 on, or contains links.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.shards = sorted(Path(root).glob("*.tar"))
        if not self.shards:
            raise UserError(f"{root} contains no shards (*.tar).")
        indices = [shard_index(shard) for shard in self.shards]
        self.index = np.concatenate(indices)
        self.groups = np.repeat(np.arange(len(indices)), [len(index) for index in indices])
        negative = np.flatnonzero(self.index[:, 2] < 0)
        if len(negative):
            raise UserError(
                f"{self.filename(negative[0], absolute=True)} has the label "
                f"{self.index[negative[0], 2]}: labels must count from 0."
            )
        self.num_labels = int(self.index[:, 2].max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        offset, size, label = self.index[index].tolist()
        with self.shards[self.groups[index]].open("rb") as shard:
            shard.seek(offset)
            return io.BytesIO(shard.read(size)), label

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        shard = self.shards[self.groups[index]]
        with tarfile.open(shard) as tar:
            offset = int(self.index[index, 0])
            name = next((m.name for m in tar if m.offset_data == offset), f"byte {offset}")
        return f"{shard}/{name}"


def shard_index(shard: Path) -> np.ndarray:
    """Offset, size and label of each image of a shard, (images, 3) of int64.

    Raises:
        UserError: If the shard is not a complete tar, or an image has no label.
    """
    saved = shard.with_name(f"{shard.name}.index.npz")
    stamp = np.array([shard.stat().st_size, shard.stat().st_mtime_ns])
    try:
        with np.load(saved) as file:
            if np.array_equal(file["stamp"], stamp):
                return file["index"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # no saved index, or a damaged one: it is rebuilt
    index = _scan(shard)
    try:
        partial = shard.with_name(f".{shard.name}.index.npz")
        np.savez(partial, index=index, stamp=stamp)
        partial.replace(saved)
    except OSError:
        pass  # the folder is not writable: the next run scans again
    return index


def _scan(shard: Path) -> np.ndarray:
    images, labels, extensions = {}, {}, {LABEL, *get_img_extensions()}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.suffix.lower() not in extensions:
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(
                        f"{shard} contains {name}, which is a link or not a regular file: "
                        "pack the files."
                    )
                key = str(name.with_suffix(""))
                if name.suffix.lower() == LABEL:
                    content = tar.extractfile(member).read(LABEL_BYTES)
                    labels[key] = _parse_label(content, f"{shard}/{name}")
                else:
                    images[key] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{shard} is not a complete WebDataset shard ({error}): copy or download it again."
        ) from error
    if missing := sorted(set(images) - set(labels)):
        raise UserError(
            f"{shard}: {len(missing)} of {len(images)} images have no {LABEL} file, such as "
            f"{missing[0]}: add them."
        )
    rows = [(*offset_and_size, labels[key]) for key, offset_and_size in images.items()]
    return np.array(rows, dtype=np.int64).reshape(-1, COLUMNS)


def _parse_label(content: bytes, source: str) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise UserError(
            f"{source} contains {content[:20].decode(errors='replace')!r}, which is not a number: "
            "a label is a line number of classes.txt, counted from 0."
        ) from error
