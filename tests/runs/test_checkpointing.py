"""Checkpoints under kills, damage, full disks and hostile content."""

import ctypes
import errno
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from convnext_dense.errors import UserError
from convnext_dense.runs.checkpointing import POINTER, is_whole, newest_whole
from convnext_dense.runs.work_folder import claim
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS
from tests.engine.toy_run import Better, toy_runner

KILLS = 100
ROOT = Path(__file__).parents[2]
MARK = "what came of it: "


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run of five epochs."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    toy_runner(folder, 5).train()
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of its checkpoints; as in many a copy, all have one time."""
    for path in (*finished.glob("*.pth"), finished / POINTER):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        os.utime(tmp_path / path.name, (1, 1))
    return tmp_path


def test_three_checkpoints_and_the_best_are_kept(finished):
    names = {path.name for path in finished.glob("*.pth")}
    assert names == {"epoch_3.pth", "epoch_4.pth", "epoch_5.pth", "best_score_epoch_5.pth"}
    assert (finished / POINTER).read_text() == str(finished / "epoch_5.pth")
    assert not list(finished.glob(".*"))


def test_between_any_two_steps_of_writing_the_folder_can_be_resumed(tmp_path, monkeypatch):
    """Looks at the folder before and after every renaming and removal, where a kill may fall."""
    seen = []

    def look() -> None:
        pointer = tmp_path / POINTER
        if not seen and not pointer.exists():
            return
        assert is_whole(tmp_path / Path(pointer.read_text()).name)
        newest = int(newest_whole(tmp_path).stem.split("_")[1])
        assert newest >= max(seen, default=0)  # no step back
        seen.append(newest)
        if newest > 2:  # a best checkpoint was written before
            assert any(is_whole(path) for path in tmp_path.glob("best_*.pth"))

    def watched(function):
        def call(*args, **kwargs):
            look()
            result = function(*args, **kwargs)
            look()
            return result

        return call

    monkeypatch.setattr(os, "replace", watched(os.replace))
    monkeypatch.setattr(os, "remove", watched(os.remove))
    toy_runner(tmp_path, 6).train()
    assert seen[-1] == 6 and len(seen) > 30


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    """In the middle of the largest tensor, where loading would not notice."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + 2000] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "expected", "said"),
    [
        (lambda folder: None, "epoch_5.pth", None),
        (lambda folder: cut(folder / "epoch_5.pth"), "epoch_4.pth", "epoch_5.pth cannot be used"),
        (
            lambda folder: flip_a_bit(folder / "epoch_5.pth"),
            "epoch_4.pth",
            "epoch_5.pth cannot be used",
        ),
        (
            lambda folder: (folder / "epoch_5.pth").write_bytes(b""),
            "epoch_4.pth",
            "epoch_5.pth cannot be used",
        ),
        (
            lambda folder: (folder / "epoch_5.pth").unlink(),
            "epoch_4.pth",
            "last_checkpoint names epoch_5.pth; the newest",
        ),
        (lambda folder: (folder / POINTER).write_text(""), "epoch_5.pth", "no last_checkpoint"),
        (lambda folder: (folder / POINTER).unlink(), "epoch_5.pth", "no last_checkpoint"),
        # killed between a checkpoint and its being named
        (
            lambda folder: (folder / POINTER).write_text("/moved/epoch_4.pth"),
            "epoch_5.pth",
            "last_checkpoint names epoch_4.pth; the newest",
        ),
        # gone back to an earlier checkpoint on purpose
        (
            lambda folder: [
                (folder / POINTER).write_text("/moved/epoch_3.pth"),
                os.utime(folder / "epoch_3.pth", (2, 2)),
            ],
            "epoch_3.pth",
            None,
        ),
    ],
    ids=range(9),
)
def test_the_newest_whole_checkpoint_is_found(folder, capsys, damage, expected, said):
    damage(folder)
    assert newest_whole(folder) == folder / expected
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (1 if said else 0)
    assert not said or (said in lines[0] and expected in lines[0])


def test_nothing_whole_is_no_beginning(folder):
    """A resumed run must not start anew over checkpoints that someone may yet save."""
    for path in folder.glob("epoch_*.pth"):
        cut(path)
    with pytest.raises(UserError, match="None of the 3 checkpoints in .* is whole"):
        newest_whole(folder)
    assert newest_whole(folder / "empty") is None


