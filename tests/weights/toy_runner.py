"""A small training with mmengine whose checkpoints have everything that real ones have."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.bn = nn.BatchNorm1d(1)

    def forward(self, x, mode="tensor"):
        y = self.bn(self.linear(x))
        return {"loss": (y**2).mean()} if mode == "loss" else [y]


class ToyData(torch.utils.data.Dataset):
    metainfo = dict(
        classes=("a", "b"),
        palette=[(1, 2, 3)],
        weights=np.arange(3, dtype=np.float32),
        mean=np.float32(3),
        flag=np.bool_(True),
        names=np.array(["ab", "c"]),
        settings=ConfigDict(a=1, b=dict(c=[2])),
    )

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.full((2,), float(index)))


class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1.0)

    def compute_metrics(self, results):
        return dict(acc=np.float64(0.5), count=np.int64(3))


def toy_runner(work_dir: Path, epochs: int = 2, **options) -> Runner:
    """AdamW, six schedulers, EMA, the best checkpoint by a metric."""
    torch.manual_seed(1)  # the model is built before the runner sets its seed
    loader = dict(
        dataset=ToyData(),
        sampler=dict(type="DefaultSampler", shuffle=True),
        batch_size=2,
        collate_fn=dict(type="default_collate"),
    )
    checkpoints = dict(type="CheckpointHook", interval=1, save_best="acc", rule="greater")
    return Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=[ToyMetric()],
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01), clip_grad=dict(max_norm=1.0)),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=4),
            dict(type="MultiStepLR", milestones=[1, 2]),
            dict(type="CosineAnnealingLR", T_max=3),
            dict(type="PolyLR", eta_min=0.0, power=1.0, begin=0, end=3),
            dict(type="OneCycleLR", eta_max=0.1, total_steps=12, by_epoch=False),
            dict(type="ReduceOnPlateauLR", monitor="acc"),
        ],
        default_hooks=dict(checkpoint=checkpoints),
        custom_hooks=[dict(type="EMAHook")],
        randomness=dict(seed=1),
        experiment_name=f"toy_{work_dir.name}_{epochs}",
        **options,
    )
