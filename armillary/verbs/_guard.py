"""`armillary guard check`, `guard train`, `guard redteam`, `guard review`, `armillary verify` and `armillary sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def guard_check(
    text: str | None = None,
    /,
    *,
    prompts: Path | None = None,
    video: Path | None = None,
    out: Path | None = None,
    model: Path | None = None,
    faces_model: Path | None = None,
    frames_head: Path | None = None,
    features: str = "small",
) -> tuple[dict[str, Any], int]:
    """Ask the guard about a prompt, a file of prompts, or a video: the same gate that generation goes through.

    Each rail says whether it ran, was skipped or failed, and a rail that failed refuses. Ends with exit code 1 when the guard refuses;
    with --prompts, when a rail could not run.

    Example: armillary guard check "A robot arm stacks two red blocks" --json

    Args:
        text: a prompt.
        prompts: a CSV of id,text; --out takes id,blocked,rail,category,score,reason,milliseconds.
        video: a video file; every frame is looked at.
        out: the CSV of verdicts, or where the video goes with its faces hidden.
        model: ask a safety model in this folder too (Llama Guard, Qwen3Guard, Aegis); ARMILLARY_GUARD_FOLDER does so for every verb.
        frames_head: look at what a video shows with this head (`armillary guard head`).
        features: what the head was trained on: an extractor's name, or the folder of a SigLIP model.
        faces_model: find faces with this YuNet file (.onnx); ARMILLARY_GUARD_FACES does so for every verb.
    """
    from armillary import guard as guards
    from armillary.guard.head import load_head
    from armillary.guard.local import LocalConfig
    from armillary.guard.yunet import YuNet

    head = None if frames_head is None else load_head(frames_head, _embedder(features))
    gate = guards.default_gate(
        local=None if model is None else LocalConfig(model),
        detector=None if faces_model is None else YuNet(faces_model),
        frame_classifier=head,
        frames=None if head is None else head.frames_config(required=True),
    )
    if prompts is not None:
        if text is not None or video is not None:
            raise BadInput("--prompts goes alone: a text or a video is another question.")
        if out is None:
            raise BadInput("--prompts wants --out, the CSV of verdicts.")
        told = guards.check_file(prompts, out, gate)
        return told, int(told["failed"] > 0)
    if out is not None and video is None:
        raise BadInput("--out wants --prompts or --video.")
    told = guards.check(text, video, out=out, gate=gate)
    return told, int(told["blocked"])


def verify(path: Path, /, *, trust: Path | None = None) -> tuple[dict[str, Any], int]:
    """Compare a video with the record beside it: is it the file that was sealed, what made it, what did the guard say.

    A C2PA manifest in the file is read too: do its signature and hash hold, and whose are they. Ends with exit code 1 when file and
    record do not belong together, a rail had refused, or there is a manifest that does not hold or cannot be read.

    Example: armillary verify dream.mp4

    Args:
        path: the video; its record is the .json of the same name. A signed one may have lost it.
        trust: a PEM file of certificates that the signer must hang on; without it an unknown signer is only said.
    """
    from armillary.guard import verify as compare

    told = compare(path, trust)
    return told, int(not told["ok"])


def sign(
    path: Path,
    /,
    *,
    certificate: Path,
    key: Path,
    algorithm: str = "es256",
    timestamp: str = "",
    out: Path | None = None,
) -> dict[str, Any]:
    """Put a C2PA manifest, signed with your certificate, into a video that was dreamed here; its record is sealed anew.

    It says that a model made the video, the hash of its pixels, world, seed and the guard's verdicts; the prompt is left out.

    Example: armillary sign dream.mp4 --certificate chain.pem --key key.pem --out signed.mp4

    Args:
        path: the video, with its record beside it.
        certificate: a PEM file, the signer's certificate first.
        key: a PEM file of the signer's private key (PKCS #8), without a password.
        algorithm: es256, es384, es512, ps256, ps384, ps512 or ed25519, as the key is.
        timestamp: address of a time-stamping authority; nothing is sent anywhere without one.
        out: the signed file; the video itself by default.
    """
    from armillary.guard.c2pa import sign as put

    return put(path, certificate, key, algorithm=algorithm, timestamp=timestamp, out=out)


def guard_redteam(
    *, prompts: tuple[Path, ...] = (), out: Path = Path("redteam"), baseline: Path | None = None, seed: int = 0, most: int = 150
) -> dict[str, Any]:
    """Measure the guard: attacks and harmless prompts through the gate that generation takes, block and false-positive rates by family.

    Example: armillary guard redteam --out redteam --baseline earlier/redteam.json

    Args:
        prompts: CSVs of text,label (safe or unsafe); the shipped prompts that nothing was fitted to when none is given.
        out: a folder for redteam.json, report.md and cases.jsonl.
        baseline: the redteam.json of another release; what moved is listed.
        seed: same seed, same attacks.
        most: rows of a label that every family rewrites.
    """
    from armillary.guard.redteam import redteam
    from armillary.store import check_writable

    check_writable(out)
    report = redteam(prompts, out, baseline=baseline, seed=seed, most=most)
    families = {name: {k: f[k] for k in ("rows", "share", "low", "high", "failed")} for name, f in report["families"].items()}
    return {"out": str(out), "report": str(out / "report.md"), "families": families, "moved": report["moved"]}


def guard_train(*, prompts: tuple[Path, ...] = (), out: Path = Path("guard-prompt")) -> dict[str, Any]:
    """Train the prompt classifier on the shipped prompts and on files of one's own, freeze its threshold and measure it.

    Example: armillary guard train --prompts unsafe.csv benign.csv --out my-guard

    Args:
        prompts: CSVs of text,label (safe or unsafe), and source, licence, category, style or form where known. Texts are not stored.
        out: the checkpoint folder, with a card.json of what was measured.
    """
    from armillary.guard.measure import make_weights
    from armillary.store import check_writable

    check_writable(out.parent)
    card = make_weights(prompts, out)
    return {"out": str(out), "card": str(out / "card.json"), "held_out": card["measured"]["held_out"]}


def guard_review(folder: Path, /, *, port: int = 8765, report: bool = False) -> dict[str, Any]:
    """A local page where people mark what is unsafe in clips, blind to each other; or, with --report, how well they agree.

    Labels go to FOLDER/labels/NAME.jsonl, and train a frame classifier's head (`armillary guard head`).

    Example: armillary guard review clips

    Args:
        folder: the clips.
        port: of the page, on this machine only; 0 takes a free one.
        report: do not serve; say how well the labels agree (Krippendorff's alpha) and where they do not.
    """
    from armillary.guard.agreement import agreement, read_labels
    from armillary.guard.review import server
    from armillary.progress import say

    if not report:
        with server(folder, port) as running:
            say(f"review page: http://127.0.0.1:{running.server_address[1]}/ (Ctrl-C ends it; labels stay)")
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                say("the page is closed")
    labels = read_labels(folder / "labels")
    if report and not labels:
        raise BadInput(f"{folder / 'labels'} holds no labels yet.")
    return agreement(labels)


class Stills:
    """A feature extractor as the head's embedder: each frame a clip of its own."""

    def __init__(self, name: str) -> None:
        from armillary import features

        self.features: Any = features.load(name)
        self.name, self.version = self.features.name, self.features.sha256[:12]

    def embed(self, frames: Any) -> Any:
        import torch

        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.features.embed(pixels[:, :, None]).numpy()


def _embedder(features: str) -> Any:
    from armillary.guard.siglip import Siglip, is_siglip

    return Siglip(features) if is_siglip(features) else Stills(features)


def guard_head(folder: Path, /, *, features: str = "small", out: Path = Path("guard-frames")) -> dict[str, Any]:
    """Train a frame classifier's head on reviewed clips, thresholds calibrated on clips it was not fitted to.

    Example: armillary guard head clips --features small --out my-frames

    Args:
        folder: the clips, with the labels of `armillary guard review` in FOLDER/labels.
        features: the extractor whose vectors it reads, or the folder of a SigLIP model; the embedded extractor sees colours and shapes
            rather than meaning.
        out: the head's folder.
    """
    from armillary.guard.agreement import read_labels
    from armillary.guard.head import train_head
    from armillary.guard.review import Clips
    from armillary.store import check_writable

    check_writable(out.parent)
    return train_head(read_labels(folder / "labels"), Clips(folder).get, _embedder(features), out)
