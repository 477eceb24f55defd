"""Post-training on the simulators from the first episode to the verdict: what each task reaches, and what it costs.

    python benchmarks/posttrain/run.py action [--work runs/posttrain] [--threads 2] [--save]      # camera, instruction, driving, bridge
    python benchmarks/posttrain/run.py bridge --bridge DIR                                        # a folder of the Bridge dataset

Each chain is the one of `docs/posttrain.md`, by the verbs of the command line: record, base, post-training (which ends with the gate), and
the same judgement on episodes of seeds that nobody trained on. What is there already is not made again, so a chain that was stopped goes
on; seconds are the CPU's and the clock's of the stages that ran in one go. `--scale 0.01` runs it in tiny, to see that it works.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from armillary.store import read_json, write_json
from armillary.verbs._eval_control import eval_control
from armillary.verbs._posttrain import posttrain_action, posttrain_camera, posttrain_instruction
from armillary.verbs._posttrain_driving import posttrain_driving
from armillary.verbs._sim import sim_record
from armillary.verbs._train import train

CAMERAS = ("front", "left", "right", "rear", "rear_left", "rear_right")
UNSEEN = 900_000  # seeds from here on are never trained on


class Chain:
    """Stages of one task in a folder, timed."""

    def __init__(self, work: Path, scale: float, threads: int) -> None:
        self.work, self.scale, self.threads = work, scale, threads
        self.seconds: dict[str, dict[str, float]] = (
            read_json(work / "seconds.json") if (work / "seconds.json").is_file() else {}
        )

    def many(self, number: int, least: int) -> int:
        return max(least, round(number * self.scale))

    def timed(self, name: str, stage: Callable[[], Any]) -> Any:
        began, spent = time.time(), _cpu()
        out = stage()
        told = out[0] if isinstance(out, tuple) else out
        if isinstance(told, dict) and told.get("finished") is False:
            raise SystemExit("Stopped; the same command goes on.")
        if name not in self.seconds:
            self.seconds[name] = {"clock": round(time.time() - began, 1), "cpu": round(_cpu() - spent, 1)}
            write_json(self.work / "seconds.json", self.seconds)
        return out

    def record(self, name: str, sim: str, episodes: int, frames: int, seed: int, **more: Any) -> Path:
        out = self.work / name
        count = self.many(episodes, 8)
        self.timed(
            f"record {name}",
            lambda: sim_record(sim, episodes=count, frames=frames, seed=seed, out=out, workers=self.threads, **more),
        )
        return out

    def base(self, recipe: str, data: Path, steps: int, **more: str) -> str:
        out = self.work / recipe
        told = (f"threads={self.threads}",)
        result = self.timed(
            recipe,
            lambda: train(recipe, data=data, steps=self.many(steps, 4), out=out, set=told, **more),  # type: ignore[arg-type]
        )
        return str(result["model"])

    def posttrained(self, verb: Callable[..., Any], data: Path, base: str, steps: int, **more: Any) -> str:
        name = verb.__name__
        told, _ = self.timed(
            name,
            lambda: verb(
                data=data, base=base, steps=self.many(steps, 4), out=self.work / name, set=(f"threads={self.threads}",), **more
            ),
        )
        return str(told["world"])


def action(chain: Chain) -> tuple[str, Path]:
    data = chain.record("episodes", "tabletop", 400, 33, 0, policy="mix")
    held = chain.record("held", "tabletop", 40, 33, UNSEEN, policy="mix")
    base = chain.base("unet-tabletop-watch", data, 2500)
    return chain.posttrained(posttrain_action, data, base, 4000), held


def camera(chain: Chain) -> tuple[str, Path]:
    data = chain.record("rooms", "rooms", 400, 25, 0, policy="joystick", size=64)
    held = chain.record("held", "rooms", 40, 25, UNSEEN, policy="joystick", size=64)
    tokenizer = chain.base("frame-c8-rooms", data, 3000, start="frame-c8-tabletop")
    base = chain.base("unet-rooms", data, 2000, tokenizer=tokenizer)
    return chain.posttrained(posttrain_camera, data, base, 3000), held


def instruction(chain: Chain) -> tuple[str, Path]:
    data = chain.record("told", "tabletop", 6000, 33, 5000, policy="expert")
    held = chain.record("held", "tabletop", 40, 33, UNSEEN, policy="expert")
    return chain.posttrained(posttrain_instruction, data, "tabletop", 4000), held


def driving(chain: Chain) -> tuple[str, Path]:
    # Twice the size that is learned: what is drawn at 64 pixels flickers, and nobody can foresee that.
    more: dict[str, Any] = {"policy": "swerve", "size": 128, "cameras": CAMERAS}
    data = chain.record("drives", "driving", 200, 33, 0, **more)
    held = chain.record("held", "driving", 48, 33, UNSEEN, **more)
    tokenizer = chain.base("frame-c8-driving", data, 1500, start="frame-c8-tabletop")
    base = chain.base("unet-driving", data, 5000, tokenizer=tokenizer)
    return chain.posttrained(posttrain_driving, data, base, 6000, batch=8), held


def bridge(chain: Chain, folder: Path) -> tuple[str, Path]:
    """Learned by heart: the judgement is on what was trained on, and says so."""
    tokenizer = chain.base("frame-c8-tabletop", folder, 1500, start="frame-c8-tabletop")
    base = chain.base("unet-tabletop-watch", folder, 800, tokenizer=tokenizer)
    return chain.posttrained(posttrain_action, folder, base, 1500), folder


CHAINS: dict[str, Callable[[Chain], tuple[str, Path]]] = {
    "action": action,
    "camera": camera,
    "instruction": instruction,
    "driving": driving,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=[*CHAINS, "bridge"])
    parser.add_argument("--work", type=Path, default=Path("runs/posttrain"))
    parser.add_argument("--bridge", type=Path, help="the Bridge dataset's folder (LeRobot)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scale", type=float, default=1.0, help="of episodes and steps")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    work = options.work / options.task
    work.mkdir(parents=True, exist_ok=True)
    chain = Chain(work, options.scale, options.threads)
    if options.task == "bridge":
        if options.bridge is None:
            parser.error("bridge wants --bridge DIR")
        world, held = bridge(chain, options.bridge)
    else:
        world, held = CHAINS[options.task](chain)
    told, code = chain.timed("judge", lambda: eval_control(world=world, data=held, episodes=40, out=work / "control.json"))
    result = {
        "date": datetime.date.today().isoformat(),
        "task": options.task,
        "machine": f"{platform.machine()}, {options.threads} threads",
        "scale": options.scale,
        "own gate": read_json(Path(world).parent / "posttrain.json")["gate"]["verdict"],
        "seconds": chain.seconds,
        "exit": code,
        "control": told | {"world": str(Path(world).relative_to(work))},
    }
    print(json.dumps({k: v for k, v in result.items() if k != "control"} | {"gate": told["gate"]}, indent=1))
    if options.save:
        path = Path(__file__).parent / f"{options.task}-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


def _cpu() -> float:
    """CPU seconds of this process and of those it started that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


if __name__ == "__main__":
    main()
