"""What is asked of a reader."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Data to read.

    Attributes:
        path: File or folder.
        split: ``train``, ``val`` or ``test``.
        images: Folder of the images, where it is named.
        named: Whether the user named the format; else it was recognised.
    """

    path: Path
    split: str
    images: Path | None = None
    named: bool = False

    @property
    def folder(self) -> Path:
        """The path where it is a folder, else the one that it lies in."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def image_folders(self) -> tuple[Path, ...]:
        """Where images are looked for: as named, else in the folder."""
        return (self.images,) if self.images else (self.folder,)
