"""Models on the Hub: what is pushed, what is fetched, and every refusal in a sentence."""

import json
import re
import shutil
import socket

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from convnext_dense.config.load import load_config
from convnext_dense.config.plain import read_plain
from convnext_dense.errors import UserError
from convnext_dense.hub import fetch, make_folder, push
from convnext_dense.hub.endpoint import parse_name
from convnext_dense.predictor import Predictor
from convnext_dense.runs.run_summary import of_weights
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import trained_classes
from tests.hub.conftest import CLASSES, PALETTE, use_endpoint

FILES = ["README.md", "config.yaml", "model.safetensors"]


@pytest.fixture
def folder(trained, tmp_path):
    return make_folder(trained, "me/birds", tmp_path / "made", license="mit")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_stands_alone(trained, folder):
    assert names(folder) == FILES
    content = read_checkpoint(folder / "model.safetensors")
    theirs = torch.load(trained / "iter_2.pth", weights_only=True)["state_dict"]
    assert content["state_dict"].keys() == theirs.keys()
    assert all(torch.equal(content["state_dict"][name], theirs[name]) for name in theirs)
    assert trained_classes(content) == CLASSES
    assert content["meta"]["dataset_meta"]["palette"] == [list(colour) for colour in PALETTE]
    assert content["meta"]["best_thresholds"] == {"circle": {"threshold": 0.4, "f1": 0.5}}
    # The header is JSON that other libraries read too.
    with safe_open(folder / "model.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["convnext_dense"])["iter"] == 2


def test_predicts_the_same_as_its_work_folder(whole, tmp_path):
    made = make_folder(whole, "me/birds", tmp_path / "made")
    alone = made.rename(tmp_path / "elsewhere")
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    ours, theirs = (
        Predictor(config, checkpoint, device="cpu", score_threshold=0.0)(image).pred_instances
        for config, checkpoint in (
            (whole / "cascade_convnext_a_shapes.py", whole / "iter_2.pth"),
            (alone / "config.yaml", alone / "model.safetensors"),
        )
    )
    assert len(ours) and torch.equal(ours.bboxes, theirs.bboxes)
    assert torch.equal(ours.scores, theirs.scores)


def test_nothing_of_this_machine_or_run_is_in_it(trained, folder, data_root):
    for name in FILES:
        content = (folder / name).read_bytes()
        for secret in (str(trained), str(data_root), str(trained.parent), "secret", "start.pth"):
            assert secret.encode() not in content, (name, secret)
    config = yaml.safe_load(re.sub(r"!tuple ", "", (folder / "config.yaml").read_text()))
    assert config["train_dataloader"]["dataset"]["data_root"] == "mini"
    assert config["val_evaluator"]["ann_file"] == "mini/annotations/instances_val.json"
    assert not {"work_dir", "load_from", "resume", "data_root"} & config.keys()


def test_the_config_trains_on_another_data_root(folder, tmp_path):
    cfg = load_config(folder / "config.yaml", data_root=tmp_path)
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path / "mini")
    text = read_checkpoint(folder / "model.safetensors")["meta"]["cfg"]
    assert read_plain(text)["model"] == load_config(folder / "config.yaml").model.to_dict()


def test_own_data_keeps_the_name_of_its_folder(trained, tmp_path, capsys):
    moved = shutil.copytree(trained, tmp_path / "own")
    content = torch.load(moved / "iter_2.pth", weights_only=True)
    text = content["meta"]["cfg"]
    root = re.search(r"data_root='(.+/mini)'", text)[1]
    content["meta"]["cfg"] = text.replace(root, "/home/alice/my birds")
    torch.save(content, moved / "iter_2.pth")
    made = make_folder(moved, "me/birds", tmp_path / "made")
    text = (made / "config.yaml").read_text()
    assert "alice" not in text and "data_root: my birds" in text
    assert "my birds/annotations/instances_val.json" in text
    assert "not at hand" in (made / "README.md").read_text()
    assert "The card has no counts of the data: " in capsys.readouterr().out


