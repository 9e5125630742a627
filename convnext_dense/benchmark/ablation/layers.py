"""Steps of single layers, of the optimizer and of the moving average for the levers.

Steps return what they computed: results and, with a backward pass, gradients.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from convnext_dense.benchmark.modes import AMP, Options
from convnext_dense.engine.weight_averaging import WeightAverageHook
from convnext_dense.models import ConvNeXt
from convnext_dense.models.trunk import parse_arch

RATE = 1e-3  # of the optimizer
DECAY = 0.9  # of the moving average: with .9999 a step that did nothing would pass the check

Tensors = Callable[[], Sequence[Tensor]]  # a step
Case = tuple[nn.Module, tuple[Tensor, ...]]  # a layer with its inputs, the first like its output


def layer(
    backward: bool, draw: Callable, function: Callable, arch: str, options: Options
) -> Tensors:
    """``function(layer, *inputs)`` for a layer of each stage; returns results and gradients."""
    torch.manual_seed(0)
    cases: list[Case] = draw(arch, options)
    for module, _ in cases:
        for parameter in module.to(options.device).parameters():
            nn.init.normal_(parameter, std=0.3)
    dtype = AMP[options.amp]

    def step() -> list[Tensor]:
        found = []
        for module, inputs in cases:
            with torch.autocast(options.device, dtype, enabled=dtype is not None):
                y = function(module, *inputs)
            found.append(y)
            if backward:
                leaves = (*inputs, *module.parameters())
                found += torch.autograd.grad(y, leaves, inputs[0].detach().to(y.dtype))
        return found

    return step if backward else torch.inference_mode()(step)


def norms(arch: str, options: Options) -> list[Case]:
    """A LayerNorm of each stage with its map (N, C, H, W) in channels-last memory."""
    cases = []
    for c, pixels in _stages(arch, options):
        x = torch.randn(options.batch_size, *pixels, c, device=options.device) + 0.5
        cases.append((LayerNorm2d(c, eps=1e-6), (x.permute(0, 3, 1, 2).requires_grad_(),)))
    return cases


def norm_of_view(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """As the blocks do it."""
    y = F.layer_norm(x.permute(0, 2, 3, 1), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    return y.permute(0, 3, 1, 2)


def native_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """The operator below, which gives its statistics too."""
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
    for c, (height, width) in _stages(arch, options):
        project = nn.Linear(4 * c, c)
        project.gamma = nn.Parameter(torch.ones(c))
        rows = options.batch_size * height * width
        shapes = (rows, c), (rows, 4 * c)
        drawn = (torch.randn(s, device=options.device, requires_grad=True) for s in shapes)
        cases.append((project, tuple(drawn)))
    return cases


def gamma_multiplied(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """As the paper writes it."""
    return residual + project.gamma * project(x)


def gamma_with_residual(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """In one pass with the residual."""
    return torch.addcmul(residual, project(x), project.gamma)


def gamma_folded(project: nn.Linear, residual: Tensor, x: Tensor) -> Tensor:
    """In the weight, each time anew."""
    weight, bias = project.gamma[:, None] * project.weight, project.gamma * project.bias
    return residual + F.linear(x, weight, bias)


def optimizer(flags: dict[str, bool], arch: str, options: Options) -> Tensors:
    """A step of AdamW on all of the backbone's parameters; returns them."""
    parameters = _parameters(arch, options)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    adamw = torch.optim.AdamW(parameters, lr=RATE, **flags)

    def step() -> list[Tensor]:
        adamw.step()
        return parameters

    return step


def average(move: Callable, arch: str, options: Options) -> Tensors:
    """A step of the moving average of all of the backbone's parameters; returns it."""
    parameters = _parameters(arch, options)
    averages = [torch.randn_like(parameter) for parameter in parameters]

    def step() -> list[Tensor]:
        move(averages, parameters)
        return averages

    return step


@torch.no_grad()
def average_by_loop(averages: list[Tensor], parameters: list[Tensor]) -> None:
    """Parameter by parameter."""
    for mine, theirs in zip(averages, parameters, strict=True):
        mine.mul_(DECAY).add_(theirs, alpha=1 - DECAY)


def average_at_once(averages: list[Tensor], parameters: list[Tensor]) -> None:
    """As a training does it."""
    WeightAverageHook(DECAY).update(averages, parameters, None)


def _parameters(arch: str, options: Options) -> list[nn.Parameter]:
    torch.manual_seed(0)
    with torch.device(options.device):
        return list(ConvNeXt(arch, layer_scale_init_value=1.0).parameters())


def _stages(arch: str, options: Options) -> list[tuple[int, tuple[int, int]]]:
    """Channels, and height and width, of each stage's map."""
    height, width = (side // 4 for side in options.image_size)
    return [(c, (height >> i, width >> i)) for i, c in enumerate(parse_arch(arch)[1])]
