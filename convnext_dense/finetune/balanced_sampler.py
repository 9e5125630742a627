"""The sampler of ``--balance``."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from convnext_dense.errors import UserError
from convnext_dense.finetune.balance import draw_repeats, epoch_length, repeat_factors
from convnext_dense.tasks import load_task


@DATA_SAMPLERS.register_module()
class BalancedSampler(DefaultSampler):
    """Draws images of rare classes more often; see :mod:`convnext_dense.finetune.balance`.

    The order of an epoch follows from the run's seed and the epoch, so a resumed run goes on in it.
    Each repeat of an image has another augmentation (``engine/augmentation_seeds.py``).

    Args:
        dataset: The training data.
        task: Name of the task, which knows the classes of an image.
        threshold: Share of the images below which a class is rare.
        epoch_images: Images that an epoch draws, as the schedule counts them; it follows from the
            data, and stands in a config so that it can be read there.
        step_size: Images of one process in a step of the optimizer; an epoch has whole steps.
        seed: Seed of the run, equal in all processes.

    Raises:
        UserError: When the data gives another ``epoch_images``.
    """

    def __init__(
        self,
        dataset: Dataset,
        task: str,
        threshold: float,
        epoch_images: int | None = None,
        step_size: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)
        self.factors = repeat_factors(load_task(task).classes_of_images(dataset), threshold)
        length = epoch_length(self.factors)
        if epoch_images not in (None, length):
            raise UserError(
                f"train_dataloader.sampler.epoch_images is {epoch_images}, but this data gives "
                f"{length}: start from the recipe's config with --balance."
            )
        self.num_samples = -(-length // self.world_size)
        if self.num_samples > step_size:
            self.num_samples -= self.num_samples % step_size
        self.total_size = self.num_samples * self.world_size

    def __iter__(self) -> Iterator[int]:
        """The indices of this process, in this epoch."""
        return iter(self._epoch()[self.rank :: self.world_size].tolist())

    def earlier_copies(self) -> Counter:
        """How often processes of lower rank draw each image in this epoch.

        Without it two processes would show the same image in the same way.
        """
        order = self._epoch().reshape(-1, self.world_size)
        return Counter(order[:, : self.rank].ravel().tolist())

    def _epoch(self) -> np.ndarray:
        """The indices of all processes, one after the other (total_size,)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        repeats = draw_repeats(self.factors, rng)
        order = rng.permutation(np.repeat(np.arange(len(repeats)), repeats))
        return np.resize(order, self.total_size)  # the first ones again where some are missing
