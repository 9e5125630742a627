"""Videos with results drawn into their frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from convnext_dense.atomic_files import replacing
from convnext_dense.errors import UserError

CODEC = "mp4v"  # the one that OpenCV's wheels bring for every system


class VideoFile:
    """Frames on their way into a video file; the first one decides the size.

    Args:
        path: The file.
        rate: Frames a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.writer: cv2.VideoWriter | None = None

    def add(self, image: np.ndarray) -> None:
        """Appends a frame, RGB uint8 (height, width, 3).

        Raises:
            UserError: When the file cannot be written.
        """
        if self.writer is None:
            size = image.shape[1], image.shape[0]
            code = cv2.VideoWriter.fourcc(*CODEC)
            self.writer = cv2.VideoWriter(str(self.path), code, self.rate, size)
            if not self.writer.isOpened():
                raise UserError(f"{self.path} cannot be written as a video of {size} pixels.")
        self.writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Writes the end of the file, without which it cannot be read."""
        if self.writer is not None:
            self.writer.release()


@contextmanager
def writing_video(path: Path, rate: float) -> Iterator[VideoFile]:
    """A video that has its name when it is whole; an error or a kill leaves none of that name."""
    with replacing(path, suffix=path.suffix) as temporary:
        video = VideoFile(temporary, rate)
        try:
            yield video
        finally:
            video.close()