def test_things_and_stuff_and_names_of_earlier_versions(trained, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "run")
    content = torch.load(moved / "iter_2.pth", weights_only=True)
    kinds = dict(thing_classes=CLASSES[:4], stuff_classes=CLASSES[4:])
    content["meta"]["dataset_meta"].update(kinds)
    imported, earlier = "'convnext_dense.detection.tta',", "convnext_dense.engine.tta"
    text = content["meta"]["cfg"]
    content["meta"]["cfg"] = text.replace(imported, f"{imported} '{earlier}',")
    assert earlier in content["meta"]["cfg"]
    torch.save(content, moved / "iter_2.pth")
    made = make_folder(moved, "me/birds", tmp_path / "made")
    found = read_checkpoint(made / "model.safetensors")["meta"]["dataset_meta"]
    assert {key: tuple(found[key]) for key in kinds} == kinds
    assert earlier not in (made / "config.yaml").read_text()
    assert "Images: 10 (train)" in (made / "README.md").read_text()


def test_the_card(folder):
    _, header, body = (folder / "README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["license"] == "mit" and header["pipeline_tag"] == "object-detection"
    (metric,) = header["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "bbox_mAP", "value": 0.1234}
    for part in (
        'cd.load("hf:me/birds")',
        "| bbox_mAP | 0.1234 |",
        "| circle | 0.500 |",
        "Images: 10 (train), 6 (val).",
        "convnext_dense 9.9",
        "| device | an abacus |",
        "Classes: circle, square, triangle, star, ring, cross.",
    ):
        assert part in body, part
    counts = dict(re.findall(r"\| (\w+) \| (\d+) \|", body))
    assert set(CLASSES) <= counts.keys() and sum(int(counts[name]) for name in CLASSES) > 10


def test_the_card_without_a_licence_or_figures(trained, tmp_path):
    bare = shutil.copytree(trained, tmp_path / "bare")
    (bare / "metrics.json").unlink()
    card = (make_folder(bare, "me/birds", tmp_path / "made") / "README.md").read_text()
    assert "license" not in card and "were not evaluated" in card


def test_another_checkpoint_and_the_average(trained, tmp_path):
    other = shutil.copytree(trained, tmp_path / "run")
    content = torch.load(other / "iter_2.pth", weights_only=True)
    content["meta"]["iter"] = 1
    torch.save(content, other / "best.pth")
    (other / "metrics.json").write_text('{"bbox_mAP_ema": 0.5, "iter": 2}')
    made = make_folder(other, "me/b", tmp_path / "made", checkpoint="best.pth", ema=True)
    card = (made / "README.md").read_text()
    assert "those of iteration 1" in card and "moving average" in card
    state = read_checkpoint(made / "model.safetensors")["state_dict"]
    name = next(iter(state))
    assert torch.equal(state[name], content["state_dict_ema"][name])


def test_the_average_has_its_own_figures(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    card = (make_folder(run, "me/b", tmp_path / "none", ema=True) / "README.md").read_text()
    assert "These weights were not evaluated." in card and "0.1234" not in card
    metrics = json.loads((run / "metrics.json").read_text())
    metrics |= {"bbox_mAP_ema": 0.4321, "best_thresholds": {"circle": {"threshold": 0.4}}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert not any(name.endswith("_ema") for name in of_weights(metrics, ema=False))
    made = make_folder(run, "me/b", tmp_path / "ema", ema=True)
    _, header, body = (made / "README.md").read_text().split("---\n", 2)
    (metric,) = yaml.safe_load(header)["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "bbox_mAP", "value": 0.4321}
    assert "| bbox_mAP | 0.4321 |" in body and "iter 2" in body
    assert "0.1234" not in body and "| circle | 0.500" not in body and "best threshold" not in body
    assert "best_thresholds" not in read_checkpoint(made / "model.safetensors")["meta"]
    content = torch.load(run / "iter_2.pth", weights_only=True)
    del content["state_dict_ema"]
    torch.save(content, run / "iter_2.pth")
    with pytest.raises(UserError, match="no averaged weights: leave out --ema, or train with"):
        make_folder(run, "me/b", tmp_path / "other", ema=True)


def test_a_work_folder_that_cannot_be_pushed(trained, tmp_path):
    empty = shutil.copytree(trained, tmp_path / "empty")
    (empty / "iter_2.pth").unlink()
    for source, named, words in (
        (empty, None, "holds no checkpoint"),
        (tmp_path / "none", None, "There is no folder"),
        (trained, "best.pth", "There is no checkpoint best.pth"),
    ):
        with pytest.raises(UserError, match=words):
            make_folder(source, "me/birds", tmp_path / "made", checkpoint=named)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, empty / "iter_1.pth")
    with pytest.raises(UserError, match="stores no config"):
        make_folder(empty, "me/birds", tmp_path / "made")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/a").write_text("")
    with pytest.raises(UserError, match="exists already"):
        make_folder(trained, "me/birds", tmp_path / "used")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]


def test_a_full_disk_leaves_nothing(trained, tmp_path, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convnext_dense.hub.publish.write_atomically", full)
    with pytest.raises(UserError, match="the disk is full"):
        make_folder(trained, "me/birds", tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_what_is_pushed_is_fetched(trained, hub):
    assert push(trained, "me/birds", private=True).endswith("me/birds/commit/" + hub_commit())
    assert hub.private == ["me/birds"] and hub.token == "hf_a_token"
    assert sorted(hub.files["me/birds"]) == FILES
    hub.files["me/birds"] |= {"evil.pth": b"pickle", "run.py": b"print()", "x.bin": b"b"}
    folder = fetch("hf:me/birds")
    assert names(folder) == FILES and sorted(hub.asked) == FILES
    content = (folder / "model.safetensors").read_bytes()
    assert content == hub.files["me/birds"]["model.safetensors"]
    assert trained_classes(read_checkpoint(folder / "model.safetensors")) == CLASSES
    assert fetch("hf:me/birds@main") == folder and sorted(hub.asked) == FILES  # once


def hub_commit() -> str:
    from tests.hub.endpoint import COMMIT

    return COMMIT


def test_without_a_network_the_copy_is_taken(trained, hub, monkeypatch):
    push(trained, "me/birds")
    folder = fetch("hf:me/birds")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    use_endpoint(monkeypatch, f"http://127.0.0.1:{port}")
    assert fetch("hf:me/birds") == folder
    with pytest.raises(UserError, match="me/other at http.*check the network"):
        fetch("hf:me/other")
    with pytest.raises(UserError, match="check the network"):
        push(trained, "me/birds")


def test_a_file_that_breaks_off_is_not_taken(trained, hub):
    push(trained, "me/birds")
    hub.cut = 10
    with pytest.raises(UserError, match="cannot be reached or read"):
        fetch("hf:me/birds")
    hub.cut = 0
    assert names(fetch("hf:me/birds")) == FILES


def test_a_torn_copy_is_named(trained, hub):
    push(trained, "me/birds")
    file = fetch("hf:me/birds") / "model.safetensors"
    content = file.read_bytes()
    file.resolve().write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, "GatedRepo"), "is gated: accept its terms"),
        ((401, ""), "log in with hf auth login"),
        ((403, ""), "log in with hf auth login"),
        ((404, "RepoNotFound"), "There is no me/birds"),
        ((418, ""), "answers with HTTP 418"),
    ],
)
def test_refusals(trained, hub, refusal, words):
    hub.refusal = refusal
    with pytest.raises(UserError, match=words):
        fetch("hf:me/birds")
    if refusal[1] != "GatedRepo":
        with pytest.raises(UserError, match=words):
            push(trained, "me/birds")


def test_a_repository_without_such_weights_or_revision(hub):
    hub.files["me/old"] = {"pytorch_model.bin": b"pickle", "README.md": b"# Old"}
    with pytest.raises(UserError, match=r"holds no model.safetensors and no config.yaml"):
        fetch("hf:me/old")
    assert hub.asked == ["README.md"]
    with pytest.raises(UserError, match="no such revision"):
        fetch("hf:me/old@v9")


def test_no_token(trained, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="needs a token"):
        push(trained, "me/birds")
    assert hub.files == {}


@pytest.mark.parametrize("name", ["birds", "hf:", "hf:a/b/c", "hf:a b/c", "hf:../x/y", "a/b@"])
def test_names(name):
    with pytest.raises(UserError, match="names no repository"):
        parse_name(name)
    assert parse_name("hf:me/birds@v1.0") == ("me/birds", "v1.0")


def test_a_header_that_is_no_meta_is_named(tmp_path):
    from safetensors.torch import save_file

    for text in ("[1]", "{", "[" * 100_000):
        file = tmp_path / "model.safetensors"
        save_file({"a": torch.zeros(1)}, file, metadata={"convnext_dense": text})
        with pytest.raises(UserError, match="damaged"):
            read_checkpoint(file)
