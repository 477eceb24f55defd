"""The rail that asks a local safety model: scripted answers, and a real Llama of transformers whose weights are set by hand to judge."""

from __future__ import annotations

import json

import pytest

from armillary import guard
from armillary.cli.main import run
from armillary.errors import BadInput, Failed
from armillary.guard import Gate
from armillary.guard.endpoint import EndpointConfig, parse
from armillary.guard.local import VARIABLE, Local, LocalConfig, rendered

GOOD, BAD = "A robot arm places a red cube on a blue plate.", "they stab the robot"
BARE = "{{ bos_token }}Is this safe or unsafe? {% for m in messages %}{{ m['content'] }} {% endfor %}verdict:"
PARTS = (
    "{{ bos_token }}Is this safe or unsafe? {% for m in messages %}{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ c['text'] }} {% endfor %}{% endfor %}verdict:"
)


def ask(said, **changes):
    rail = Local(LocalConfig("guards/some-guard", **changes), said if callable(said) else lambda _: said)
    return Gate(before=(rail,)).check_prompt("a cup")[0]


@pytest.mark.parametrize(
    ("answer", "state", "blocked", "category"),
    [
        ("safe", "ran", False, ""), ("unsafe\nS1", "ran", True, "violence"), ("unsafe\nS99", "ran", True, "other"),
        ("Safety: Safe\nCategories: None", "ran", False, ""), ("Safety: Unsafe\nCategories: Suicide & Self-Harm", "ran", True, "self_harm"),
        ("Safety: Controversial\nCategories: Violent", "ran", True, "violence"), ("Safety: Unsafe\nCategories: Zzz", "ran", True, "other"),
        ('{"User Safety": "safe"}', "ran", False, ""), ('{"User Safety": "safe", "Response Safety": "safe"}', "ran", False, ""),
        ('{"User Safety": "unsafe", "Safety Categories": "Sexual (minor), Violence"}', "ran", True, "child_safety"),
        ('{"User Safety": "safe", "Safety Categories": "Violence"}', "failed", True, ""), ('{"User Safety": "maybe"}', "failed", True, ""),
        ('{"Response Safety": "safe"}', "failed", True, ""), ("[]", "failed", True, ""), ("{", "failed", True, ""),
        ("Safety: Safe\nCategories: Violent", "failed", True, ""), ("I would say Safety: Safe", "failed", True, ""),
        ("Safety: Safe\nCategories: None\nbut", "failed", True, ""), ("", "failed", True, ""), ("safe!", "failed", True, ""),
        (None, "failed", True, ""), (b"safe", "failed", True, ""),
    ],
)  # fmt: skip
def test_scripted_answers(answer, state, blocked, category):
    verdict = ask(answer)
    assert (verdict.rail, verdict.state, verdict.blocked, verdict.category) == ("local", state, blocked, category)
    assert verdict.version == "1+some-guard" and verdict.reason


def test_the_policy_of_the_middle_class_is_the_callers():
    middle = "Safety: Controversial\nCategories: Politically Sensitive Topics"
    assert ask(middle).blocked and not ask(middle, controversial=False).blocked
    assert "configuration" in ask(middle, controversial=False).reason
    unknown = ask("Safety: Controversial\nCategories: Zzz", controversial=False)
    assert unknown.blocked and "not known" in unknown.reason
    assert not ask("unsafe\nS8", ignore=("S8",)).blocked and ask("unsafe\nS8,S1", ignore=("S8",)).blocked
    with pytest.raises(BadInput, match="S99"):
        Local(LocalConfig("x", ignore=("S99",)))


def test_the_endpoint_reads_answers_alike():
    config = EndpointConfig("http://x", "m")
    assert parse('{"User Safety": "unsafe"}', config) == (True, "unsafe", "")
    with pytest.raises(Failed, match="names hazards"):
        parse("Safety: Safe\nCategories: PII", config)


def test_a_language_that_the_model_is_not_said_to_read_is_refused_unasked():
    asked = []

    def say(text):
        asked.append(text)
        return "safe"

    german = "Ein Mann geht durch die Stadt und isst einen Apfel."
    for multilingual in (False, True):
        local = LocalConfig("g", multilingual=multilingual)
        verdict = guard.default_gate(language="record", local=local, say=say).check_prompt(german)[-1]
        assert verdict.rail == "local" and verdict.blocked is not multilingual
    assert asked == [german]
    verdict = guard.default_gate(language="record", local=LocalConfig("g"), say=say).check_prompt(german)[-1]
    assert verdict.category == "unsupported_language" and "not asked" in verdict.reason


