"""C2PA: a signed manifest inside the video file, by the `c2pa-python` package, with a certificate and key of one's own.

The sidecar says what ran and is no signature; the manifest is one. It holds that the video was made by a trained model, the hash of the
pixels before encoding, world, seed and the guard's verdicts, and binds them to every byte of picture and index (C2PA 2.x,
`c2pa.hash.bmff`). The prompt is left out: a manifest travels with the file. Nothing is fetched when reading (remote manifests, OCSP), and
nothing when signing, unless a time-stamping authority is named. A certificate that is on no trust list given is said to be unknown, not
wrong.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary import __version__
from armillary.errors import BadInput, Failed, require
from armillary.store import read_json
from armillary.store.atomic import atomic_path

LABEL = "org.armillary.record"
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
FORMATS = {".mp4": "video/mp4", ".mov": "video/quicktime", ".m4v": "video/mp4"}
HASHED = ("assertion.bmffHash.match", "assertion.dataHash.match", "assertion.boxesHash.match")


def has_manifest(path: str | Path) -> bool:
    """Whether an MP4 or MOV has a C2PA box; found by walking its outer boxes, without the package."""
    with Path(path).open("rb") as f:
        size = f.seek(0, 2)
        at = 0
        while at + 8 <= size:
            f.seek(at)
            head = f.read(32)
            length, kind = struct.unpack(">I4s", head[:8])
            start = 8
            if length == 1 and len(head) >= 16:
                length, start = struct.unpack(">Q", head[8:16])[0], 16
            if kind == b"uuid" and head[start : start + 16] == UUID:
                return True
            if length < start:  # 0 is a last box up to the end, less is damage
                return False
            at += length
    return False


def _package(trust: Path | None = None) -> tuple[Any, Any]:
    """(the package, a context that fetches nothing)."""
    c2pa = require("c2pa", "C2PA manifests")
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if trust is not None:
        settings["trust"] = {"trust_anchors": _pem(trust, "CERTIFICATE", "a file of trusted certificates").decode()}
    try:
        return c2pa, c2pa.Context.from_dict(settings)
    except c2pa.C2paError as error:
        raise BadInput(f"C2PA cannot use {trust or 'these settings'}: {error}") from error


def _pem(path: str | Path, kind: str, what: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}, {what}, cannot be read: {error.strerror or error}.") from error
    if b"-----BEGIN" not in data or kind.encode() not in data:
        raise BadInput(f"{path} is not {what}: a PEM file with {kind} in its first line is wanted.")
    if b"ENCRYPTED" in data:
        raise BadInput(f"{path} is encrypted; a key without a password is wanted (openssl pkcs8 -topk8 -nocrypt).")
    return data


def manifest(sidecar: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is signed: made by a trained model, and of the sidecar all but the prompt and what differs between machines."""
    made = sidecar["provenance"]
    agent = {"name": "Armillary", "version": __version__}
    kept = {k: sidecar[k] for k in ("world", "world_sha256", "seed") if k in sidecar}
    verdicts = [{k: v.get(k) for k in ("rail", "state", "blocked", "version")} for v in made.get("verdicts", ())]
    created = {"action": "c2pa.created", "digitalSourceType": MADE, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": name,
        "format": FORMATS[Path(name).suffix.lower()],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": LABEL, "data": {**kept, "pixels": made["pixels"], "verdicts": verdicts}},
        ],
    }


