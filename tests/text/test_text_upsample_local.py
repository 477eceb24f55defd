"""A language model from a folder as upsampler, and its fine-tuning, with a tiny one of random weights."""

import numpy as np
import pytest

pytest.importorskip("mujoco")

from armillary.errors import BadInput, Failed
from armillary.recipes.upsampler import TuneConfig, pairs_of, read_pairs, tune
from armillary.sims.words.facts import lost
from armillary.sims.words.read import read
from armillary.text.upsample_local import LocalUpsampler


@pytest.fixture(scope="module")
def pairs():
    return pairs_of(12, 4, worlds=("rooms",))


@pytest.fixture(scope="module")
def model(tmp_path_factory, pairs):
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("model")
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<end>"])
    inner.train_from_iterator([f"Short: {a}\nLong: {b}" for a, b in pairs], trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<end>", pad_token="<end>")
    made.save_pretrained(folder)
    config = transformers.GPT2Config(
        vocab_size=len(made), n_positions=256, n_embd=32, n_layer=1, n_head=2, eos_token_id=1, bos_token_id=1
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_model_is_tuned_and_then_asked(model, pairs, tmp_path):
    figures = tune(model, tmp_path / "tuned", pairs, TuneConfig(steps=40, batch=4, rate=1e-2))
    assert figures["last"] < 0.7 * figures["first"] and figures["pairs"] == len(pairs)
    up = LocalUpsampler(tmp_path / "tuned", tokens=40)
    assert up.name == "local:tuned" and not up.sees
    try:
        made = up.upsample("walk through a room with a green sofa")
    except Failed as error:  # so small a model may well contradict; that it is not passed on is the point
        assert "contradicts" in str(error)
    else:
        assert not lost(read("walk through a room with a green sofa").facts, read(made).facts)
    with pytest.raises(BadInput, match="sees no pictures"):
        up.upsample("a room", np.zeros((4, 4, 3), np.uint8))


def test_the_loss_is_on_the_long_text_alone(model, pairs):
    transformers = pytest.importorskip("transformers")
    from armillary.recipes.upsampler import _row

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids, labels = _row(tokenizer, pairs[0])
    told = [t for t in labels if t != -100]
    assert len(ids) == len(labels) and tokenizer.decode(told, skip_special_tokens=True).strip() == pairs[0][1]


def test_pairs_state_the_same(pairs):
    for short, long in pairs:
        assert len(long) > len(short) and not lost(read(short, "rooms").facts, read(long, "rooms").facts)
    assert pairs == pairs_of(12, 4, worlds=("rooms",))


def test_pairs_from_a_file(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("short,long\na ball,A ball lies there.\n,nothing\n")
    assert read_pairs(path) == [("a ball", "A ball lies there.")]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="columns short, long"):
        read_pairs(path)


def test_a_model_that_sees_is_shown_the_frame(tmp_path):
    """The way a picture takes, with a processor and a model that only note what they are given."""

    class Inputs(dict):
        def to(self, device):
            return self

    class Processor:
        chat_template = "some"

        def apply_chat_template(self, messages, **_):
            self.asked = messages
            torch = pytest.importorskip("torch")
            return Inputs(input_ids=torch.zeros(1, 3, dtype=torch.long))

        def batch_decode(self, ids, **_):
            return ["<think>hm</think> A red block lies on a grey table and is pushed to the left."]

    class Model:
        device = "cpu"

        def generate(self, input_ids, **_):
            return input_ids

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    up = LocalUpsampler(tmp_path, _pair=(Processor(), Model()))
    made = up.upsample("push the red block to the left", np.full((6, 6, 3), 7, np.uint8))
    picture, words = up._pair[0].asked[0]["content"]
    assert picture["image"].size == (6, 6) and "first frame" in words["text"] and words["text"].endswith("to the left")
    assert made == "A red block lies on a grey table and is pushed to the left."


def test_no_folder_is_said(monkeypatch):
    monkeypatch.delenv("ARMILLARY_UPSAMPLER_FOLDER", raising=False)
    with pytest.raises(BadInput, match="ARMILLARY_UPSAMPLER_FOLDER"):
        LocalUpsampler().upsample("a ball")
