"""Tensors come out of PyTorch's archives whole, and nothing else does: hostile, torn and odd files are sentences, and nothing is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from armillary import store
from armillary.errors import BadInput

HELD = {
    "a.weight": torch.randn(3, 4),
    "turned": torch.randn(4, 5).t(),
    "whole": torch.arange(5),
    "half": torch.randn(3).half(),
    "brain": torch.randn(2, 2).bfloat16(),
    "double": torch.randn(2).double(),
    "yes": torch.tensor([True, False]),
    "bytes": torch.arange(4, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
    "one": torch.tensor(3.0),
    "part": torch.arange(12.0).view(3, 4)[1:, 2:],
}


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_state_dict_reads_back(tmp_path, protocol):
    path = tmp_path / "x.pt"
    for held in (HELD, OrderedDict(HELD)):
        torch.save(held, path, pickle_protocol=protocol)
        assert same(store.read_tensors(path), HELD)
    torch.save({"model": HELD, "step": 3, "notes": ["a", (1.5, None)]}, path, pickle_protocol=protocol)
    assert same(store.read_tensors(path), {f"model.{k}": v for k, v in HELD.items()})
    torch.save((HELD["one"], nn.Parameter(HELD["half"])), path, pickle_protocol=protocol)
    assert same(store.read_tensors(path), {"0": HELD["one"], "1": HELD["half"]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_reads_back_without_being_loaded(tmp_path):
    module = nn.Sequential(
        OrderedDict(encoder=nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), quant_conv=nn.Conv2d(3, 2, 1))
    )
    for made in (torch.jit.script(module), torch.jit.trace(module.eval(), torch.randn(1, 2, 3, 3))):
        torch.jit.save(made, tmp_path / "x.jit")
        assert same(store.read_tensors(tmp_path / "x.jit"), dict(module.state_dict()))


class Storage:
    def __init__(self, key, numel, kind=torch.FloatStorage):
        self.what = ("storage", kind, key, "cpu", numel)


class Described:
    """A tensor that an archive only claims to hold."""

    def __init__(self, storage, size, stride, offset=0):
        self.args = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.args


class Shell:
    def __init__(self, line):
        self.line = line

    def __reduce__(self):
        return os.system, (self.line,)


def archive(path, held, records, compress=zipfile.ZIP_STORED):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.what if isinstance(obj, Storage) else None

    program = io.BytesIO()
    Pickler(program, 2).dump(held)
    with zipfile.ZipFile(path, "w", compress) as f:
        f.writestr("x/data.pkl", program.getvalue() if not isinstance(held, bytes) else held, zipfile.ZIP_STORED)
        for name, data in records.items():
            f.writestr(f"x/{name}", data)
    return path


def test_a_hand_made_archive_reads(tmp_path):
    """The helper above makes what the reader takes, so that the refusals below are for what they say."""
    held = {"a": Described(Storage("0", 4), (2, 2), (2, 1))}
    read = store.read_tensors(archive(tmp_path / "x.pt", held, {"data/0": bytes(16)}))
    assert torch.equal(read["a"], torch.zeros(2, 2))


HOSTILE = {
    "expanded": (Described(Storage("0", 4), (1 << 20, 1 << 20), (0, 0)), "larger than its storage"),
    "beyond": (Described(Storage("0", 4), (4,), (1,), 1), "larger than its storage"),
    "strided beyond": (Described(Storage("0", 4), (2, 2), (3, 1)), "larger than its storage"),
    "negative": (Described(Storage("0", 4), (-2, -2), (1, 1)), "impossible shape"),
    "negative offset": (Described(Storage("0", 4), (2,), (1,), -1), "impossible shape"),
    "no numbers": (Described(Storage("0", 4), ("a",), (1,)), "impossible shape"),
    "short storage": (Described(Storage("0", 5), (5,), (1,)), "16 bytes where 20"),
    "long storage": (Described(Storage("0", 3), (3,), (1,)), "16 bytes where 12"),
    "no record": (Described(Storage("7", 4), (4,), (1,)), "'data/7' is missing"),
    "elsewhere": (Described(Storage("../../etc/passwd", 4), (4,), (1,)), "is missing"),
    "two sizes": (
        [Described(Storage("0", 4), (4,), (1,)), Described(Storage("0", 2, torch.DoubleStorage), (2,), (1,))],
        "two ways",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tensor_is_no_larger_than_its_bytes(tmp_path, name):
    held, words = HOSTILE[name]
    with pytest.raises(BadInput, match=words):
        store.read_tensors(archive(tmp_path / "x.pt", held, {"data/0": bytes(16)}))


def test_tensors_share_no_more_than_a_file_can_mean(tmp_path):
    held = [Described(Storage("0", 1 << 18), (1 << 18,), (1,)) for _ in range(1000)]
    with pytest.raises(BadInput, match="many times larger"):
        store.read_tensors(archive(tmp_path / "x.pt", held, {"data/0": bytes(1 << 20)}))


def test_nothing_is_run(tmp_path):
    marker = tmp_path / "was-run"
    line = f"touch {marker}"
    torch.save({"model": HELD, "x": Shell(line)}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match=r"names (posix|nt)\.system"):
        store.read_tensors(tmp_path / "x.pt")
    for program, words in (
        (b"cos\nsystem\n(S'" + line.encode() + b"'\ntR.", "names os.system"),
        (b"c__torch__.x\nY\n)\x81q\x00}(X\x01\x00\x00\x00aI1\nub.", "uses INT"),
        (b"\x80\x02]q\x00h\x00a", "damaged"),
        (b"\x80\x02]q\x00h\x00a.", None),  # a list that holds itself
        (b"\x80\x02}.", None),
        (b".", "damaged"),
        (b"", "damaged"),
    ):
        path = archive(tmp_path / "y.pt", program, {})
        if words is None and program.endswith(b"}."):
            assert store.read_tensors(path) == {}
        else:
            with pytest.raises(BadInput, match=words or "deeper than a hundred"):
                store.read_tensors(path)
    assert not marker.exists()


def test_what_would_take_for_ever_to_print_or_to_hash_is_not(tmp_path):
    """2^60 values that are one tuple in memory, wherever a program can put them."""
    deep: object = (1,)
    for _ in range(60):
        deep = (deep, deep)
    held = Described(Storage("0", 4), (4,), (1,))
    for hostile, words in (
        (Described(Storage("0", 4), deep, (1,)), "impossible shape"),
        (Described(deep, (4,), (1,)), "without a storage"),
        (Described(Storage(deep, 4), (4,), (1,)), "no kind"),
        (Described(Storage("0", 4), (4, 1), (1, 1 << 200)), "impossible shape"),
        ({"a": held, "x" * 2000: [[held]]}, "longer than a thousand"),
        ({"a": {"b": held}, "a.b": held}, "two tensors 'a.b'"),
    ):
        with pytest.raises(BadInput, match=words):
            store.read_tensors(archive(tmp_path / "x.pt", hostile, {"data/0": bytes(16)}))
    nest = b"K\x01\x85q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
    program = b"\x80\x02" + nest + b"}h\x3cK\x01s."
    with pytest.raises(BadInput, match="neither text nor numbers"):
        store.read_tensors(archive(tmp_path / "x.pt", program, {}))


def test_records_that_overlap_are_no_more_than_the_file(tmp_path):
    held = [Described(Storage(str(i), 1 << 18), (1,), (1,)) for i in range(3)]
    path = archive(tmp_path / "x.pt", held, {f"data/{i}": bytes(1 << 20) for i in range(3)})
    assert len(store.read_tensors(path)) == 3
    with zipfile.ZipFile(path, "a") as f:  # the directory says that all three lie where the first does
        first = f.getinfo("x/data/0").header_offset
        f.start_dir = f.getinfo("x/data/1").header_offset
        for i in (1, 2):
            f.getinfo(f"x/data/{i}").header_offset = first
        f._didModify = True
    with pytest.raises(BadInput, match=r"larger than the file|cut short or damaged"):
        store.read_tensors(path)


def test_a_small_program_cannot_spell_out_much(tmp_path):
    layers: object = 1
    for _ in range(60):  # 2^60 values in some hundred bytes
        layers = [layers, layers]
    with pytest.raises(BadInput, match="spells out more than"):
        store.read_tensors(archive(tmp_path / "x.pt", layers, {}))
    held = Described(Storage("0", 4), (4,), (1,))
    with pytest.raises(BadInput, match="is compressed"):
        store.read_tensors(archive(tmp_path / "x.pt", held, {"data/0": bytes(16)}, zipfile.ZIP_DEFLATED))
    large = Described(Storage("0", 4 << 20), (4 << 20,), (1,))
    with pytest.raises(BadInput, match="larger than the file"):
        store.read_tensors(archive(tmp_path / "x.pt", large, {"data/0": bytes(16 << 20)}, zipfile.ZIP_DEFLATED))


def test_a_torn_file_is_a_sentence(tmp_path):
    torch.save(HELD, tmp_path / "x.pt")
    save_file({k: v.contiguous() for k, v in HELD.items()}, tmp_path / "x.safetensors")
    for name in ("x.pt", "x.safetensors"):
        data = (tmp_path / name).read_bytes()
        for length in (1, 9, 100, len(data) // 2, len(data) - 30, len(data) - 1):
            (tmp_path / "torn").write_bytes(data[:length])
            with pytest.raises(BadInput, match="torn"):
                store.read_tensors(tmp_path / "torn")


def test_a_flipped_bit_is_never_a_wrong_weight(tmp_path):
    torch.save(HELD, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    dice, refused = random.Random(0), 0
    for _ in range(400):
        at = dice.randrange(len(data))
        bad = bytearray(data)
        bad[at] ^= 1 << dice.randrange(8)
        (tmp_path / "y.pt").write_bytes(bad)
        try:
            assert same(store.read_tensors(tmp_path / "y.pt"), HELD)
        except BadInput:
            refused += 1
    assert refused > 100


def test_what_is_no_weights_is_named(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(HELD, path, _use_new_zipfile_serialization=False)
    with pytest.raises(BadInput, match=r"format before 1\.6"):
        store.read_tensors(path)
    for data, words in (
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<html>not found</html>", "neither"),
    ):
        path.write_bytes(data)
        with pytest.raises(BadInput, match=words):
            store.read_tensors(path)
    with zipfile.ZipFile(path, "w") as f:
        f.writestr("readme.txt", "x")
    with pytest.raises(BadInput, match="no PyTorch archive"):
        store.read_tensors(path)
    with pytest.raises(BadInput, match="is no file"):
        store.read_tensors(tmp_path)


def test_shards_are_joined_by_their_index(tmp_path):
    parts = {"a.safetensors": ["one", "whole"], "b.safetensors": ["half"]}
    for name, keys in parts.items():
        save_file({k: HELD[k] for k in keys}, tmp_path / name)
    index = tmp_path / "m.safetensors.index.json"
    where = {k: name for name, keys in parts.items() for k in keys}
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert same(store.read_tensors(index), {k: HELD[k] for k in where})
    for wrong, words in (
        (where | {"one": "../a.safetensors"}, "beside their index"),
        (where | {"one": "c.safetensors"}, "c.safetensors, which is missing"),
        (where | {"two": "a.safetensors"}, "do not agree on 1 tensors"),
        (None, "no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(BadInput, match=words):
            store.read_tensors(index)
