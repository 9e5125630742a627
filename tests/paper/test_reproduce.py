"""Chains of commands: the tools understand them, they go on where they were, they check first."""

import json
import shlex
from pathlib import Path

import pytest

from convnext_dense.cli.main import parse_tool
from convnext_dense.errors import UserError
from convnext_dense.paper.reproduce import commands
from convnext_dense.paper.reproduce.chain import ReproduceSettings, Step, find_row, steps_of_row
from convnext_dense.paper.reproduce.commands import check_requirements, format_steps, run_steps
from convnext_dense.paper.tables.rows import rows_of

ROOT = Path(__file__).parents[2]


def chain(key: str, work_dir: Path, gpus: int = 8, data_root: str | None = None) -> list[Step]:
    return steps_of_row(find_row(key), ReproduceSettings(ROOT, work_dir, data_root, gpus))


def parsed(command: str):
    """A command's flags, as its tool reads them."""
    words = shlex.split(command)
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    tool = Path(words[script]).stem
    return tool, parse_tool(tool, words[script + 1 :])[1]


def command_lines(steps: list[Step]) -> list[str]:
    return [line for line in format_steps(steps).splitlines() if not line.startswith("#")]


def test_the_tools_understand_the_commands(tmp_path, monkeypatch):
    seen = [
        parsed(command)
        for command in command_lines(chain("3:cascade_convnext_t_3x", tmp_path, data_root="/d"))
    ]
    assert [tool for tool, _ in seen] == ["pretrain_cls", "train", "test", "test"]
    pretraining, training, test, views = (args for _, args in seen)
    assert pretraining.config.endswith("classification/convnext_t_in1k_300e.py")
    assert pretraining.accumulate == 4 and pretraining.launcher == "pytorch"
    assert training.backbone_weights == pretraining.work_dir and training.accumulate is None
    assert all(Path(args.config).is_file() and args.data_root == "/d" for _, args in seen)
    assert test.checkpoint == views.checkpoint == str(Path(training.work_dir) / "epoch_36.pth")
    assert (test.tta, views.tta) == (False, True) and test.work_dir != views.work_dir


@pytest.mark.parametrize(
    "key, expected",
    [
        # 4096 images a step are 128 x 2 x 16; the large model starts from averaged weights
        ("1:ConvNeXt-L@384", ["pretrain_cls", "pretrain_cls", "test"]),
        ("8:ConvNeXt-B@384/22K", ["pretrain_cls"] * 2 + ["test"] + ["eval_cls"] * 5),
        ("12:ConvNeXt-B@224", ["pretrain_cls", "test", "pretrain_cls", "pretrain_cls", "test"]),
        ("10:resnet50_04_depthwise_conv", ["pretrain_cls", "test"]),
        ("3:cascade_swin_t_3x", ["train", "test", "test"]),  # its weights are Swin's own
    ],
)
def test_chains_of_other_rows(key, expected, tmp_path, monkeypatch):
    seen = [parsed(one) for one in command_lines(chain(key, tmp_path, gpus=2))]
    assert [tool for tool, _ in seen] == expected
    first = seen[0][1]
    assert first.accumulate == (4 if key.startswith("3:") else 16)
    if key == "1:ConvNeXt-L@384":
        assert seen[1][1].ema and seen[1][1].accumulate == 8
    if key.startswith("8:"):
        assert [args.suite for _, args in seen[3:]] == ["c", "cbar", "a", "r", "sketch"]


def test_a_row_has_a_chain_or_is_a_peers(tmp_path):
    without = []
    for row in (*rows_of(1), *rows_of(7), *rows_of(8)):
        try:
            steps = steps_of_row(row, ReproduceSettings(ROOT, tmp_path))
        except UserError as error:
            assert "is a peer's row, and this project has no recipe" in str(error)
            without.append(row)
            continue
        assert steps and len({step.output for step in steps}) == len(steps)
    assert all("ConvNeXt" not in row.model for row in without) and len(without) == 22 + 5


