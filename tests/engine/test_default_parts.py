"""The runner's own hooks and backends take the place of mmengine's, named or not."""

import pytest

from convnext_dense.runs.checkpointing import WholeCheckpointHook
from convnext_dense.runs.json_log import JsonVisBackend
from tests.engine.test_loops import run

BACKENDS = [
    None,
    dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
    dict(type="Visualizer", vis_backends=[dict(type="JsonVisBackend")]),
]


@pytest.mark.parametrize("hooks", [{}, dict(checkpoint=dict(type="CheckpointHook", interval=2))])
@pytest.mark.parametrize("visualizer", BACKENDS)
def test_checkpoints_are_whole_and_scalars_are_lines_of_json(tmp_path, hooks, visualizer):
    visualizer = visualizer and dict(visualizer, name=tmp_path.name, save_dir=str(tmp_path))
    loop = dict(type="ResumableEpochLoop", max_epochs=2)
    runner = run(tmp_path, loop, default_hooks=hooks, visualizer=visualizer)
    assert sum(isinstance(hook, WholeCheckpointHook) for hook in runner.hooks) == 1
    assert not [hook for hook in runner.hooks if type(hook).__name__ == "CheckpointHook"]
    assert [type(found) for found in runner.visualizer._vis_backends.values()] == [JsonVisBackend]
    assert (tmp_path / "epoch_2.pth").is_file()
