"""What can be wrong with a file, as a sentence for a person and a short `kind` for a table."""

from __future__ import annotations

from pathlib import Path

from armillary.errors import BadInput

KINDS = {
    "not_found": "no file lies there",
    "empty_file": "the file has no bytes",
    "invalid_container": "no video container (or a playlist that points elsewhere, which is not followed)",
    "no_video_stream": "a container without a video stream",
    "decode_error": "the video stream does not decode, wholly or in part",
    "limit_exceeded": "larger than the limits allow",
}


class MediaError(BadInput):
    """A file that cannot be read as asked; `kind` is one of `KINDS`."""

    def __init__(self, message: str, kind: str = "decode_error") -> None:
        assert kind in KINDS, kind
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        return type(self), (str(self), self.kind)  # so that it survives the way back from a worker process


def shown(path: str | Path) -> str:
    """A path as it goes into a one-line message: quoted when it holds line breaks or other unprintable characters."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