def test_unknown_rows_and_unfit_machines(tmp_path):
    with pytest.raises(UserError, match="the nearest is '1:ConvNeXt-T@224'.*1:ConvNeXt-XL@384/22K"):
        find_row("1:ConvNeXt-T@242")
    with pytest.raises(UserError, match="Table 7 has no row 'x'"):
        find_row("7:x")  # of that table, whatever names others have
    with pytest.raises(UserError, match="The paper has no table 5 of figures"):
        find_row("5:1")
    with pytest.raises(UserError, match="A row is TABLE:ROW"):
        find_row("3")
    assert find_row("3:7") == find_row("3:cascade_convnext_t_3x")
    with pytest.raises(
        UserError, match="has 4096 images in a step, which is not a multiple of 384"
    ):
        chain("3:cascade_convnext_t_3x", tmp_path, gpus=3)
    with pytest.raises(UserError, match="counts iterations of 16 images: it needs --gpus 8"):
        chain("4:upernet_convnext_t_512_160k", tmp_path, gpus=4)


def test_everything_missing_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    settings = ReproduceSettings(ROOT, tmp_path / "w", str(tmp_path / "data"))
    with pytest.raises(UserError) as error:
        check_requirements(steps_of_row(find_row("8:ConvNeXt-T@224"), settings), settings)
    text = str(error.value)
    assert text.startswith("Nothing was started, since this is missing: 8 GPUs, of which torch")
    assert "finds 1 " in text and "imagenet" in text and "imagenet-sketch" in text
    assert not (tmp_path / "w").exists()


FAKE = """
import json, sys
from pathlib import Path
folder, crash = Path(sys.argv[1]), sys.argv[2] == "crash"
folder.mkdir(exist_ok=True)
with open(folder / "calls", "a") as calls:
    print(*sys.argv[3:], file=calls)
(folder / "lr_groups.csv").touch()
if crash and "--resume" not in sys.argv:
    (folder / "metrics.json").write_text('{"epoch": 1}')
    (folder / "epoch_1.pth").touch()
    sys.exit(3)
(folder / "epoch_2.pth").touch()
(folder / "metrics.json").write_text('{"epoch": 2}')
"""


def fake_step(folder: Path, crash: str) -> Step:
    words = ("python", str(folder.parent / "fake.py"), str(folder), crash)
    done = folder / "epoch_2.pth"
    output = folder / "metrics.json"
    return Step(folder.name, words, folder, output, {"epoch": 2}, done, splits=("train", "val"))


def test_an_interrupted_chain_goes_on(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    steps = [
        fake_step(tmp_path / name, c) for name, c in zip("abc", ("", "crash", ""), strict=True)
    ]
    with pytest.raises(UserError, match="Step 2 of 3: b ended with code 3.*continues from there"):
        run_steps(steps, lambda line: None)
    assert not (tmp_path / "c").exists()
    assert format_steps(steps).splitlines()[2].endswith("crash --resume")
    lines = []
    run_steps(steps, lines.append)
    assert lines[0] == f"1 of 3: a: finished, {tmp_path / 'a/metrics.json'}"
    calls = {name: (tmp_path / name / "calls").read_text().splitlines() for name in "abc"}
    assert calls == {"a": [""], "b": ["", "--resume"], "c": [""]}
    assert format_steps(steps).count("(finished)") == len(format_steps(steps).splitlines()) == 3


def test_a_command_without_its_outputs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(commands.PROGRAMS, "python", ("true",))
    with pytest.raises(UserError, match="a ended without .*metrics.json"):
        run_steps([fake_step(tmp_path / "a", "")], lambda line: None)


def test_what_counts_as_finished(tmp_path):
    training, test, views = chain("3:cascade_swin_t_3x", tmp_path)
    folder = training.folder
    (folder / "test").mkdir(parents=True)
    (folder / "metrics.json").write_text('{"epoch": 36}')
    assert not training.is_done  # its last checkpoint is gone
    (folder / "epoch_36.pth").touch()
    assert training.is_done
    (folder / "metrics.json").write_text('{"epoch": 35}')
    assert not training.is_done
    metrics = dict(checkpoint="/elsewhere/epoch_36.pth")
    (folder / "test/metrics.json").write_text(json.dumps(metrics))
    assert test.is_done and not views.is_done
    (folder / "test/metrics.json").write_text(json.dumps(dict(metrics, tta=True)))
    assert not test.is_done
    (folder / "test/metrics.json").write_text('{"checkpoint": "epoch_35.pth"')
    assert not test.is_done


def test_the_tool(capsys):
    command, args = parse_tool("paper", ["reproduce", "3:cascade_swin_t_3x", "--print"])
    command.run(args)
    assert capsys.readouterr().out.count("torchrun --nproc-per-node 8") == 3
    command, args = parse_tool("paper", ["reproduce", "3:x", "--gpus", "-1"])
    with pytest.raises(UserError, match="Table 3 has no row 'x'"):
        command.run(args)
