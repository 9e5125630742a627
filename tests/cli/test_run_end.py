"""What a run prints from its first line to its last; the commands it names work as printed."""

import shlex

import pytest

from convnext_dense.cli.main import make_parser
from convnext_dense.cli.shared import invocation
from tests.miniature import CONFIGS, SHAPES
from tests.running import ROOT, run, run_apart

LABEL_SHAPES = CONFIGS.parent / "segmentation/upernet_convnext_a_shapes.py"
NOISE = ("loading annotations", "index created", "FileClient", "HardDiskBackend", "mmengine - ")
DUMPS = ("Environment:", "Config:\n", "Hooks will be executed", "after_train_iter:")


def commands(output: str) -> list[list[str]]:
    """The commands below the last ``Next``, as the words that a shell makes of them."""
    below = output.rsplit("\nNext\n", 1)[1].splitlines()
    return [shlex.split(line) for line in below if line.startswith("  python ")]


def run_printed(words: list[str], cwd) -> str:
    """Runs a printed ``python FOLDER/TOOL.py ...``."""
    python, script, *arguments = words
    assert python == "python" and (cwd / script).resolve().parent == ROOT / "tools"
    return run((cwd / script).stem, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root, options):
    """A folder with a training of two iterations in ``my run``; what it printed."""
    folder = tmp_path_factory.mktemp("end of runs")
    flags = ["--data-root", data_root, "--cfg-options", *(f"{k}={v}" for k, v in options.items())]
    flags = ["--max-iters", 2, "--seed", 1, "--work-dir", "my run", *flags]
    return folder, *run_apart("train", SHAPES, *flags, cwd=folder)


def test_a_training_prints_what_a_person_needs(trained):
    folder, out, err = trained
    assert err == "" and len(out.splitlines()) < 40 and "\x1b" not in out
    assert not [text for text in (*NOISE, *DUMPS) if text in out]
    first = out.splitlines()[:7]
    assert first[0] == "cascade_convnext_a_shapes (detection)"
    assert "training and 6 validation images, 6 classes: " in first[1] and "random" in first[2]
    assert "float32" in first[3] and "at most 2 iterations" in first[4]
    assert "in iteration 2 of 2" in first[5] and "my run" in first[6]
    assert "\nEpoch(train) 1  2/2  loss: " in out and "eta: 0:00:00" in out
    log = next((folder / "my run").glob("*/*.log")).read_text()
    assert not [text for text in DUMPS if text not in log]
    assert "Epoch(train)" in log and "loss_rpn_cls" in log and "cascade_convnext_a_shapes (" in log


def test_it_ends_with_what_it_has_made(trained):
    folder, out, _ = trained
    made = out.rsplit("\nTrained: 2 iterations\n", 1)[1].split("\nNext\n")[0].splitlines()
    rows = dict(line.split(maxsplit=1) for line in made)
    assert (folder / rows["checkpoint"]).is_file() and (folder / rows["log"]).is_file()
    assert rows["figures"].startswith("bbox_mAP 0.") and "my run/metrics.json" in rows["figures"]


@pytest.mark.slow
def test_the_printed_commands_work(trained):
    folder, out, _ = trained
    test, report, predict = commands(out)
    tested = run_printed(test, folder)
    assert tested.splitlines()[-1].endswith("(my run/test/metrics.json)")
    assert len(list((folder / "my run/test/images").glob("*.jpg"))) == 6
    run_printed(report, folder)
    assert "confusion" in (folder / "my run/report.html").read_text().lower()
    assert "in 1 image" in run_printed(predict, folder)
    for words in commands(tested):  # a test names its own
        run_printed(words, folder)
    assert (folder / "my run/test/report.html").is_file()
    assert (folder / "my run/test/predictions/predictions.json").is_file()


def test_as_one_command(trained, monkeypatch):
    """Called as ``convnext-dense``, the same commands are spelled so."""
    monkeypatch.setattr(invocation, "_folder", None)
    folder, out, _ = trained
    for words in commands(out):
        name = words[1].rsplit("/", 1)[1].removesuffix(".py")
        spelled = shlex.split(invocation.command_line(name, *words[2:]))
        assert spelled == ["convnext-dense", name, *words[2:]]
        make_parser().parse_args(spelled[1:])


@pytest.mark.slow
def test_debug_shows_everything(data_root, options, tmp_path):
    flags = ["--data-root", data_root, "--cfg-options", *(f"{k}={v}" for k, v in options.items())]
    flags = ["--max-iters", 1, "--work-dir", tmp_path / "w", "--debug", *flags]
    out = run("train", SHAPES, *flags)
    assert not [text for text in DUMPS if text not in out]


@pytest.mark.slow
def test_a_segmentor_is_tested_and_predicts(data_root, tmp_path):
    splits = ("train", "val", "test")
    options = [f"{split}_dataloader.dataset.data_root=mini/" for split in splits]
    options += [f"{split}_dataloader.num_workers=0" for split in splits]
    options += [f"{split}_dataloader.persistent_workers=False" for split in splits]
    flags = ["--max-iters", 1, "--work-dir", "w", "--data-root", data_root]
    out = run("train", LABEL_SHAPES, *flags, "--cfg-options", *options, cwd=tmp_path)
    test, _, predict = commands(out)
    assert run_printed(test, tmp_path).splitlines()[-1].startswith("mIoU 0.")
    run_printed(predict, tmp_path)
    assert list((tmp_path / "w/predictions").glob("*_labels.png"))
