"""A config fitted to the bands of its images: what it gets, what it says, what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from convnext_dense.browse.samples import build_dataset, build_preprocessor, take
from convnext_dense.cli.flags.train import add_flags
from convnext_dense.cli.shared.parser import Parser
from convnext_dense.config.config_tree import datasets
from convnext_dense.data.bands.settings import Start, reading_of, start_of
from convnext_dense.data.fit import settle_with_data
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.errors import UserError
from tests.datasets.test_bands_runs import SEGMENTOR, detection, segmentation
from tests.miniature import SHAPES
from tests.tiff import write_tiff

ADE = SEGMENTOR.parent / "upernet_convnext_t_512_160k.py"


def fit(config: Path, flags: list, **options):
    parser = Parser()
    add_flags(parser)
    args = parser.parse_args([str(config), *map(str, flags)])
    splits = ("train", "val")
    own = own_data_flags.from_args(args, splits)
    return settle_with_data(config, splits=splits, own_data=own, **options)


def reasons(settled) -> str:
    return "; ".join(dict.fromkeys(change.reason for change in settled.changes))


def test_eight_bit_colours_leave_a_config_as_it_is(birds):
    files = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
    cfg = fit(SHAPES, [*files, "--images", birds / "images"]).cfg
    assert "in_channels" not in cfg.model.backbone and reading_of(cfg).is_plain
    assert cfg.model.data_preprocessor.type == "DetDataPreprocessor"
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    "bands", [1, 4, *(pytest.param(bands, marks=pytest.mark.slow) for bands in (2, 8))]
)
def test_a_detector_gets_the_channels_of_its_images(bands, birds):
    config, flags, _ = detection(birds, bands, "uint16")
    settled = fit(config, flags)
    cfg = settled.cfg
    assert cfg.model.backbone.in_channels == bands
    assert f"images of {bands} bands of uint16, 0 to 4095 (measured)" in reasons(settled)
    assert len(cfg.model.data_preprocessor.mean) == bands
    assert "convnext_dense.detection.any_channels" in cfg.custom_imports.imports
    with DefaultScope.overwrite_default_scope("mmdet"):
        (data,) = datasets(cfg, "train")
        dataset, preprocessor = build_dataset(data), build_preprocessor(cfg)
        sample = take(dataset, 0, preprocessor, seed=0, training=True)
        backbone = MODELS.build({**cfg.model.backbone, "init_cfg": None})
    assert sample.image.shape[2] == 3 and sample.image.dtype == np.uint8
    assert sample.image.std() > 10  # an image, not a uniform field
    assert len(backbone(torch.zeros(1, bands, 64, 64))) == 4


def test_the_preprocessor_normalises_every_channel():
    with DefaultScope.overwrite_default_scope("mmdet"):
        from convnext_dense.detection.any_channels import AnyChannelsPreprocessor

        mean, std = [1.0, 2, 3, 4, 5], [1.0, 2, 4, 8, 16]
        preprocessor = AnyChannelsPreprocessor(mean, std, pad_size_divisor=32)
        image = torch.rand(5, 30, 32)
        inputs = preprocessor(dict(inputs=[image]))["inputs"][0]
    expected = (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(inputs[:, :30], expected) and not inputs[:, 30:].any()


def test_colour_steps_are_left_out_and_named(streets, capsys):
    _, flags, _ = segmentation(streets, 4, "float32")
    settled = fit(ADE, flags)
    steps = [step.type for step in settled.cfg.train_dataloader.dataset.pipeline]
    assert "PhotoMetricDistortion" not in steps and "RandomCrop" in steps
    assert "PhotoMetricDistortion is left out" in capsys.readouterr().out
    assert settled.cfg.model.data_preprocessor.bgr_to_rgb is False
    assert len(settled.cfg.model.data_preprocessor.std) == 4


class TestRange:
    def test_the_flag_counts_most(self, streets):
        config, flags, _ = segmentation(streets, 1, "uint16")
        settled = fit(config, flags, value_range=(100.0, 3000.0))
        assert reading_of(settled.cfg).value_range == (100, 3000)
        assert "100 to 3000 (--value-range)" in reasons(settled)

    def test_what_files_declare_counts_more_than_their_values(self, streets):
        config, flags, _ = segmentation(streets, 1, "uint16")
        for path in (streets / "images").rglob("*.tif"):
            image = np.asarray(Image.open(path)) // 16
            write_tiff(path, image[..., None].astype(np.uint16), largest=1000)
        settled = fit(config, flags)
        assert reading_of(settled.cfg).value_range == (0, 1000)
        assert "(declared)" in reasons(settled)

    def test_the_flag_is_not_for_eight_bits(self, streets):
        flags = ["--images", streets / "images", "--labels", streets / "labels"]
        with pytest.raises(UserError, match="more than 8 bits; these have 8"):
            fit(SEGMENTOR, flags, value_range=(0.0, 100.0))


class TestTransparency:
    def rewrite(self, streets: Path, fourth, ending: str) -> list:
        for path in (streets / "images").rglob("*.jpg"):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            with_fourth = np.dstack([pixels, fourth(pixels)])
            Image.fromarray(with_fourth, "RGBA").save(path.with_suffix(ending))
            path.unlink()
        return ["--images", streets / "images", "--labels", streets / "labels"]

    def test_a_measured_band_is_a_channel_whatever_its_tag(self, streets):
        """Pillow and others tag any fourth band as transparency: infrared too."""
        flags = self.rewrite(streets, lambda pixels: pixels[..., 0] // 2 + 30, ".tif")
        assert fit(SEGMENTOR, flags).cfg.model.backbone.in_channels == 4

    @pytest.mark.parametrize("ending", [".tif", ".png"])
    def test_transparency_is_none(self, ending, streets):
        def opaque(pixels):
            return np.where(pixels[..., 0] > 250, 0, 255).astype(np.uint8)

        flags = self.rewrite(streets, opaque, ending)
        cfg = fit(SEGMENTOR, flags).cfg
        assert "in_channels" not in cfg.model.backbone and reading_of(cfg).is_plain
        options = {"model.backbone.in_channels": 4}
        cfg = fit(SEGMENTOR, flags, cfg_options=options).cfg
        assert reading_of(cfg).channels == 4 and len(cfg.model.data_preprocessor.mean) == 4


class TestOtherChannels:
    def test_a_stated_number_is_compared_with_the_images(self, streets):
        flags = ["--images", streets / "images", "--labels", streets / "labels"]
        with pytest.raises(UserError, match=r"has 3 bands, but the model takes 5 channels"):
            fit(SEGMENTOR, flags, cfg_options={"model.backbone.in_channels": 5})

    def test_three_channels_of_four_bands_on_request(self, streets):
        config, flags, _ = segmentation(streets, 4, "uint8")
        options = {"model.backbone.in_channels": 3}
        cfg = fit(config, flags, cfg_options=options).cfg
        assert reading_of(cfg).is_plain and cfg.model.data_preprocessor.bgr_to_rgb

    def test_images_of_different_bands_are_named(self, streets):
        config, flags, _ = segmentation(streets, 4, "uint8")
        path = sorted((streets / "images/train").glob("*.tif"))[0]
        write_tiff(path, np.zeros((*np.asarray(Image.open(path)).shape[:2], 5), np.uint8))
        with pytest.raises(UserError, match=rf"different numbers of bands .*{path.name} has 5"):
            fit(config, flags)

    def test_grey_among_colours_is_repeated(self, streets):
        flags = ["--images", streets / "images", "--labels", streets / "labels"]
        path = sorted((streets / "images/train").glob("*.jpg"))[0]
        Image.open(path).convert("L").save(path)
        assert "in_channels" not in fit(SEGMENTOR, flags).cfg.model.backbone


class TestCheckpoints:
    def test_a_model_of_colours_reads_grey_as_it_did(self, streets):
        config, flags, _ = segmentation(streets, 1, "uint8")
        assert fit(config, flags).cfg.model.backbone.in_channels == 1
        cfg = fit(config, flags, start=lambda: Start(3, {})).cfg
        assert "in_channels" not in cfg.model.backbone and reading_of(cfg).is_plain

    def test_channels_range_and_normalisation_are_the_checkpoints(self, birds):
        config, flags, _ = detection(birds, 4, "uint16")
        trained = fit(config, flags).cfg
        for path in (birds / "images").glob("*.tif"):  # other images, brighter ones
            write_tiff(path, np.full((40, 50, 4), 60000, np.uint16))
        meta = dict(cfg=trained.pretty_text)
        stem = torch.zeros(40, 4, 4, 4)
        start = start_of(
            dict(meta=meta, state_dict={"backbone.downsample_layers.0.0.weight": stem})
        )
        assert start.channels == 4
        settled = fit(config, flags, start=lambda: start)
        assert reading_of(settled.cfg) == reading_of(trained)
        assert settled.cfg.model.data_preprocessor == trained.model.data_preprocessor
        assert "the checkpoint's images" in reasons(settled)

    def test_the_resolved_config_is_not_measured_again(self, streets, tmp_path):
        config, flags, _ = segmentation(streets, 2, "float32")
        first = fit(config, flags).cfg
        first.dump(tmp_path / "resolved.py")
        again = fit(tmp_path / "resolved.py", flags).cfg
        assert again.model.data_preprocessor == first.model.data_preprocessor
