"""``--head-lr-mult``: heads learn faster or more slowly than the backbone."""

from mmengine.config import Config

from convnext_dense.errors import UserError

CONSTRUCTOR = "LayerDecayOptimWrapperConstructor"


def multiply_head_rate(cfg: Config, factor: float) -> None:
    """Sets ``head_lr_mult`` of the constructor of the optimizer, which checks it; in place.

    Raises:
        UserError: For a config with another constructor, or a factor that is not above 0.
    """
    constructor = cfg.optim_wrapper.get("constructor")
    if constructor != CONSTRUCTOR:
        raise UserError(
            f"--head-lr-mult needs optim_wrapper.constructor={CONSTRUCTOR}, and this config has "
            f"{constructor or 'none'}: set the rates of parts in optim_wrapper.paramwise_cfg."
        )
    if not 0 < factor < float("inf"):
        raise UserError(
            f"--head-lr-mult must be a number above 0, got {factor:g}: 10 trains heads with ten "
            "times the backbone's learning rate."
        )
    cfg.optim_wrapper.paramwise_cfg.head_lr_mult = factor
