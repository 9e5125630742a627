"""Windows and labels, against mmsegmentation's own EncoderDecoder on the same weights."""

from copy import deepcopy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import accuracy as mmseg_accuracy
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample

from convnext_dense.errors import UserError
from convnext_dense.segmentation import segmentor
from convnext_dense.segmentation.head_losses import accuracy
from convnext_dense.segmentation.segmentor import Segmentor


def build(
    classes=5, out_channels=None, kind="Segmentor", align_corners=False, head=None, **test_cfg
):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(type="SegDataPreProcessor", mean=[0] * 3, std=[255] * 3),
            backbone=dict(type="ConvNeXt", arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))),
            decode_head=dict(
                type="FCNHead",
                in_channels=8,
                in_index=1,
                channels=8,
                num_convs=1,
                concat_input=False,
                num_classes=classes,
                out_channels=out_channels,
                threshold=0.5 if out_channels == 1 else None,
                align_corners=align_corners,
                loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=out_channels == 1),
                dropout_ratio=0,
            )
            | (head or {}),
            test_cfg=ConfigDict(test_cfg or dict(mode="whole")),
        )
    ).eval()
    # Other than at initialisation: the scores differ from place to place and class to class.
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def slide(crop, stride, **more):
    return ConfigDict(mode="slide", crop_size=crop, stride=stride, **more)


def metas_of(inputs):
    shape = tuple(inputs.shape[2:])
    return [dict(ori_shape=shape, img_shape=shape, pad_shape=(99, 99)) for _ in inputs]


@torch.no_grad()
def both(model, inputs):
    """Our scores and mmsegmentation's."""
    theirs = EncoderDecoder.slide_inference(model, inputs, metas_of(inputs))
    return model.slide_inference(inputs, metas_of(inputs)), theirs


CASES = [
    (1, (64, 64), (64, 64), (43, 43)),  # one window
    (2, (97, 150), (64, 64), (43, 43)),
    (1, (150, 97), (64, 32), (21, 32)),  # windows of other sides than strides
    (2, (128, 161), (64, 64), (64, 64)),  # side by side, the last one pushed back
    (2, (40, 47), (64, 64), (43, 43)),  # smaller than a window
    (1, (40, 131), (64, 64), (50, 50)),  # lower, not narrower
    (1, (107, 129), (64, 64), (7, 61)),
]


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(("count", "size", "crop", "stride"), CASES)
def test_windows_give_mmsegmentations_scores_to_the_bit(count, size, crop, stride):
    model = build(**slide(crop, stride))
    ours, theirs = both(model, torch.randn(count, 3, *size))
    assert theirs.shape == (count, 5, *size) and theirs.std() > 0.01
    assert torch.equal(ours, theirs)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("at_once", [2, 3, 100])
