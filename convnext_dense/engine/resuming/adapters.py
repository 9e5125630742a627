"""Adapters (LoRA) in checkpoints: merged weights for all who read them, the parts for a resume."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.engine.sharding import plain_model
from convnext_dense.errors import UserError
from convnext_dense.models.lora import adapter_state, load_adapter_state

SAVED = "adapters"  # in a checkpoint, beside the merged weights in "state_dict"


@HOOKS.register_module()
class AdapterStateHook(Hook):
    """Keeps adapters and the weights below them in the checkpoints that a run can resume from.

    ``state_dict`` has the sums of both, which do not give the parts back bit for bit.
    """

    priority = "HIGH"  # before the average of the weights is built

    def __init__(self) -> None:
        self._resumed: dict | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Takes the parts of a checkpoint that is resumed.

        Raises:
            UserError: When they are not this run's.
        """
        if not runner._resume or runner._train_loop is None:
            return
        saved, own = checkpoint.get(SAVED) or {}, adapter_state(plain_model(runner))
        if {n: v.shape for n, v in saved.items()} != {n: v.shape for n, v in own.items()}:
            rank = min((min(v.shape) for v in saved.values()), default=None)
            found = f"adapters of rank {rank}" if rank else "no adapters"
            advice = f"with --lora {rank} and its --freeze" if rank else "without --lora"
            raise UserError(
                f"The checkpoint has {found}, which are not this run's: resume {advice}, or start "
                "a new run from its weights with --load-from."
            )
        self._resumed = saved

    def before_train(self, runner) -> None:
        """Puts the resumed parts into the place of the merged weights."""
        if self._resumed is not None:
            load_adapter_state(plain_model(runner), self._resumed)
            self._resumed = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Saves the parts where the optimizer's state is saved too."""
        if "optimizer" in checkpoint:
            parts = adapter_state(plain_model(runner))
            checkpoint[SAVED] = {name: value.cpu() for name, value in parts.items()}
