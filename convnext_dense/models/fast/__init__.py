"""The block's fast path on a CPU, and the conditions under which fast paths are taken."""
