"""Every line of `text.ENCODERS` keeps the contract of `TextEncoder`, and every line of `UPSAMPLERS` that of `Upsampler`."""

import json
import os
import subprocess
import sys

import pytest
import torch

from armillary import text
from armillary.errors import BadInput, MissingExtra
from armillary.text.hashed import _word_vector


def word_tokenizer(folder):
    """A tokenizer of twenty words, saved in `folder`; the test is skipped where the extra is not installed."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = "a the robot arm pushes red blue block to left right".split()
    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {w: i + 3 for i, w in enumerate(words)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    made.save_pretrained(folder)
    return len(vocab)


def t5_folder(folder):
    """A T5 of random weights."""
    count = word_tokenizer(folder)
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(vocab_size=count, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


def bert_folder(folder, first=False):
    """A BERT of random weights, with the pooling that sentence-transformers writes down."""
    count = word_tokenizer(folder)
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=count,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": first}))
    return folder


def encoder_of(name, tmp_path):
    if name in ("hash", "small"):
        return text.load(name)
    return text.load({"t5": t5_folder, "sentence": bert_folder}[name](tmp_path))


@pytest.mark.parametrize("name", text.ENCODERS)
def test_contract(name, tmp_path):
    encoder = encoder_of(name, tmp_path)
    assert isinstance(encoder, text.TextEncoder)
    sentences = ["a robot arm pushes the red block", "the blue block", ""]
    values, mask = encoder.encode(sentences)
    assert values.shape == (3, encoder.length, encoder.dim) and values.dtype == torch.float32
    assert mask.shape == (3, encoder.length) and mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [encoder.count(s) for s in sentences]
    assert not values[~mask].any() and (values[mask].abs().amax(-1) > 0).all()
    again = text.load(encoder.name).encode(sentences[1:2])
    assert torch.allclose(again[0][0], values[1], atol=1e-5) and torch.equal(again[1][0], mask[1])
    assert encoder.encode([])[0].shape[0] == 0 if name != "t5" else True
    vectors = encoder.pooled(sentences)
    assert vectors.dtype == torch.float32 and torch.allclose(vectors.norm(dim=-1), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)
    assert torch.allclose(encoder.pooled(sentences[1:2])[0], vectors[1], atol=1e-4)  # whatever its neighbours
    long = "the red block " * encoder.length
    with pytest.raises(BadInput, match=f"reads {encoder.length}"):
        encoder.encode([long])
    assert encoder.encode([long], cut=True)[1].all() and encoder.pooled([long]).isfinite().all()
    with pytest.raises(BadInput, match="list of sentences"):
        encoder.encode("the red block")


def test_hash_is_the_same_in_another_process():
    code = "from armillary.text.hashed import _word_vector; print(*_word_vector('pushes', 48))"
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "1"}
    )
    assert [float(x) for x in ran.stdout.split()] == pytest.approx(_word_vector("pushes", 48).tolist(), abs=1e-6)


def test_unknown_and_missing_encoders(tmp_path):
    with pytest.raises(BadInput, match="Did you mean 'hash'"):
        text.load("hahs")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "d_model": 4}))
    with pytest.raises(BadInput, match="'gpt2'"):
        text.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 4}))
    with pytest.raises((BadInput, MissingExtra), match=r"T5|transformers"):
        text.load(tmp_path).encode(["the red block"])


def test_a_sentence_is_pooled_as_its_folder_says(tmp_path):
    encoder = text.load(bert_folder(tmp_path, first=True))
    values, _ = encoder.encode(["the red block"])
    first = values[0, 0] / values[0, 0].norm()
    assert encoder.length == 40 and torch.allclose(encoder.pooled(["the red block"])[0], first, atol=1e-5)


def test_t5_without_its_extra(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 4}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = text.load(tmp_path)
    assert encoder.dim == 4 and encoder.length == 512
    with pytest.raises(MissingExtra, match="transformers is needed for a local T5 encoder"):
        encoder.encode(["the red block"])


@pytest.mark.parametrize("name", text.UPSAMPLERS)
def test_upsamplers_refuse_what_is_no_prompt(name):
    with pytest.raises(BadInput, match="empty"):
        text.UPSAMPLERS[name]().upsample("  ")
    with pytest.raises(BadInput, match="limit is 2000"):
        text.UPSAMPLERS[name]().upsample("x" * 2001)
