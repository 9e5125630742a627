"""A toy run with the real runner, loop and hooks, whose files are those of any run."""

from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch.utils.data import Dataset

from convnext_dense.engine import DenseRunner
from convnext_dense.runs.checkpointing import newest_whole


class Numbers(Dataset):
    """Eight numbers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((WIDTH,), float(index)) + 0.01 * torch.randn(WIDTH)


WIDTH = 32


class Toy(BaseModel):
    """A linear layer; ``ballast`` makes its checkpoints take time to write."""

    def __init__(self, ballast: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, WIDTH)
        self.register_buffer("ballast", torch.zeros(ballast))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (self.layer(inputs) / 8 - 1).square().mean()

    def train_step(self, data, optim_wrapper) -> dict:
        loss = self(data)
        optim_wrapper.update_params(loss)
        return {"loss": loss}

    def val_step(self, data) -> list:
        return list(data)


class Better(BaseMetric):
    """A score that gets better by each evaluation of a model."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return {"score": self.model_score()}

    model_score = staticmethod(lambda: 0.0)


def toy_runner(
    work_dir: Path, epochs: int, resume: bool = False, ballast: int = 0, hooks=()
) -> DenseRunner:
    """A run of two iterations an epoch: a checkpoint and an evaluation each, three are kept."""
    torch.manual_seed(0)
    data = dict(
        dataset=Numbers(),
        batch_size=4,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=True),
        collate_fn=dict(type="default_collate"),
    )
    model, metric = Toy(ballast), Better()
    metric.model_score = lambda: model.layer.bias.sum().item()  # rises while it is trained
    found = newest_whole(work_dir) if resume and work_dir.exists() else None
    checkpoint = dict(
        type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="score", rule="greater"
    )
    return DenseRunner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=data,
        val_dataloader=dict(data, sampler=dict(type="DefaultSampler", shuffle=False)),
        train_cfg=dict(type="ResumableEpochLoop", max_epochs=epochs),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=[metric],
        optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.01)),
        param_scheduler=dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
        default_hooks=dict(checkpoint=checkpoint, logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=[
            dict(type="RandomStateHook"),
            dict(type="LearningRateHook"),
            dict(type="MetricsFileHook"),
            *hooks,
        ],
        randomness=dict(seed=3),
        experiment_name=f"{work_dir.name}-{epochs}-{resume}-{len(list(work_dir.glob('*')))}",
        load_from=str(found) if found else None,
        resume=found is not None,
        cfg=dict(default_hooks=dict(checkpoint=dict(save_best="score"))),
    )
