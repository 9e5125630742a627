"""Models that read fewer maps than four: stock heads of mmdet and mmsegmentation, both ways."""

from copy import deepcopy
from pathlib import Path

import mmdet
import mmseg
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from convnext_dense.config import load
from convnext_dense.config.load import settle_config
from convnext_dense.data.shapes.dataset import CLASSES
from convnext_dense.models.unread_maps import drop_unread_maps
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_backbone, compare
from tests.exact import assert_same_checkpoints
from tests.running import ROOT, run

ARCH = dict(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))
DETECTORS = ("retinanet/retinanet_r50_fpn_1x_coco", "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
             "atss/atss_r50_fpn_1x_coco")  # fmt: skip
# Config, the maps that are read, the parameters that had no gradient.
SEGMENTORS = {
    "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512": ((2, 3), 4),
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512": ((0, 2, 3), 2),
}


def stock(toolbox, name: str) -> Config:
    """A config of a toolbox with our backbone, and with channels that make it fast."""
    cfg = Config.fromfile(Path(toolbox.__file__).parent / f".mim/configs/{name}.py")
    cfg.model.backbone = dict(type="ConvNeXt", arch=ARCH)
    return cfg


def detector(name: str) -> ConfigDict:
    model = stock(mmdet, name).model
    model.neck.update(in_channels=list(ARCH["dims"]), out_channels=64)
    model.bbox_head.update(in_channels=64, feat_channels=64, stacked_convs=1, num_classes=3)
    return model


def segmentor(name: str) -> ConfigDict:
    model = stock(mmseg, name).model
    model.pretrained = None
    for head, index in ((model.decode_head, 3), (model.auxiliary_head, 2)):
        head.update(in_channels=ARCH["dims"][index], in_index=index, channels=8)
        head.update(num_classes=3, norm_cfg=dict(type="BN"))
    if "c1_in_channels" in model.decode_head:
        model.decode_head.update(c1_in_channels=ARCH["dims"][0], c1_channels=4)
    return model


def build(model: ConfigDict, scope: str) -> torch.nn.Module:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(deepcopy(model))


