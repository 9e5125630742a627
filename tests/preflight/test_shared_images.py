"""The note on validation images that are training images, in each task."""

import json

import pytest
from mmengine.config import Config

import convnext_dense.classification.dataset  # noqa: F401
from convnext_dense.preflight.shared_images import remark_shared

SENTENCE = "2 of 3 validation images are training images, such as {}: "


def config(scope: str, train: dict, val: dict) -> Config:
    splits = {"train": train, "val": val}
    loaders = {f"{name}_dataloader": dict(dataset=dict(data)) for name, data in splits.items()}
    return Config(dict(default_scope=scope, model=dict(), **loaders))


def coco(folder, names):
    images = [dict(id=i, file_name=name, width=9, height=9) for i, name in enumerate(names)]
    content = dict(images=images, annotations=[], categories=[dict(id=1, name="cat")])
    path = folder / f"{'_'.join(name[0] for name in names)}.json"
    path.write_text(json.dumps(content))
    return dict(data_root=str(folder), ann_file=path.name, data_prefix=dict(img="images"))


def csv(folder, names):
    path = folder / f"{''.join(name[0] for name in names)}.csv"
    lines = [f"{folder}/images/{name},cat" for name in names]
    path.write_text("\n".join(["file_name,label", *lines]))
    return dict(type="LabelledImages", data_root=str(path), reader="list")


@pytest.fixture
def images(tmp_path):
    """Three images; d is a link to b."""
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / f"images/{name}.png").touch()
    (tmp_path / "images/d.png").symlink_to(tmp_path / "images/b.png")
    return tmp_path


@pytest.mark.parametrize(("scope", "write"), [("mmdet", coco), ("mmengine", csv)])
def test_shared_images_are_counted_by_their_files(images, scope, write):
    train, val = ["a.png", "b.png"], ["a.png", "c.png", "d.png"]
    (remark,) = remark_shared(config(scope, write(images, train), write(images, val)))
    assert remark.startswith(SENTENCE.format(images / "images/a.png"))
    assert not remark_shared(config(scope, write(images, train), write(images, ["c.png"])))
