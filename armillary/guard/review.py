"""The annotators' page: a server on this machine that shows clips frame by frame and writes what people mark into JSON lines.

Each person gets the clips in an order of their own and sees only their own marks. Frames are sent as pictures, so that what is marked is
the frame that was seen, whatever codecs a browser has. Labels are appended to `DIR/labels/NAME.jsonl`; nothing else is written.
"""

from __future__ import annotations

import functools
import io
import json
import random
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from armillary.errors import ArmillaryError, BadInput
from armillary.guard.agreement import MARKS, check_label, read_labels
from armillary.guard.taxonomy import CATEGORIES

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
PAGE = Path(__file__).parent / "review.html"
HEIGHT = 480  # pixels: frames are scaled down to it
LONGEST = 2000  # frames of a clip
BODY = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Clips:
    """The videos of a folder, by name; the last two that were looked at stay decoded."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.names = sorted(p.name for p in self.folder.iterdir() if p.suffix.lower() in VIDEOS) if self.folder.is_dir() else []
        if not self.names:
            raise BadInput(f"{folder} holds no video ({', '.join(VIDEOS)}) to review.")
        self.decoded = functools.lru_cache(maxsize=2)(self._decoded)
        self.lock = threading.Lock()

    def _decoded(self, name: str) -> tuple[np.ndarray, float]:
        from armillary.media import probe, read_video

        info = probe(self.folder / name)
        size = None
        if info.height > HEIGHT:
            size = (HEIGHT, max(2, round(info.width * HEIGHT / info.height / 2) * 2))
        video = read_video(self.folder / name, max_frames=LONGEST, size=size, on_error="keep")
        return video.frames, video.fps

    def get(self, name: str) -> tuple[np.ndarray, float]:
        """Frames uint8 `t h w 3` and their rate.

        Raises:
            BadInput: no such clip, or it cannot be read.
        """
        if name not in self.names:
            raise BadInput(f"There is no clip {name!r} here.")
        with self.lock:
            return self.decoded(name)

    def order(self, annotator: str) -> list[str]:
        """The clips as this person gets them: always the same order, another one for everybody."""
        names = list(self.names)
        random.Random(f"review {annotator}").shuffle(names)
        return names


def check_name(annotator: str) -> str:
    if not _NAME.fullmatch(annotator or ""):
        raise BadInput("A name has letters, digits, - and _, 40 at most.")
    return annotator


class Review:
    """What the page asks for, without the wire."""

    def __init__(self, folder: str | Path) -> None:
        self.clips = Clips(folder)
        self.labels = Path(folder) / "labels"
        self.writing = threading.Lock()

    def mine(self, annotator: str) -> dict[str, Any]:
        """Clips in this person's order with this person's marks; never anyone else's."""
        path = self.labels / f"{check_name(annotator)}.jsonl"
        own = {x["clip"]: x["marks"] for x in read_labels(path)} if path.is_file() else {}
        return {"clips": [{"name": n, "marks": own.get(n)} for n in self.clips.order(annotator)]}

    def about(self, name: str) -> dict[str, Any]:
        frames, fps = self.clips.get(name)
        return {"name": name, "frames": len(frames), "fps": round(fps, 3), "height": frames.shape[1], "width": frames.shape[2]}

    def picture(self, name: str, index: int) -> bytes:
        from PIL import Image

        frames, _ = self.clips.get(name)
        if not 0 <= index < len(frames):
            raise BadInput(f"{name} has frames 0 to {len(frames) - 1}; got {index}.")
        held = io.BytesIO()
        Image.fromarray(frames[index]).save(held, "JPEG", quality=85)
        return held.getvalue()

    def save(self, label: Any) -> dict[str, Any]:
        """Append a label to its author's file."""
        if not isinstance(label, dict):
            raise BadInput("A label is an object.")
        check_name(str(label.get("annotator", "")))
        frames, fps = self.clips.get(str(label.get("clip", "")))
        checked = check_label(label, len(frames)) | {"frames": len(frames), "fps": round(fps, 3)}
        with self.writing:
            self.labels.mkdir(exist_ok=True)
            with (self.labels / f"{checked['annotator']}.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps(checked) + "\n")
                f.flush()
        return checked


class _Handler(BaseHTTPRequestHandler):
    review: Review
    timeout = 30

    def do_GET(self) -> None:
        def answer() -> tuple[str, bytes]:
            parts = urlsplit(self.path)
            asked = {k: v[-1] for k, v in parse_qs(parts.query).items()}
            if parts.path == "/":
                return "text/html; charset=utf-8", PAGE.read_bytes()
            if parts.path == "/settings":
                told = {"categories": {c: CATEGORIES[c] for c in MARKS}}
                return "application/json", json.dumps(told).encode()
            if parts.path == "/mine":
                return "application/json", json.dumps(self.review.mine(asked.get("annotator", ""))).encode()
            if parts.path == "/clip":
                return "application/json", json.dumps(self.review.about(asked.get("name", ""))).encode()
            if parts.path == "/frame":
                index = asked.get("index", "")
                return "image/jpeg", self.review.picture(asked.get("name", ""), int(index) if index.isdecimal() else -1)
            raise FileNotFoundError

        self._answer(answer)

    def do_POST(self) -> None:
        def answer() -> tuple[str, bytes]:
            length = self.headers.get("Content-Length", "")
            if self.path != "/label":
                raise FileNotFoundError
            # A page of another origin cannot send this type without asking first.
            if self.headers.get_content_type() != "application/json" or not length.isdecimal() or int(length) > BODY:
                raise BadInput("A label comes as application/json of at most 1 MiB.")
            try:
                label = json.loads(self.rfile.read(int(length)))
            except ValueError as error:
                raise BadInput(f"That is no JSON: {error}.") from error
            return "application/json", json.dumps(self.review.save(label)).encode()

        self._answer(answer)

    def _answer(self, make: Any) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in ("127.0.0.1", "localhost"):  # a name that was pointed at this machine from outside
            return self._send(HTTPStatus.FORBIDDEN, "application/json", b'{"error": "this page is for this machine only"}')
        try:
            kind, body = make()
            self._send(HTTPStatus.OK, kind, body)
        except FileNotFoundError:
            self._send(HTTPStatus.NOT_FOUND, "application/json", b'{"error": "there is nothing here"}')
        except ArmillaryError as error:
            self._send(HTTPStatus.BAD_REQUEST, "application/json", json.dumps({"error": str(error)}).encode())

    def _send(self, code: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600" if kind == "image/jpeg" else "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a line per frame tells nobody anything."""


def server(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet running; port 0 takes a free one (`server_address`).

    Raises:
        BadInput: a folder without videos, or a port that is taken.
    """
    handler = type("Handler", (_Handler,), {"review": Review(folder)})
    try:
        made = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise BadInput(f"Port {port} cannot be used: {error}. Take another with --port.") from error
    made.daemon_threads = True
    return made
