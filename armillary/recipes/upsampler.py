"""Fine-tunes a causal language model from a folder into a prompt upsampler, on (short, long) pairs (paper section 5).

    python -m armillary.recipes.upsampler --model FOLDER --out OUT

The paper shortens long captions with a vision-language model. Here both come from one scene's facts, the short one stating a part of them,
or, with `--pairs`, from a CSV with the columns `short` and `long`. The loss is on the long text alone. What comes out is a folder
that `armillary generate --upsample OUT` runs.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from armillary.errors import BadInput, require
from armillary.presets import override
from armillary.progress import Progress, say
from armillary.recipes.text import scenes_of, varied
from armillary.sims.words.facts import WORLDS
from armillary.sims.words.tell import tell
from armillary.store import atomic_dir, write_json
from armillary.text.upsample_local import asked

Pair = tuple[str, str]


@dataclass(frozen=True)
class TuneConfig:
    """How the model is tuned.

    Args:
        pairs: made from `scenes` of each simulator. steps, batch, rate: of AdamW; a tenth of the steps warms up.
        tokens: of a pair; what is longer is left out.
    """

    pairs: int = 4000
    scenes: int = 200
    steps: int = 500
    batch: int = 8
    rate: float = 2e-5
    tokens: int = 512
    seed: int = 0


def pairs_of(count: int, scenes: int, seed: int = 0, worlds: Sequence[str] = WORLDS) -> list[Pair]:
    """Short prompts and the long captions of the same scenes, in wordings that are not held out."""
    pools = {w: scenes_of(w, scenes) for w in worlds}
    rng = np.random.default_rng([0x9A125, seed])
    out = []
    for i in range(count):
        pool = pools[worlds[i % len(worlds)]]
        facts = varied(pool[int(rng.integers(len(pool)))], rng, 2)
        out.append((tell(facts, "short", (seed, i)), tell(facts, "long", (seed, i))))
    return out


def read_pairs(path: str | Path) -> list[Pair]:
    """Rows of a CSV.

    Raises:
        BadInput: the columns `short` and `long` are not there, or no row is whole.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    out = [
        (r["short"].strip(), r["long"].strip())
        for r in rows
        if (r.get("short") or "").strip() and (r.get("long") or "").strip()
    ]
    if not out:
        raise BadInput(f"{path} has no row with both a short and a long text (columns short, long).")
    return out


def tune(model: str | Path, out: str | Path, pairs: Sequence[Pair], config: TuneConfig | None = None) -> dict[str, Any]:
    """Tune the model in a folder and write the tuned one to another; gives the loss at the beginning and at the end.

    Raises:
        BadInput: the folder holds no causal language model, or no pair is short enough.
    """
    hub, c = require("transformers", "tuning an upsampler"), config or TuneConfig()
    torch.manual_seed(c.seed)
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = hub.AutoTokenizer.from_pretrained(model, **safe)
        net = hub.AutoModelForCausalLM.from_pretrained(model, use_safetensors=True, **safe)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{model} holds no causal language model that can be read: {error}") from error
    rows = [r for r in (_row(tokenizer, p) for p in pairs) if len(r[0]) <= c.tokens]
    if not rows:
        raise BadInput(f"None of the {len(pairs)} pairs has {c.tokens} tokens or fewer; set tokens higher.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net.to(device).train()
    optim = torch.optim.AdamW(net.parameters(), lr=c.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, c.rate, total_steps=c.steps, pct_start=0.1)
    rng, losses = np.random.default_rng(c.seed), []
    with Progress("tune the upsampler", c.steps) as bar:
        for _ in range(c.steps):
            batch = [rows[int(i)] for i in rng.integers(len(rows), size=c.batch)]
            ids, labels, mask = (t.to(device) for t in _padded(batch, tokenizer.pad_token_id or 0))
            loss = net(input_ids=ids, attention_mask=mask, labels=labels).loss
            optim.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optim.step()
            schedule.step()
            losses.append(loss.item())
            bar.advance(loss=f"{loss.item():.3f}")
    some = max(1, c.steps // 10)
    figures = {"pairs": len(rows), "first": float(np.mean(losses[:some])), "last": float(np.mean(losses[-some:]))}
    with atomic_dir(out) as folder:
        net.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "tuned.json", {"recipe": c, "base": Path(model).name, "loss": figures})
    return figures


def _row(tokenizer: Any, pair: Pair) -> tuple[list[int], list[int]]:
    """(token ids, labels): the loss is on the long text and the end."""
    short, long = pair
    if getattr(tokenizer, "chat_template", None):
        from armillary.text.keep import INSTRUCTION

        told = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": short}]
        before = tokenizer.apply_chat_template(told, add_generation_prompt=True, tokenize=False)
        head = tokenizer(before, add_special_tokens=False).input_ids
        rest = tokenizer(long, add_special_tokens=False).input_ids
    else:
        head = tokenizer(asked(short), add_special_tokens=False).input_ids
        rest = tokenizer(f" {long}", add_special_tokens=False).input_ids
    rest = [*rest, *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])]
    return [*head, *rest], [-100] * len(head) + rest


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, (a, b) in enumerate(rows):
        ids[i, : len(a)], labels[i, : len(b)], mask[i, : len(a)] = torch.tensor(a), torch.tensor(b), 1
    return ids, labels, mask


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a causal language model")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--pairs", default="", help="a CSV with the columns short and long; made from the simulators without it"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of TuneConfig")
    given = parser.parse_args(arguments)
    c = override(TuneConfig(), given.set)
    pairs = read_pairs(given.pairs) if given.pairs else pairs_of(c.pairs, c.scenes, c.seed)
    say(json.dumps(tune(given.model, given.out, pairs, c)))
    say(str(given.out))


if __name__ == "__main__":
    main()
