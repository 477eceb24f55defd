"""H.264 as bytes: its NAL units, its parameter sets, and the record an mp4 keeps them in.

Follows ISO 14496-10 (7.3.2.1, 7.3.2.2, 7.3.3, annex B) and ISO 14496-15 (5.3.3). Nothing is decoded here. What does not read as the
standard says raises `ValueError`: callers then treat the stream as one whose packets cannot be handled.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SLICE, PARTITIONS, IDR, SEI, SPS, PPS, DELIMITER, FILLER = 1, (2, 3, 4), 5, 6, 7, 8, 9, 12
LAYERED = (14, 15, 19, 20, 21)  # scalable, multiview and auxiliary pictures: more than one picture in a sample
# profile_idc whose parameter sets tell chroma format, bit depth and scaling matrices (7.3.2.1.1)
LONG = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


class Bits:
    """The payload of a NAL unit, bit by bit, emulation prevention taken out."""

    def __init__(self, unit: bytes) -> None:
        data = unit[1:].replace(b"\0\0\3", b"\0\0")
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def u(self, n: int) -> int:
        """`n` bits as an unsigned number."""
        if n > self.left:
            raise ValueError("a parameter set ends too soon")
        self.left -= n
        return (self.value >> self.left) & ((1 << n) - 1)

    def ue(self) -> int:
        """An Exp-Golomb code (9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("a code in a parameter set is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb code (9.1.1)."""
        k = self.ue()
        return (k + 1) // 2 if k % 2 else -(k // 2)


@dataclass(frozen=True)
class Sps:
    """What a sequence parameter set says of the pictures.

    Args:
        profile, constraints, level: its first three bytes.
        chroma: chroma_format_idc. depth: bits of luma and chroma.
        count: bits of frame_num. planes: whether the three colours are coded apart.
        size: macroblocks across and down. crop: left, right, top, bottom in crop units.
        progressive: frames only, no fields.
    """

    id: int
    profile: int
    constraints: int
    level: int
    chroma: int
    depth: tuple[int, int]
    count: int
    planes: bool
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    progressive: bool


def parse(unit: bytes) -> Sps:
    """Parse a sequence parameter set, up to the cropping (7.3.2.1.1)."""
    b = Bits(unit)
    profile, constraints, level, ident = b.u(8), b.u(8), b.u(8), b.ue()
    chroma, depth, planes = 1, (8, 8), False
    if profile in LONG:
        chroma = b.ue()
        planes = chroma == 3 and bool(b.u(1))
        depth = (8 + b.ue(), 8 + b.ue())
        b.u(1)
        if b.u(1):
            for i in range(8 if chroma != 3 else 12):
                if b.u(1):
                    _scaling(b, 16 if i < 6 else 64)
    count = b.ue() + 4
    order = b.ue()
    if order == 0:
        b.ue()
    elif order == 1:
        b.u(1)
        b.se()
        b.se()
        for _ in range(b.ue()):
            b.se()
    b.ue()
    b.u(1)
    across, down, progressive = b.ue() + 1, b.ue() + 1, bool(b.u(1))
    if not progressive:
        b.u(1)
    b.u(1)
    crop = (b.ue(), b.ue(), b.ue(), b.ue()) if b.u(1) else (0, 0, 0, 0)
    return Sps(ident, profile, constraints, level, chroma, depth, count, planes, (across, down), crop, progressive)


def _scaling(b: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + b.se()) % 256
        last = following or last


def ident(unit: bytes) -> int:
    """The id of a sequence or picture parameter set."""
    return parse(unit).id if unit[0] & 31 == SPS else Bits(unit[:16]).ue()


def intra(unit: bytes) -> bool:
    """Whether a slice is predicted from no other picture (slice_type I or SI, 7.4.3)."""
    b = Bits(unit[:16])
    b.ue()
    return b.ue() % 5 in (2, 4)


def picture_id(unit: bytes, of: Sps) -> int:
    """idr_pic_id of a slice of an IDR picture (7.3.3): two such pictures in a row differ in it."""
    b = Bits(unit[:32])
    for _ in range(3):
        b.ue()
    if of.planes:
        b.u(2)
    b.u(of.count)
    if not of.progressive and b.u(1):
        b.u(1)
    return b.ue()


def units(data: bytes | memoryview, size: int) -> list[bytes]:
    """NAL units of a sample whose lengths take `size` bytes; 0: of a byte stream with start codes (annex B)."""
    if size == 0:
        return _between_codes(bytes(data))
    out, at, whole = [], 0, len(data)
    while at < whole:
        length = int.from_bytes(data[at : at + size], "big")
        at += size
        if not length or at + length > whole:
            raise ValueError("a NAL unit is longer than its packet")
        out.append(bytes(data[at : at + length]))
        at += length
    return out


def _between_codes(data: bytes) -> list[bytes]:
    marks, at = [], data.find(b"\0\0\1")
    while at >= 0:
        marks.append(at)
        at = data.find(b"\0\0\1", at + 3)
    if not marks:
        raise ValueError("a packet has no start code")
    found = (data[a + 3 : b].rstrip(b"\0") for a, b in itertools.pairwise([*marks, len(data)]))
    return [unit for unit in found if unit]


def sample(parts: Iterable[bytes]) -> bytes:
    """NAL units behind four-byte lengths."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in parts)


Sets = Mapping[tuple[int, int], bytes]


def read_sets(extradata: bytes) -> tuple[dict[tuple[int, int], bytes], int]:
    """({(SPS or PPS, id): unit}, bytes a length takes) from a stream's extra data, in either form; 0 bytes: start codes."""
    if not extradata:
        return {}, 0
    if extradata[0] != 1:
        found = _between_codes(extradata)
        return {(unit[0] & 31, ident(unit)): unit for unit in found if unit[0] & 31 in (SPS, PPS)}, 0
    if len(extradata) < 7:
        raise ValueError("the configuration record is too short")
    at, sets = 5, {}
    for mask in (31, 255):
        number, at = extradata[at] & mask, at + 1
        for _ in range(number):
            length = int.from_bytes(extradata[at : at + 2], "big")
            unit = extradata[at + 2 : at + 2 + length]
            if not unit or len(unit) != length:
                raise ValueError("the configuration record is cut short")
            sets[(unit[0] & 31, ident(unit))] = unit
            at += 2 + length
    return sets, (extradata[4] & 3) + 1


def record(sets: Sets) -> bytes:
    """The configuration record (`avcC`) of all these sets, four-byte lengths: a profile and level that hold for every one of them."""
    sequences = [unit for (kind, _), unit in sorted(sets.items()) if kind == SPS]
    pictures = [unit for (kind, _), unit in sorted(sets.items()) if kind == PPS]
    if not sequences or not pictures or len(sequences) > 31 or len(pictures) > 255:
        raise ValueError("the parameter sets are missing or too many")
    read = [parse(unit) for unit in sequences]
    top = max(read, key=lambda s: s.profile)
    constraints = 255
    for s in read:
        constraints &= s.constraints
    out = bytes([1, top.profile, constraints, max(s.level for s in read), 0xFF, 0xE0 | len(sequences)])
    out += _counted(sequences) + bytes([len(pictures)]) + _counted(pictures)
    if top.profile in LONG:
        out += bytes([0xFC | top.chroma, 0xF8 | top.depth[0] - 8, 0xF8 | top.depth[1] - 8, 0])
    return out


def _counted(parts: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(unit)) + unit for unit in parts)
