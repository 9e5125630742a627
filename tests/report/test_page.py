"""The page of generated folders: its figures are the files', and what a file says stays text."""

import json
import os
import sys

import pytest

from convnext_dense.cli.main import open_tool
from convnext_dense.errors import UserError
from convnext_dense.report.page import write_report
from convnext_dense.runs.run_summary import progress, throughput
from convnext_dense.runs.saved_runs import read_folder, read_runs
from tests.report.conftest import ROOT, Page, write_picture, write_test, write_training

EVIL = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>$x_{1}$ {{ 7*7 }}"""


def test_figures_are_those_of_the_files(tmp_path, render):
    page = render(write_training(tmp_path / "run"))
    head, row = page.rows[:2]
    summary = dict(zip(head, map(str.strip, row), strict=True))
    assert summary["run"] == "run" and summary["config"] == "tiny"
    assert summary["top1"] == "0.512" and summary["from"] == "validation"
    assert summary["images/s"] == "32.000"  # 8 images in 0.25 s; the first line is the start
    assert summary["memory MB"] == "103" and summary["state"] == "finished: 2 epochs"
    assert page.cells("cat") == [["cat", "0.750"]]
    exact = [tag["title"] for name, tag in page.tags if name == "td" and "title" in tag]
    assert "0.5123" in exact
    assert page.cells("learning rate") == []  # the config names no optimizer
    assert page.cells("command") == [["command", "train.py 'a b'"]]
    titles = [tag["aria-label"] for name, tag in page.tags if name == "svg"]
    for title in ("Training loss", "Validation top1", "Learning rate by layer"):
        assert titles.count(title) == 1
    assert not page.unbalanced


def test_page_needs_no_network_and_no_script(tmp_path, render):
    page = render(write_training(tmp_path / "a"), write_training(tmp_path / "b"))
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))


def test_what_files_say_stays_text(tmp_path, render):
    data = tmp_path / "data"
    rows = []
    for number in range(4):
        path = data / f"{number} {EVIL.replace('/', '')}.png"
        write_picture(path, number)
        names = ("cat", EVIL) if number % 2 else (EVIL, EVIL)
        keys = ("class", "predicted")
        rows.append(dict(zip(keys, names, strict=True), path=str(path), score=0.5, class_score=0.2))
    folder = write_training(tmp_path / EVIL.replace("/", ""), work_dir=EVIL)
    (folder / "env.json").write_text(json.dumps({EVIL: EVIL, "device": EVIL}))
    log = folder / "20260101_000000/vis_data/scalars.json"
    log.write_text(log.read_text().replace('"loss"', json.dumps(f"loss_{EVIL}")))
    config = dict(
        default_scope="mmengine",
        test_dataloader=dict(dataset=dict(metainfo=dict(classes=("cat", EVIL)))),
    )
    metrics = {"top1": 0.5, EVIL: 0.25, "per_class": {EVIL: {EVIL: 0.5}}}
    write_test(folder / "test", config, metrics, rows)
    page = render(folder)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 4 and all(src.startswith("data:image/jpeg") for src in pictures)
    assert EVIL in page.text and not page.unbalanced


@pytest.mark.parametrize("wrong", ["nowhere", "empty", "file"])
def test_other_folders_are_refused(tmp_path, wrong):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="no folder|no work folder"):
        write_report([str(tmp_path / wrong)], tmp_path / "out.html", ROOT / "configs")
    assert not (tmp_path / "out.html").exists()


def test_torn_and_diverged_runs_say_so(tmp_path, render):
    nan = float("nan")
    folder = write_training(tmp_path / "run", epochs=9, losses=(2.0, nan, nan, nan))
    log = folder / "20260101_000000/vis_data/scalars.json"
    log.write_text(log.read_text() + '{"loss": 0.1, "it')
    (folder / "metrics.json").write_text('{"top1": 0.')
    (folder / "lr_groups.csv").write_text("group,lr\nlayer_0,\n")
    page = render(folder)
    for sentence in (
        "1 line(s) of the log (scalars.json) are damaged",
        "not a finite number at 3 of 4 logged iterations, first at iteration 2",
        "metrics.json cannot be read",
        "lr_groups.csv cannot be read",
        "not finished: 1 of 9 epochs",
        "has not been evaluated yet",
    ):
        assert sentence in page.text, sentence


def test_run_that_was_killed_at_once(tmp_path, render):
    (tmp_path / "env.json").write_text("{}")
    page = render(tmp_path)
    assert "no iteration was logged" in page.text
    assert "There is no config that can be read" in page.text


def test_config_is_not_executed(tmp_path, render, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_training(tmp_path / "run")
    (folder / "tiny.py").write_text("import os\nx = os.mkdir('made')\n")
    assert "is no config that can be read" in render(folder).text
    assert not (tmp_path / "made").exists()


def test_resumed_log_replaces_what_it_repeats(tmp_path):
    folder = write_training(tmp_path / "run")
    later = folder / "20260102_000000/vis_data"
    later.mkdir(parents=True)
    rows = [{"loss": 9.0, "iter": i, "step": i, "epoch": 2, "time": 1.0} for i in (3, 4, 5)]
    rows.append({"cls/top1": 0.9, "step": 2})
    (later / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = read_runs([folder])
    assert [row["iter"] for row in run.steps] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in run.steps] == [2.0, 1.5, 9.0, 9.0, 9.0]
    assert [(row["step"], row["cls/top1"]) for row in run.evaluations] == [(1, 0.25), (2, 0.9)]


def test_throughput_counts_the_processes(tmp_path):
    folder = write_training(tmp_path / "run")
    (folder / "env.json").write_text(json.dumps({"processes": 4}))
    (run,) = read_runs([folder])
    assert throughput(run) == dict(time=0.25, data_time=0.05, memory=103, images_per_s=128)


def test_the_first_line_of_the_log_is_the_start(tmp_path):
    (run,) = read_runs([write_training(tmp_path / "run", losses=(2.0, 1.5))])
    assert throughput(run)["time"] == 0.25
    (run,) = read_runs([write_training(tmp_path / "short", losses=(2.0,))])
    assert throughput(run)["time"] == 9.0  # better than nothing


def test_the_papers_row_is_beside(tmp_path, render):
    folder = write_training(tmp_path / "run", scope="mmdet")
    os.rename(folder / "tiny.py", folder / "cascade_convnext_t_3x.py")
    (folder / "metrics.json").write_text(json.dumps({"bbox_mAP": 0.498, "segm_mAP": None}))
    page = render(folder)
    assert ["bbox_mAP", "50.4", "49.8"] in page.cells("bbox_mAP")
    assert ["segm_mAP", "43.7", "-"] in page.cells("segm_mAP")
    assert "Paper (table 3): 50.4 box AP, 43.7 mask AP." in page.text
    assert "741 G multiply-adds, 86 M parameters" in page.text


@pytest.mark.parametrize("pointer, expected", [(2, "finished: 2"), (1, "not finished: 1 of 2")])
def test_progress_by_the_last_checkpoint(tmp_path, pointer, expected):
    folder = write_training(tmp_path / "run")
    (folder / "metrics.json").unlink()
    (folder / "last_checkpoint").write_text(f"/moved/epoch_{pointer}.pth")
    (run,) = read_runs([folder])
    assert progress(run).startswith(expected)


def test_tests_go_to_their_training(tmp_path, render):
    training = write_training(tmp_path / "run")
    config = dict(default_scope="mmengine")
    metrics = {"top1": 0.625, "checkpoint": str(training / "epoch_2.pth")}
    elsewhere = write_test(tmp_path / "tested", config, metrics, None)
    assert len(read_runs([elsewhere])) == 1
    runs = read_runs([elsewhere, training])
    assert [len(run.tests) for run in runs] == [1]
    page = render(training, elsewhere)
    assert "--out" in page.text and "wrote no results of single images" in page.text
    assert page.rows[1][page.rows[0].index("top1")] == "0.625"
    page = render(training)
    command = next(word for word in page.words if word.startswith("python tools/test.py"))
    assert f"{training}/tiny.py {training} --work-dir {training}/test --out " in command


def test_a_test_in_the_folder_of_its_training(tmp_path):
    folder = write_training(tmp_path / "run")
    os.rename(folder / "metrics.json", folder / "metrics.1.json")
    os.rename(folder / "tiny.py", folder / "tiny.1.py")
    write_test(folder, dict(default_scope="mmengine"), {"top1": 0.625}, [])
    (run,) = read_runs([folder])
    assert run.config_name == "tiny" and "train_cfg" in run.config
    assert run.metrics["top1"] == 0.5123 and run.tests[0].metrics["top1"] == 0.625


def test_runs_compare(tmp_path, render):
    page = render(write_training(tmp_path / "a/run"), write_training(tmp_path / "b/run"))
    assert [row[0].strip() for row in page.rows[1:3]] == ["a/run", "b/run"]
    legends = [word for word in page.words if word.strip() in ("a/run", "b/run")]
    assert len(legends) > 8  # in every chart
    assert page.cells("cat")[0] == ["cat", "0.750", "0.750"]


def test_suites_of_eval_cls(tmp_path, render):
    folder = write_training(tmp_path / "run")
    figures = {"suite": "cbar", "data": "/d", "checkpoint": "x", "mean_error": 0.375}
    figures["corruptions"] = {"brownish_noise": {"error": 0.5, "errors": {"1": 0.5}}}
    (folder / "cbar.json").write_text(json.dumps(figures))
    page = render(folder)
    assert page.cells("mean_error") == [["mean_error", "0.375"]]
    assert page.cells("brownish_noise") == [["brownish_noise", "0.500", "-"]]


def test_tool_writes_the_page(tmp_path, monkeypatch, capsys):
    out = tmp_path / "new/report.html"
    folder = write_training(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder), "--out", str(out)])
    open_tool("report")
    assert str(out) in capsys.readouterr().out
    assert Page(out.read_text()).cells("cat")
    with pytest.raises(UserError, match="is a folder"):
        write_report([str(folder)], tmp_path, ROOT / "configs")


@pytest.mark.parametrize(
    "entry", [{"checkpoint": 3}, {"mIoU": "abc"}, {"per_class": [1]}, {"best_thresholds": [1]}]
)
def test_figures_of_odd_kinds_are_left_out(tmp_path, entry):
    content = {"mIoU": 0.4, "checkpoint": "iter_1.pth", **entry}
    (tmp_path / "env.json").write_text("{}")
    (tmp_path / "test").mkdir()
    (tmp_path / "test/metrics.json").write_text(json.dumps(content))
    run = read_folder(tmp_path)
    assert not run.tests and f"no figures are in {next(iter(entry))}" in " ".join(run.notes)
    (tmp_path / "test/metrics.json").write_text('{"mIoU": 0.4, "checkpoint": "iter_1.pth"}')
    assert read_folder(tmp_path).tests[0].metrics["mIoU"] == 0.4


def test_a_test_of_the_averaged_weights_says_so(tmp_path, render):
    metrics = {"bbox_mAP": 0.5, "ema": True}
    page = render(write_test(tmp_path / "test", dict(default_scope="mmdet"), metrics, None))
    summary = dict(zip(*page.rows[:2], strict=True))
    assert summary["from"].strip() == "test of the averaged weights"
    assert page.cells("ema") == [["ema", "1"]]
    assert "results.json --ema" in page.text  # the command that repeats it


def test_best_thresholds_stand_beside_the_figures_of_each_class(tmp_path, render):
    best = {"cup": {"threshold": 0.35, "f1": 0.8, "precision": 0.9, "recall": 0.72}}
    metrics = {
        "bbox_mAP": 0.5,
        "per_class": {"cup": {"bbox_mAP": 0.6}, "pen": {"bbox_mAP": 0.4}},
        "best_thresholds": best,
    }
    page = render(write_test(tmp_path / "test", dict(default_scope="mmdet"), metrics, None))
    heads = [row for row in page.rows if "best threshold" in row]
    assert heads == [["class", "bbox_mAP", "best threshold", "F1", "precision", "recall"]]
    assert page.cells("cup")[-1] == ["cup", "0.600", "0.350", "0.800", "0.900", "0.720"]
    assert page.cells("pen")[-1] == ["pen", "0.400", "-", "-", "-", "-"]  # never found
