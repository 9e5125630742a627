"""WebDataset shards with random access: tars of ``<key>.jpg`` (or .png ...) and ``<key>.cls``.

timm reads shards as a stream that repeats or drops pictures until every worker has as many. For
exact counts and resuming, each shard is indexed once instead (headers alone are read) and its
pictures are read where they lie. ``PictureSampler`` keeps the reads of a while within a few
shards, as a stream would.
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
LABEL_BYTES = 64  # more is no number
COLUMNS = 3  # offset and size of the picture in bytes, label


class ShardReader(Reader):
    """The labelled pictures of all ``*.tar`` of a folder.

    The index of ``x.tar`` is kept as ``x.tar.index.npz`` beside it, where the folder can be
    written to, and made again when the shard has changed.

    Args:
        root: The folder.

    Attributes:
        groups: Number of the shard of each picture.
        num_labels: The largest label plus 1.

    Raises:
        UserError: For a folder without shards, or a shard that is no tar, lacks labels or has
            some that are no numbers from 0, or holds links.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.shards = sorted(Path(root).glob("*.tar"))
        if not self.shards:
            raise UserError(f"{root} holds no shards (*.tar).")
        indices = [shard_index(shard) for shard in self.shards]
        self.index = np.concatenate(indices)
        self.groups = np.repeat(np.arange(len(indices)), [len(index) for index in indices])
        negative = np.flatnonzero(self.index[:, 2] < 0)
        if len(negative):
            raise UserError(
                f"{self.filename(negative[0], absolute=True)} has the label "
                f"{self.index[negative[0], 2]}: labels count from 0."
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
    """Offset, size and label of every picture of a shard, (pictures, 3) of int64.

    Raises:
        UserError: When the shard is no whole tar, or a picture has no label.
    """
    kept = shard.with_name(f"{shard.name}.index.npz")
    stamp = np.array([shard.stat().st_size, shard.stat().st_mtime_ns])
    try:
        with np.load(kept) as file:
            if np.array_equal(file["stamp"], stamp):
                return file["index"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # none yet, or a damaged one: it is made again
    index = _scan(shard)
    try:
        partial = shard.with_name(f".{shard.name}.index.npz")
        np.savez(partial, index=index, stamp=stamp)
        partial.replace(kept)
    except OSError:
        pass  # a folder that cannot be written to: the next run scans again
    return index


def _scan(shard: Path) -> np.ndarray:
    pictures, labels, kinds = {}, {}, {LABEL, *get_img_extensions()}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.suffix.lower() not in kinds:
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(f"{shard} holds {name}, which is a link or no plain file.")
                key = str(name.with_suffix(""))
                if name.suffix.lower() == LABEL:
                    content = tar.extractfile(member).read(LABEL_BYTES)
                    labels[key] = _label(content, f"{shard}/{name}")
                else:
                    pictures[key] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{shard} is no whole WebDataset shard ({error}): copy or download it again."
        ) from error
    if lacking := sorted(set(pictures) - set(labels)):
        raise UserError(
            f"{shard}: {len(lacking)} of {len(pictures)} pictures have no {LABEL} file, such as "
            f"{lacking[0]}."
        )
    rows = [(*place, labels[key]) for key, place in pictures.items()]
    return np.array(rows, dtype=np.int64).reshape(-1, COLUMNS)


def _label(content: bytes, source: str) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise UserError(
            f"{source} holds {content[:20].decode(errors='replace')!r}, no number: labels count "
            f"the lines of classes.txt from 0."
        ) from error
