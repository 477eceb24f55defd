"""Trains `weights/curate-kinds`: what sort of footage a clip is, and, softly, of what.

    python -m armillary.recipes.kinds OUT --labels labels.csv --real FOLDER [FOLDER ...]

Three sources of footage: what `drawn` draws, renders of this package's simulator, and real clips that lie in the given folders and are
named in the table (`file,source,type,topic,fold`). Every clip goes through the analyser and the filters as any other, so that the
classifier learns from what it will be given. Held out are whole sources: each fold of the table in turn, and drawings of other seeds.
The card says what came of it. Two heads are fitted, by logistic regression with a strong prior."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate import kinds
from armillary.curate.analyse import analyse, join
from armillary.curate.filters.black import Black
from armillary.curate.filters.motion import Motion
from armillary.curate.filters.traits import NAMES, traits
from armillary.curate.stage import Context
from armillary.errors import BadInput, require
from armillary.media import MediaError, Reader, write_video
from armillary.progress import say
from armillary.recipes.drawn import DRAWN
from armillary.store import atomic_path, sha256_file, write_json
from armillary.types import Clip

SECONDS, WINDOWS = 4.0, 5  # of one example, and how many a file gives at most
# simulator -> the topic of what it shows
SIMULATED = {"tabletop": "manipulation", "driving": "driving", "rooms": "navigation", "physics": "other"}
SIZES = ((270, 480), (360, 640), (240, 320), (360, 360), (480, 270))


LICENCE = (
    "Apache-2.0 for the weights, which are 52 fitted numbers a class. The clips they were fitted to are their owners' works under their "
    "own terms (some are films, games and research footage that may not be passed on); none is contained or redistributed"
)


@dataclass(frozen=True)
class Example:
    """One clip's vector. `source`: what is held out together; `fold`: "" when it is in every training set; `topic` "" where unsaid."""

    vector: np.ndarray
    type: str
    topic: str
    source: str
    fold: str


@dataclass(frozen=True)
class KindsConfig:
    """Args:
    per: drawings of each sort. seed: the first of them. held: share of the drawn seeds that are held out.
    sims: simulators to render, and the topic of each.
    prior: of the type head, topic_prior: of the topic head, as the inverse of the regression's `C`.
    """

    per: int = 16
    seed: int = 0
    sims: Mapping[str, str] = field(default_factory=lambda: dict(SIMULATED))
    held: float = 0.25
    prior: float = 10.0
    topic_prior: float = 20.0