@pytest.mark.parametrize(("count", "size", "crop", "stride"), CASES)
def test_several_windows_at_once_give_the_same(count, size, crop, stride, at_once, monkeypatch):
    model, inputs = (
        build(**slide(crop, stride, windows_at_once=at_once)),
        torch.randn(count, 3, *size),
    )
    ours, theirs = both(model, inputs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    high, second = theirs.topk(2, dim=1).values.unbind(dim=1)
    clear = high - second > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(ours.argmax(dim=1)[clear], theirs.argmax(dim=1)[clear])


def watched(model, monkeypatch):
    """The images and metas that pass through the network, call by call."""
    seen, encode_decode = [], model.encode_decode

    def watch(inputs, metas):
        seen.append((inputs.shape, metas))
        return encode_decode(inputs, metas)

    monkeypatch.setattr(model, "encode_decode", watch)
    return seen


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(
    ("count", "at_once", "expected"),
    [
        (1, None, [1] * 12),  # the CPU's default
        (1, 1, [1] * 12),
        (1, 5, [5, 5, 2]),
        (1, 12, [12]),
        (2, 5, [4] * 6),  # of both images
        (3, 2, [3] * 12),  # never less than a window of each
    ],
)
def test_no_more_windows_are_in_the_network_than_said(count, at_once, expected, monkeypatch):
    more = {} if at_once is None else dict(windows_at_once=at_once)
    model, inputs = build(**slide((32, 32), (20, 20), **more)), torch.randn(count, 3, 72, 86)
    metas = metas_of(inputs)
    seen = watched(model, monkeypatch)
    with torch.no_grad():
        model.slide_inference(inputs, metas)
    assert [shape[0] for shape, _ in seen] == expected
    for shape, given in seen:
        assert shape[1:] == (3, 32, 32) and len(given) == shape[0]  # each window has its meta
        assert all(type(meta["img_shape"]) is torch.Size for meta in given)
        assert all(meta["img_shape"] == (32, 32) for meta in given)
    assert metas == metas_of(inputs)  # the caller's are left alone


@pytest.mark.both_paths(slow=True, taken=False)  # it watches operations
def test_the_host_never_waits_for_the_device():
    """On the meta device there are no values to wait for."""
    model = build(**slide((64, 64), (43, 43))).to("meta")
    inputs = torch.empty(1, 3, 97, 150, device="meta")
    assert model.slide_inference(inputs, metas_of(inputs)).shape == (1, 5, 97, 150)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        EncoderDecoder.slide_inference(model, inputs, metas_of(inputs))


def test_windows_with_gaps_are_refused():
    model = build(**slide((32, 32), (33, 33)))
    inputs = torch.randn(1, 3, 32, 64)
    assert both(model, inputs)[0].isfinite().all()  # the last window is pushed back: no gap
    inputs = torch.randn(1, 3, 32, 70)
    with pytest.raises(AssertionError):
        EncoderDecoder.slide_inference(model, inputs, metas_of(inputs))
    with pytest.raises(UserError, match="crop_size 32 at every stride of 33 .* without a label"):
        model.slide_inference(inputs, metas_of(inputs))


def samples(ori_shape, count=1, **more):
    return [SegDataSample(metainfo=dict(ori_shape=ori_shape, **more)) for _ in range(count)]


def labels_of(model, scores, data_samples, **test_cfg):
    model.test_cfg = ConfigDict(mode="whole", **test_cfg)
    return model.postprocess_result(scores, data_samples)


@pytest.mark.parametrize(
    ("size", "ori_shape"), [((28, 41), (63, 80)), ((63, 80), (28, 41)), ((40, 50), (40, 50))]
)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("classes", [2, 15, 18, 21, 64])
def test_labels_of_few_classes_at_a_time_are_those_of_all(
    classes, align_corners, size, ori_shape, monkeypatch
):
    model = build(classes, align_corners=align_corners)
    monkeypatch.setattr(segmentor, "GROUP_BYTES", 1)
    for last in (torch.contiguous_format, torch.channels_last):
        scores = torch.randn(2, classes, *size).contiguous(memory_format=last)
        scores[:, :, :9] = scores[:, :, :9].round()  # equally high ones: the first counts
        scores[0, classes // 2, 12, 12] = scores[0, -1, 12] = torch.nan
        plain = labels_of(model, scores, samples(ori_shape, 2))
        lean = labels_of(model, scores, samples(ori_shape, 2), keep_scores=False)
        for one, other in zip(plain, lean, strict=True):
            assert "seg_logits" in one and "seg_logits" not in other
            assert other.pred_sem_seg.data.dtype == one.pred_sem_seg.data.dtype
            assert torch.equal(other.pred_sem_seg.data, one.pred_sem_seg.data)
            assert one.pred_sem_seg.data.unique().numel() == classes


@pytest.mark.parametrize("classes", [16, 17, 18, 19, 20, 35, 150])
@pytest.mark.parametrize("last", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ori_shape", [(31, 45), (90, 120)])
def test_few_classes_at_a_time_have_the_scores_of_all_to_the_bit(
    classes, last, ori_shape, monkeypatch
):
    monkeypatch.setattr(segmentor, "GROUP_BYTES", 1)
    model, scores = build(classes), torch.randn(1, classes, 40, 50).contiguous(memory_format=last)
    whole, *parts = (
        EncoderDecoder.postprocess_result(model, part, samples(ori_shape))[0].seg_logits.data
        for part in (scores, *(part for _, part in model._class_groups(scores, ori_shape)))
    )
    assert len(parts) == (2 if classes in (20, 35) else 10 if classes == 150 else 1)
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(
    "more",
    [
        dict(img_padding_size=[3, 5, 2, 7]),
        dict(padding_size=[3, 5, 2, 7]),
        dict(flip=True, flip_direction="horizontal"),
        dict(flip=True, flip_direction="vertical", padding_size=[3, 5, 2, 7]),
    ],
)
def test_padding_and_mirroring_are_undone_with_few_classes_too(more, monkeypatch):
    monkeypatch.setattr(segmentor, "GROUP_BYTES", 1)
    model, scores = build(30), torch.randn(1, 30, 40, 50)
    (plain,) = labels_of(model, scores, samples((61, 47), **more))
    (lean,) = labels_of(model, scores, samples((61, 47), **more), keep_scores=False)
    assert torch.equal(lean.pred_sem_seg.data, plain.pred_sem_seg.data)
    (other,) = labels_of(model, scores, samples((61, 47)), keep_scores=False)
    assert not torch.equal(other.pred_sem_seg.data, plain.pred_sem_seg.data)


def test_a_head_of_one_channel_keeps_its_threshold():
    model, scores = build(2, out_channels=1), torch.randn(1, 1, 40, 50)
    (plain,) = labels_of(model, scores, samples((61, 47)))
    (lean,) = labels_of(model, scores, samples((61, 47)), keep_scores=False)
    assert 0.2 < plain.pred_sem_seg.data.mean() < 0.8
    assert torch.equal(lean.pred_sem_seg.data, plain.pred_sem_seg.data)


def test_maps_of_the_pictures_size_keep_to_the_bound(monkeypatch):
    model, scores = build(150), torch.randn(1, 150, 20, 30)
    monkeypatch.setattr(segmentor, "GROUP_BYTES", 35 * 4 * 200 * 300)
    seen, plain = [], EncoderDecoder.postprocess_result

    def watch(self, logits, data_samples):
        found = plain(self, logits, data_samples)
        seen.append(found[0].seg_logits.data.shape)
        return found

    monkeypatch.setattr(EncoderDecoder, "postprocess_result", watch)
    labels_of(model, scores, samples((200, 300)), keep_scores=False)
    assert [shape[0] for shape in seen] == [32, 32, 32, 32, 22]
    assert all(shape[1:] == (200, 300) for shape in seen)


@pytest.mark.both_paths(slow=True)
def test_the_whole_test_is_mmsegmentations():
    """From the image to labels and scores, by either class with the same weights."""
    batch = dict(inputs=[torch.randint(0, 256, (3, 90, 110)).byte()])
    found = []
    for kind, more in (
        ("EncoderDecoder", {}),
        ("Segmentor", {}),
        ("Segmentor", dict(keep_scores=False)),
    ):
        model = build(kind=kind, **slide((64, 64), (43, 43), **more))
        assert type(model) is (Segmentor if kind == "Segmentor" else EncoderDecoder)
        shape = dict(img_shape=(90, 110))
        with torch.no_grad():
            (sample,) = model.test_step(dict(batch, data_samples=samples((123, 150), **shape)))
        found.append((list(model.state_dict()), sample))
    (names, theirs), (our_names, ours), (_, lean) = found
    assert names == our_names
    scores = theirs.seg_logits.data
    torch.testing.assert_close(ours.seg_logits.data, scores, rtol=0, atol=1e-5)
    clear = torch.sub(*scores.topk(2, dim=0).values) > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(theirs.pred_sem_seg.data[0, clear], ours.pred_sem_seg.data[0, clear])
    assert torch.equal(ours.pred_sem_seg.data, lean.pred_sem_seg.data)
    assert "seg_logits" not in lean


HEADS = {
    "plain": {},
    "two losses": dict(
        loss_decode=[dict(type="CrossEntropyLoss"), dict(type="DiceLoss", loss_weight=3.0)]
    ),
    "two of a name": dict(
        loss_decode=[dict(type="CrossEntropyLoss", loss_weight=one) for one in (1.0, 0.3)]
    ),
    "sampled": dict(sampler=dict(type="OHEMPixelSampler", thresh=0.3, min_kept=500)),
    "corners": dict(align_corners=True),
}


def truths(*shape, classes=5, device="cpu"):
    labels = torch.randint(0, classes, (shape[0], 1, *shape[1:]), device=device)
    labels[..., :7] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in labels]


def with_auxiliary(model, several=False):
    heads = [deepcopy(model.decode_head), deepcopy(model.decode_head)]
    torch.nn.init.normal_(heads[0].conv_seg.weight)
    model.auxiliary_head = torch.nn.ModuleList(heads) if several else heads[0]
    return model


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("more", HEADS.values(), ids=HEADS)
def test_losses_and_gradients_are_mmsegmentations(more, several):
    model = with_auxiliary(build(head=more), several)
    inputs, data_samples = torch.randn(2, 3, 64, 96), truths(2, 64, 96)
    found = []
    for loss in (
        (EncoderDecoder._decode_head_forward_train, EncoderDecoder._auxiliary_head_forward_train),
        (
            Segmentor._decode_head_forward_train,
            Segmentor._auxiliary_head_forward_train,
        ),
    ):
        model.zero_grad()
        features = model.extract_feat(inputs)
        losses = loss[0](model, features, data_samples) | loss[1](model, features, data_samples)
        sum(value.sum() for name, value in losses.items() if "loss" in name).backward()
        found.append((losses, [p.grad for p in model.parameters() if p.grad is not None]))
    (theirs, their_gradients), (ours, gradients) = found
    assert list(ours) == list(theirs) and len(theirs) >= (6 if several else 4)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and ours[name].requires_grad == value.requires_grad
        if "acc" in name:
            assert 5 < value.item() < 60
            torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=0)
        else:
            assert torch.equal(ours[name], value)
    assert len(gradients) == len(their_gradients) > 10
    assert all(map(torch.equal, gradients, their_gradients))


@pytest.mark.parametrize("ignore_index", [255, None, 1])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_the_share_of_right_pixels_is_mmsegmentations(ignore_index, ignored):
    scores = torch.randn(2, 4, 9, 11)
    truth = torch.where(torch.rand(2, 9, 11) < ignored, 255, torch.randint(0, 4, (2, 9, 11)))
    expected = mmseg_accuracy(scores, truth, ignore_index=ignore_index)
    torch.testing.assert_close(
        accuracy(scores, truth, ignore_index), expected, rtol=1e-6, atol=1e-9
    )


@pytest.mark.both_paths(slow=True, taken=False)
def test_training_never_waits_for_the_device():
    model = with_auxiliary(build()).to("meta")
    inputs, data_samples = (
        torch.empty(2, 3, 64, 96, device="meta"),
        truths(2, 64, 96, device="meta"),
    )
    losses = model.loss(inputs, data_samples)
    assert list(losses) == ["decode.loss_ce", "decode.acc_seg", "aux.loss_ce", "aux.acc_seg"]
    sum(value.sum() for name, value in losses.items() if "loss" in name).backward()
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        EncoderDecoder._decode_head_forward_train(model, model.extract_feat(inputs), data_samples)


@pytest.mark.both_paths
def test_a_head_with_losses_of_its_own_is_asked_for_them():
    class Own(FCNHead):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            return dict(loss_own=seg_logits.mean())

    model = build()
    model.decode_head.__class__ = Own
    losses = model.loss(torch.randn(1, 3, 64, 64), truths(1, 64, 64))
    assert list(losses) == ["decode.loss_own"]


def upernet():
    init_default_scope("mmseg")
    torch.manual_seed(0)
    head = dict(
        type="UPerHead", in_channels=[8, 8, 8, 8], in_index=[0, 1, 2, 3], channels=16, num_classes=5
    )
    backbone = dict(type="ConvNeXt", arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)))
    test_cfg = dict(mode="whole")
    head |= dict(norm_cfg=dict(type="BN"), align_corners=False)
    return MODELS.build(
        dict(type="Segmentor", backbone=backbone, decode_head=head, test_cfg=test_cfg)
    )


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("training", [False, True])
def test_maps_behind_the_pooled_ones_are_channels_last_on_a_gpu(training, monkeypatch):
    model, inputs = upernet().train(training), torch.randn(2, 3, 128, 160)
    wide = []
    model.decode_head.fpn_bottleneck.register_forward_hook(lambda m, i, o: wide.append(i[0]))
    outputs, gradients = [], []
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(segmentor, "CHANNELS_LAST_ON", devices)
        torch.manual_seed(1)
        model.zero_grad()
        outputs.append(model.decode_head(model.extract_feat(inputs)))
        outputs[-1].square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    last = [one.is_contiguous(memory_format=torch.channels_last) for one in (*wide, *outputs)]
    assert last == [False, True, False, True]  # the first: what mmsegmentation's head does
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
