"""``convnext-dense push``."""

import pytest

from convnext_dense.cli.main import make_parser
from convnext_dense.cli.push import run
from convnext_dense.errors import UserError
from tests.hub.test_hub import FILES, names


def push(*words) -> None:
    run(make_parser().parse_args(["push", *map(str, words)]))


def test_push(trained, hub, tmp_path, capsys):
    push(trained, "me/birds", "--dry-run", "--license", "mit")
    out = capsys.readouterr().out
    assert "license: mit" in out and all(name in out for name in FILES) and not hub.files
    push(trained, "hf:me/birds", "--to-folder", tmp_path / "made")
    assert names(tmp_path / "made") == FILES and not hub.files
    push(trained, "--to-folder", tmp_path / "unnamed")
    modes = {(tmp_path / "unnamed" / name).stat().st_mode for name in FILES}
    assert len(modes) == 1  # safetensors alone makes files for their owner
    with pytest.raises(UserError, match="push needs OWNER/NAME"):
        push(trained)
    push(trained, "me/birds")
    assert sorted(hub.files["me/birds"]) == FILES
    assert 'convnext_dense.load("hf:me/birds")' in capsys.readouterr().out
    with pytest.raises(UserError, match="give one"):
        push(trained, "me/birds", "--dry-run", "--to-folder", tmp_path / "other")
