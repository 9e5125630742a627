"""The console: what it shows of a record, on terminals and elsewhere, and what it leaves out."""

import io
import logging
import re
import sys
import types
import warnings

import pytest
from mmengine.logging import MMLogger
from rich.console import Console

from convnext_dense.runs import console, noise
from convnext_dense.runs.console import ConsoleHandler, LogText
from convnext_dense.runs.progress import _columns


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logger(tmp_path, monkeypatch):
    """A logger of mmengine with a file, on a console that is read back."""

    def make(stream=None, everything=False):
        monkeypatch.setattr(sys, "stdout", stream or io.StringIO())
        name = f"console-{tmp_path.name}-{len(list(tmp_path.iterdir()))}"
        made = MMLogger(name, "mmengine", log_file=str(tmp_path / f"{name}.log"))
        with console.showing(everything):
            console.use_console(made)
        made.file = tmp_path / f"{name}.log"
        return made

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return make


def test_a_record_has_one_text_for_the_file_and_one_for_the_console(logger):
    log = logger()
    log.info("of a user's hook")
    log.info(LogText("Config:\nlr = 1", short=None))
    log.info(LogText("the whole line", short="short"))
    log.info("Hooks will be executed in the following order:\n...")
    log.warning('"FileClient" will be deprecated in future. Please ...')
    log.warning("the disk is slow")
    log.error("it broke")
    shown = sys.stdout.getvalue().splitlines()
    assert shown == ["of a user's hook", "short", "warning: the disk is slow", "error: it broke"]
    written = log.file.read_text()
    for text in ("lr = 1", "the whole line", "Hooks will", '"FileClient" will', "it broke"):
        assert text in written
    assert "short" not in written and "\x1b" not in written


def test_debug_shows_everything_as_mmengine_does(logger):
    log = logger(everything=True)
    log.info(LogText("Config:\nlr = 1", short=None))
    assert re.search(r"mmengine - .*INFO.* - Config:\nlr = 1", sys.stdout.getvalue())


def test_other_processes_are_silent_below_errors(logger, monkeypatch):
    monkeypatch.setattr("mmengine.logging.logger._get_rank", lambda: 1)
    log = logger()
    log.info("second process")
    log.warning("second process")
    log.error("second process breaks")
    assert sys.stdout.getvalue() == "error: second process breaks\n"


@pytest.mark.parametrize(
    ("stream", "variable", "coloured"),
    [
        (Terminal, None, True),
        (Terminal, "NO_COLOR", False),
        (io.StringIO, None, False),
        (io.StringIO, "FORCE_COLOR", True),
    ],
)
def test_colours_are_for_terminals(logger, monkeypatch, stream, variable, coloured):
    if variable:
        monkeypatch.setenv(variable, "1")
    log = logger(stream())
    log.warning("slow")
    assert ("\x1b[33m" in sys.stdout.getvalue()) is coloured
    assert console.console_of(log).console.is_live is (stream is Terminal)  # a bar is not a colour


def test_long_lines_stay_whole(logger):
    log = logger()
    log.info("/a/long/path" * 40)
    assert sys.stdout.getvalue() == "/a/long/path" * 40 + "\n"


def test_a_reader_that_is_gone_does_not_end_the_run(logger):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    log = logger(Gone())
    log.info("one")
    log.info("two")
    assert "two" in log.file.read_text()


def test_a_bar_takes_the_place_of_lines_about_iterations(logger):
    log = logger()
    console.console_of(log).has_bar = True
    log.info(LogText("iteration 1", "1", in_bar=True))
    log.info(LogText("figures", "figures"))
    assert sys.stdout.getvalue() == "figures\n"


@pytest.mark.parametrize("width", [200, 80, 64, 40])
def test_a_bar_fits_into_its_line(width):
    from rich.progress import Progress

    screen = Console(file=io.StringIO(), width=width)
    with Progress(*_columns(width), console=screen) as progress:
        figures = "loss 5.6368 lr 2.00e-05 1168 MB"
        progress.add_task("train", total=87_960, completed=12_345, figures=figures)
    line = screen.file.getvalue().rstrip("\n")
    assert "12345/87960" in line and "\n" not in line and "…" not in line
    assert (figures in line) is (width >= 64)


