"""Label images as they come: layouts of folders, pairs of files, colours, split lists."""
