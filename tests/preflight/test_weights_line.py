"""The row ``weights`` at the start of a run: which, under which licence, for which images."""

import pytest
from mmengine.model import BaseModel, ImgDataPreprocessor

from convnext_dense.preflight.start_check import _own_weights
from convnext_dense.weights.zoo import CLIP, IMAGENET

OF_CLIP, OF_V2 = "timm/convnext_base.clip_laion2b", "convnextv2_atto_1k_224_fcmae"


class Model(BaseModel):
    def forward(self, inputs):
        return inputs


def line(checkpoint: str, mean, std) -> str:
    start = dict(type="Pretrained", checkpoint=checkpoint)
    model = Model(ImgDataPreprocessor(mean=mean, std=std))
    return _own_weights(dict(init_cfg=start), model)


@pytest.mark.parametrize(("name", "normalisation"), [(OF_V2, IMAGENET), (OF_CLIP, CLIP)])
def test_the_licence_alone_where_the_images_are_the_weights_own(name, normalisation):
    text = line(name, [round(x, 2) for x in normalisation.mean], normalisation.std)
    assert text == f"the backbone's of {name} (licence: " + (
        "CC-BY-NC-4.0)" if name == OF_V2 else "Apache-2.0)"
    )


@pytest.mark.parametrize(
    ("name", "own", "other"), [(OF_V2, IMAGENET, CLIP), (OF_CLIP, CLIP, IMAGENET)]
)
def test_another_normalisation_is_said_with_both(name, own, other):
    text = line(name, other.mean, other.std)
    assert f"normalised as {own.name}'s (mean [{own.mean[0]:g}, " in text
    assert f"this config has mean [{other.mean[0]:g}, " in text
    assert "model.data_preprocessor.mean" in text and "\n" not in text
    only_std = line(name, own.mean, other.std)
    assert "normalised as" in only_std


def test_nothing_is_said_of_other_channels_files_and_random_weights():
    assert "normalised" not in line(OF_V2, [1.0], [2.0])
    assert line("my/file.pth", [1, 2, 3], [4, 5, 6]) == "the backbone's of my/file.pth"
    assert _own_weights({}, Model()) == "random"
    assert "normalised" not in _own_weights(dict(init_cfg=dict(checkpoint=OF_V2)), Model())
