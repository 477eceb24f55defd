"""C2PA manifests: signed with a certificate made here, read back, and seen to break when file, manifest or record is touched."""

from __future__ import annotations

import datetime
import json
import shutil
import sys

import numpy as np
import pytest

from armillary.cli.main import run
from armillary.errors import BadInput, MissingExtra
from armillary.guard import Open, record, seal, verify
from armillary.guard.c2pa import LABEL, UUID, has_manifest, manifest, read, sign
from armillary.media import read_video, write_video

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), np.uint8)
PROMPT = "a very private prompt"


def dreamed(path, **changes):
    write_video(path, FRAMES, 10.0)
    made = record(FRAMES, 10.0, Open().check_prompt(PROMPT), Open().describe()) | changes
    seal(path, {"world": "rooms", "prompt": PROMPT, "seed": 7, "provenance": made})
    return path


def checks(told):
    return {c["name"]: c["ok"] for c in told["checks"]}


def test_a_manifest_is_found_without_the_package(tmp_path, monkeypatch):
    path = dreamed(tmp_path / "a.mp4")
    assert not has_manifest(path) and verify(path)["c2pa"] is None
    head = (32 + len(UUID)).to_bytes(4, "big") + b"uuid" + UUID + bytes(24)
    data = path.read_bytes()
    first = int.from_bytes(data[:4], "big")
    path.write_bytes(data[:first] + head + data[first:])
    assert has_manifest(path)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    told = verify(path)
    assert checks(told)["c2pa"] is False and 'pip install "armillary[c2pa]"' in json.dumps(told["checks"]).replace("\\", "")
    for damaged in (b"", b"\0\0\0\3uuid", b"\0\0\0\1uuid", b"x" * 50):
        (tmp_path / "b.mp4").write_bytes(damaged)
        assert not has_manifest(tmp_path / "b.mp4")