def hostile(folder: Path, change) -> None:
    path = folder / "epoch_5.pth"
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


def test_a_resumed_file_names_no_code_and_no_paths(folder, tmp_path):
    """mmengine executes meta.config, and removes what the file calls the best checkpoint."""
    outside, marker = tmp_path / "outside" / "epoch_1.pth", tmp_path / "marker"
    outside.parent.mkdir()
    outside.touch()

    def change(content) -> None:
        content["meta"]["config"] = f"open({str(marker)!r}, 'w')"
        content["message_hub"]["runtime_info"]["best_ckpt"] = str(outside)
        content["message_hub"]["runtime_info"]["best_score"] = -9.0
        kept = ["x/../outside/epoch_1", 3, 4, 5]  # epoch_{}.pth
        content["message_hub"]["runtime_info"]["keep_ckpt_ids"] = kept

    hostile(folder, change)
    folder.joinpath("epoch_x").mkdir()
    runner = toy_runner(folder, 7, resume=True)
    runner.train()
    assert runner.iter == 14
    assert not marker.exists() and outside.exists()


@pytest.mark.parametrize("key", ["meta", "message_hub"])
def test_weights_alone_are_no_run(folder, key):
    hostile(folder, lambda content: content.pop(key))
    with pytest.raises(UserError, match="holds weights, but no run that could be resumed"):
        toy_runner(folder, 7, resume=True).train()


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path, monkeypatch):
    write = LocalBackend.put
    written = []

    def put(self, content, path):
        written.append(path)
        if len(written) < 8:
            return write(self, content, path)
        Path(path).write_bytes(content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalBackend, "put", put)
    with pytest.raises(UserError, match=r"The checkpoint .* cannot be written: the disk is full"):
        toy_runner(tmp_path, 5).train()
    assert not list(tmp_path.glob(".*"))
    found = newest_whole(tmp_path)
    monkeypatch.setattr(LocalBackend, "put", write)
    assert found.name == (tmp_path / POINTER).read_text().rpartition("/")[2] == "epoch_3.pth"
    resumed = toy_runner(tmp_path, 5, resume=True)
    resumed.train()
    assert resumed.iter == 10


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 1.9 MB in a new process: checkpoints of half a megabyte fill it."""
    code = "import sys; from tests.runs.test_checkpointing import fill_mounted as f; f(sys.argv[1])"
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    message = done.stdout.rpartition(MARK)[2]
    if message == "no mount":
        pytest.skip("file systems cannot be mounted here")
    assert message.count("\n") == 3, (message, done.stderr[-2000:])
    error, count, newest, torsos = message.split("\n")
    assert error.startswith("UserError(") and "cannot be written: the disk is full" in error
    assert int(count) >= 2 and newest.startswith("epoch_") and torsos == "[]"


def fill_mounted(place: str) -> None:
    """Fills a file system that this process alone sees; prints what came of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, message = 0x00020000, "no mount"
    if (
        not libc.unshare(new_mounts)
        and not libc.mount(None, b"/", None, 0x44000, None)
        and not libc.mount(b"none", os.fsencode(place), b"tmpfs", 0, b"size=1900k")
    ):
        message = fill(Path(place, "run"))
    print(f"{MARK}{message}", end="")


def fill(folder: Path) -> str:
    try:
        claim(folder, resume=False)
        toy_runner(folder, 20, ballast=125_000).train()
    except Exception as error:
        names = [path.name for path in folder.glob("epoch_*.pth") if is_whole(path)]
        torsos = [path.name for path in folder.glob(".*.pth.*")]
        said = repr(error).replace("\n", " ")
        newest = newest_whole(folder)
        return f"{said}\n{len(names)}\n{newest and newest.name}\n{torsos}"
    return "it was not full"


class Report(Hook):
    """Tells the parent which iteration was gone on from, and which ones are saved."""

    priority = "LOWEST"  # after the checkpoint

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def before_train(self, runner) -> None:
        os.write(self.pipe, f"from {runner.iter}\n".encode())

    def after_train_epoch(self, runner) -> None:
        os.write(self.pipe, f"saved {runner.iter}\n".encode())


