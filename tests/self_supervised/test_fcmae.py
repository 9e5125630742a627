"""The masked autoencoder: its loss, its gradients, its decoder."""

import numpy as np
import pytest
import torch

from convnext_dense.errors import UserError
from convnext_dense.self_supervised import MaskedAutoencoder
from convnext_dense.self_supervised.fcmae import masked_patch_loss, split_patches
from convnext_dense.self_supervised.masking import draw_visible, masked_stage_maps, resize_mask
from tests.self_supervised.conftest import ARCH, BLOCKS, PREPROCESSOR, V2, randomise


def new_model(blocks: dict = V2, **options) -> MaskedAutoencoder:
    backbone = dict(type="ConvNeXtTrunk", arch=ARCH, **blocks)
    torch.manual_seed(0)
    return MaskedAutoencoder(backbone, PREPROCESSOR, decoder_dim=8, **options)


def test_the_loss_is_that_of_masked_patches_alone():
    torch.manual_seed(1)
    predicted, images = torch.randn(2, 2, 3, 64, 96)
    visible = draw_visible(2, (4, 6), 0.6, "cpu")
    loss = masked_patch_loss(predicted, images, visible)
    errors = []
    for n, image in enumerate(images.numpy()):
        for row in range(4):
            for column in range(6):
                if not visible[n, 0, row, column]:
                    place = np.s_[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                    pixels = image[place].astype(np.float64)
                    pixels = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
                    errors.append(((predicted[n].numpy()[place] - pixels) ** 2).mean())
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-5)
    shown = resize_mask(visible, images.shape[-2:])
    changed = torch.where(shown, torch.randn_like(images), predicted)
    assert torch.equal(masked_patch_loss(changed, images, visible), loss)
    changed = torch.where(shown, predicted, torch.randn_like(images))
    assert not torch.equal(masked_patch_loss(changed, images, visible), loss)


def test_patches_are_in_the_masks_order():
    images = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12).float()
    patches = split_patches(images, (2, 3))
    assert patches.shape == (2, 6, 48)
    expected = images[1, :, 4:8, 8:12].permute(1, 2, 0).flatten()
    assert torch.equal(patches[1, 5], expected)


@BLOCKS
@pytest.mark.parametrize("patch", [16, 32])
def test_every_parameter_gets_a_gradient(blocks, patch):
    model = randomise(new_model(blocks, patch_size=patch))
    model(torch.randn(4, 3, 96, 96), mode="loss")["loss"].backward()
    lacking = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # With patches of 16, a position of the last stage with nothing visible is rare.
    assert lacking in ([], ["mask_token"]) if patch == 16 else lacking == []


def test_the_prediction_depends_on_visible_pixels_alone():
    model = randomise(new_model())
    images = torch.randn(2, 3, 64, 64)
    visible = draw_visible(2, (2, 2), 0.6, "cpu")
    other = torch.where(resize_mask(visible, (64, 64)), images, torch.randn_like(images))
    found = model.reconstruct(images, visible)
    assert found.shape == images.shape
    assert torch.equal(model.reconstruct(other, visible), found)
    assert not torch.equal(model.reconstruct(images.flip(0), visible), found)


def test_each_position_predicts_its_own_pixels():
    model = randomise(new_model(decoder_depth=0))
    images = torch.randn(1, 3, 64, 96)
    visible = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    visible[..., 1, 2] = False
    with torch.no_grad():
        *_, features = masked_stage_maps(model.backbone, images, visible)
        found = model.reconstruct(images, visible)
        for row, column in ((0, 1), (1, 0), (1, 2)):
            x = features[0, :, row, column]
            x = model.decoder.embed.weight[..., 0, 0] @ x + model.decoder.embed.bias
            if not visible[0, 0, row, column]:
                x = model.mask_token.flatten()
            x = model.decoder.predict.weight[..., 0, 0] @ x + model.decoder.predict.bias
            block = found[0, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            torch.testing.assert_close(block, x.view(3, 32, 32))


def test_one_image_is_learnt():
    model = new_model(patch_size=16)
    pattern = torch.sin(torch.arange(64.0) / 3)
    image = (pattern[:, None] * pattern).expand(2, 3, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = model(image, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9 and np.mean(losses[-5:]) < 0.5


def test_whole_images_have_feature_maps():
    assert new_model()(torch.randn(1, 3, 64, 96)).shape == (1, 12, 2, 3)


def test_a_wrong_share_is_refused():
    with pytest.raises(UserError, match="mask_ratio must be between 0 and 1, got 1.2"):
        new_model(mask_ratio=1.2)
