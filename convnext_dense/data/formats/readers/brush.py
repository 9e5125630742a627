"""Masks of Label Studio's brush: bits of run lengths, as the library rle-pack writes them.

A header of 32 bits for the number of values, 5 for the bits of a value less one, and four times 4
for the bits of a run's length less one. Then runs: a bit that says whether one value is repeated, 2
bits for which of the four sizes its length has, the length less one, and one value or all. The
values are those of an RGBA image, and the mask is in its last channel.
"""

import numpy as np

RGBA = 4
VISIBLE = 0  # alpha above this belongs to the mask


class _Bits:
    """A row of bits that is read from its beginning."""

    def __init__(self, content: list[int]) -> None:
        if not isinstance(content, list):
            raise ValueError("it is no list of bytes")
        self.bits = "".join(f"{byte:08b}" for byte in bytes(content))
        self.place = 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self.place += count
        if self.place > len(self.bits):
            raise ValueError("it ends too early")
        return int(self.bits[self.place - count : self.place], 2)


def decode_brush(content: list[int], size: tuple[int, int]) -> np.ndarray:
    """The mask (height, width), bool, of an image of (width, height).

    Raises:
        ValueError: When the content is damaged, or of another size.
    """
    bits = _Bits(content)
    count = bits.take(32)
    width, height = size
    if count != width * height * RGBA:
        raise ValueError(f"it has {count // RGBA} pixels instead of {width} x {height}")
    value_bits = bits.take(5) + 1
    length_bits = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = place + 1 + bits.take(length_bits[bits.take(2)])
        if end > count:
            raise ValueError("a run reaches over its end")
        if repeated:
            values[place:end] = bits.take(value_bits)
        else:
            values[place:end] = [bits.take(value_bits) for _ in range(end - place)]
        place = end
    return values.reshape(height, width, RGBA)[..., -1] > VISIBLE
