"""A sampler of anchors and RoIs without chance, which a test's config imports."""

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class FirstSampler(RandomSampler):
    """Takes the first candidates instead of random ones."""

    def random_choice(self, gallery: torch.Tensor, num: int) -> torch.Tensor:
        """The first ``num``."""
        return gallery[:num]
