"""Weights as safetensors, with what a checkpoint says about them as JSON in the file's header."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from convnext_dense.atomic_files import replacing
from convnext_dense.weights.reading import META, format_meta


def write_safetensors(path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes weights; :func:`convnext_dense.weights.read_checkpoint` gives both parts back.

    Args:
        path: The file, replaced as a whole.
        state: Parameters and buffers. Views of one storage are copied: safetensors refuses them.
        meta: Plain data beside them, such as ``dataset_meta``; may be empty.
    """
    from safetensors.torch import save_file

    copies = {name: value.detach().clone().contiguous() for name, value in state.items()}
    header = {"format": "pt", **({META: format_meta(meta)} if meta else {})}
    with replacing(path) as temporary:
        save_file(copies, temporary, metadata=header)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # safetensors makes files for their owner alone