def test_what_is_signed_leaves_the_prompt_out(tmp_path):
    told = manifest(json.loads(dreamed(tmp_path / "a.mp4").with_suffix(".json").read_text()), "a.mp4")
    assert PROMPT not in json.dumps(told) and told["assertions"][1]["data"]["seed"] == 7
    assert told["assertions"][0]["data"]["actions"][0]["digitalSourceType"].endswith("trainedAlgorithmicMedia")


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A root, a signer that hangs on it, the signer's key, and another key."""
    pytest.importorskip("c2pa", reason='c2pa-python is not installed: pip install "armillary[c2pa]"')
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, now = tmp_path_factory.mktemp("pems"), datetime.datetime.now(datetime.UTC)

    def certificate(subject, issuer, key, signer, root):
        def name(said):
            kinds = (x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME)
            return x509.Name([x509.NameAttribute(kind, said) for kind in kinds])

        made = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
        made = made.add_extension(x509.BasicConstraints(root, None), True)
        usage = x509.KeyUsage(not root, False, False, False, False, root, root, False, False)
        made = made.add_extension(usage, True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        if not root:
            made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    root = certificate("Test Root", "Test Root", keys[0], keys[0], True)
    (folder / "root.pem").write_bytes(root)
    (folder / "chain.pem").write_bytes(certificate("Test Signer", "Test Root", keys[1], keys[0], False) + root)
    (folder / "stranger.pem").write_bytes(certificate("Stranger", "Stranger", keys[2], keys[2], True))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    for file, key in (("key.pem", keys[1]), ("other.pem", keys[2])):
        (folder / file).write_bytes(key.private_bytes(*plain, serialization.NoEncryption()))
    (folder / "locked.pem").write_bytes(keys[1].private_bytes(*plain, serialization.BestAvailableEncryption(b"x")))
    return folder


@pytest.fixture(scope="module")
def signed(pems, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed")
    dreamed(folder / "plain.mp4")
    sign(folder / "plain.mp4", pems / "chain.pem", pems / "key.pem", out=folder / "a.mp4")
    return folder / "a.mp4"


def copied(signed, tmp_path, sidecar=True):
    for suffix in (".mp4", ".json") if sidecar else (".mp4",):
        shutil.copy(signed.with_suffix(suffix), tmp_path / f"a{suffix}")
    return tmp_path / "a.mp4"


def test_signed_it_verifies_and_shows_the_same_pixels(signed):
    told = verify(signed)
    assert told["ok"] and checks(told)["c2pa"] and checks(told)["c2pa-record"] and checks(told)["file"]
    assert told["c2pa"]["signer"] == "Test Signer" and not told["c2pa"]["trusted"] and "no trust list" in told["c2pa"]["told"]
    assert told["c2pa"]["record"]["seed"] == 7 and told["c2pa"]["record"]["verdicts"][0]["rail"] == "open"
    assert np.array_equal(read_video(signed).frames, read_video(signed.with_name("plain.mp4")).frames)
    assert PROMPT.encode() not in signed.read_bytes() and LABEL.encode() in signed.read_bytes()
    plain = signed.with_name("plain.mp4")
    assert verify(plain)["ok"] and not has_manifest(plain), "the file that was given is left alone"


def test_trust_is_asked_for_by_name(signed, pems):
    assert verify(signed, pems / "root.pem")["c2pa"]["trusted"] and verify(signed, pems / "root.pem")["ok"]
    told = verify(signed, pems / "stranger.pem")
    assert not told["ok"] and not told["c2pa"]["trusted"]
    assert not verify(signed.with_name("plain.mp4"), pems / "root.pem")["ok"], "no manifest is not trusted"
    with pytest.raises(BadInput, match="trusted certificates"):
        read(signed, pems / "key.pem")


def test_without_its_sidecar_the_manifest_speaks(signed, tmp_path, capsys):
    path = copied(signed, tmp_path, sidecar=False)
    assert run(["verify", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["c2pa"]["signer"] == "Test Signer"
    path.with_name("plain.mp4").write_bytes(signed.with_name("plain.mp4").read_bytes())
    assert run(["verify", str(path.with_name("plain.mp4"))]) == 2, "neither sidecar nor manifest"


def test_a_touched_picture_manifest_or_record_is_seen(signed, tmp_path, capsys):
    whole = signed.read_bytes()
    path = copied(signed, tmp_path, sidecar=False)
    for where in (len(whole) - 9, whole.index(LABEL.encode()) + 60, whole.index(b"trainedAlgorithmicMedia")):
        data = bytearray(whole)
        data[where] ^= 1
        path.write_bytes(data)
        assert run(["verify", str(path)]) == 1, where
    capsys.readouterr()
    path = copied(signed, tmp_path)
    side = json.loads(path.with_suffix(".json").read_text())
    side["provenance"]["pixels"]["sha256"] = "0" * 64
    path.with_suffix(".json").write_text(json.dumps(side))
    assert checks(verify(path))["c2pa-record"] is False
    copied(signed, tmp_path)
    shutil.copy(signed.with_name("plain.mp4"), path)
    assert checks(verify(path))["c2pa"] is False, "a manifest that was taken out is missed"


def test_what_cannot_be_signed_is_left_as_it_was(pems, tmp_path, signed):
    path = dreamed(tmp_path / "a.mp4")
    before = path.read_bytes()
    good = {"certificate": pems / "chain.pem", "key": pems / "key.pem"}
    for changes, why in (
        ({"key": pems / "other.pem"}, "could not be signed"), ({"algorithm": "ps256"}, "could not be signed"),
        ({"algorithm": "md5"}, "md5"),
        ({"key": pems / "gone.pem"}, "cannot be read"), ({"key": pems / "chain.pem"}, "not a private key"),
        ({"certificate": pems / "key.pem"}, "not a certificate"), ({"key": pems / "locked.pem"}, "encrypted"),
        ({"out": tmp_path / "a.mkv"}, "mkv"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=why):
            sign(path, **{**good, **changes})
    assert (
        path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.mp4"] and verify(path)["ok"]
    )
    with pytest.raises(BadInput, match="already"):
        sign(signed, out=tmp_path / "b.mp4", **good)
    with pytest.raises(BadInput, match="not dreamed here"):
        sign(dreamed(tmp_path / "c.mp4", synthetic=False), **good)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(BadInput, match="do not belong together"):
        sign(path, **good)


def test_in_place_on_the_command_line(pems, tmp_path, capsys):
    path = dreamed(tmp_path / "a.mp4")
    code = run(["sign", str(path), "--certificate", str(pems / "chain.pem"), "--key", str(pems / "key.pem"), "--json"])
    assert code == 0 and json.loads(capsys.readouterr().out)["signer"] == "Test Signer"
    assert verify(path)["ok"] and has_manifest(path)
    side = path.with_suffix(".json").read_text()
    assert json.loads(side)["provenance"]["c2pa"]["algorithm"] == "es256" and "PRIVATE" not in side


def test_without_the_package_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    for name, kind in (("c.pem", "CERTIFICATE"), ("k.pem", "PRIVATE KEY")):
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----")
    with pytest.raises(MissingExtra, match=r"armillary\[c2pa\]"):
        sign(dreamed(tmp_path / "a.mp4"), tmp_path / "c.pem", tmp_path / "k.pem")
