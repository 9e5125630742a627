"""The contract with mmengine, mmcv, mmdet and mmsegmentation: what this package relies on.

The first half is derived from the source, so it cannot become stale. The second half states
behaviours. `make test-upstream` runs it against other versions than those of the lock
(docs/dependencies.md).
"""

import ast
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint
from tests.contract.surface import lost_arguments, overrides_of, trouble, uses_in, uses_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "convnext_dense"
# Arguments that nobody gives to these overrides, method -> names.
NOT_TAKEN = {
    "mmengine.model.BaseModel.forward": ["data_samples"],  # a classifier takes labels
    "mmengine.runner.Runner.load_checkpoint": ["revise_keys"],
    "mmengine.optim.DefaultOptimWrapperConstructor.add_params": ["prefix", "is_dcn_module"],
}


def test_every_name_exists_and_every_call_binds():
    uses = list(uses_of(PACKAGE))
    assert len({use.path for use in uses}) > 150 and sum(use.named != () for use in uses) > 50
    assert [text for use in uses if (text := trouble(use))] == []


@pytest.mark.parametrize(
    "line, part",
    [
        ("from mmengine.config import Confog", "Confog"),
        ("import mmdet.nothing", "mmdet.nothing"),
        ("from mmengine import dist\ndist.get_rang()", "get_rang"),
        ("from mmengine.config import Config\nConfig.fromfile(1, wrong=2)", "wrong"),
        ("from mmcv.ops import nms\nnms(1, *two, wrong=3)", "wrong"),
        (
            "from mmengine.hooks import Hook\n"
            "class A(Hook):\n  def f(self):\n    super().before_run(1, 2)",
            "positional",
        ),
    ],
)
def test_a_broken_use_is_found(line, part):
    found = [text for use in uses_in(line, "a.py") if (text := trouble(use))]
    assert found and part in found[-1]


def test_overriding_methods_take_what_their_callers_give():
    overrides = list(overrides_of(PACKAGE))
    lost = {path: names for _, path, args in overrides if (names := lost_arguments(path, args))}
    assert len(overrides) > 80 and lost == NOT_TAKEN


