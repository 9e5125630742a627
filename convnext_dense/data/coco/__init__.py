"""COCO annotation files: reading, checking, summing up, fitting a detection config to one."""