def vectors_of(path: Path) -> list[np.ndarray]:
    """Traits of up to `WINDOWS` stretches of a file, evenly spread."""
    with Reader(path) as reader:
        segment, info = join(list(analyse(reader))), reader.info
    start, end = float(segment.times[0]), segment.end
    count = int(np.clip((end - start) // SECONDS, 1, WINDOWS))
    length = min(SECONDS, end - start)
    context = Context(segment, path, path.name, "", path.parent)
    begins = np.linspace(start, end - length, count)
    clips = [
        Clip(f"{i}", path.name, float(a), float(a) + length, width=info.width, height=info.height) for i, a in enumerate(begins)
    ]
    for stage in (Black(), Motion()):
        clips = stage.process(clips, context)
    found = [traits(c, segment) for c in clips]
    return [v for v in found if v is not None]


class Cache:
    """Vectors that were computed before, in a folder ("": none): decoding is nearly all of the time that training takes."""

    def __init__(self, folder: str | Path = "") -> None:
        self.folder = Path(folder) if str(folder) else None
        self.stamp = sha256_text(" ".join(NAMES))

    def get(self, key: str, make: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
        if self.folder is None:
            return make()
        path = self.folder / f"{key}-{self.stamp}.npy"
        if not path.is_file():
            made = np.asarray(make(), np.float64).reshape(-1, len(NAMES))
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, made, allow_pickle=False)
        return list(np.load(path, allow_pickle=False))


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def of_frames(make: Callable[[], tuple[np.ndarray, float]]) -> list[np.ndarray]:
    """Vectors of made-up frames, encoded and analysed as a file is."""
    frames, fps = make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        write_video(path, frames, fps)
        return vectors_of(path)


def draw(name: str, seed: int) -> tuple[np.ndarray, float]:
    """Three seconds of a sort of drawing, and their rate."""
    rng = np.random.default_rng([seed, *name.encode()])
    h, w = SIZES[int(rng.integers(len(SIZES)))]
    fps = float(rng.choice([8, 10, 12, 15]))
    return DRAWN[name][1](rng, h, w, round(3 * fps)), fps


def drawn_examples(config: KindsConfig, cache: Cache) -> list[Example]:
    """Every sort of drawing; the last seeds are of the fold `drawn`."""
    out = []
    for name, (kind, _) in DRAWN.items():
        for k in range(config.per):
            seed = config.seed + k
            found = cache.get(f"{name}-{seed}", lambda name=name, seed=seed: of_frames(lambda: draw(name, seed)))
            fold = "drawn" if k >= (1 - config.held) * config.per else ""
            out += [Example(v, kind, "other", f"{name}-{k}", fold) for v in found]
    return out


def simulate(name: str, seed: int) -> tuple[np.ndarray, float]:
    """Some seconds of a simulator under its own policy, through one of its cameras, and their rate."""
    from armillary.sims import make, record_episode

    sim = make(name)
    camera = sim.cameras[seed % len(sim.cameras)]
    return record_episode(sim, seed, "", frames=25, cameras=(camera,), size=192).frames[camera], sim.fps


def rendered_examples(config: KindsConfig, cache: Cache) -> list[Example]:
    """Episodes of this package's simulators."""
    out = []
    for name, topic in config.sims.items():
        for k in range(config.per // 2):
            seed = config.seed + k
            found = cache.get(f"sim-{name}-{seed}", lambda name=name, seed=seed: of_frames(lambda: simulate(name, seed)))
            fold = "drawn" if k >= (1 - config.held) * config.per / 2 else ""
            out += [Example(v, "rendered", topic, f"{name}-{k}", fold) for v in found]
    return out


def real_examples(labels: Path, folders: Sequence[Path], cache: Cache) -> tuple[list[Example], list[dict[str, str]]]:
    """Clips named in the table that are found in one of the folders, and the rows that were used."""
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["type"] not in kinds.TYPES or row["topic"] not in (*kinds.TOPICS, ""):
            raise BadInput(f"{labels}: {row['file']} is {row['type']}/{row['topic']}; types: {', '.join(kinds.TYPES)}.")
    out, used = [], []
    for row in rows:
        path = next((f / row["file"] for f in folders if (f / row["file"]).is_file()), None)
        if path is None:
            continue
        digest = sha256_file(path)[:16]
        try:
            found = cache.get(f"real-{digest}", lambda path=path: vectors_of(path))
        except MediaError:
            continue
        used.append({**row, "sha256": digest})
        out += [Example(v, row["type"], row["topic"], row["source"], row["fold"]) for v in found]
    return out, used


def fit(examples: Sequence[Example], config: KindsConfig) -> dict[str, Any]:
    """Mean, scale and heads of a training set. Classes weigh alike, and within a class sources do."""
    linear: Any = require("sklearn.linear_model", "training the type classifier")
    x = np.stack([e.vector for e in examples])
    mean = np.median(x, axis=0)
    low, high = np.percentile(x, [10, 90], axis=0)
    scale = np.maximum((high - low) / 2.0, 1e-3)
    out: dict[str, Any] = {"mean": mean, "scale": scale, "heads": {}}
    for head, known, prior in (("type", kinds.TYPES, config.prior), ("topic", kinds.TOPICS, config.topic_prior)):
        rows = [i for i, e in enumerate(examples) if getattr(e, head)]
        names = [getattr(examples[i], head) for i in rows]
        weight = _weights(names, [examples[i].source for i in rows])
        model = linear.LogisticRegression(C=1.0 / prior, max_iter=2000)
        model.fit(kinds.squash(x[rows], mean, scale), names, sample_weight=weight)
        order = [c for c in known if c in model.classes_]
        at = [list(model.classes_).index(c) for c in order]
        out["heads"][head] = (tuple(order), model.coef_[at], model.intercept_[at])
    return out


def _weights(names: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    clips, each = Counter(zip(names, sources)), defaultdict(set)
    for name, source in zip(names, sources):
        each[name].add(source)
    weight = np.array([1.0 / clips[n, s] / np.sqrt(len(each[n])) for n, s in zip(names, sources)])
    return weight * len(weight) / weight.sum()


def classifier(fitted: dict[str, Any]) -> kinds.Kinds:
    return kinds.Kinds(fitted["heads"], fitted["mean"], fitted["scale"], kinds.TRAITS)


def held_out(examples: Sequence[Example], config: KindsConfig) -> dict[str, Any]:
    """Accuracy of both heads where each fold is judged by a classifier that has seen nothing of it."""
    judged: list[tuple[Example, dict[str, kinds.Belief]]] = []
    for fold in sorted({e.fold for e in examples if e.fold}):
        model = classifier(fit([e for e in examples if e.fold != fold], config))
        judged += [(e, model(e.vector)) for e in examples if e.fold == fold]
    out: dict[str, Any] = {}
    for head in ("type", "topic"):
        table: dict[str, Counter[str]] = defaultdict(Counter)
        for e, beliefs in judged:
            if truth := getattr(e, head):
                where = "drawn and simulated" if e.fold == "drawn" else "real"
                table[f"{where}: {truth}"][beliefs[head].name] += 1
        out[head] = {
            k: {"clips": sum(v.values()), "right": round(v[k.split(": ")[1]] / sum(v.values()), 3), "as": dict(v)}
            for k, v in sorted(table.items())
        }
    return out


def save(fitted: dict[str, Any], out: Path, card: dict[str, Any]) -> None:
    """`config.json`, `model.safetensors` and `card.json`."""
    numpy: Any = require("safetensors.numpy", "training the type classifier")
    out.mkdir(parents=True, exist_ok=True)
    arrays = {"mean": fitted["mean"], "scale": fitted["scale"]}
    for head, (_, weight, bias) in fitted["heads"].items():
        arrays |= {f"{head}.weight": weight, f"{head}.bias": bias}
    numpy.save_file({k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}, str(out / "model.safetensors"))
    (out / "model.safetensors").chmod(0o644)
    heads = {head: list(classes) for head, (classes, _, _) in fitted["heads"].items()}
    config = {"embedder": kinds.TRAITS, "inputs": list(NAMES), "heads": heads}
    digest = sha256_file(out / "model.safetensors")
    write_json(out / "config.json", {"format": 1, "family": kinds.FAMILY, "config": config, "sha256": digest})
    write_json(out / "card.json", card)


def run(
    out: str | Path, labels: str | Path, real: Iterable[str | Path], config: KindsConfig | None = None, cache: str | Path = ""
) -> dict[str, Any]:
    """Train, measure on what was held out, write the folder; gives the card."""
    c, began = config or KindsConfig(), time.process_time()
    kept = Cache(cache)
    made = [*rendered_examples(c, kept), *drawn_examples(c, kept)]
    found, used = real_examples(Path(labels), [Path(f) for f in real], kept)
    examples = [*made, *found]
    card = {
        "name": "curate-kinds",
        "what": f"Two logistic heads over {len(NAMES)} traits of how pictures are made and move: type, and softly topic.",
        "cannot_know": [
            "a photorealistic render from a camera: both leave the same traits; such CGI passes as natural",
            "a game without an overlay from any other render",
            "what a thing is: topics are guessed from layout-free traits and motion and are right about as often as the figures say",
        ],
        "data": {
            "drawn": f"{c.per} clips of each of {', '.join(DRAWN)} (armillary/recipes/drawn.py), seeds {c.seed} to {c.seed + c.per - 1}",
            "rendered": f"{c.per // 2} episodes of each of {', '.join(c.sims)} (armillary/sims)",
            "real": used,
            "examples": dict(Counter(e.type for e in examples)),
        },
        "held_out": held_out(examples, c),
        "how_held_out": "real: each fold of the table in turn (no source is in two); drawn and simulated: the last quarter of the seeds",
        "recipe": "python -m armillary.recipes.kinds",
        "licence": LICENCE,
        "cpu_s": round(time.process_time() - began),
    }
    save(fit(examples, c), Path(out), card)
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--labels", required=True)
    parser.add_argument("--real", nargs="+", required=True)
    parser.add_argument("--per", type=int, default=KindsConfig.per)
    parser.add_argument("--cache", default="", help="a folder for vectors, used again when they are there")
    options = parser.parse_args(arguments)
    card = run(options.out, options.labels, options.real, KindsConfig(per=options.per), options.cache)
    say(json.dumps(card["held_out"]))
    say(str(options.out))


if __name__ == "__main__":
    main()
