"""The verbs: one typed function each. `armillary <verb>` on the command line is the function of the same name here.

A verb's file is loaded when the verb is first used, so that `armillary --help` and `armillary doctor` wait for nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """Where a verb lives and the line that lists it."""

    module: str
    line: str

    def load(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"armillary.verbs.{self.module}"), name.replace(" ", "_"))


VERBS: dict[str, Verb] = {
    "demo": Verb("_demo", "the whole chain on this machine, ending in report.html"),
    "doctor": Verb("_doctor", "what this machine can run, before anyone waits"),
    "sim record": Verb("_sim", "record episodes of an exact simulator as a LeRobot dataset"),
    "data info": Verb("_data", "what a dataset is: cameras, features, tasks, statistics"),
    "data validate": Verb("_data", "everything that is wrong with a dataset, and what would mend it"),
    "data convert": Verb("_data", "between LeRobot, Cosmos folders, WebDataset shards and plain folders"),
    "curate": Verb("_curate", "split, filter, caption, deduplicate and shard raw video"),
    "curate shots": Verb("_shots", "where one shot ends and the next begins"),
    "curate refilter": Verb("_curate", "judge curated footage again with other thresholds, without decoding it"),
    "curate search": Verb("_search", "find curated clips by words or by a clip"),
    "tokenize": Verb("_tokenize", "a video to latents or tokens, and back"),
    "convert": Verb("_convert", "published weights of tokenizers and diffusion worlds to a checkpoint folder, and back"),
    "tokenize eval": Verb("_tokenize_eval", "measure tokenizers side by side, and against H.264 and smaller pictures"),
    "embed": Verb("_embed", "embed prompts beforehand, so that a large text encoder need not be there to dream"),
    "train": Verb("_train", "run a recipe"),
    "posttrain action": Verb("_posttrain", "a world that dreams what an action leads to, gated"),
    "posttrain camera": Verb("_posttrain", "a world whose view goes where its camera is sent"),
    "posttrain driving": Verb("_posttrain_driving", "a world of six cameras that drives where it is told"),
    "posttrain instruction": Verb("_posttrain", "a world that shows a robot carrying out a sentence"),
    "generate": Verb("_generate", "dream a video from a prompt, an image, a video or actions"),
    "eval": Verb("_eval", "measure a tokenizer or a world against the truth"),
    "eval control": Verb("_eval_control", "does a world do what it is told: actions, a camera's path, a sentence"),
    "guard check": Verb("_guard", "ask the guard about a prompt, a file of prompts or a video"),
    "guard redteam": Verb("_guard", "attacks and harmless prompts through the gate: block and false-positive rates"),
    "guard review": Verb("_guard", "a local page where people mark what is unsafe in clips, and how well they agree"),
    "guard head": Verb("_guard", "train a frame classifier's head on reviewed clips"),
    "guard train": Verb("_guard", "train and measure the prompt classifier on prompts of one's own"),
    "verify": Verb("_guard", "does a video belong to the record beside it, and what does that say"),
    "sign": Verb("_guard", "put a C2PA manifest, signed with one's own certificate, into a video that was dreamed here"),
    "info": Verb("_info", "what a checkpoint, a dataset, a video or a name is"),
}


def __getattr__(name: str) -> Any:
    for title, verb in sorted(VERBS.items(), key=lambda v: v[0].replace(" ", "_") != name):
        if title.replace(" ", "_") == name or title.split(" ")[0] == name:
            function = verb.load(title)
            globals()[name] = function
            return function
    raise AttributeError(f"module 'armillary.verbs' has no verb {name!r}; there are {', '.join(VERBS)}")
