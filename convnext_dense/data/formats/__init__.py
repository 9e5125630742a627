"""Annotation files of other tools, read into COCO's form and written from it."""
