"""A prompt rail that asks a safety model in a folder on this machine, by the `transformers` package. Nothing is downloaded.

A causal language model of the Llama Guard, Qwen3Guard or Aegis kind, with its own chat template, which holds the policy it was trained
with. It is asked greedily and its answer is read by `endpoint.parse`. What makes such a rail fail open elsewhere raises here, and so
refuses: weights that the folder lacks (transformers would draw them at random), a template without a policy (a chat model repeats «safe»
when told to), one that drops the text (Llama Guard's want text in different shapes), text that holds the model's control tokens (it could
write the answer itself), a prompt longer than the model reads, an answer that does not end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.errors import BadInput, Failed, require
from armillary.guard.endpoint import parse
from armillary.guard.language import Language
from armillary.guard.rail import Finding
from armillary.guard.taxonomy import HAZARDS

VARIABLE = "ARMILLARY_GUARD_FOLDER"
MARKER = "a cup (7341) on a table"
Say = Callable[[str], str]


@dataclass(frozen=True)
class LocalConfig:
    """Which model, and what its answers mean.

    Args:
        folder: of the model: config.json, safetensors, a tokenizer with a chat template.
        controversial: whether Qwen3Guard's middle class refuses too.
        ignore: hazard classes that do not refuse, e.g. `("S8",)`.
        multilingual: the model reads what the embedded rails do not; otherwise text that is not English is refused as unsupported.
        tokens: most tokens of an answer; a longer one is no verdict.
        device: empty for a GPU if there is one.
    """

    folder: str | Path
    controversial: bool = True
    ignore: tuple[str, ...] = ()
    multilingual: bool = False
    tokens: int = 64
    device: str = ""

    @staticmethod
    def from_environment() -> LocalConfig | None:
        """The folder in `ARMILLARY_GUARD_FOLDER`; None when it is not set."""
        folder = os.environ.get(VARIABLE, "")
        return LocalConfig(folder) if folder else None


class SafetyModel:
    """Text to the model's answer; loaded at the first text and kept.

    Raises:
        BadInput: no folder, no such model in it, or no template with a policy. MissingExtra: `transformers` is not installed.
        Failed: the text cannot be put to the model, or the answer does not end.
    """

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        self._pair: tuple[Any, Any] | None = None
        self._lock = threading.Lock()  # a call that ran late goes on loading; the next one waits instead of loading again

    def pair(self) -> tuple[Any, Any]:
        """(tokenizer, model)."""
        with self._lock:
            if self._pair is None:
                self._pair = self._load()
            return self._pair

    def _load(self) -> tuple[Any, Any]:
        folder = Path(self.config.folder)
        if not (folder / "config.json").is_file():
            merged = (
                " It holds an adapter: merge it into its base model first."
                if (folder / "adapter_config.json").is_file()
                else ""
            )
            raise BadInput(
                f"The local guard wants the folder of a safety model, with a config.json; got {str(folder)!r}.{merged}"
            )
        hub, torch = require("transformers", "a local guard"), require("torch", "a local guard")
        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = hub.AutoTokenizer.from_pretrained(str(folder), **safe)
            model, told = hub.AutoModelForCausalLM.from_pretrained(
                str(folder), use_safetensors=True, dtype="auto", output_loading_info=True, **safe
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadInput(f"{folder} holds no causal language model that can be read: {error}") from error
        absent = sorted(map(str, (*told["missing_keys"], *told.get("mismatched_keys", ()))))
        if absent:
            raise BadInput(f"{folder} lacks weights of its model, such as {absent[0]}; they would be random.")
        if not getattr(tokenizer, "chat_template", None):
            raise BadInput(
                f"The tokenizer in {folder} has no chat template; a safety model is asked by its own (chat_template.jinja)."
            )
        if "unsafe" not in rendered(tokenizer, MARKER).lower():
            raise BadInput(
                f"The chat template in {folder} asks for no verdict (it has no word «unsafe»): a chat model is no guard."
            )
        device = self.config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return tokenizer, model.to(device).eval().requires_grad_(False)

    def __call__(self, text: str) -> str:
        tokenizer, model = self.pair()
        held = [t for t in {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} if t.strip() and t in text]
        if held:
            raise Failed(f"the prompt holds control tokens of the safety model: {', '.join(sorted(held))[:80]}")
        return _answer(tokenizer, model, rendered(tokenizer, text), self.config.tokens)


def rendered(tokenizer: Any, text: str) -> str:
    """The whole question. Templates want the text bare or as a list of parts; which, is seen by whether a marker comes out again.

    Raises:
        Failed: in neither shape does the text.
    """
    wrong = "it drops the text"
    for shape in (lambda said: said, lambda said: [{"type": "text", "text": said}]):

        def put(said: str, shape: Callable[[str], Any] = shape) -> str:
            messages = [{"role": "user", "content": shape(said)}]
            return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

        # Broad on purpose: what a template raises is its author's choice, and the other shape is still to be tried.
        try:
            if MARKER not in (marked := put(MARKER)) or "'type'" in marked:
                continue
            told = put(text)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"[:200]
            continue
        if text.strip() in told:
            return told
    raise Failed(f"the prompt could not be put into the safety model's chat template: {wrong}")


def _answer(tokenizer: Any, model: Any, question: str, most: int) -> str:
    torch, hub = require("torch"), require("transformers")
    inputs = tokenizer(question, add_special_tokens=False, return_tensors="pt").input_ids.to(model.device)
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    if limit and inputs.shape[1] + most > limit:
        raise Failed(
            f"the question has {inputs.shape[1]} tokens and {most} are kept for the answer; the safety model reads {limit}"
        )
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    ends = [ends] if isinstance(ends, int) else list(ends or ())
    if not ends:
        raise Failed("the safety model's folder names no token that ends an answer")
    # A configuration of its own: the folder's may sample, or punish the words that the question has already.
    how = hub.GenerationConfig(max_new_tokens=most, do_sample=False, num_beams=1, eos_token_id=ends, pad_token_id=ends[0])
    with torch.inference_mode():
        out = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=how)[0, inputs.shape[1] :]
    if not len(out) or int(out[-1]) not in ends:
        raise Failed(f"the safety model's answer does not end within {most} tokens: {tokenizer.decode(out)[:60]!r}")
    return tokenizer.decode(out, skip_special_tokens=True)


class Local:
    """The rail.

    Args:
        say: replaces the model, for callers who run one of their own.
        language: refuses what the model does not read before it is asked; None asks it about everything.
    """

    name, first = "local", False

    def __init__(self, config: LocalConfig, say: Say | None = None, language: Language | None = None) -> None:
        strange = [c for c in config.ignore if c not in HAZARDS]
        if strange:
            raise BadInput(f"Hazard classes to ignore are among {', '.join(HAZARDS)}; got {', '.join(strange)}.")
        if config.tokens < 1:
            raise BadInput(f"An answer has 1 or more tokens; got {config.tokens}.")
        self.config, self.language = config, language
        self.say: Say = say or SafetyModel(config)
        self.version = f"1+{Path(config.folder).resolve().name}"

    def check(self, text: str) -> Finding:
        if self.language is not None and (found := self.language.check(text)).blocked:
            return Finding(True, f"not asked: {found.reason}", category=found.category)
        answer = self.say(text)
        if not isinstance(answer, str):
            raise Failed(f"the safety model answered with {type(answer).__name__} instead of text")
        blocked, why, category = parse(answer, self.config)
        return Finding(blocked, why, category=category)
