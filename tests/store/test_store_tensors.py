"""Tensors are written one at a time, and left in the file until used."""

from __future__ import annotations

import io

import pytest
import torch
from safetensors.torch import load_file, save_file

from armillary.errors import BadInput
from armillary.store import read_tensors, tensor_names, write_tensors

KINDS = (torch.int64, torch.float64, torch.float32, torch.int32, torch.bfloat16, torch.float16, torch.int16, torch.int8)


def some():
    g = torch.Generator().manual_seed(0)
    made = {f"{i % 3}.{str(d)[6:]}": torch.randn(3, 5, generator=g).to(d) for i, d in enumerate(KINDS)}
    return made | {
        "é": torch.zeros(0, 4),
        "one": torch.tensor(1.5),
        "turned": torch.randn(4, 6).T,
        "flag": torch.tensor([True]),
    }


def test_the_bytes_are_those_of_the_library(tmp_path):
    tensors = some()
    for metadata in (None, {"made": "here"}):
        save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "theirs.safetensors", metadata)
        write_tensors(tmp_path / "ours.safetensors", tensors, metadata)
        assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    again = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(again[k], v) for k, v in tensors.items())
    with pytest.raises(BadInput, match="complex64"):
        write_tensors(tmp_path / "ours.safetensors", {"x": torch.zeros(1, dtype=torch.complex64)})


def test_a_mapped_archive_is_the_read_one(tmp_path):
    tensors = some()
    tensors["part"] = tensors["turned"][1:, 2:]  # shares its storage, and does not begin where that does
    path = tmp_path / "model.pt"
    torch.save({"model": tensors}, path)
    before = path.read_bytes()
    read, mapped = read_tensors(path), read_tensors(path, mapped=True)
    assert read.keys() == mapped.keys()
    assert all(torch.equal(mapped[k], v) and mapped[k].dtype == v.dtype for k, v in read.items())
    mapped["model.one"].fill_(7.0)
    assert path.read_bytes() == before, "the file is not written through"
    assert tensor_names(path) == list(read)
    torch.save({"one": mapped["model.one"]}, tmp_path / "one.pt")
    assert (tmp_path / "one.pt").stat().st_size < len(before) / 2, "saved again, a tensor does not bring the whole file"


def test_states_of_other_libraries_beside_weights_are_passed_over(tmp_path):
    torch.save({"a.weight": torch.ones(2), "a._extra_state": io.BytesIO(b"\x80\x02 anything")}, tmp_path / "model.pt")
    assert list(read_tensors(tmp_path / "model.pt")) == tensor_names(tmp_path / "model.pt") == ["a.weight"]


def test_names_are_read_alone(tmp_path):
    write_tensors(tmp_path / "x.safetensors", some(), {"made": "here"})
    assert set(tensor_names(tmp_path / "x.safetensors")) == some().keys()
    (tmp_path / "x.txt").write_text("12345678{ nothing")
    assert tensor_names(tmp_path / "x.txt") == []


def test_a_mapped_archive_is_checked_too(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.full((64,), 1.25)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((4,), 1.25).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        read_tensors(path, mapped=True)