def life(folder: Path, seconds: float) -> dict[str, int]:
    """One process that claims the folder, resumes and trains until it is killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            claim(folder, resume=True)
            toy_runner(folder, 10**6, resume=True, ballast=10**6, hooks=[Report(writer)]).train()
        except BaseException as error:
            os.write(writer, f"failed {error!r}".encode())
        os._exit(1)
    os.close(writer)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader) as lines:
        words = [line.split(maxsplit=1) for line in lines]
    assert not (failed := [word[1] for word in words if word[0] == "failed"]), failed
    return {what: int(number) for what, number in words}


def plain(content):
    """Tensors as lists, at any depth."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content.tolist() if isinstance(content, torch.Tensor) else content


@pytest.mark.slow
def test_kill_9_at_a_hundred_random_moments(finished, tmp_path):
    """Each life goes on from the last checkpoint that the one before it wrote, or a newer one.

    At the end the run is bit for bit the one that nobody killed. ``finished`` has imported here
    what each life would import otherwise.
    """
    folder, rng = tmp_path / "run", random.Random(0)
    saved = torsos = resumed = 0
    for _ in range(KILLS):
        told = life(folder, rng.uniform(0, 1.0))
        if "from" in told:
            assert told["from"] >= saved
            resumed += 1
        torsos += bool(list(folder.glob(".*.pth.*")))
        newest = newest_whole(folder) if folder.exists() else None
        if newest is not None:
            pointer = folder / POINTER
            assert not pointer.exists() or is_whole(folder / Path(pointer.read_text()).name)
            iteration = read_checkpoint(newest)["meta"]["iter"]
            assert iteration >= max(saved, told.get("saved", 0))
            saved = iteration
        else:
            assert not saved and "saved" not in told
    print(f"{resumed} of {KILLS} lives reached the training; {torsos} were killed while writing")
    assert resumed > KILLS / 2 and torsos > 5
    epochs = saved // 2 + 1
    claim(folder, resume=True)
    toy_runner(folder, epochs, resume=True, ballast=10**6).train()
    assert not list(folder.glob(".*.pth.*"))
    assert len(list(folder.glob("epoch_*.pth"))) == 3
    assert len(list(folder.glob("best_*.pth"))) == 1
    toy_runner(tmp_path / "whole", epochs, ballast=10**6).train()
    for part in ("state_dict", "optimizer", "random_state", "param_schedulers"):
        one, other = (
            read_checkpoint(place / f"epoch_{epochs}.pth")[part]
            for place in (folder, tmp_path / "whole")
        )
        assert plain(one) == plain(other), part


def toy_thresholds(monkeypatch) -> None:
    """The toy's evaluations find thresholds that say which weights they are of."""
    compute, count = Better.compute_metrics, iter(range(1, 100))

    def noting(self, results) -> dict:
        found = {"cup": {"threshold": next(count) / 100}}
        MessageHub.get_current_instance().update_info(BEST_THRESHOLDS, found)
        return compute(self, results)

    monkeypatch.setattr(Better, "compute_metrics", noting)


def thresholds_in(folder: Path) -> dict[str, float]:
    files = sorted(folder.glob("*.pth"))
    found = {path.name: read_checkpoint(path)["meta"].get(BEST_THRESHOLDS) for path in files}
    return {name: best["cup"]["threshold"] for name, best in found.items() if best}


def test_a_checkpoint_keeps_what_its_own_evaluation_found(finished, tmp_path, monkeypatch):
    toy_thresholds(monkeypatch)
    toy_runner(tmp_path, 5).train()
    assert thresholds_in(tmp_path) == {
        "epoch_3.pth": 0.03,
        "epoch_4.pth": 0.04,
        "epoch_5.pth": 0.05,
        "best_score_epoch_5.pth": 0.05,
    }
    # all else is as it would have been
    ours, plain = (read_checkpoint(folder / "epoch_5.pth") for folder in (tmp_path, finished))
    assert list(ours) == list(plain)
    assert {*ours["meta"]} - {*plain["meta"]} == {BEST_THRESHOLDS}
    for name, value in plain["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value)
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_checkpoint_without_thresholds(tmp_path, monkeypatch):
    toy_thresholds(monkeypatch)
    write = torch.save

    def save(content, path):
        if BEST_THRESHOLDS in content.get("meta", {}):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(content, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(UserError, match="The checkpoint is whole without it"):
        toy_runner(tmp_path, 5).train()
    assert is_whole(newest_whole(tmp_path)) and not list(tmp_path.glob(".*"))
