"""What hooks share whose part of a checkpoint lies in all processes."""

from mmengine.hooks import Hook


class GatheringHook(Hook):
    """A hook whose part of a checkpoint lies in all processes, while the first one writes it."""

    def gather(self, runner) -> None:
        """Collects it; all processes call this before a checkpoint is written."""
        raise NotImplementedError
