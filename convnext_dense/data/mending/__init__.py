"""COCO files as annotation tools write them, mended where their meaning is clear."""
