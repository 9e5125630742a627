"""Label images: folders, class names, fitting a segmentation config to them."""
