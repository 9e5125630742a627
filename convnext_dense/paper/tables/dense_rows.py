"""The rows of the paper's tables 3 (COCO), 4 and 7 (ADE20K) as printed.

The parameters of table 3 are those of the release's page; the paper does not print them.
"""

from dataclasses import dataclass

COCO_SIZE = (1280, 800)
ADE_SIZE = (2048, 512)
ADE_SIZE_22K = (2560, 640)


@dataclass(frozen=True)
class PaperRow:
    """One row of table 3 or 4.

    Attributes:
        table: Number of the paper's table.
        model: Name of our config.
        input_size: Size of the input for the costs, long side first.
        gflops: Billions of multiply-adds.
        params_m: Millions of parameters, or None.
        fps: Images per second on an A100 (table 3).
        box: AP, AP50 and AP75 in percent (table 3).
        mask: The same for masks.
        miou: Multi-scale mean IoU in percent (table 4).
        miou_single: Single-scale mean IoU in percent (table 7).
    """

    table: int
    model: str
    input_size: tuple[int, int]
    gflops: float
    params_m: float | None = None
    fps: float | None = None
    box: tuple[float, ...] = ()
    mask: tuple[float, ...] = ()
    miou: float | None = None
    miou_single: float | None = None

    @property
    def config(self) -> str:
        """Path of the config under ``configs/``."""
        return f"{'detection' if self.table == 3 else 'segmentation'}/{self.model}.py"


ROWS = (
    PaperRow(
        3,
        "mask_rcnn_swin_t_3x",
        COCO_SIZE,
        267,
        fps=23.1,
        box=(46.0, 68.1, 50.3),
        mask=(41.6, 65.1, 44.9),
    ),
    PaperRow(
        3,
        "mask_rcnn_convnext_t_3x",
        COCO_SIZE,
        262,
        48,
        fps=25.6,
        box=(46.2, 67.9, 50.8),
        mask=(41.7, 65.0, 44.9),
    ),
    PaperRow(
        3,
        "cascade_r50_3x",
        COCO_SIZE,
        739,
        fps=11.4,
        box=(46.3, 64.3, 50.5),
        mask=(40.1, 61.7, 43.4),
    ),
    PaperRow(
        3,
        "cascade_x101_32x4d_3x",
        COCO_SIZE,
        819,
        fps=9.2,
        box=(48.1, 66.5, 52.4),
        mask=(41.6, 63.9, 45.2),
    ),
    PaperRow(
        3,
        "cascade_x101_64x4d_3x",
        COCO_SIZE,
        972,
        fps=7.1,
        box=(48.3, 66.4, 52.3),
        mask=(41.7, 64.0, 45.1),
    ),
    PaperRow(
        3,
        "cascade_swin_t_3x",
        COCO_SIZE,
        745,
        fps=12.2,
        box=(50.4, 69.2, 54.7),
        mask=(43.7, 66.6, 47.3),
    ),
    PaperRow(
        3,
        "cascade_convnext_t_3x",
        COCO_SIZE,
        741,
        86,
        fps=13.5,
        box=(50.4, 69.1, 54.8),
        mask=(43.7, 66.5, 47.3),
    ),
    PaperRow(
        3,
        "cascade_swin_s_3x",
        COCO_SIZE,
        838,
        fps=11.4,
        box=(51.9, 70.7, 56.3),
        mask=(45.0, 68.2, 48.8),
    ),
    PaperRow(
        3,
        "cascade_convnext_s_3x",
        COCO_SIZE,
        827,
        108,
        fps=12.0,
        box=(51.9, 70.8, 56.5),
        mask=(45.0, 68.4, 49.1),
    ),
    PaperRow(
        3,
        "cascade_swin_b_3x",
        COCO_SIZE,
        982,
        fps=10.7,
        box=(51.9, 70.5, 56.4),
        mask=(45.0, 68.1, 48.9),
    ),
    PaperRow(
        3,
        "cascade_convnext_b_3x",
        COCO_SIZE,
        964,
        146,
        fps=11.4,
        box=(52.7, 71.3, 57.2),
        mask=(45.6, 68.9, 49.5),
    ),
    PaperRow(
        3,
        "cascade_swin_b_in22k_3x",
        COCO_SIZE,
        982,
        fps=10.7,
        box=(53.0, 71.8, 57.5),
        mask=(45.8, 69.4, 49.7),
    ),
    PaperRow(
        3,
        "cascade_convnext_b_in22k_3x",
        COCO_SIZE,
        964,
        146,
        fps=11.5,
        box=(54.0, 73.1, 58.8),
        mask=(46.9, 70.6, 51.3),
    ),
    PaperRow(
        3,
        "cascade_swin_l_in22k_3x",
        COCO_SIZE,
        1382,
        fps=9.2,
        box=(53.9, 72.4, 58.8),
        mask=(46.7, 70.1, 50.8),
    ),
    PaperRow(
        3,
        "cascade_convnext_l_in22k_3x",
        COCO_SIZE,
        1354,
        255,
        fps=10.0,
        box=(54.8, 73.8, 59.8),
        mask=(47.6, 71.3, 51.7),
    ),
    PaperRow(
        3,
        "cascade_convnext_xl_in22k_3x",
        COCO_SIZE,
        1898,
        407,
        fps=8.6,
        box=(55.2, 74.2, 59.9),
        mask=(47.7, 71.6, 52.2),
    ),
    PaperRow(4, "upernet_swin_t_512_160k", ADE_SIZE, 945, 60, miou=45.8),
    PaperRow(4, "upernet_convnext_t_512_160k", ADE_SIZE, 939, 60, miou=46.7, miou_single=46.0),
    PaperRow(4, "upernet_swin_s_512_160k", ADE_SIZE, 1038, 81, miou=49.5),
    PaperRow(4, "upernet_convnext_s_512_160k", ADE_SIZE, 1027, 82, miou=49.6, miou_single=48.7),
    PaperRow(4, "upernet_swin_b_512_160k", ADE_SIZE, 1188, 121, miou=49.7),
    PaperRow(4, "upernet_convnext_b_512_160k", ADE_SIZE, 1170, 122, miou=49.9, miou_single=49.1),
    PaperRow(4, "upernet_swin_b_in22k_640_160k", ADE_SIZE_22K, 1841, 121, miou=51.7),
    PaperRow(
        4, "upernet_convnext_b_in22k_640_160k", ADE_SIZE_22K, 1828, 122, miou=53.1, miou_single=52.6
    ),
    PaperRow(4, "upernet_swin_l_in22k_640_160k", ADE_SIZE_22K, 2468, 234, miou=53.5),
    PaperRow(
        4, "upernet_convnext_l_in22k_640_160k", ADE_SIZE_22K, 2458, 235, miou=53.7, miou_single=53.2
    ),
    PaperRow(
        4,
        "upernet_convnext_xl_in22k_640_160k",
        ADE_SIZE_22K,
        3335,
        391,
        miou=54.0,
        miou_single=53.6,
    ),
)
