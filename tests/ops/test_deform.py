"""Deformable convolutions against `grid_sample`, and against plain ones where offsets are whole."""

import pytest
import torch
import torch.nn.functional as F

ops = pytest.importorskip("mmcv.ops")

# Everything differs between y and x, so that no two of them can be confused.
GEOMETRIES = {
    "plain": dict(kernel_size=3, padding=1),
    "oblong": dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "grouped": dict(kernel_size=3, padding=1, groups=2),
    "deform_groups": dict(kernel_size=(2, 3), stride=2, padding=2, dilation=2, deform_groups=2),
    "both": dict(kernel_size=3, stride=(1, 2), groups=2, deform_groups=4),
}


def convolve_by_sampling(x, offset, mask, layer):
    """Sample the input once per kernel tap with `grid_sample`, then multiply with the weights."""
    batch, channels, height, width = x.shape
    kernel_h, kernel_w = layer.kernel_size
    out_h, out_w = offset.shape[-2:]
    taps, parts = kernel_h * kernel_w, layer.deform_groups
    offset = offset.view(batch, parts, taps, 2, out_h, out_w)
    mask = torch.ones_like(offset[:, :, :, 0]) if mask is None else mask.view_as(offset[:, :, :, 0])
    columns = []
    for tap in range(taps):
        ky, kx = divmod(tap, kernel_w)
        rows = torch.arange(out_h)[:, None] * layer.stride[0] - layer.padding[0]
        cols = torch.arange(out_w)[None, :] * layer.stride[1] - layer.padding[1]
        y = rows + ky * layer.dilation[0] + offset[:, :, tap, 0]
        x_at = cols + kx * layer.dilation[1] + offset[:, :, tap, 1]
        grid = torch.stack([2 * x_at / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        sampled = F.grid_sample(
            x.reshape(batch * parts, channels // parts, height, width),
            grid.flatten(0, 1),
            padding_mode="zeros",
            align_corners=True,
        ).view(batch, parts, channels // parts, out_h, out_w)
        columns.append((sampled * mask[:, :, tap, None]).flatten(1, 2))
    columns = torch.stack(columns, dim=2).view(batch, layer.groups, -1, taps, out_h, out_w)
    weight = layer.weight.view(layer.groups, -1, columns.shape[2], taps)
    return torch.einsum("bgckij,gock->bgoij", columns, weight).flatten(1, 2)


def build(name, modulated, random):
    """A layer in float64, an input, offsets of about two pixels and a mask."""
    kind = ops.ModulatedDeformConv2d if modulated else ops.DeformConv2d
    layer = kind(4, 6, **GEOMETRIES[name]).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    x = torch.randn(2, 4, 9, 11, generator=random, dtype=torch.float64)
    size = F.conv2d(
        x[:, :1],
        layer.weight[:1, :1],
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
    ).shape[2:]
    taps = layer.deform_groups * layer.kernel_size[0] * layer.kernel_size[1]
    offset = torch.randn(2, taps * 2, *size, generator=random, dtype=torch.float64) * 2
    mask = torch.rand(2, taps, *size, generator=random, dtype=torch.float64)
    return layer, [x, offset, mask] if modulated else [x, offset]


def gradients(output, weight, layer, inputs):
    targets = [*inputs, *layer.parameters()]
    return torch.autograd.grad((output * weight.to(output)).sum(), targets)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_equals_sampling(random, device, name, modulated):
    layer, inputs = build(name, modulated, random)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    mask = inputs[2] if modulated else None
    expected = convolve_by_sampling(inputs[0], inputs[1], mask, layer)
    if modulated:
        expected = expected + layer.bias[:, None, None]
    weight = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    expected_gradients = gradients(expected, weight, layer, inputs)

    layer = layer.to(device)
    inputs = [tensor.detach().to(device).requires_grad_() for tensor in inputs]
    output = layer(*inputs)
    torch.testing.assert_close(output.cpu(), expected)
    found = gradients(output, weight, layer, inputs)
    torch.testing.assert_close([gradient.cpu() for gradient in found], list(expected_gradients))


@pytest.mark.parametrize("modulated", [False, True])
def test_whole_offsets_shift_a_convolution(random, modulated):
    layer, inputs = build("plain", modulated, random)
    x = inputs[0]
    inputs[1] = torch.tensor([2.0, -1.0], dtype=torch.float64).repeat(9)[None, :, None, None]
    inputs[1] = inputs[1].expand(2, 18, 9, 11).contiguous()
    inputs[2:] = [torch.full_like(mask, 0.5) for mask in inputs[2:]]
    # Down by 2 and left by 1: pad wide, convolve, and cut out the shifted window.
    wide = F.conv2d(F.pad(x, (4, 4, 4, 4)), layer.weight)
    expected = wide[:, :, 3 + 2 : 3 + 2 + 9, 3 - 1 : 3 - 1 + 11]
    if modulated:
        expected = expected * 0.5 + layer.bias[:, None, None]
    torch.testing.assert_close(layer(*inputs), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradcheck(random, modulated):
    layer, inputs = build("both", modulated, random)
    inputs = [tensor[:1].clone().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(layer, inputs, fast_mode=True)


def test_without_bias(random):
    layer = ops.ModulatedDeformConv2d(4, 6, 3, padding=1, bias=False)
    x = torch.randn(2, 4, 9, 11, generator=random, requires_grad=True)
    output = layer(x, torch.zeros(2, 18, 9, 11), torch.ones(2, 9, 9, 11))
    torch.testing.assert_close(output, F.conv2d(x, layer.weight, padding=1), rtol=1e-4, atol=1e-5)
    output.sum().backward()
    assert layer.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("modulated", [False, True])
def test_half_precision_rounds_the_result_once(random, device, dtype, modulated):
    layer, inputs = build("both", modulated, random)
    layer = layer.to(device, dtype)
    inputs = [tensor.to(device, dtype).requires_grad_() for tensor in inputs]
    output = layer(*inputs)
    weight = torch.randn(output.shape, generator=random).to(dtype)
    found = gradients(output, weight, layer, inputs)

    layer = layer.float()
    inputs = [tensor.detach().float().requires_grad_() for tensor in inputs]
    expected = layer(*inputs)
    assert output.dtype == dtype
    torch.testing.assert_close(output, expected.to(dtype))
    for gradient, wide in zip(found, gradients(expected, weight, layer, inputs), strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient, wide.to(dtype))


def test_layers_train_under_autocast(random, device):
    x = torch.randn(2, 4, 9, 11, generator=random).to(device)
    for kind in (ops.DeformConv2dPack, ops.ModulatedDeformConv2dPack):
        layer = kind(4, 6, 3, padding=1).to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            output = layer(x)
        output.float().square().mean().backward()
        assert output.dtype == torch.bfloat16
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def as_mmcv_reads(maps, size):
    """The values that mmcv's kernel reads: it indexes with the output's size, not the maps'."""
    channel, row, column = torch.meshgrid(*map(torch.arange, (maps.shape[1], *size)), indexing="ij")
    index = (channel * size[0] + row) * size[1] + column
    return torch.stack([image_maps.reshape(-1)[index] for image_maps in maps])


# "both" has several deformable groups, with their offsets one after the other.
@pytest.mark.parametrize("name", ["oblong", "both"])
@pytest.mark.parametrize("larger", [(0, 3), (2, 0), (5, 9)])
def test_larger_offsets_are_read_as_mmcv_reads_them(random, name, larger):
    layer, (x, offset, mask) = build(name, True, random)
    size, offsets = offset.shape[2:], offset.shape[1]
    sides = [side + more for side, more in zip(size, larger, strict=True)]
    wide = torch.randn(2, 3 * mask.shape[1], *sides, generator=random, dtype=torch.float64) * 2
    wide.requires_grad_()

    def parts():  # of one tensor, as in DyHead
        return wide[:, :offsets], wide[:, offsets:].sigmoid()

    found = layer(x, *parts())
    read = [as_mmcv_reads(maps, size) for maps in parts()]
    expected = convolve_by_sampling(x, *read, layer) + layer.bias[:, None, None]
    weight = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients(found, weight, layer, [wide]), gradients(expected, weight, layer, [wide])
    )


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_that_do_not_fit_are_refused(random, modulated):
    layer, (x, *maps) = build("plain", modulated, random)
    wrong = {
        "a column short": [one[..., 1:] for one in maps],
        "a column short, with enough values": [F.pad(one[..., 1:], (0, 0, 0, 9)) for one in maps],
        "a channel short": [one[:, 1:] for one in maps],
        "a channel short, though larger": [F.pad(one[:, 1:], (0, 5, 0, 5)) for one in maps],
    }
    if not modulated:  # as in mmcv
        wrong["larger"] = [F.pad(one, (0, 5, 0, 5)) for one in maps]
    for wrong_maps in wrong.values():
        with pytest.raises(RuntimeError, match="offset"):
            layer(x, *wrong_maps)


def test_dyhead_of_pyramids_with_odd_sides(random, monkeypatch):
    """DyHead uses the offsets of a level also for the smaller level above."""
    necks = pytest.importorskip("mmdet.models.necks")
    torch.manual_seed(0)
    neck = necks.DyHead(16, 16, num_blocks=1).double()
    with torch.no_grad():  # no zeros in offsets, nor in means at the kink of a ReLU
        for parameter in neck.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.2)
    sides = [(21, 27), (11, 14), (6, 7)]
    pyramid = [
        torch.randn(2, 16, *side, generator=random, dtype=torch.float64).requires_grad_()
        for side in sides
    ]
    weights = [torch.randn(one.shape, generator=random, dtype=torch.float64) for one in pyramid]

    def run():
        outputs = neck(pyramid)
        assert [one.shape[2:] for one in outputs] == [torch.Size(side) for side in sides]
        total = sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True))
        return [*outputs, *torch.autograd.grad(total, [*pyramid, *neck.parameters()])]

    found, sizes = run(), []

    def by_sampling(self, x, offset, mask):
        size = [(side - 1) // self.stride[0] + 1 for side in x.shape[2:]]
        sizes.append((*offset.shape[2:], *size))
        read = [as_mmcv_reads(maps, size) for maps in (offset, mask)]
        return convolve_by_sampling(x, *read, self).contiguous()

    monkeypatch.setattr(ops.ModulatedDeformConv2d, "forward", by_sampling)
    torch.testing.assert_close(found, run())
    assert (21, 27, 11, 14) in sizes and (11, 14, 6, 7) in sizes