def both(model: ConfigDict, scope: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The model as stated, and the one of the maps that are read, with its weights."""
    whole = build(model, scope)
    for index in range(4):  # no map may stand for another
        torch.nn.init.normal_(getattr(whole.backbone, f"norm{index}").weight)
    drop_unread_maps(model)
    narrow = build(model, scope)
    state, differences = compare(narrow, {"state_dict": whole.state_dict()})
    assert not differences and not narrow.load_state_dict(state).missing_keys
    return whole, narrow


def boxes() -> list[DetDataSample]:
    sample = DetDataSample(metainfo=dict(img_shape=(64, 96), pad_shape=(64, 96),
                                         ori_shape=(64, 96), batch_input_shape=(64, 96),
                                         scale_factor=(1, 1)))  # fmt: skip
    found = torch.tensor([[4.0, 4, 40, 50], [30, 10, 90, 60]])
    sample.gt_instances = InstanceData(bboxes=found, labels=torch.tensor([0, 2]))
    return [sample]


def images() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def total(losses: dict) -> torch.Tensor:
    values = [v for name, v in losses.items() if "loss" in name]
    return sum(sum(v) if isinstance(v, list) else v for v in values)


def without_gradient(model: torch.nn.Module) -> list[str]:
    return [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_give_the_same_with_a_gradient_for_every_parameter(name):
    model = detector(name)
    whole, narrow = both(model, "mmdet")
    assert model.backbone.out_indices == (1, 2, 3) and model.neck.start_level == 0
    assert list(model.neck.in_channels) == [12, 16, 20]
    losses = [one.loss(images(), boxes()) for one in (whole, narrow)]
    assert losses[0] == losses[1] and total(losses[0]) > 0
    for loss in losses:
        total(loss).backward()
    assert without_gradient(whole) == ["backbone.norm0.weight", "backbone.norm0.bias"]
    assert without_gradient(narrow) == []
    gradients = dict(whole.named_parameters())
    for parameter, value in narrow.named_parameters():
        if value.requires_grad:
            assert torch.equal(value.grad, gradients[parameter].grad), parameter
    found = [one.eval().predict(images(), boxes())[0].pred_instances for one in (whole, narrow)]
    assert torch.equal(found[0].bboxes, found[1].bboxes) and len(found[0]) > 0
    assert torch.equal(found[0].scores, found[1].scores)


def test_centernet_reads_the_last_map_alone():
    model = stock(mmdet, "centernet/centernet_r18_8xb16-crop512-140e_coco").model
    model.neck.update(in_channels=ARCH["dims"][3], num_deconv_filters=(8, 8, 8), use_dcn=False)
    model.bbox_head.update(in_channels=8, feat_channels=8, num_classes=3)
    sentences = drop_unread_maps(deepcopy(model))
    assert len(sentences) == 1 and "CTResNetNeck reads the last map" in sentences[0]
    whole, narrow = both(model, "mmdet")
    assert model.backbone.out_indices == (3,) and model.neck.in_channels == ARCH["dims"][3]
    losses = [total(one.loss(images(), boxes())) for one in (whole, narrow)]
    assert losses[0] == losses[1] > 0
    for loss in losses:
        loss.backward()
    assert len(without_gradient(whole)) == 6 and without_gradient(narrow) == []


@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentors_give_the_same(name):
    model, (read, lost) = segmentor(name), SEGMENTORS[name]
    whole, narrow = both(model, "mmseg")
    assert model.backbone.out_indices == read
    logits = []
    for one in (whole, narrow):
        maps = one.eval().backbone(images())
        heads = (one.decode_head, one.auxiliary_head)
        logits.append([head(maps) for head in heads])
        sum(out.sum() for out in logits[-1]).backward()
    for one, other in zip(*logits, strict=True):
        assert torch.equal(one, other)
    assert len([n for n in without_gradient(whole) if "backbone" in n]) == lost
    assert [n for n in without_gradient(narrow) if "backbone" in n] == []


@pytest.mark.parametrize("add_lateral, read", [(False, (2, 3)), (True, (1, 2, 3))])
def test_encnet_reads_the_last_map_alone_unless_it_adds_the_others(add_lateral, read):
    model = segmentor("encnet/encnet_r50-d8_4xb4-80k_ade20k-512x512")
    model.decode_head.update(
        in_index=(1, 2, 3), in_channels=list(ARCH["dims"][1:]), num_codes=4, add_lateral=add_lateral
    )
    whole, narrow = both(model, "mmseg")
    assert model.backbone.out_indices == read
    assert list(model.decode_head.in_channels) == list(ARCH["dims"][1:] if add_lateral else (20,))
    outputs = []
    for one in (whole.eval(), narrow.eval()):
        maps = one.backbone(images())
        outputs.append([*one.decode_head(maps), one.auxiliary_head(maps)])
        sum(out.sum() for out in outputs[-1]).backward()
    for out, other in zip(*outputs, strict=True):
        assert torch.equal(out, other)
    assert [n for n in without_gradient(whole) if "backbone" in n]
    assert [n for n in without_gradient(narrow) if "backbone" in n] == []
    assert drop_unread_maps(model) == []


def heads(*nodes: dict, **more) -> ConfigDict:
    backbone = dict(type="ConvNeXt", arch="atto")
    return ConfigDict(backbone=backbone, decode_head=list(nodes), **more)


def test_heads_of_other_kinds():
    reading_all = heads(dict(type="UPerHead", in_index=[0, 1, 2, 3]))
    unknown = heads(dict(type="FCNHead", in_index=2), dict(type="MyHead", in_index=2))
    neck = dict(type="MyNeck", start_level=1, in_channels=[1, 2, 3, 4])
    for model in (reading_all, unknown, heads(neck=neck), heads()):
        before = deepcopy(model)
        assert drop_unread_maps(model) == [] and model == before
    inside = dict(type="IterativeDecodeHead", kernel_generate_head=dict(type="FCNHead"))
    model = heads(inside, auxiliary_head=dict(type="mmseg.FCNHead", in_index=-2))
    assert len(drop_unread_maps(model)) == 1 and model.backbone.out_indices == (2, 3)
    assert model.decode_head[0].kernel_generate_head.in_index == 1
    assert model.auxiliary_head.in_index == 0
    assert drop_unread_maps(model) == []
    # The last map stays: without it its stage would go, and with the stage its weights.
    model = heads(dict(type="FCNHead", in_index=1))
    drop_unread_maps(model)
    assert model.backbone.out_indices == (1, 3) and model.decode_head[0].in_index == 0


def test_necks_in_lists_and_models_in_models():
    neck = dict(type="FPN", in_channels=[1, 2, 3], start_level=1, end_level=1, num_outs=1)
    backbone = dict(type="ConvNeXt", out_indices=[0, 2, 3])
    model = ConfigDict(detector=dict(backbone=backbone, neck=[neck, dict(type="DyHead")]))
    drop_unread_maps(model)
    inner = model.detector
    assert inner.backbone.out_indices == (2, 3)
    assert (inner.neck[0].in_channels, inner.neck[0].end_level) == ([2, 3], 0)
    other = ConfigDict(backbone=dict(type="ResNet"), neck=dict(neck))
    assert drop_unread_maps(other) == []


def test_the_engine_says_it_once_and_records_it(tmp_path, capsys):
    cfg = stock(mmdet, DETECTORS[0])
    cfg.model.neck.in_channels = [8, 12, 16, 20]
    load._say.cache_clear()
    settled, _ = settle_config(cfg), settle_config(cfg)
    said = [line for line in capsys.readouterr().out.splitlines() if "out_indices" in line]
    assert len(said) == 1 and "(0, 1, 2, 3) -> (1, 2, 3): FPN starts at level 1" in said[0]
    changed = {change.key: change.reason for change in settled.final_changes()}
    assert changed["model.neck.start_level"] == "feature maps that nothing reads"
    settled.cfg.dump(tmp_path / "again.py")
    again = settle_config(tmp_path / "again.py")
    assert again.cfg.model == settled.cfg.model and "out_indices" not in capsys.readouterr().out


def test_checkpoints_of_more_and_of_fewer_maps():
    model = detector(DETECTORS[0])
    whole, narrow = both(model, "mmdet")
    _, differences = compare(whole, {"state_dict": narrow.state_dict()})
    assert "2 missing (backbone.norm0.weight, backbone.norm0.bias)" in differences
    # A training may start from either: an output norm is new where the file has none.
    check_backbone(whole, {"state_dict": narrow.state_dict()}, "x.pth")
    check_backbone(narrow, {"state_dict": whole.state_dict()}, "x.pth")


@pytest.fixture
def one_process():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_distributed_training_goes_on(one_process):
    model = detector(DETECTORS[0])
    data = dict(inputs=images(), data_samples=boxes(), mode="loss")
    whole = MMDistributedDataParallel(build(model, "mmdet"))
    total(whole(**data)).backward()
    with pytest.raises(RuntimeError, match="finished reduction in the prior iteration"):
        whole(**data)
    drop_unread_maps(model)
    narrow = MMDistributedDataParallel(build(model, "mmdet"))
    for _ in range(2):
        total(narrow(**data)).backward()


def test_mmengines_own_runner_trains_all_parameters(tmp_path):
    """Without this project's engine: the config is changed by its reader."""
    model = detector(DETECTORS[0])
    drop_unread_maps(model)
    image = images()[0].byte()
    data = [dict(inputs=image, data_samples=boxes()[0])] * 2
    runner = Runner(
        model=build(model, "mmdet"),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(data, batch_size=2, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        experiment_name="unread_maps",
    )
    got = set()
    for name, parameter in runner.model.named_parameters():
        parameter.register_hook(lambda _, name=name: got.add(name))
    runner.train()
    assert got == set(dict(runner.model.named_parameters()))


@pytest.mark.slow
def test_a_run_is_resumed_and_tested(data_root, tmp_path):
    """By the tools, bit for bit; checkpoints of an earlier version, with all norms, too."""
    model = detector(DETECTORS[0])
    model.bbox_head.num_classes = len(CLASSES)
    config = tmp_path / "retinanet.py"
    config.write_text(f"""
_base_ = ["{ROOT}/configs/detection/mask_rcnn_convnext_a_shapes.py"]
model = {dict(_delete_=True, **model.to_dict())}
train_cfg = dict(max_iters=4)
default_hooks = dict(checkpoint=dict(interval=2, by_epoch=False, max_keep_ckpts=-1))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root="mini/"))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root="mini/"))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root="mini/"))
""")
    flags = ("--data-root", data_root, "--work-dir")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    out = run("train", config, *flags, whole, "--seed", 3)
    assert out.count("FPN starts at level 1") == 1
    run("train", config, *flags, resumed, "--seed", 3, "--resume", whole / "iter_2.pth")
    assert_same_checkpoints(whole / "iter_4.pth", resumed / "iter_4.pth")
    content = read_checkpoint(whole / "iter_4.pth")
    assert "backbone.norm0.weight" not in content["state_dict"]
    norm = {"backbone.norm0.weight": torch.ones(8), "backbone.norm0.bias": torch.zeros(8)}
    content["state_dict"].update(norm)
    torch.save(content, tmp_path / "earlier.pth")
    earlier = read_checkpoint(whole / "iter_2.pth")
    earlier["state_dict"].update(norm)
    group = next(one for one in earlier["optimizer"]["param_groups"] if len(one["params"]) > 2)
    group["params"][1:1] = [900, 901]
    group["param_names"][1:1] = list(norm)
    torch.save(earlier, tmp_path / "half.pth")
    run("train", config, *flags, tmp_path / "old", "--seed", 3, "--resume", tmp_path / "half.pth")
    assert_same_checkpoints(whole / "iter_4.pth", tmp_path / "old/iter_4.pth")
    for checkpoint in (whole / "iter_4.pth", tmp_path / "earlier.pth"):
        out = run("test", config, checkpoint, *flags, tmp_path / checkpoint.stem)
        assert "bbox_mAP" in out.splitlines()[-1]
        assert out.count("FPN starts at level 1") == 1