def test_figures_are_a_line_or_a_table():
    assert console.format_figures({"seg/mIoU": 0.25, "seg/aAcc": float("nan")}) == [
        "mIoU 0.250  aAcc -"
    ]
    rows = {"coco/bbox_mAP": 0.5, "coco/bbox_mAP_l": -1.0, "coco/segm_mAP": 0.25}
    assert console.format_figures(rows) == [
        "        mAP  mAP_l",
        "bbox  0.500      -",
        "segm  0.250",
    ]
    assert console.format_figures({"cls/pictures": 1500.0, "cls/top1": 1.0}) == [
        "pictures 1,500  top1 1.000"
    ]


def test_the_averaged_weights_have_rows_of_their_own_and_counts_a_line():
    plain = {"coco/bbox_mAP": 0.5, "coco/bbox_mAP_l": -1.0, "coco/objects_not_counted": 12}
    average = {"coco/bbox_mAP_ema": 0.25, "coco/detections_not_counted_ema": 1300}
    assert console.format_figures({**plain, **average}) == [
        "            mAP  mAP_l",
        "bbox      0.500      -",
        "bbox_ema  0.250",
        "objects_not_counted 12",
        "detections_not_counted_ema 1,300",
    ]
    both = {"seg/mIoU": 0.25, "seg/aAcc": 0.5, "seg/mIoU_ema": 0.75, "seg/aAcc_ema": 1.0}
    assert console.format_figures(both) == [
        "mIoU 0.250  aAcc 0.500",
        "mIoU_ema 0.750  aAcc_ema 1.000",
    ]


def test_many_classes_are_a_line():
    table = "AP per class\n" + "\n".join(f"class {number}  0.1" for number in range(80))
    assert console.short_table(table) == table
    assert (
        console.short_table(table).short == "AP per class: 80 lines in the log and in metrics.json"
    )
    assert console.short_table("AP per class\na  0.1").short == "AP per class\na  0.1"


def warn_from(module: str, message: str, category: type[Warning]) -> None:
    code = f"import warnings\nwarnings.warn({message!r}, {category.__name__})"
    exec(code, {"__name__": module, "FutureWarning": FutureWarning})


def test_only_named_warnings_are_left_out():
    copies = "To copy construct from a tensor, it is recommended to use clone()"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        noise.filter_warnings()
        warn_from("mmdet.models.roi_heads.mask_heads.fcn_mask_head", copies, UserWarning)
        grids = "torch.meshgrid: in an upcoming release, it will be required to pass the indexing"
        warn_from("torch.functional", grids, UserWarning)
        assert not caught
        warn_from("my_dataset", copies, UserWarning)  # the same about a user's code
        warn_from("mmdet_of_mine.heads", copies, UserWarning)
        warn_from("mmdet.models.heads", "something that nobody has seen yet", UserWarning)
        assert len(caught) == 3


def test_data_workers_that_begin_afresh_filter_too(monkeypatch):
    from convnext_dense.runs import data_workers

    called = []
    monkeypatch.setattr(data_workers, "filter_warnings", lambda: called.append(True))
    monkeypatch.setattr(data_workers, "read_safely_from_now_on", lambda: None)
    monkeypatch.setattr(data_workers.signal, "signal", lambda *about: None)
    monkeypatch.setattr(data_workers.signal, "pthread_sigmask", lambda *about: None)
    monkeypatch.setattr(
        data_workers.threading, "Thread", lambda **how: types.SimpleNamespace(start=int)
    )
    data_workers.DataWorkerSetup(None)(0)
    assert called


def test_pycocotools_is_quiet_and_others_are_not(tmp_path, capsys):
    from pycocotools import coco

    file = tmp_path / "a.json"
    file.write_text('{"images": [], "annotations": [], "categories": []}')
    with noise.quiet_annotation_files():
        coco.COCO(str(file))
        print("of a user's dataset")
        coco.print("a new line of pycocotools")
    assert capsys.readouterr().out == "of a user's dataset\na new line of pycocotools\n"
    coco.COCO(str(file))
    assert "loading annotations" in capsys.readouterr().out


def test_the_handler_keeps_mmengines_filter_of_repeated_warnings(logger):
    log = logger()
    log.warning("again")
    log.warning("again")
    assert sys.stdout.getvalue() == "warning: again\n"
    assert isinstance(console.console_of(log), ConsoleHandler) and log.level <= logging.INFO
