"""Conversion between namings: there and back bit for bit, and every omission is reported."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from tiny_convnext import backbone, official

from convnext_dense.errors import UserError
from convnext_dense.weights import convert, convert_file, read_checkpoint
from convnext_dense.weights.namings import TARGETS

TOOL = Path(__file__).parents[2] / "tools" / "convert_weights.py"


def assert_identical(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name, value in left.items():
        assert value.shape == right[name].shape and value.dtype == right[name].dtype
        assert torch.equal(value, right[name])


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("naming", TARGETS)
def test_there_and_back_bit_for_bit(tmp_path, naming, v2, ending):
    if naming == "torchvision" and v2:
        pytest.skip("torchvision has no ConvNeXt V2")
    state = official(v2)
    state["head.weight"] = state["head.weight"].half()  # types are kept, too
    source, there, back = (tmp_path / f"{n}{ending}" for n in ("source", "there", "back"))
    torch.save({"model": state}, tmp_path / "source.pth")
    if ending == ".safetensors":
        convert_file(tmp_path / "source.pth", source, "official")
    conversion = convert_file(source, there, naming)
    assert conversion.left_out == {} and conversion.source == "official"
    assert len(conversion.state_dict) == len(state)
    # This project's names are recognised as the official ones.
    expected = "official" if naming == "ours" else naming
    assert convert_file(there, back, "official").source == expected
    content = read_checkpoint(back)
    assert_identical(content.get("model", content), state)


@pytest.mark.parametrize("naming", ["ours", "official", "mmpretrain", "transformers"])
def test_output_norms_go_there_and_back(naming):
    state = backbone(seed=4).state_dict()
    there = convert(state, naming)
    assert there.left_out == {}
    assert_identical(convert(there.state_dict, "ours").state_dict, state)


@pytest.mark.parametrize("naming", ["timm", "torchvision"])
def test_output_norms_without_a_name_are_reported(naming):
    conversion = convert(backbone(seed=4).state_dict(), naming)
    assert sorted(conversion.left_out) == sorted(
        f"norm{i}.{p}" for i in range(4) for p in ("weight", "bias")
    )
    assert f"left out 8 ({naming} has no name for it): norm0.weight" in str(conversion)


def test_a_detectors_other_parts_are_left_out_and_reported():
    state = {f"backbone.{n}": v for n, v in backbone(seed=4).state_dict().items()}
    conversion = convert({**state, "neck.weight": torch.ones(1)}, "ours")
    assert conversion.left_out == {"neck.weight": "not a part of the backbone or its classifier"}


def test_mmpretrain_has_one_name_for_two_norms():
    state = backbone(seed=4, out_indices=(3,)).state_dict()
    conversion = convert(state, "mmpretrain")
    assert set(conversion.left_out) == {"norm3.weight", "norm3.bias"}


def test_one_by_one_convolutions_become_linear_layers():
    state = official()
    there = convert(state, "timm").state_dict
    as_convs = {
        n: v[:, :, None, None] if ".mlp.fc" in n and v.ndim == 2 else v for n, v in there.items()
    }
    assert_identical(convert(as_convs, "official").state_dict, state)


def test_file_keys_of_the_libraries(tmp_path):
    torch.save({"model": official()}, tmp_path / "a.pth")
    for naming, key in (
        ("official", "model"),
        ("ours", "state_dict"),
        ("mmpretrain", "state_dict"),
    ):
        convert_file(tmp_path / "a.pth", tmp_path / f"{naming}.pth", naming)
        assert list(read_checkpoint(tmp_path / f"{naming}.pth")) == [key]
    convert_file(tmp_path / "a.pth", tmp_path / "timm.pth", "timm")
    assert "stem.0.weight" in read_checkpoint(tmp_path / "timm.pth")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    torch.save({"model": official()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_text("old")

    def fail(content, path):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match="b.pth cannot be written: disk full"):
        convert_file(tmp_path / "a.pth", tmp_path / "b.pth", "timm", force=True)
    assert (tmp_path / "b.pth").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "b.pth"]


def test_wrong_use():
    with pytest.raises(UserError, match="Unknown naming 'keras'.*torchvision"):
        convert(official(), "keras")
    with pytest.raises(UserError, match=r"must end in \.pth"):
        convert_file("a.pth", "b.bin", "timm")
    with pytest.raises(UserError, match="folder nowhere does not exist"):
        convert_file("a.pth", "nowhere/b.pth", "timm")


def test_the_tool(tmp_path, monkeypatch, capsys):
    torch.save({"model": official(seed=1), "model_ema": official(seed=2)}, tmp_path / "a.pth")
    target = tmp_path / "b.safetensors"
    arguments = [str(TOOL), str(tmp_path / "a.pth"), str(target), "--to"]

    monkeypatch.setattr(sys, "argv", [*arguments, "timm", "--ema"])
    runpy.run_path(str(TOOL), run_name="__main__")
    output = capsys.readouterr().out
    assert "from official to timm naming" in output and str(target) in output
    back = convert(read_checkpoint(target), "official").state_dict
    assert_identical(back, official(seed=2))

    before = target.read_bytes()
    monkeypatch.setattr(sys, "argv", [*arguments, "torchvision"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert ended.value.code == 2 and "--force" in capsys.readouterr().err
    assert target.read_bytes() == before

    monkeypatch.setattr(sys, "argv", [*arguments, "torchvision", "--force"])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert "features.0.0.weight" in read_checkpoint(target)
