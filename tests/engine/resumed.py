"""A tiny run from a config, resumed with other settings; it remembers the rates of its steps."""

from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch.utils.data import Dataset

from convnext_dense.engine.runner import build_runner

COSINE = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=4),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=0, end=40),
]
IMAGES, BATCH, EPOCHS = 8, 2, 10


@DATASETS.register_module()
class ResumedNumbers(Dataset):
    """Eight numbers."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([float(index)])


@MODELS.register_module()
class ResumedLine(BaseModel):
    """Two groups of parameters; remembers rate and decay of each step, and its images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.steps: list[dict] = []
        self.images: list[list[int]] = []

    def forward(self, inputs, mode: str) -> dict:
        batch = torch.stack(list(inputs))
        self.images.append(batch.flatten().int().tolist())
        return {"loss": (self.layer(batch / 8) - 1).square().mean()}

    def train_step(self, data, optim_wrapper) -> dict:
        groups = optim_wrapper.optimizer.param_groups
        self.steps.append({key: groups[0][key] for key in ("lr", "weight_decay", "betas")
                           if key in groups[0]})  # fmt: skip
        with optim_wrapper.optim_context(self):
            loss = self(data, "loss")["loss"]
        optim_wrapper.update_params(loss)
        return {"loss": loss}

    @property
    def rates(self) -> list[float]:
        """The learning rate of each step."""
        return [step["lr"] for step in self.steps]


def config(work_dir: Path, changes: dict | None = None) -> Config:
    """Ten epochs of four iterations, with a checkpoint at the end."""
    cfg = Config(
        dict(
            model=dict(type="ResumedLine"),
            work_dir=str(work_dir),
            experiment_name=f"{work_dir}-{len(list(work_dir.glob('*')))}",
            train_cfg=dict(type="ResumableEpochLoop", max_epochs=EPOCHS),
            train_dataloader=dict(
                dataset=dict(type="ResumedNumbers"),
                batch_size=BATCH,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=True),
                collate_fn=dict(type="default_collate"),
            ),
            optim_wrapper=dict(
                type="OptimWrapper",
                optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.05),
                paramwise_cfg=dict(bias_lr_mult=0.1),
            ),
            param_scheduler=COSINE,
            default_hooks=dict(
                checkpoint=dict(type="CheckpointHook", interval=100, by_epoch=False),
            ),
            custom_hooks=[dict(type="RandomStateHook"), dict(type="PartialStepHook")],
            randomness=dict(seed=3),
            default_scope="mmengine",
        )
    )
    cfg.merge_from_dict(deepcopy(changes or {}))
    return cfg


def train(work_dir: Path, changes: dict | None = None, resume: int | None = None):
    """Trains, from the checkpoint of an iteration on where one is given; the runner."""
    work_dir.mkdir(parents=True, exist_ok=True)
    cfg = config(work_dir, changes)
    if resume is not None:
        cfg.update(resume=True, load_from=str(work_dir / f"iter_{resume}.pth"))
    torch.manual_seed(0)
    runner = build_runner(cfg)
    runner.train()
    return runner
