"""A training ends when its score has not become better for some evaluations.

mmengine's EarlyStoppingHook counts an equal score as a better one, and forgets its count where a
run is resumed.
"""

import math

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.errors import UserError

SAVED = "early_stop"  # in the message hub, which is in every checkpoint


@HOOKS.register_module()
class EarlyStopHook(Hook):
    """Ends a training after ``patience`` evaluations without a better score.

    Its count is in every checkpoint. An evaluation that a resumed run makes again counts once.

    Args:
        monitor: Full name of the figure, such as ``coco/bbox_mAP``.
        patience: Evaluations.
        rule: ``greater`` or ``less``: which values are better.
    """

    priority = "NORMAL"  # before the checkpoint that is written after an evaluation

    def __init__(self, monitor: str, patience: int, rule: str = "greater") -> None:
        self.monitor, self.patience, self.sign = monitor, patience, -1 if rule == "less" else 1

    def before_train(self, runner) -> None:
        """Ends at once what has ended before, unless there is more patience now."""
        self._decide(runner, runner.message_hub.runtime_info.get(SAVED))

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Counts an evaluation.

        Raises:
            UserError: When it lacks the figure.
        """
        if self.monitor not in (metrics or {}):
            raise UserError(
                f"There is no figure {self.monitor} to follow (--early-stop): the evaluation has "
                f"{', '.join(metrics or {}) or 'none'}."
            )
        state = runner.message_hub.runtime_info.get(SAVED)
        if state is None or state["iteration"] < runner.iter:
            state = self._count(state, float(metrics[self.monitor]), runner.iter)
            runner.message_hub.update_info(SAVED, state)
        self._decide(runner, state)

    def _count(self, state: dict | None, score: float, iteration: int) -> dict:
        best = -math.inf if state is None else state["best"] * self.sign
        if score * self.sign > best:
            return dict(best=score, best_at=iteration, waited=0, iteration=iteration)
        if state is None:  # the first score is no number
            return dict(
                best=-math.inf * self.sign, best_at=iteration, waited=1, iteration=iteration
            )
        return {**state, "waited": state["waited"] + 1, "iteration": iteration}

    def _decide(self, runner, state: dict | None) -> None:
        if state is None or state["waited"] < self.patience:
            return
        if not runner.train_loop.stop_training:
            evaluations = f"evaluation{'s' * (state['waited'] > 1)}"
            runner.logger.info(
                f"Early stop at iteration {state['iteration']:,}: {self.monitor} has not been "
                f"better than {state['best']:.4f} (iteration {state['best_at']:,}) for "
                f"{state['waited']} {evaluations}."
            )
        runner.train_loop.stop_training = True
