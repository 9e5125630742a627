"""The connection of a run's processes."""

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed


def connect(cfg: Config) -> None:
    """Connects the processes that a launcher has started, where they are not connected yet.

    Without GPUs through gloo, where mmengine asks for a CUDA device.
    """
    if cfg.get("launcher", "none") == "none" or is_distributed():
        return
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **(cfg.get("env_cfg") or {}).get("dist_cfg", dict(backend="nccl")))
    else:
        torch.distributed.init_process_group("gloo")
