"""The command convnext-dense: what --help imports, names of configs and checkpoints, completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convnext_dense.benchmark import coco_evaluation, data_loading, modes
from convnext_dense.classification.robustness import suites
from convnext_dense.cli import configs
from convnext_dense.cli.flags import benchmark
from convnext_dense.cli.flags import eval as eval_flags
from convnext_dense.cli.flags.conversion import weights as convert
from convnext_dense.cli.main import COMMANDS, make_parser, parse_tool
from convnext_dense.cli.shared import arguments, invocation
from convnext_dense.config.names import find_config, shipped_configs
from convnext_dense.config.options import parse_options
from convnext_dense.config.reading import read_config
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError
from convnext_dense.runs.work_folder import checkpoint_of
from convnext_dense.trackers import choose
from convnext_dense.weights import ZOO, namings, read_checkpoint
from convnext_dense.weights.zoo import OFFICIAL_FILES
from tests.running import ROOT

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "mmengine",
    "mmcv",
    "mmdet",
    "mmseg",
    "cv2",
)
SEEN = f"print([name for name in {HEAVY} if name in __import__('sys').modules])"


def python(code: str, *words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, **env}, check=False,
    )  # fmt: skip


def test_help_and_the_import_of_the_package_import_nothing_heavy():
    code = f"import convnext_dense\n{SEEN}\nfrom convnext_dense.cli.main import *\n"
    code += "make_parser().format_help()\n"
    code += "for command in COMMANDS.values():\n    command.description\n"
    code += "    if command.tool and command.tool != 'doctor': parse_tool\n"
    done = python(f"{code}{SEEN}\nimport torch\n{SEEN}")
    assert done.stdout.splitlines() == ["[]", "[]", "['torch']"], done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args([name, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and f"convnext-dense {name}" in shown and "--debug" in shown
    assert COMMANDS[name].description.splitlines()[0] in shown
    assert "python tools/" not in shown  # the same text is shown by both


def test_every_tool_opens_a_command():
    assert {command.tool for command in COMMANDS.values()} - {None} == {
        path.stem for path in (ROOT / "tools").glob("*.py")
    }


def test_choices_that_flags_repeat_are_those_of_the_modules():
    assert tuple(namings.TARGETS) == convert.TARGETS
    assert tuple(suites.SUITES) == eval_flags.SUITES
    assert tuple(modes.MODES) == benchmark.MODES and tuple(modes.AMP) == benchmark.AMP
    assert benchmark.AUTO == modes.AUTO
    assert arguments.TRACKERS == choose.NAMES
    _, args = parse_tool("benchmark", ["evaluation"])
    assert args.pictures == coco_evaluation.PICTURES
    assert tuple(args.workers) == data_loading.WORKERS
    assert f"evaluation: {coco_evaluation.ROUNDS}" in make_help("benchmark")


def make_help(name: str) -> str:
    return python(f"from convnext_dense.cli.main import main\nmain(['{name}', '--help'])").stdout


@pytest.mark.parametrize(
    "order",
    [
        "import convnext_dense\nfrom mmdet.registry import MODELS",
        pytest.param("import convnext_dense, mmengine", marks=pytest.mark.slow),
        pytest.param("import mmengine, convnext_dense", marks=pytest.mark.slow),
        pytest.param(
            "from convnext_dense import weights\nimport json.tool", marks=pytest.mark.slow
        ),
        pytest.param(
            "from convnext_dense.models import ConvNeXt\nimport mmengine.runner",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import convnext_dense, mmengine.utils\n"
            "mmengine.utils.import_modules_from_strings(['convnext_dense'])",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_models_and_constructor_are_registered_in_any_order_of_imports(order):
    done = python(
        f"{order}\nfrom mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS as WRAPPERS\n"
        "print(MODELS.get('ConvNeXt') and WRAPPERS.get('LayerDecayOptimWrapperConstructor'))"
    )
    assert "LayerDecayOptimWrapperConstructor" in done.stdout, done.stderr


def test_without_torch_the_package_imports_and_a_command_says_what_is_missing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('torch', 'mmengine'):\n    sys.modules[name] = None\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = python("import convnext_dense; print(convnext_dense.__version__)", PYTHONPATH=path)
    assert done.returncode == 0 and done.stdout.count(".") == 2, done.stderr
    code = "from convnext_dense.cli.main import main\nmain(['print-config', 'x'])"
    done = python(code, PYTHONPATH=path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith(
        "error: This needs torch, which is not installed: run pip install"
    )


def test_a_config_is_a_path_a_name_or_a_work_folder(tmp_path, monkeypatch):
    shipped = CONFIGS / "detection/cascade_convnext_t_3x.py"
    monkeypatch.chdir(tmp_path)
    for source in (shipped, "cascade_convnext_t_3x", "cascade_convnext_t_3x.py",
                   "configs/detection/cascade_convnext_t_3x.py"):  # fmt: skip
        assert find_config(source) == shipped
    run_dir = tmp_path / "my run"
    run_dir.mkdir()
    with pytest.raises(UserError, match="my run holds no config of a run"):
        find_config(run_dir)
    (run_dir / "birds_test.py").write_text("model = dict(type='A')\n")
    assert find_config(run_dir).name == "birds_test.py"
    (run_dir / "birds.py").write_text("model = dict(type='A')\ntrain_dataloader = dict(a=1)\n")
    os.utime(run_dir / "birds.py", (1, 1))  # a training wins over a newer test
    assert find_config(run_dir).name == "birds.py"
    (tmp_path / "cascade_convnext_t_3x").write_text("")  # what exists wins over a name
    assert find_config("cascade_convnext_t_3x") == Path("cascade_convnext_t_3x")


@pytest.mark.parametrize("source", ["cascade_convnex_t_3x", "/no/cascade_convnext_t3x.py"])
def test_an_unknown_config_names_the_nearest_three(source):
    with pytest.raises(UserError) as refused:
        find_config(source)
    message = str(refused.value)
    assert source in message and "convnext-dense configs" in message
    names = message.split("the nearest are ")[1].split(". All")[0].split(", ")
    assert names[0] == "cascade_convnext_t_3x" and len(set(names) & set(shipped_configs())) == 3


def test_an_unknown_checkpoint_names_the_nearest_three():
    with pytest.raises(UserError, match="does not exist") as refused:
        read_checkpoint("coco/cascade_mask_rcnn_convnext_tiny_1k_4x")
    names = str(refused.value).split("such as ")[1].rstrip(".").split(", ")
    assert names[0] == "coco/cascade_mask_rcnn_convnext_tiny_1k_3x"
    assert len(set(names) & set(ZOO)) == 3


def test_official_files_belong_to_shipped_configs_as_the_page_says():
    assert set(OFFICIAL_FILES) <= set(shipped_configs())
    assert set(OFFICIAL_FILES.values()) <= set(ZOO)
    page = (ROOT / "docs/official_files.md").read_text()
    rows = [line.split("`") for line in page.splitlines() if line.startswith(("| `coco", "| `ade"))]
    assert len(rows) == 13
    for row in rows:
        assert OFFICIAL_FILES[Path(row[3]).name] == row[1]


def test_a_checkpoint_may_be_left_out(tmp_path):
    assert checkpoint_of(find_config("cascade_convnext_t_3x"), None) == (
        "coco/cascade_mask_rcnn_convnext_tiny_1k_3x"
    )
    assert checkpoint_of(find_config("cascade_convnext_t_3x"), "other.pth") == "other.pth"
    mine = tmp_path / "cascade_convnext_t_3x.py"  # an own config of the same name
    with pytest.raises(UserError, match="has no official file and lies in no work folder"):
        checkpoint_of(mine, None)
    with pytest.raises(UserError, match="name a checkpoint"):
        checkpoint_of(find_config("mask_rcnn_convnext_t_1x"), None)


def test_an_optional_positional_may_stand_behind_a_flag():
    _, args = parse_tool("test", ["c.py", "--limit", "3", "a.pth"])
    assert (args.config, args.checkpoint, args.limit) == ("c.py", "a.pth", 3)
    args = make_parser().parse_args(["test", "c.py", "--limit", "3", "a.pth"])
    assert args.checkpoint == "a.pth"
    with pytest.raises(SystemExit):
        parse_tool("test", ["c.py", "a.pth", "--limit", "3", "b.pth"])


def test_options_are_read_after_torch():
    _, args = parse_tool("print_config", ["c.py", "--cfg-options", "a=1", "b.c=x y", "d=[1,2]"])
    assert parse_options(args.cfg_options) == {"a": 1, "b.c": "x y", "d": [1, 2]}


def test_commands_that_are_printed_are_those_of_the_user(monkeypatch):
    monkeypatch.chdir(ROOT)
    try:
        invocation.set_tool("tools/train.py")
        line = invocation.command_line("pretrain", "my run", "--ema")
        assert line == "python tools/pretrain_cls.py 'my run' --ema"
        assert invocation.command_line("configs") == "convnext-dense configs"  # has no tool
    finally:
        invocation.set_command()
    assert invocation.command_line("test", "a b") == "convnext-dense test 'a b'"


def complete(line: str, folder: Path) -> list[str]:
    out = folder / "completions"
    done = python(
        "from convnext_dense.cli.main import main\nmain()",
        _ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\n", COMP_LINE=line, COMP_POINT=str(len(line)),
        _ARGCOMPLETE_STDOUT_FILENAME=str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out.read_text().split()


def test_the_shell_completes_commands_flags_and_names(tmp_path):
    assert set(complete("convnext-dense pr", tmp_path)) == {
        name for name in COMMANDS if name.startswith("pr")
    }
    assert "--resume" in complete("convnext-dense train x --re", tmp_path)
    found = complete("convnext-dense train cascade_convnext_t", tmp_path)
    assert found == ["cascade_convnext_t_3x"]


@pytest.mark.slow
def test_the_list_of_configs_says_what_the_configs_say():
    shipped = shipped_configs()
    for name, path in shipped.items():
        backbone = read_config(path).model.get("backbone") or {}
        start = (backbone.get("init_cfg") or {}).get("checkpoint") or "none"
        assert configs.pretraining(path) == start.rpartition("/")[2], name


def test_the_row_of_a_config():
    row = configs.describe("cascade_convnext_t_3x", find_config("cascade_convnext_t_3x"))
    assert row["task"] == "detection" and row["pretraining"] == "convnext_tiny_1k_224"
    assert row["figures"] == {"bbox_mAP": 50.4, "segm_mAP": 43.7}


def test_a_config_is_copied_with_its_bases_and_means_the_same(tmp_path, capsys):
    words = ("configs", "cascade_convnext_t_3x", "--copy", str(tmp_path / "mine"))
    _open(*words)
    copy, advice = capsys.readouterr().out.splitlines()
    original = find_config("cascade_convnext_t_3x")
    assert read_config(copy).to_dict() == read_config(original).to_dict()
    assert advice == f"edit it, then: convnext-dense train {copy}"
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*.py")}
    assert len(before) > 3
    with pytest.raises(UserError, match="exists already"):
        _open(*words)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(UserError, match="needs the NAME"):
        _open("configs", *words[2:])


def test_the_list_as_json(capsys):
    _open("configs", "cascade_convnext_t_3x", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert Path(row["path"]).is_file()


def _open(*words: str) -> None:
    args = make_parser().parse_args(list(words))
    COMMANDS[args.command].run(args)
