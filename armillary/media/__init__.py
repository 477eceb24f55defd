"""Decode, encode and resize: files on one side, uint8 `t h w c` RGB frames with their times on the other."""

from armillary.media.buckets import ASPECTS, Bucket, aspect_of, bucket_of, length_of
from armillary.media.decode import Limits, Reader, VideoInfo, broken, iter_frames, probe, read_video
from armillary.media.encode import write_video
from armillary.media.errors import KINDS, MediaError
from armillary.media.picture import (
    crop_of,
    fit,
    is_transparent,
    pad,
    place_of,
    read_image,
    resize,
    to_frames,
    to_tensor,
    write_image,
)

__all__ = [
    "ASPECTS",
    "KINDS",
    "Bucket",
    "Limits",
    "MediaError",
    "Reader",
    "VideoInfo",
    "aspect_of",
    "broken",
    "bucket_of",
    "crop_of",
    "fit",
    "is_transparent",
    "iter_frames",
    "length_of",
    "pad",
    "place_of",
    "probe",
    "read_image",
    "read_video",
    "resize",
    "to_frames",
    "to_tensor",
    "write_image",
    "write_video",
]
