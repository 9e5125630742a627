"""Decode heads that mmsegmentation lacks, and what its heads of masks say about pixels."""
