"""The rows of the paper's tables 3 (COCO) and 4 (ADE20K): sizes and costs as printed."""

from dataclasses import dataclass

COCO_SIZE = (1280, 800)
ADE_SIZE = (2048, 512)
ADE_SIZE_22K = (2560, 640)


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Attributes:
        table: Number of the paper's table.
        model: Name of our config.
        input_size: The picture that the costs are stated for, long side first.
        gflops: Billions of multiply-adds.
        params_m: Millions of parameters; None where the paper does not print them.
    """

    table: int
    model: str
    input_size: tuple[int, int]
    gflops: float
    params_m: float | None = None

    @property
    def config(self) -> str:
        """Path of the config under ``configs/``."""
        return f"{'detection' if self.table == 3 else 'segmentation'}/{self.model}.py"


ROWS = (
    PaperRow(3, "mask_rcnn_swin_t_3x", COCO_SIZE, 267),
    PaperRow(3, "mask_rcnn_convnext_t_3x", COCO_SIZE, 262, 48),
    PaperRow(3, "cascade_r50_3x", COCO_SIZE, 739),
    PaperRow(3, "cascade_x101_32x4d_3x", COCO_SIZE, 819),
    PaperRow(3, "cascade_x101_64x4d_3x", COCO_SIZE, 972),
    PaperRow(3, "cascade_swin_t_3x", COCO_SIZE, 745),
    PaperRow(3, "cascade_convnext_t_3x", COCO_SIZE, 741, 86),
    PaperRow(3, "cascade_swin_s_3x", COCO_SIZE, 838),
    PaperRow(3, "cascade_convnext_s_3x", COCO_SIZE, 827, 108),
    PaperRow(3, "cascade_swin_b_3x", COCO_SIZE, 982),
    PaperRow(3, "cascade_convnext_b_3x", COCO_SIZE, 964, 146),
    PaperRow(3, "cascade_swin_b_in22k_3x", COCO_SIZE, 982),
    PaperRow(3, "cascade_convnext_b_in22k_3x", COCO_SIZE, 964, 146),
    PaperRow(3, "cascade_swin_l_in22k_3x", COCO_SIZE, 1382),
    PaperRow(3, "cascade_convnext_l_in22k_3x", COCO_SIZE, 1354, 255),
    PaperRow(3, "cascade_convnext_xl_in22k_3x", COCO_SIZE, 1898, 407),
    PaperRow(4, "upernet_swin_t_512_160k", ADE_SIZE, 945, 60),
    PaperRow(4, "upernet_convnext_t_512_160k", ADE_SIZE, 939, 60),
    PaperRow(4, "upernet_swin_s_512_160k", ADE_SIZE, 1038, 81),
    PaperRow(4, "upernet_convnext_s_512_160k", ADE_SIZE, 1027, 82),
    PaperRow(4, "upernet_swin_b_512_160k", ADE_SIZE, 1188, 121),
    PaperRow(4, "upernet_convnext_b_512_160k", ADE_SIZE, 1170, 122),
    PaperRow(4, "upernet_swin_b_in22k_640_160k", ADE_SIZE_22K, 1841, 121),
    PaperRow(4, "upernet_convnext_b_in22k_640_160k", ADE_SIZE_22K, 1828, 122),
    PaperRow(4, "upernet_swin_l_in22k_640_160k", ADE_SIZE_22K, 2468, 234),
    PaperRow(4, "upernet_convnext_l_in22k_640_160k", ADE_SIZE_22K, 2458, 235),
    PaperRow(4, "upernet_convnext_xl_in22k_640_160k", ADE_SIZE_22K, 3335, 391),
)
