"""Fetching a model from the Hub: weights and a config that are data, and nothing else."""

from pathlib import Path

from convnext_dense.errors import UserError
from convnext_dense.hub.endpoint import PREFIX, explaining_hub, parse_name

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "README.md"


def fetch(source: str, revision: str | None = None) -> Path:
    """The local copy of a model on the Hub; it is downloaded once.

    Only ``model.safetensors``, ``config.yaml`` and the card are fetched: they are data, and nothing
    of a repository is unpickled or executed. Without a network the copy of an earlier fetch is
    taken.

    Args:
        source: ``hf:owner/name``, or with a revision ``hf:owner/name@v1``.
        revision: A branch, tag or commit; it wins over that of ``source``.

    Returns:
        The folder, in huggingface_hub's cache (``HF_HOME`` moves it).

    Raises:
        UserError: When there is no such model, it may not be read, or it holds no weights that are
            data.
    """
    from huggingface_hub import snapshot_download

    repo, named = parse_name(source)
    with explaining_hub(repo):
        folder = Path(
            snapshot_download(
                repo, revision=revision or named, allow_patterns=[WEIGHTS, CONFIG, CARD]
            )
        )
    missing = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{PREFIX}{repo} holds no {' and no '.join(missing)}: only models that convnext-dense "
            "push has put there are read, since other formats could run code."
        )
    return folder
