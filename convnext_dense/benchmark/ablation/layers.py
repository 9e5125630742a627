"""Steps of single layers, of the optimizer and of the moving average.

Steps return their results and, with a backward pass, gradients.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from convnext_dense.benchmark.modes import AMP, Options
from convnext_dense.engine.weight_averaging import move_averages
from convnext_dense.models import ConvNeXt
from convnext_dense.models.trunk import parse_arch

LEARNING_RATE = 1e-3
EMA_DECAY = 0.9  # with 0.9999 a step without any effect would pass the check

TensorStep = Callable[[], Sequence[Tensor]]
# A layer with its inputs, the first of which is like its output.
Case = tuple[nn.Module, tuple[Tensor, ...]]


def layer(
    function: Callable, arch: str, options: Options, *, draw: Callable, backward: bool
) -> TensorStep:
    """``function(layer, *inputs)`` for a layer of each stage; returns results and gradients.

    Args:
        function: Computes the layer's output.
        arch: Name of a variant.
        options: The measurement's options.
        draw: Makes a :data:`Case` for each stage.
        backward: With a backward pass.
    """
    torch.manual_seed(0)
    cases: list[Case] = draw(arch, options)
    for module, _ in cases:
        for parameter in module.to(options.device).parameters():
            nn.init.normal_(parameter, std=0.3)
    dtype = AMP[options.amp]

    def step() -> list[Tensor]:
        results = []
        for module, inputs in cases:
            with torch.autocast(options.device, dtype, enabled=dtype is not None):
                y = function(module, *inputs)
            results.append(y)
            if backward:
                leaves = (*inputs, *module.parameters())
                results += torch.autograd.grad(y, leaves, inputs[0].detach().to(y.dtype))
        return results

    return step if backward else torch.inference_mode()(step)


def norms(arch: str, options: Options) -> list[Case]:
    """A LayerNorm of each stage with a feature map (N, C, H, W) in channels-last memory."""
    cases = []
    for c, pixels in _stage_shapes(arch, options):
        x = torch.randn(options.batch_size, *pixels, c, device=options.device) + 0.5
        cases.append((LayerNorm2d(c, eps=1e-6), (x.permute(0, 3, 1, 2).requires_grad_(),)))
    return cases


def norm_of_view(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """As in the blocks."""
    y = F.layer_norm(x.permute(0, 2, 3, 1), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    return y.permute(0, 3, 1, 2)


def native_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """torch's inner operator, which returns the statistics too."""
    x, shape = x.permute(0, 2, 3, 1), norm.weight.shape
    return torch.native_layer_norm(x, shape, norm.weight, norm.bias, norm.eps)[0].permute(
        0, 3, 1, 2
    )


def norm_by_hand(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """As the official release writes it for (N, C, H, W)."""
    centred = x - x.mean(1, keepdim=True)
    y = centred * (centred.square().mean(1, keepdim=True) + norm.eps).rsqrt()
    return y * norm.weight[:, None, None] + norm.bias[:, None, None]


def projections(arch: str, options: Options) -> list[Case]:
    """The MLP's second layer of each stage with gamma, the residual (M, C), and its input."""
    cases = []
    for c, (height, width) in _stage_shapes(arch, options):
        project = nn.Linear(4 * c, c)
        project.gamma = nn.Parameter(torch.ones(c))
        rows = options.batch_size * height * width
        shapes = (rows, c), (rows, 4 * c)
        drawn = (torch.randn(s, device=options.device, requires_grad=True) for s in shapes)
        cases.append((project, tuple(drawn)))
    return cases


def gamma_multiplied(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """As in the paper."""
    return residual + project.gamma * project(x)


def gamma_with_residual(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """In one pass with the residual."""
    return torch.addcmul(residual, project(x), project.gamma)


def gamma_folded(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """Folded into the weight in each step."""
    weight, bias = project.gamma[:, None] * project.weight, project.gamma * project.bias
    return residual + F.linear(x, weight, bias)


def optimizer(flags: dict[str, bool], arch: str, options: Options) -> TensorStep:
    """A step of AdamW on all of the backbone's parameters; returns them."""
    parameters = _parameters(arch, options)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    adamw = torch.optim.AdamW(parameters, lr=LEARNING_RATE, **flags)

    def step() -> list[Tensor]:
        adamw.step()
        return parameters

    return step


def average(update: Callable, arch: str, options: Options) -> TensorStep:
    """A step of the moving average of all of the backbone's parameters; returns it."""
    parameters = _parameters(arch, options)
    averages = [torch.randn_like(parameter) for parameter in parameters]

    def step() -> list[Tensor]:
        update(averages, parameters)
        return averages

    return step


@torch.no_grad()
def average_by_loop(averages: list[Tensor], parameters: list[Tensor]) -> None:
    """Parameter by parameter."""
    for mean, parameter in zip(averages, parameters, strict=True):
        mean.mul_(EMA_DECAY).add_(parameter, alpha=1 - EMA_DECAY)


def average_at_once(averages: list[Tensor], parameters: list[Tensor]) -> None:
    """As in a training."""
    move_averages(averages, parameters, EMA_DECAY)


def _parameters(arch: str, options: Options) -> list[nn.Parameter]:
    torch.manual_seed(0)
    with torch.device(options.device):
        return list(ConvNeXt(arch, layer_scale_init_value=1.0).parameters())


def _stage_shapes(arch: str, options: Options) -> list[tuple[int, tuple[int, int]]]:
    """Channels, and height and width, of each stage's feature map."""
    height, width = (side // 4 for side in options.image_size)
    return [(c, (height >> i, width >> i)) for i, c in enumerate(parse_arch(arch)[1])]
