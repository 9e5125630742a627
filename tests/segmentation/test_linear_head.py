"""The linear head against what DINOv3's does: resize, put side by side, norm, one linear layer."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope

from convnext_dense.segmentation.heads.linear_head import LinearHead

MAPS = [(8, 16, 12), (16, 8, 6), (24, 4, 3)]  # channels, height, width


def build(indices: list[int], **options) -> LinearHead:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):  # its losses and norms
        head = LinearHead(
            [MAPS[i][0] for i in indices],
            in_index=indices,
            num_classes=5,
            norm_cfg=dict(type="BN", requires_grad=True),
            **options,
        )
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    head.norm.running_mean.normal_()
    return head


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("indices", [[2], [0, 1, 2]])
def test_scores(indices, training):
    head = build(indices, dropout_ratio=0.0).train(training)
    maps = [torch.randn(2, *shape) for shape in MAPS]
    chosen = [maps[i] for i in indices]
    size = chosen[0].shape[2:]
    side_by_side = torch.cat([F.interpolate(x, size, mode="bilinear") for x in chosen], dim=1)
    norm, layer = head.norm, head.conv_seg
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    rows = F.batch_norm(side_by_side, mean, var, norm.weight, norm.bias, training, eps=norm.eps)
    expected = rows.movedim(1, -1) @ layer.weight[:, :, 0, 0].T + layer.bias
    assert layer.weight.shape == (5, sum(MAPS[i][0] for i in indices), 1, 1)
    torch.testing.assert_close(head(tuple(maps)), expected.movedim(-1, 1), rtol=1e-4, atol=1e-4)


def test_dropout_takes_whole_channels():
    head = build([2], dropout_ratio=0.5)
    dropped = head.dropout(torch.ones(4, 24, 5, 5))
    assert set(dropped.flatten(2).std(dim=2).unique().tolist()) == {0.0}
    assert 0 < (dropped[:, :, 0, 0] == 0).float().mean() < 1


def test_a_single_map_is_a_list_of_one():
    with pytest.raises(TypeError):
        LinearHead(8, in_index=[0], num_classes=5, norm_cfg=dict(type="BN"))
