"""Real checkpoints of mmengine are read whole; hostile, broken and foreign files are refused."""

import argparse
import copy
import functools
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from tiny_convnext import official
from toy_runner import toy_runner

from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint, register_safe_loader


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    """The work folder of two epochs of a toy training."""
    folder = tmp_path_factory.mktemp("run")
    toy_runner(folder).train()
    return folder


def assert_same(left, right):
    """Equal in value, order and type, at any depth."""
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.dtype == right.dtype
        assert np.array_equal(left, right)
        return
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, HistoryBuffer):
        assert_same(left.data, right.data)
        assert left.max_length == right.max_length
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right or left != left


class TestMmengineCheckpoints:
    @pytest.mark.parametrize("name", ["epoch_2.pth", "best_acc_epoch_1.pth"])
    def test_everything_in_them_is_read(self, work_dir, name):
        path = work_dir / name
        # The file was just written by this test: the unsafe reader is the reference.
        assert_same(read_checkpoint(path), torch.load(path, weights_only=False))

    def test_what_was_read_can_be_saved_and_read_by_anyone(self, work_dir, tmp_path):
        content = read_checkpoint(work_dir / "epoch_2.pth")
        torch.save(content, tmp_path / "again.pth")
        assert b"convnext_dense" not in (tmp_path / "again.pth").read_bytes()
        assert_same(read_checkpoint(tmp_path / "again.pth"), content)

    def test_resuming_continues_the_training_exactly(self, tmp_path):
        register_safe_loader()
        whole = toy_runner(tmp_path / "whole", epochs=3)
        whole.train()
        checkpoint = str(tmp_path / "whole" / "epoch_2.pth")
        resumed = toy_runner(tmp_path / "resumed", epochs=3, resume=True, load_from=checkpoint)
        resumed.train()
        assert resumed.iter == whole.iter == 6
        assert_same(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
        losses = [r.message_hub.get_scalar("train/loss").data[0] for r in (whole, resumed)]
        assert np.array_equal(*losses)

    def test_numpy_1_named_its_modules_differently(self, work_dir, tmp_path):
        path = replace_pickle(
            tmp_path / "old.pth",
            lambda data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"),
            like=work_dir / "epoch_2.pth",
        )
        assert_same(read_checkpoint(path), read_checkpoint(work_dir / "epoch_2.pth"))

    def test_big_endian_arrays_keep_their_values(self, tmp_path):
        torch.save({"a": np.arange(3, dtype=">f4")}, tmp_path / "big.pth")
        assert read_checkpoint(tmp_path / "big.pth")["a"].tolist() == [0, 1, 2]

    def test_registering_twice_changes_nothing(self):
        register_safe_loader()
        before = dict(CheckpointLoader._schemes)
        register_safe_loader()
        assert CheckpointLoader._schemes == before
        for source in ("a.pth", "https://host/a.pth"):
            loader = CheckpointLoader._get_checkpoint_loader(source)
            assert loader.__module__ == "convnext_dense.weights.reading"


class TestOtherFiles:
    @pytest.mark.parametrize("new_format", [True, False])
    def test_files_of_the_official_release(self, tmp_path, new_format):
        state = official()
        content = {"model": state, "args": argparse.Namespace(lr=4e-3, drop_path=[0.1])}
        path = tmp_path / "old.pth"
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        found = read_checkpoint(path)
        assert found["args"] == content["args"]
        assert_same(dict(found["model"]), state)

    def test_safetensors(self, tmp_path):
        from safetensors.torch import save_file

        save_file(official(), tmp_path / "a.safetensors")
        assert_same(
            dict(sorted(read_checkpoint(tmp_path / "a.safetensors").items())),
            dict(sorted(official().items())),
        )

    @pytest.mark.parametrize("ending", [".pth", ".safetensors"])
    @pytest.mark.parametrize("kept", [0, 1, 300, -1000])
    def test_truncated(self, tmp_path, ending, kept):
        path = tmp_path / f"a{ending}"
        if ending == ".pth":
            torch.save(official(), path)
        else:
            from safetensors.torch import save_file

            save_file(official(), path)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(UserError, match="damaged or no checkpoint"):
            read_checkpoint(path)

    @pytest.mark.parametrize(
        "content", [b"<html>404</html>", b"version https://git-lfs\n", b"\0" * 99]
    )
    def test_not_a_checkpoint(self, tmp_path, content):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(UserError, match="damaged or no checkpoint"):
            read_checkpoint(tmp_path / "a.pth")

    def test_missing_folder_and_wrong_content(self, tmp_path):
        with pytest.raises(UserError, match="does not exist.*convnext_tiny_1k_224"):
            read_checkpoint(tmp_path / "nowhere.pth")
        with pytest.raises(UserError, match="is a folder"):
            read_checkpoint(tmp_path)
        torch.save([torch.ones(2)], tmp_path / "list.pth")
        with pytest.raises(UserError, match="holds a list"):
            read_checkpoint(tmp_path / "list.pth")

    def test_hash_of_a_local_file(self, tmp_path):
        path = tmp_path / "a.pth"
        torch.save(official(), path)
        with pytest.raises(UserError, match="not the expected 0000"):
            read_checkpoint(path, sha256="0" * 64)
        assert path.exists(), "a user's own file is never removed"
        with pytest.raises(UserError, match="is no sha256"):
            read_checkpoint(path, sha256="abc")


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def replace_pickle(path: Path, change, like: Path | None = None) -> Path:
    """Writes torch's zip format with another pickle inside."""
    source = io.BytesIO()
    if like is None:
        torch.save({}, source)
    else:
        source.write(like.read_bytes())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


class TestHostileFiles:
    @pytest.mark.parametrize("writer", ["zip", "old", "0", "1", "2", "3", "4", "5", "zip4"])
    def test_nothing_is_executed_and_the_wish_is_named(self, tmp_path, writer):
        marker, path = tmp_path / "marker", tmp_path / "evil.pth"
        import os

        content = {"state_dict": official(), "meta": Call(os.system, f"touch {marker}")}
        if writer in ("zip", "old"):
            torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")
        elif writer == "zip4":
            torch.save(content, path, pickle_protocol=4)
        else:
            path.write_bytes(pickle.dumps(content["meta"], protocol=int(writer)))
        with pytest.raises(UserError, match=r"(posix|nt)\.system"):
            read_checkpoint(path)
        assert not marker.exists()
        # The marker would have appeared: the same file, read by plain pickle.
        if writer in "012345":
            pickle.loads(path.read_bytes())
            assert marker.exists()

    @pytest.mark.parametrize(
        ("content", "wish"),
        [
            (Call(eval, "print('executed')"), "eval"),
            (Call(exec, "print('executed')"), "exec"),
            (Call(__import__, "os"), "__import__"),
            (functools.partial(print, "executed"), "partial"),
            (Call(np.load, "a.npy"), "numpy.load"),
            (Call(getattr, torch._utils._rebuild_tensor_v2, "__globals__"), "getattr"),
            (Call(getattr, HistoryBuffer, "__init__"), "getattr"),
            (Call(np.dtype, "O"), r"numpy.dtype\('O'\)"),
            (Call(np.dtype, "f8,O"), "numpy.dtype"),
            (np.array([[], {}], dtype=object), "numpy.dtype"),
            (np.zeros(1, dtype=[("a", "f4")]), "numpy.dtype"),
            (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
            (Path("a"), "pathlib"),
        ],
        ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
    )
    def test_more_than_plain_data_is_refused(self, tmp_path, capsys, content, wish):
        torch.save({"a": content}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=f"needs .*{wish}"):
            read_checkpoint(tmp_path / "a.pth")
        assert "executed" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        "attack",
        [
            # An array of objects over the file's own bytes: real numpy follows them as pointers.
            b"cnumpy\nndarray\n(I1\ntX\x01\x00\x00\x00OC\x08AAAAAAAAtR.",
            b"\x80\x02cnumpy\nndarray\n(K\x01\x85X\x01\x00\x00\x00OX\x08\x00\x00\x00AAAAAAAAtR.",
            # The same through a structured dtype whose flags deny that it holds objects.
            b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tR"
            b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85NK\x08K\x01K\x00tb.",
            b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR"
            b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00a\x85NK\x08K\x01K\x00tb.",
            # An array whose state brings no dtype of ours.
            b"\x80\x02cnumpy\nndarray\n)\x81(K\x01K\x01\x85X\x01\x00\x00\x00ONX\x00\x00\x00\x00tb.",
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
            b"cmmengine.logging.history_buffer\nHistoryBuffer\n\x85R.",
            b"\x80\x02cmmengine.optim.scheduler.param_scheduler\nOneCycleParamScheduler\n)R.",
            b"\x80\x02cmmengine.optim.scheduler.param_scheduler\nOneCycleParamScheduler\n)\x81.",
        ],
    )
    def test_crafted_pickles_are_refused(self, tmp_path, attack):
        with pytest.raises(UserError, match="is not loaded|is damaged"):
            read_checkpoint(replace_pickle(tmp_path / "a.pth", lambda _: attack))

    def test_a_history_cannot_replace_the_statistics_of_its_class(self, tmp_path):
        history = HistoryBuffer([1.0, 3.0], [1, 1])
        before = copy.copy(HistoryBuffer._statistics_methods)
        history.__dict__["statistics_methods"] = {"mean": torch.Size}
        state = {**history.__dict__}
        data = pickle.dumps(PretendHistory(state), protocol=2)
        data = data.replace(
            f"c{__name__}\nPretendHistory\n".encode(),
            b"cmmengine.logging.history_buffer\nHistoryBuffer\n",
        )
        path = replace_pickle(
            tmp_path / "a.pth", lambda _: b"\x80\x02}X\x01\x00\x00\x00a" + data[2:-1] + b"s."
        )
        found = read_checkpoint(path)["a"]
        assert type(found) is HistoryBuffer and found.mean() == 2.0
        assert HistoryBuffer._statistics_methods == before

    def test_what_the_process_allows_elsewhere_does_not_count(self, tmp_path):
        torch.save({"a": Path("a")}, tmp_path / "a.pth")
        with torch.serialization.safe_globals([type(Path("a"))]):
            before = set(torch.serialization.get_safe_globals())
            with pytest.raises(UserError, match="needs pathlib"):
                read_checkpoint(tmp_path / "a.pth")
            assert set(torch.serialization.get_safe_globals()) == before

    def test_tar_and_torchscript(self, tmp_path):
        with tarfile.open(tmp_path / "tar.pth", "w") as tar:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                info = tarfile.TarInfo(name)
                data = pickle.dumps(Call(print, "executed"), protocol=2)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "script.pth"))
        for name in ("tar.pth", "script.pth"):
            with pytest.raises(UserError, match="damaged or no checkpoint"):
                read_checkpoint(tmp_path / name)


class PretendHistory:
    """Takes the place of HistoryBuffer in a pickle, with any state."""

    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state
