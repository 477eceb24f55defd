"""The latents cache: the same values as the tokenizer gives, made once, mended when damaged, and served as windows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from armillary import tokenizers
from armillary.data import LatentsConfig, SyntheticConfig
from armillary.data import latents as module
from armillary.errors import BadInput, Failed
from armillary.media import to_tensor

FRAME = tokenizers.TokenizerConfig(
    temporal=1, video=False, channels=4, patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1
)
VIDEO = tokenizers.TokenizerConfig(
    temporal=4, channels=4, levels=(8, 5, 5, 5), patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1
)
SOURCE = SyntheticConfig(episodes=6, length=14, frames=5, size=(16, 24), held_out=0.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    torch.manual_seed(0)
    for name, config in {"frame": FRAME, "video": VIDEO}.items():
        tokenizers.save(tokenizers.build(config), root / name)
    return root


@pytest.fixture
def config(folders, tmp_path):
    return LatentsConfig(SOURCE, str(folders / "frame"), cache=str(tmp_path / "cache"))


class Counting:
    """How many entries were encoded."""

    def __init__(self, monkeypatch, stop_after=10**9):
        plain, self.count = module.LatentsDataset._encode, 0

        def counted(dataset, tokenizer, frames):
            if self.count >= stop_after:
                raise KeyboardInterrupt
            self.count += 1
            return plain(dataset, tokenizer, frames)

        monkeypatch.setattr(module.LatentsDataset, "_encode", counted)


def test_frames_alone_are_cut_from_one_encoding(config, folders):
    data = config.build()
    tokenizer = tokenizers.load(folders / "frame")
    batch = data.batch(0, 4, 0)
    assert batch.latents.shape == (4, 4, 5, 2, 3) and batch.latents.dtype == torch.float32 and batch.tokens is None
    assert batch.actions.shape == (4, 5, 2) and batch.fps.tolist() == [10.0] * 4
    for row, key in enumerate(batch.keys):
        name, start = key.split("@")
        entry = next(e for e in data.source.entries if e.key == name)
        frames = data.source.read(entry)[int(start) : int(start) + 5]
        torch.testing.assert_close(batch.latents[row], tokenizer.encode(to_tensor(frames)).values[0], rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(batch.actions[row], entry.actions[int(start) : int(start) + 5])


def test_windows_of_a_video_tokenizer_begin_at_their_own_first_frame(folders, tmp_path):
    config = LatentsConfig(SOURCE, str(folders / "video"), stride=3, cache=str(tmp_path))
    data = config.build()
    tokenizer = tokenizers.load(folders / "video")
    entry = data.source.entries[0]
    assert data.starts(entry) == [0, 3, 6, 9] and data.latent_frames == 2
    batch = data.batch(1, 6, 0)
    assert batch.tokens.shape == (6, 2, 2, 3) and batch.tokens.dtype == torch.int64 and batch.latents is None
    assert batch.actions.shape == (6, 5, 2)
    for row, key in enumerate(batch.keys):
        name, start = key.split("@")
        entry = next(e for e in data.source.entries if e.key == name)
        assert int(start) in data.starts(entry)
        frames = data.source.read(entry)[int(start) : int(start) + 5]
        assert torch.equal(batch.tokens[row], tokenizer.encode(to_tensor(frames)).ids[0])
    assert data.ref.vocab == 1000 and data.ref.temporal == 4 and data.ref.channels == 4 and data.ref.size == (16, 24)


def test_the_last_window_is_always_there(folders, tmp_path):
    data = LatentsConfig(dataclasses.replace(SOURCE, length=12), str(folders / "video"), cache=str(tmp_path)).build()
    assert data.starts(data.source.entries[0]) == [0, 4, 7]


def test_made_once_and_for_both_splits(config, monkeypatch):
    counting = Counting(monkeypatch)
    train = config.build()
    made = counting.count
    assert made == len(train.source.entries)
    again = config.build()
    assert counting.count == made
    assert torch.equal(train.batch(3, 4, 1).latents, again.batch(3, 4, 1).latents)
    config.build("held-out")
    assert counting.count == 6
    # Other windows of the same frames need nothing new; other frames do.
    dataclasses.replace(config, source=dataclasses.replace(SOURCE, frames=3)).build()
    assert counting.count == 6
    dataclasses.replace(config, source=dataclasses.replace(SOURCE, seed=1)).build()
    assert counting.count > 6


def test_an_interrupted_encoding_goes_on(config, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counting(patch, stop_after=3)
        config.build()
    counting = Counting(monkeypatch)
    data = config.build()
    assert counting.count == len(data.source.entries) - 3
    assert not list(data.folder.glob(".*"))


def test_a_damaged_file_is_made_again(config, monkeypatch, capsys):
    data = config.build()
    expected = data.batch(0, 8, 0).latents
    files = [data.path(e) for e in data.source.entries[:3]]
    for file, spoil in zip(files, ("bit", "cut", "swap")):
        content = bytearray(file.read_bytes())
        if spoil == "bit":
            content[-5] ^= 4
        file.write_bytes(content[:-9] if spoil == "cut" else content)
    files[2].write_bytes(data.path(data.source.entries[3]).read_bytes())
    counting = Counting(monkeypatch)
    again = config.build()
    assert counting.count == 3 and capsys.readouterr().err.count("is damaged and is made again") == 3
    assert torch.equal(again.batch(0, 8, 0).latents, expected)


def test_little_memory_reads_from_disk(config):
    roomy, tight = config.build(), dataclasses.replace(config, memory=0.0).build()
    assert torch.equal(roomy.batch(5, 4, 2).latents, tight.batch(5, 4, 2).latents)
    tight.path(tight.source.entries[0]).unlink()
    with pytest.raises(Failed, match="removed while it was in use"):
        for step in range(50):
            tight.batch(step, 4, 2)


def test_sentences_become_context(config):
    data = config.build()
    batch = data.batch(0, 3, 0)
    assert batch.context.shape == (3, data.encoder.length, data.text_dim) and batch.context_mask.dtype == torch.bool
    expected, mask = data.encoder.encode(list(batch.text))
    assert torch.equal(batch.context, expected) and torch.equal(batch.context_mask, mask)
    none = dataclasses.replace(config, text="").build()
    assert none.batch(0, 3, 0).context is None and none.text_dim == 0
    context, mask = data.context("")  # no sentence: no place to look at
    assert not mask.any() and not context.any() and data.context("push the box")[1].sum() == 3


def test_focus_finds_the_pushes(config):
    data, focused = config.build(), dataclasses.replace(config, focus=1.0).build()
    if not any(e.contact.any() for e in data.source.entries):
        pytest.fail("the drawn episodes have no contact at all")

    def touched(d):
        keys = [k.split("@") for step in range(20) for k in d.batch(step, 4, 0).keys]
        entries = {e.key: e for e in d.source.entries}
        return np.mean([entries[k].contact[int(s) + 1 : int(s) + 5].any() for k, s in keys])

    assert touched(focused) == 1.0 > touched(data)


def test_other_tokenizer_other_hash(config, folders):
    torch.manual_seed(1)
    tokenizers.save(tokenizers.build(FRAME), folders / "frame2")
    assert config.build().hash != dataclasses.replace(config, tokenizer=str(folders / "frame2")).build().hash


def test_what_cannot_work_is_said(config, folders):
    with pytest.raises(BadInput, match=r"1 \+ 4 x k frames; got frames=6, (5|9) would work"):
        dataclasses.replace(config, tokenizer=str(folders / "video"), source=dataclasses.replace(SOURCE, frames=6)).build()
    with pytest.raises(BadInput, match="multiples of 8"):
        dataclasses.replace(config, source=dataclasses.replace(SOURCE, size=(20, 24))).build()
    with pytest.raises(BadInput, match="tokenizer"):
        dataclasses.replace(config, tokenizer="no-such-thing").build()
    with pytest.raises(BadInput, match="hash"):
        dataclasses.replace(config, text="hsh").build()