def sign(
    path: str | Path,
    certificate: str | Path,
    key: str | Path,
    *,
    algorithm: str = "es256",
    timestamp: str = "",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Put a signed manifest into a video that Armillary dreamed, and seal its sidecar anew.

    Args:
        path: an MP4 or MOV with its sidecar; both must verify.
        certificate: PEM, the signer's first, then what it hangs on.
        key: PEM (PKCS #8) of the signer, without a password. It is read, used and kept nowhere.
        algorithm: one of `ALGORITHMS`, as the key is.
        timestamp: address of a time-stamping authority (RFC 3161); none by default, and then the signature lasts as long as
            the certificate.
        out: the signed file; `path` itself by default.

    Returns:
        What `read` says of the signed file, and `path`.

    Raises:
        BadInput: file, record, certificate or key that cannot be used. MissingExtra: `c2pa-python` is not installed. In each case nothing
        is written. Failed: what was signed does not verify.
    """
    from armillary.guard.provenance import seal, sidecar_of, verify

    path = Path(path)
    target = Path(out) if out is not None else path
    for file in (path, target):
        if file.suffix.lower() not in FORMATS:
            raise BadInput(f"C2PA manifests go into {', '.join(FORMATS)} here; got {file}.")
    if algorithm not in ALGORITHMS:
        raise BadInput(f"A signature is one of {', '.join(ALGORITHMS)}; got {algorithm!r}.")
    chain, secret = _pem(certificate, "CERTIFICATE", "a certificate"), _pem(key, "PRIVATE KEY", "a private key")
    c2pa, context = _package()
    told = verify(path)
    if not told["ok"]:
        wrong = "; ".join(c["told"] for c in told["checks"] if not c["ok"])
        raise BadInput(f"{path} and its record do not belong together, and are not signed: {wrong}.")
    if has_manifest(path):
        raise BadInput(f"{path} has a C2PA manifest already.")
    sidecar = read_json(sidecar_of(path))
    if sidecar["provenance"].get("synthetic") is not True:
        raise BadInput(f"{path} was not dreamed here, as its record says; only what was can be signed as made by a model.")
    with atomic_path(target) as part:
        part.unlink()
        try:
            info = c2pa.C2paSignerInfo(algorithm, chain, secret, timestamp or None)
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(json.dumps(manifest(sidecar, target.name)), context) as builder,
            ):
                builder.sign_file(path, part, signer)
        except c2pa.C2paError as error:
            raise BadInput(f"{path} could not be signed with {certificate} and its key as {algorithm}: {error}") from error
        found = read(part)
        if not found["ok"]:
            raise Failed(f"the signed file does not verify: {found['told']}")
    noted = {"signer": found["signer"], "algorithm": algorithm, "timestamp": timestamp}
    seal(target, sidecar | {"provenance": sidecar["provenance"] | {"c2pa": noted}})
    return {"path": str(target), **found}


def read(path: str | Path, trust: Path | None = None) -> dict[str, Any]:
    """What the manifest in a file says, and whether it holds.

    Args:
        trust: PEM of certificates that signers must hang on; without it an unknown signer is said and does not fail.

    Returns:
        `{"ok", "told", "state", "signer", "trusted", "generator", "record", "failures"}`; `ok` when the signature and the hash over
        the file hold (and, with `trust`, the signer is trusted). `record` is what `manifest` put in, empty for files of others.

    Raises:
        BadInput: no manifest, or a file that is no video. MissingExtra: `c2pa-python` is not installed.
    """
    c2pa, context = _package(trust)
    try:
        with (
            Path(path).open("rb") as f,
            c2pa.Reader(FORMATS.get(Path(path).suffix.lower(), "video/mp4"), f, context=context) as reader,
        ):
            state, whole = str(reader.get_validation_state()), json.loads(reader.json())
    except (OSError, c2pa.C2paError) as error:
        raise BadInput(f"{path} holds no C2PA manifest that can be read: {error}") from error
    active = whole.get("manifests", {}).get(whole.get("active_manifest"), {})
    results = whole.get("validation_results", {}).get("activeManifest", {})
    passed = {r["code"] for r in results.get("success", ())}
    failures = sorted({r["code"] for r in results.get("failure", ())})
    grave = [c for c in failures if c != "signingCredential.untrusted"]
    hashed = any(code in passed for code in HASHED)
    trusted = state == "Trusted"
    signature = active.get("signature_info", {})
    signer = str(signature.get("common_name") or signature.get("issuer") or "unknown")
    ok = state in ("Valid", "Trusted") and hashed and not grave and (trusted or trust is None)
    generator = (active.get("claim_generator_info") or [{}])[0]
    record = next((a["data"] for a in active.get("assertions", ()) if a.get("label") == LABEL), {})
    if grave or not hashed or state not in ("Valid", "Trusted"):
        told = f"the manifest signed by {signer} does not hold: {', '.join(grave) or 'no hash of the file in it'}"
    else:
        known = "is trusted" if trusted else "is on no trust list" + (" given" if trust else " (none was given)")
        told = f"signature and hash hold; signed by {signer}, whose certificate {known}"
    return {
        "ok": ok, "told": told, "state": state, "signer": signer, "trusted": trusted,
        "generator": f"{generator.get('name', '')} {generator.get('version', '')}".strip(), "record": record, "failures": failures,
    }  # fmt: skip