def test_types_that_configs_name_are_registered():
    """In mmengine's registries or those of the toolboxes, unless they are this package's own."""
    import mmcv.ops
    import mmdet.utils
    import mmseg.utils
    import mmseg.visualization  # which register_all_modules leaves out

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmseg.utils.register_all_modules(init_default_scope=False)
    names = {
        keyword.value.value
        for file in (ROOT / "configs").rglob("*.py")
        for keyword in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(keyword, ast.keyword)
        and keyword.arg == "type"
        and isinstance(keyword.value, ast.Constant)
    }
    own = {
        node.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    theirs = {name.rpartition(".")[2] for name in names} - own
    missing = theirs - registered_names() - set(vars(mmcv.ops))  # RoIAlign and nms are found there
    assert len(theirs) > 40 and sorted(missing) == []


def registered_names() -> set[str]:
    """Of all registries of mmengine, mmdet and mmsegmentation."""
    import mmdet.registry
    import mmengine.registry
    import mmseg.registry

    registries = [
        value
        for module in (mmengine.registry, mmdet.registry, mmseg.registry)
        for value in vars(module).values()
        if isinstance(value, mmengine.registry.Registry)
    ]
    return {name for registry in registries for name in registry.module_dict}


def test_toolboxes_fall_back_to_the_root_registry():
    import mmdet.registry
    import mmseg.registry

    from convnext_dense.models import ConvNeXt

    assert (mmdet.registry.MODELS.scope, mmseg.registry.MODELS.scope) == ("mmdet", "mmseg")
    assert mmdet.registry.MODELS.get("ConvNeXt") is ConvNeXt
    assert mmseg.registry.MODELS.get("ConvNeXt") is ConvNeXt


def test_mmcv_loads_operators_by_the_name_of_its_extension():
    from mmcv.ops import nms, roi_align

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    kept, places = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert places.tolist() == [0, 2] and kept.shape == (2, 5)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = roi_align(image, torch.tensor([[0.0, 0, 0, 4, 4]]), 1, 1.0, 2, "avg", False)
    assert pooled.item() == 10  # of the pixels (1, 1), (1, 3), (3, 1) and (3, 3)


class Toy(BaseModel):
    """A mean with one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return dict(loss=self.weight.sum() * 2) if mode == "loss" else [self.weight]


def test_checkpoints_are_written_before_their_evaluation_and_hold_what_we_read(tmp_path):
    seen = []

    class Watch(Hook):
        def before_val(self, runner):
            seen.append((tmp_path / "epoch_1.pth").is_file())

    data = dict(
        dataset=[dict(inputs=torch.zeros(3)) for _ in range(2)],
        sampler=dict(type="DefaultSampler", shuffle=False),
        batch_size=1,
    )
    runner = Runner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=data,
        val_dataloader=data,
        val_evaluator=[],
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        param_scheduler=dict(type="ConstantLR", factor=1.0),
        custom_hooks=[Watch()],
        default_hooks=dict(logger=None),
        default_scope="mmengine",
        experiment_name=f"contract-{tmp_path.name}",
    )
    runner.train()
    assert seen == [True]
    content = read_checkpoint(str(tmp_path / "epoch_1.pth"))
    assert set(content) >= {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers"}
    assert content["meta"]["iter"] == 2 and content["state_dict"]["weight"].item() == pytest.approx(
        0.6
    )
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_1.pth")


def test_a_reader_is_found_by_the_files_suffix(tmp_path):
    import mmengine

    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")  # a pickle of None
    assert mmengine.load(tmp_path / "a.pkl") is None
    with safe_reading(), pytest.raises(UserError, match="could run code"):
        mmengine.load(tmp_path / "a.pkl")


def test_a_configs_text_is_the_config_again():
    cfg = Config(dict(model=dict(type="A", sizes=(1, 2), inner=[dict(a=None)]), note="it's"))
    again = Config.fromstring(cfg.pretty_text, ".py")
    assert again.to_dict() == cfg.to_dict()
    cfg.merge_from_dict({"model.sizes": [3], "model.new": dict(b=1)})
    assert cfg.model.sizes == [3] and cfg.model.new.b == 1


def test_batches_are_lists_and_the_detectors_preprocessor_pads_them():
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmengine.structures import InstanceData

    samples = []
    for height in (20, 40):
        sample = DetDataSample(metainfo=dict(img_shape=(height, 30)))
        sample.gt_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.tensor([[1.0, 2, 3, 4]])), labels=torch.zeros(1).long()
        )
        samples.append(
            dict(inputs=torch.full((3, height, 30), 5, dtype=torch.uint8), data_samples=sample)
        )
    preprocessor = DetDataPreprocessor(mean=[1] * 3, std=[2] * 3, pad_size_divisor=32)
    batch = preprocessor(pseudo_collate(samples), training=True)
    assert batch["inputs"].shape == (2, 3, 64, 32)
    assert batch["inputs"][0, 0, 0, 0] == 2 and batch["inputs"][0, 0, 63, 31] == 0
    first = batch["data_samples"][0]
    assert first.batch_input_shape == (64, 32) and first.gt_instances.bboxes.shape == (1, 4)
    assert isinstance(first.gt_instances.bboxes, torch.Tensor)


def test_boxes_are_coded_by_centre_and_logarithm():
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    priors, boxes = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[1.0, 2, 21, 42]])
    deltas = coder.encode(priors, boxes)
    expected = [6 / 10 / 0.1, 12 / 20 / 0.1, torch.tensor(2.0).log() / 0.2]
    assert deltas[0, :3].tolist() == pytest.approx([float(value) for value in expected])
    assert torch.allclose(coder.decode(priors, deltas), boxes, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmdet/mask_rcnn", "mmdet/cascade_rcnn", "mmseg/upernet"])
def test_whole_models_train_and_predict(name):
    from convnext_dense.benchmark.stock.check import check_alone
    from convnext_dense.benchmark.stock.families import families

    toolbox, _, family = name.partition("/")
    (found,) = [one for one in families(toolbox) if one.name == family]
    assert check_alone(found)["ours"] == "yes"
