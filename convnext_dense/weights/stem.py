"""The first convolution of a file, fitted to a model for images of other channels."""

from collections.abc import Mapping

from torch import Tensor

STEM = "downsample_layers.0.0.weight"


def fit_stem(
    state: dict[str, Tensor], model: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Gives a file's stem the channels of the model's, as timm does (``adapt_input_conv``).

    For one channel the filters are summed: a grey image gives what its three equal channels gave.
    For others, those of a grey or RGB file are repeated in their order and scaled by the ratio of
    the channels, so that outputs keep their size. Files of other channels have no such reading.

    Args:
        state: A file's parameters by official name.
        model: The model's.

    Returns:
        The parameters, and what was done in a phrase; "" where nothing was.
    """
    weight, own = state.get(STEM), model.get(STEM)
    if weight is None or own is None or weight.ndim != own.ndim or weight.shape == own.shape:
        return state, ""
    given, wanted = weight.shape[1], own.shape[1]
    if weight.shape[2:] != own.shape[2:] or given == wanted:
        return state, ""
    if wanted == 1:
        fitted, how = weight.float().sum(dim=1, keepdim=True), "summed"
    elif given in (1, 3):
        repeated = weight.float().repeat(1, -(-wanted // given), 1, 1)[:, :wanted]
        fitted, how = repeated * (given / wanted), f"repeated, times {given}/{wanted}"
    else:
        return state, ""
    phrase = f"stem fitted from {given} to {wanted} input channels ({how})"
    return {**state, STEM: fitted.to(weight.dtype)}, phrase