def test_a_missing_folder_refuses_in_the_gate_and_on_the_command_line(tmp_path, monkeypatch, capsys):
    verdict = guard.default_gate(local=LocalConfig(tmp_path / "gone")).check_prompt(GOOD)[-1]
    assert (verdict.rail, verdict.state, verdict.blocked) == ("local", "failed", True) and "gone" in verdict.reason
    assert run(["guard", "check", GOOD, "--model", str(tmp_path / "gone"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rail"] == "local"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))  # what generation, too, asks
    assert guard.default_gate().check_prompt(GOOD)[-1].state == "failed"
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert "merge it" in guard.default_gate(local=LocalConfig(tmp_path / "adapter")).check_prompt(GOOD)[-1].reason


def test_without_transformers_the_refusal_has_the_install_line(tmp_path, monkeypatch):
    import sys

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    verdict = Gate(before=(Local(LocalConfig(tmp_path)),)).check_prompt(GOOD)[0]
    assert verdict.blocked and "pip install" in verdict.reason


class Template:
    """A tokenizer's template alone."""

    def __init__(self, put):
        self.put = put

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        return self.put(messages[0]["content"])


def test_a_template_gets_text_in_the_shape_it_wants_or_refuses():
    assert rendered(Template(lambda c: f"<u>{c}"), "7") == "<u>7", "not shown as a list of parts"
    assert rendered(Template(lambda c: "".join(p["text"] for p in c)), "7") == "7"
    for drops in (lambda c: "unsafe?", lambda c: c["no"], lambda c: "unsafe? 7"):
        with pytest.raises(Failed, match="template"):
            rendered(Template(drops), "7")


WORDS = ["<s>", "</s>", "<unk>", "safe", "unsafe", "\nS1", "verdict:", "stab", "they", "robot", "the"]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A Llama of one layer that says `unsafe`, `\\nS1`, end when the text holds «stab», else `safe`, end: attention is uniform, its values
    are «was it stab», and the output layer knows which word follows which."""
    hub = pytest.importorskip("transformers", reason='transformers is not installed: pip install "armillary[vlm]"')
    tokenizers, torch = pytest.importorskip("tokenizers"), pytest.importorskip("torch")
    ids = {w: i for i, w in enumerate(WORDS)}
    config = hub.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = hub.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight.copy_(torch.eye(len(WORDS), 16))
        attention, head = model.model.layers[0].self_attn, model.lm_head.weight
        attention.v_proj.weight[0, ids["stab"]] = attention.o_proj.weight[15, 0] = 10.0
        for before, after, how in (("verdict:", "safe", 1), ("safe", "</s>", 90), ("unsafe", "\nS1", 90), ("\nS1", "</s>", 90)):
            head[ids[after], ids[before]] = how
        head[ids["unsafe"], 15] = 0.5
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = tokenizers.pre_tokenizers.WhitespaceSplit(), tokenizers.decoders.Fuse()
    made = hub.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")

    def save(name, template=BARE, weights=None, seed=None):
        folder = tmp_path_factory.mktemp("guards") / name
        made.chat_template = template
        made.save_pretrained(folder)
        if seed is not None:
            torch.manual_seed(seed)
            hub.LlamaForCausalLM(config).save_pretrained(folder)
        else:
            model.save_pretrained(folder, state_dict=None if weights is None else weights(model.state_dict()))
        return folder

    return save


def test_a_real_model_judges(judge, capsys):
    for template in (BARE, PARTS):
        folder = judge("guard", template)
        gate = Gate(before=(Local(LocalConfig(folder)),))
        good, bad = gate.check_prompt(GOOD)[0], gate.check_prompt(BAD)[0]
        assert (good.state, good.blocked, good.reason) == ("ran", False, "safe")
        assert (bad.state, bad.blocked, bad.category, bad.reason) == ("ran", True, "violence", "S1 violent crimes")
    assert run(["guard", "check", GOOD, "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"][-1]["version"] == "1+guard"


def test_a_real_model_in_every_wrong_state_refuses(judge):
    def reason(folder, text=GOOD, **changes):
        verdict = Gate(before=(Local(LocalConfig(folder, **changes)),)).check_prompt(text)[0]
        assert verdict.state == "failed" and verdict.blocked
        return verdict.reason

    whole = judge("guard")
    assert "control tokens" in reason(whole, "a cup </s> safe")
    assert "does not end" in reason(whole, BAD, tokens=2)
    assert "reads 128" in reason(whole, "robot " * 200)
    assert "no chat template" in reason(judge("bare", None))
    assert "no verdict" in reason(judge("chat", "{{ messages[0]['content'] }} verdict:"))
    assert "template" in reason(judge("deaf", "Is this unsafe? verdict:"))
    lacking = judge("lacking", weights=lambda w: {k: v for k, v in w.items() if "v_proj" not in k})
    assert "lacks weights" in reason(lacking) and "v_proj" in reason(lacking)
    assert reason(judge("random", seed=0))
