"""Does a world paint what its prompt says? Colours and their number in the first frame dreamed from words alone.

    python benchmarks/diffusion/words.py --world runs/words/model [--prompts 50] [--guidance 0 2] [--temperature .6] [--best 4] [--save]

Prompts describe scenes of `tabletop-few` that no training has seen, each in two kinds: the one plain wording, and wordings held out from
every training. Colours are right when each of the four is there exactly if the prompt names it; number and colours when there is also
one thing of each and no second, as in the scenes. Found is what the tracker that learned the colours from simulator frames finds;
`simulator` and `tokenizer` are the same judgement of the true picture and of the true picture encoded and decoded: the most there is to
reach. The arm parts a thing now and then. With `--best` a critic chooses among so many paintings, as `armillary generate --best` does.
With `--judge` another critic, not the one that chooses, also says whether every thing has its shape.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from colours import SIZE, tracker

from armillary import media, sims
from armillary.evaluate.objects import ColourTracker
from armillary.rollout.critic import DEFAULT_CRITIC, best_of, load_critic
from armillary.rollout.dreamer import Dreamer
from armillary.sims.words.facts import Facts
from armillary.sims.words.tell import tell
from armillary.worlds.diffusion.sampler import SOLVERS

SEED = 900_000  # seeds from here on are never trained on
THERE = 12.0  # pixels of a colour; the smallest thing has four times as many


def scenes(count: int, first: int = SEED) -> Iterator[SimpleNamespace]:
    """Unseen scenes: `seed`, colours `wanted`, `truth` (uint8 `1 h w 3`) and what is `told` of them, by kind of wording."""
    sim = sims.make("tabletop-few")
    for seed in range(first, first + count):
        sim.reset(seed)
        facts: Facts = sim.facts  # type: ignore[attr-defined]
        yield SimpleNamespace(
            seed=seed,
            wanted={o.colour for o in sim.objects},
            truth=media.fit(sim.render(("front",), 128)["front"][None], (SIZE, SIZE)),
            told={"plain": tell(facts, "plain"), "held": tell(facts, "long", seed, "held")},
        )


def found(track: ColourTracker, frame: np.ndarray) -> set[str]:
    """Colours of which there is enough in uint8 `h w 3`."""
    area = track.track(frame[None]).area[0]
    return {name for name, pixels in zip(track.names, area) if pixels >= THERE}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", required=True, help="a painter, as `armillary train unet-tabletop-words` makes it")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--guidance", type=float, nargs="+", default=[0.0, 1.0, 3.0])
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--solver", default="ancestral", choices=SOLVERS)
    parser.add_argument("--temperature", type=float, help="of the noise that `ancestral` adds; the world's own by default")
    parser.add_argument("--best", type=int, default=1, help="paintings that the critic chooses from")
    parser.add_argument("--critic", default=DEFAULT_CRITIC)
    parser.add_argument("--judge", help="a critic of another training, for shapes")
    parser.add_argument("--first", type=int, default=SEED, help="seed of the first scene")
    parser.add_argument("--sheet", help="folder for pictures of what was dreamed")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    dreamer, track = Dreamer(options.world), tracker()
    critic = load_critic(options.critic) if options.best > 1 else None
    judge = load_critic(options.judge) if options.judge else None
    if critic is not None and judge is not None and critic.sha256 == judge.sha256:
        parser.error("--judge is the critic that chooses; give one of another training")
    actions = None if dreamer.world.action_spec is None else np.zeros((0, dreamer.world.action_spec.dim))
    rows: dict[str, list[tuple[bool, float, bool, bool]]] = {}
    drawn: dict[str, list[int]] = {}
    pictures: dict[str, list[np.ndarray]] = {}
    for scene in scenes(options.prompts, options.first):
        seed, wanted, truth = scene.seed, scene.wanted, scene.truth
        shown = {"simulator": truth[0], "tokenizer": dreamer.decode(dreamer.encode(truth))[0]}
        for kind, text in scene.told.items():
            for guidance in options.guidance:
                sampling: dict[str, Any] = {
                    "guidance": guidance,
                    "first_steps": options.steps,
                    "solver": options.solver,
                    "temperature": options.temperature,
                }

                def paint(seed: int, text: str = text, sampling: dict[str, Any] = sampling) -> np.ndarray:
                    return dreamer.dream(None, 1, prompt=text, actions=actions, seed=seed, cut=True, **sampling)

                name = f"{kind}, guidance {guidance:g}"
                if critic is None:
                    shown[name] = paint(seed)[0]
                else:
                    best = best_of(options.best, paint, critic, text, seed)
                    shown[name] = best.frames[0]
                    drawn.setdefault(name, []).append(len(best.seeds))
        for name, picture in shown.items():
            is_there = found(track, picture)
            many = dict(zip(track.names, track.count(picture[None])[0].tolist()))
            exact = all(many[c] == int(c in wanted) for c in many)
            shaped = judge is not None and judge.agreement(picture, scene.told["plain"]).shapes > np.log(0.5)
            rows.setdefault(name, []).append((is_there == wanted, len(is_there & wanted) / len(wanted), exact, shaped))
            pictures.setdefault(name, []).append(picture)
    figures = {
        name: {
            "colours right": float(np.mean([x[0] for x in r])),
            "number and colours right": float(np.mean([x[2] for x in r])),
            "share of named colours there": float(np.mean([x[1] for x in r])),
            **({"shapes right": float(np.mean([x[3] for x in r]))} if judge else {}),
            **({"paintings": float(np.mean(drawn[name]))} if name in drawn else {}),
        }
        for name, r in rows.items()
    }
    for name, row in figures.items():
        print(f"{name:20} {row}")
    if options.sheet:
        folder = Path(options.sheet)
        folder.mkdir(parents=True, exist_ok=True)
        from PIL import Image

        for name, made in pictures.items():
            grid = np.concatenate([np.concatenate(made[i : i + 10], 1) for i in range(0, len(made) // 10 * 10, 10)], 0)
            Image.fromarray(grid).resize((grid.shape[1] * 2, grid.shape[0] * 2)).save(folder / f"{name.replace(', ', '-')}.png")
    if options.save:
        result = {
            "date": datetime.date.today().isoformat(),
            "world": dreamer.world.name,
            "sha256": dreamer.world.sha256,
            "first scene": options.first,
            "prompts": options.prompts,
            "steps": options.steps,
            "solver": options.solver,
            "temperature": options.temperature,
            **({"best of": options.best, "critic": critic.sha256} if critic else {}),
            **({"judge": judge.sha256} if judge else {}),
            "figures": figures,
        }
        path = Path(__file__).parent / f"words{'-best' if critic else ''}-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
