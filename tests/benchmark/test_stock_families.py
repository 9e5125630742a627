"""Stock model families with our backbone: the rule that fits them, the check, the table."""

from pathlib import Path

import pytest
import torch

from convnext_dense.benchmark.stock import check, fitting
from convnext_dense.benchmark.stock.families import TOOLBOXES, families, made_small
from convnext_dense.benchmark.stock.table import Row, read, render
from convnext_dense.errors import UserError

PAGE = Path(__file__).parents[2] / "docs/families.md"
FAMILIES = {f"{one.toolbox}/{one.name}": one for toolbox in TOOLBOXES for one in families(toolbox)}
STOCK, OURS = (256, 512, 1024, 2048), (40, 80, 160, 320)


@pytest.mark.parametrize(
    "strides, levels",
    [
        ([4, 8, 16, 32], (0, 1, 2, 3)),
        ([8, 16, 32], (1, 2, 3)),
        ([32], (3,)),
        ([4, 8, 8, 8], (0, 1, 2, 3)),  # dilated
        ([8], (1,)),
        ([16, 8], (2, 3)),  # branches of a real-time network
    ],
)
def test_levels_are_matched_by_stride_or_in_their_order(strides, levels):
    assert fitting.chosen_levels(strides) == levels


def test_a_fifth_level_is_refused():
    with pytest.raises(UserError, match="its backbone has 5 levels, ours has 4"):
        fitting.chosen_levels([2, 4, 8, 16, 32])


@pytest.mark.parametrize(
    "reader, fitted",
    [
        (dict(in_channels=[256, 512, 1024, 2048]), dict(in_channels=[40, 80, 160, 320])),
        (dict(in_channels=(512, 1024, 2048)), dict(in_channels=(80, 160, 320))),
        (dict(in_channels=[512, 2048], in_index=[1, 3]), dict(in_channels=[80, 320])),
        (dict(in_channels=1024, in_index=2), dict(in_channels=160)),
        (dict(in_channels=1024, in_index=-2), dict(in_channels=160)),
        (dict(in_channels=2048), dict(in_channels=320)),
        (dict(in_channels=2048, c1_in_channels=256), dict(in_channels=320, c1_in_channels=40)),
        (dict(in_channels=2048, channels=2048, num_convs=0), dict(in_channels=320, channels=320)),
        (dict(in_channels=256, other=512), dict(in_channels=40, other=512)),
        (dict(in_channels=100), dict(in_channels=100)),  # of something else
    ],
)
def test_a_reader_is_told_our_channels(reader, fitted):
    kept = {key: value for key, value in reader.items() if key not in fitted}
    fitting.fit_reader(reader, STOCK, OURS)
    assert reader == {**kept, **fitted}


def test_a_part_of_a_reader_keeps_its_own_channels():
    part = dict(in_channels=512)
    fitting.fit_reader(part, STOCK, OURS, whole=False)
    assert part == dict(in_channels=512)


def test_a_small_model_asks_for_no_file_and_no_large_image():
    model = dict(
        data_preprocessor=dict(type="SegDataPreProcessor", size=(512, 512)),
        pretrained="open-mmlab://resnet50",
        backbone=dict(img_size=(512, 512), init_cfg=dict(type="Pretrained", checkpoint="a.pth")),
        neck=dict(init_cfg=dict(type="Xavier")),
        test_cfg=dict(rpn=[dict(nms_pre=1000)], max_per_img=5),
    )
    small = made_small(model, 64)
    assert small["pretrained"] is None and small["backbone"]["init_cfg"] is None
    assert small["neck"]["init_cfg"] == dict(type="Xavier")
    assert small["data_preprocessor"]["size"] == small["backbone"]["img_size"] == (64, 64)
    assert small["test_cfg"] == dict(rpn=[dict(nms_pre=100)], max_per_img=5)


class Model(torch.nn.Module):
    """A model whose loss does not reach ``idle``, or not in finite numbers."""

    def __init__(self, loss: float = 1.0) -> None:
        super().__init__()
        self.used, self.idle = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        self.idle.bias.requires_grad_(False)
        self.loss = loss

    def data_preprocessor(self, data, training):
        return data

    def forward(self, inputs, mode):
        return self.used(inputs).sum() * self.loss

    def parse_losses(self, losses):
        return losses, {}


def test_a_parameter_without_gradient_is_named():
    found = check.without_gradient(Model(), dict(inputs=torch.ones(1, 1)))
    assert found == "no gradient for 1 parameters: idle"
    with pytest.raises(UserError, match="its loss is nan"):
        check.without_gradient(Model(float("nan")), dict(inputs=torch.ones(1, 1)))


def test_reasons_are_sentences():
    error = NotImplementedError("mmcv's operator 'carafe_forward' has no equivalent in torchvision")
    assert check.reason_of(error) == "needs mmcv's operator carafe_forward"
    assert check.reason_of(KeyError("a\nb")) == "KeyError: 'a\\nb'"


def test_the_table_is_read_as_it_was_written(tmp_path):
    long = "needs " + "one thing and another, " * 8 + "and 2. a third"
    rows = [
        Row("mmdet", "a+b", "a_1.x", dict(stock="yes", ours=long)),
        Row("mmdet", "b", "b_1", dict(stock="needs a file", ours=long)),
        Row("mmseg", "a", "a_2", dict(stock="needs a file", ours="yes, with `x=1`")),
    ]
    (tmp_path / "page.md").write_text(f"Text\n{render(rows)}\n1. not a reason\n")
    assert read(tmp_path / "page.md") == rows
    words = " ".join(render(rows).split())
    assert "mmseg: 1 families, 0 as they are, 1 with our backbone." in words


def test_the_page_has_every_family():
    rows = read(PAGE)
    assert [(f"{row.toolbox}/{row.name}", row.config) for row in rows] == [
        (name, family.config.stem) for name, family in FAMILIES.items()
    ]


def test_a_small_family():
    assert_as_on_the_page("mmseg/erfnet")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_as_the_page_says(name):
    assert_as_on_the_page(name)


def assert_as_on_the_page(name):
    rows = {f"{row.toolbox}/{row.name}": row for row in read(PAGE)}
    assert check.check_alone(FAMILIES[name]) == rows[name].outcomes
