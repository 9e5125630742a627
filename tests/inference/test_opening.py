"""A model by any name: which checkpoint and config are meant, and that nothing is executed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope, registry

from convnext_dense.cli.test import keep_thresholds
from convnext_dense.errors import UserError
from convnext_dense.inference.model import load
from convnext_dense.inference.trained import opening
from convnext_dense.inference.trained.loading import choose_device
from convnext_dense.inference.trained.opening import open_named
from convnext_dense.weights.zoo import OFFICIAL_FILES
from tests.inference.conftest import SEGMENTOR
from tests.miniature import SHAPES


def checkpoint_of(work_dir: Path) -> Path:
    return next(work_dir.glob("iter_*.pth"))


def changed(work_dir: Path, target: Path, **meta) -> Path:
    """The checkpoint of a run with other entries in its ``meta``."""
    content = torch.load(checkpoint_of(work_dir), weights_only=False)
    content["meta"] |= meta
    torch.save(dict(state_dict=content["state_dict"], meta=content["meta"]), target)
    return target


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_work_folder_a_checkpoint_and_a_config_beside_it(task, work_dirs, tmp_path, array):
    path = checkpoint_of(work_dirs[task])
    bare = changed(work_dirs[task], tmp_path / "bare.pth", cfg=None)
    config = SHAPES if task == "detection" else SEGMENTOR
    forms = [(work_dirs[task], None), (path, None), (str(path), None), (bare, config),
             (bare, config.stem)]  # fmt: skip
    models = [load(*form, device="cpu") for form in forms]
    assert {model.task for model in models} == {task}
    first, *others = [model(array, threshold=0.05).to_dict() for model in models]
    if task == "detection":  # the run's config keeps 8 detections, the shipped one 100
        first, *others = [one["detections"][:8] for one in (first, *others)]
    assert all(other == first for other in others)
    with pytest.raises(UserError, match=r"bare.pth brings no config: name the one"):
        load(bare)


def test_loading_leaves_the_process_as_it_was(work_dirs):
    before = registry.get_object_from_string, registry.import_module
    DefaultScope.get_instance("of the user", scope_name="mmseg")
    load(work_dirs["detection"], device="cpu")
    assert (registry.get_object_from_string, registry.import_module) == before
    assert DefaultScope.get_current_instance().scope_name == "mmseg"


def test_a_config_in_a_checkpoint_executes_nothing(work_dirs, tmp_path):
    text = torch.load(checkpoint_of(work_dirs["detection"]), weights_only=False)["meta"]["cfg"]
    marker = tmp_path / "marker"
    for evil, words in (
        (f"open({str(marker)!r}, 'w')\n{text}", None),  # what assigns nothing is not read
        (f"{text}\nx = open({str(marker)!r}, 'w')", "cannot be read as data"),
        (f"{text}\ncustom_imports = dict(imports=['antigravity'])", "wants 'antigravity' imported"),
        (text.replace("type='LoadImage'", f"type='os.mkdir', path={str(marker)!r}"), "os.mkdir"),
        (text.replace("type='ConvNeXt'", f"type='os.mkdir', path={str(marker)!r}"), "os.mkdir"),
    ):
        path = changed(work_dirs["detection"], tmp_path / "evil.pth", cfg=evil)
        if words is None:
            load(path, device="cpu")
        else:
            with pytest.raises(UserError, match=words):
                load(path, device="cpu")
        assert not marker.exists()


def test_names_of_the_release(monkeypatch):
    asked = []

    def read(source):
        asked.append(source)
        return {}

    monkeypatch.setattr(opening, "read_checkpoint", read)
    for config, file in OFFICIAL_FILES.items():
        if "/" not in file:
            continue
        for source in (config, file, f"somewhere/{Path(file).name}.pth"):
            found = open_named(source)
            assert Path(found.config_source).stem == config and not found.stored
            assert found.config.model.backbone.type == "ConvNeXt"
        assert asked[-3:] == [file, file, f"somewhere/{Path(file).name}.pth"]
        if len(asked) > 6:  # two of them: reading configs takes time
            break
    assert open_named("convnext_tiny_1k_224").config is None


@pytest.mark.parametrize(
    ("source", "config", "words"),
    [
        ("cascade_convnext_tt_3x", None, "the nearest are cascade_convnext_t_3x"),
        ("work_dirs/nothing", None, "There is no work folder or checkpoint work_dirs/nothing"),
        ("gone.pth", None, "The checkpoint gone.pth does not exist"),
        ("mask_rcnn_convnext_a_shapes", None, "The release has no weights of"),
        ("cascade_convnext_t_3x", "cascade_convnext_s_3x", "names another one"),
        (".", None, "holds no checkpoint"),
        ("none/such:thing", None, "There is no work folder or checkpoint"),
    ],
)
def test_what_is_no_model_is_a_sentence(source, config, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load(source, config)
    assert words in str(caught.value)


def test_a_folder_as_the_hub_has_it(work_dirs, tmp_path, array):
    from safetensors.torch import save_file

    from convnext_dense.config.plain import format_plain
    from convnext_dense.inference.trained.opening import open_named

    opened = open_named(work_dirs["detection"])
    state = {name: value.contiguous() for name, value in opened.content["state_dict"].items()}
    save_file(state, tmp_path / "model.safetensors")
    config = opened.config.to_dict()
    config["test_dataloader"]["dataset"]["metainfo"] = dict(
        classes=opened.content["meta"]["dataset_meta"]["classes"]
    )
    (tmp_path / "config.yaml").write_text(format_plain(config, ".yaml"))
    before = registry.get_object_from_string
    found = load(tmp_path, device="cpu")(array, threshold=0.05)
    assert registry.get_object_from_string is before
    expected = load(work_dirs["detection"], device="cpu")(array, threshold=0.05)
    assert found.to_dict() == expected.to_dict()


def test_best_thresholds_select_by_class(work_dirs, tmp_path, array):
    plain = load(work_dirs["detection"], device="cpu")
    with pytest.raises(UserError, match="There are no best thresholds in"):
        plain.predict(array, threshold="best")
    everything = plain(array, threshold=0)
    name = everything.names[0]
    others = {other: dict(threshold=1.0, f1=0.5) for other in plain.classes if other != name}
    best = {**others, name: dict(threshold=0.0, f1=0.5)}
    model = load(
        changed(work_dirs["detection"], tmp_path / "b.pth", best_thresholds=best), None, "cpu"
    )
    found = model(array, threshold="best")
    assert found.names == [one for one in everything.names if one == name]
    # a class that no validation image showed keeps the usual threshold
    del best[name]
    model = load(
        changed(work_dirs["detection"], tmp_path / "b.pth", best_thresholds=best), None, "cpu"
    )
    assert len(model(array, threshold="best")) == (everything.scores >= 0.3).sum()
    folder = tmp_path / "run"  # a test of the folder has found them
    folder.mkdir()
    shutil.copy(changed(work_dirs["detection"], tmp_path / "c.pth"), folder / "epoch_1.pth")
    (folder / "metrics.json").write_text(json.dumps(dict(best_thresholds=others)))
    assert load(folder, device="cpu").best_thresholds == dict.fromkeys(others, 1.0)


def test_options_that_do_not_fit_are_refused_at_once(work_dirs, array):
    model = load(work_dirs["detection"], device="cpu")
    for options, words in (
        (dict(threshold=1.5), "threshold must be from 0 to 1, or 'best', got 1.5"),
        (dict(threshold="high"), "got 'high'"),
        (dict(batch_size=0), "batch_size must be a whole number from 1 on, got 0"),
        (dict(batch_size=2.5), "got 2.5"),
        (dict(threshold=None), "got None"),
        (dict(whole=True), "whole=True belongs to tile"),
        (dict(probabilities=True), "a segmentor's and a classifier's"),
    ):
        with pytest.raises(UserError, match=words):
            model.predict(array, **options)
    with pytest.raises(UserError, match="does not hold one image"):
        model([array, array])
    for nothing in (None, 3, ""):
        with pytest.raises(UserError, match="names no model: give a work folder"):
            load(nothing)
    with pytest.raises(UserError, match="'nowhere' is not available here"):
        choose_device("nowhere")


def test_results_come_as_they_are_asked_for(work_dirs, array):
    model = load(work_dirs["segmentation"], device="cpu")
    taken = []

    def source():
        for number in range(9):
            taken.append(number)
            yield array

    results = model.predict(source(), batch_size=2)
    assert taken == []
    next(results)
    assert taken == [0, 1]


def test_a_classifier_gives_what_its_network_gives(tmp_path, array, monkeypatch):
    from convnext_dense.classification.load_trained import open_classifier

    torch.manual_seed(0)
    cfg = dict(type="ConvNeXtClassifier", arch="atto", num_classes=3)
    state = MODELS.build(cfg).state_dict()
    meta = dict(dataset_meta=dict(classes=("ant", "bee", "cat")))
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "c.pth")
    model = load(tmp_path / "c.pth", device="cpu")
    assert model.task == "classification" and model.classes == ("ant", "bee", "cat")
    results = list(model.predict([array, array[:, ::-1]], batch_size=2))
    trained = open_classifier(tmp_path / "c.pth")
    from PIL import Image

    from convnext_dense.classification.transforms import TestTransform

    inputs = TestTransform(**trained.transform)(Image.fromarray(array))[None]
    logits = trained.logits(dict(inputs=inputs, targets=torch.zeros(1, dtype=int), paths=[""]))
    expected = logits.softmax(1)[0].numpy()
    assert results[0].probabilities == pytest.approx(expected, abs=1e-5)
    assert results[0].probabilities.sum() == pytest.approx(1, abs=1e-5)
    for options, words in (
        (dict(tile=64), "tile is for detectors and segmentors"),
        (dict(tta=True), "A classifier is not tested in several views"),
    ):
        with pytest.raises(UserError, match=words):
            model.predict(array, **options)  # at once: no image is asked for


def test_the_work_folder_of_another_kind_of_model_is_refused(work_dirs, tmp_path):
    with pytest.raises(UserError, match="another kind of model"):
        load(work_dirs["detection"], SEGMENTOR, device="cpu")
    copy = tmp_path / "copy"
    shutil.copytree(work_dirs["detection"], copy)
    (copy / "last_checkpoint").unlink()
    assert load(copy, device="cpu").task == "detection"


def test_results_are_short_to_read_and_never_saved_over_each_other(
    work_dirs, pictures, array, tmp_path
):
    model = load(work_dirs["detection"], device="cpu")
    sources = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        sources.append(shutil.copy(pictures[number], tmp_path / f"{number}/x.jpg"))
    results = list(model.predict([*sources, pictures[0]], threshold=0))
    saved = [result.save(tmp_path / "out").name for result in results]
    assert saved == ["x.jpg", "x_2.jpg", f"{pictures[0].stem}.jpg"]
    assert results[0].save(tmp_path / "out").name == "x.jpg"  # the same image again
    names = [model(np.array(array)).save(tmp_path / "memory").name for _ in range(3)]
    assert len(set(names)) == 3  # arrays that are gone by then, one perhaps in another's place
    assert len(repr(results[0])) < 100 and "detections=[" in repr(results[0])


def test_a_test_stores_the_best_thresholds_in_a_checkpoint_that_has_none(work_dirs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    file = changed(work_dirs["detection"], folder / "epoch_1.pth", best_thresholds=None)
    best = {"circle": dict(threshold=0.5, f1=1.0)}
    runner = SimpleNamespace(message_hub=SimpleNamespace(runtime_info=dict(best_thresholds=best)))
    before = file.read_bytes()
    keep_thresholds(runner, file)
    assert file.read_bytes() == before  # not in a work folder: a file of others
    (folder / "lr_groups.csv").write_text("")
    keep_thresholds(runner, file)
    assert load(folder, device="cpu").best_thresholds == {"circle": 0.5}
    best["circle"]["threshold"] = 0.9
    keep_thresholds(runner, file)
    assert load(folder, device="cpu").best_thresholds == {"circle": 0.5}  # its training's stay


def test_the_average_has_the_thresholds_that_were_measured_on_it(work_dirs, tmp_path, array):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lr_groups.csv").write_text("")
    best = {"circle": dict(threshold=0.5, f1=1.0)}
    file = changed(work_dirs["detection"], folder / "epoch_1.pth", best_thresholds=best)
    content = torch.load(file, weights_only=True)
    torch.save(dict(content, state_dict_ema=content["state_dict"]), file)
    (folder / "metrics.json").write_text(json.dumps(dict(best_thresholds=best)))
    with pytest.raises(UserError, match="There are no best thresholds in .*test --ema computes"):
        load(folder, device="cpu", ema=True).predict(array, threshold="best")
    of_average = {"circle": dict(threshold=0.7, f1=1.0)}
    (folder / "metrics.json").write_text(json.dumps(dict(best_thresholds=of_average, ema=True)))
    assert load(folder, device="cpu", ema=True).best_thresholds == {"circle": 0.7}
    info = dict(best_thresholds=of_average)
    runner = SimpleNamespace(message_hub=SimpleNamespace(runtime_info=info))
    (folder / "metrics.json").unlink()
    keep_thresholds(runner, file, ema=True)
    assert load(folder, device="cpu", ema=True).best_thresholds == {"circle": 0.7}
    assert load(folder, device="cpu").best_thresholds == {"circle": 0.5}
