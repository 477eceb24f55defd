"""The demo's page and summary: what ran, on what, how long, and what came of it, with the videos to look at."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary import __version__, media
from armillary.curate import load_clips
from armillary.evaluate.blocks import (
    Block,
    Cell,
    Chart,
    Details,
    Figure,
    Figures,
    Group,
    Movie,
    Page,
    Prose,
    Section,
    Series,
    Table,
    Verdicts,
    Videos,
)
from armillary.evaluate.page import write_page
from armillary.evaluate.present import control_section, world_section
from armillary.evaluate.sheet import difference
from armillary.progress import clock
from armillary.store import write_json
from armillary.types import Report, Verdict
from armillary.verbs._doctor import cores, memory_gb
from armillary.verbs._story import Stage, Story

FAMILY = {"diffusion": "Diffusion world", "autoregressive": "Autoregressive world"}


def write(story: Story) -> dict[str, Any]:
    """`report.html` from the stages' results."""
    sections = [
        _in_short(story),
        *([_footage(story)] if "record" in story.results else []),
        _curation(story),
        _tokenizers(story),
        *(_world(story, kind) for kind in FAMILY),
        *([_control(story)] if "control" in story.results["evaluate"] else []),
        _dreams(story),
        _guard(story),
        _ran(story),
    ]
    simulated = not story.settings["videos"]
    page = Page(
        "Armillary demo",
        "From raw video to a world that can be stepped, on this machine: every number below was measured in this run.",
        sections,
        facts=[
            ("machine", f"{cores()} cores, {memory_gb()} GB, {platform.machine()}"),
            ("date", datetime.date.today().isoformat()),
            ("version", f"armillary {__version__}{_commit()}"),
            ("data", "simulated tabletop" if simulated else Path(story.settings["videos"]).name),
            ("seed", str(story.settings["seed"])),
        ],
        foot="Made by `armillary demo`. The same numbers lie in summary.json.",
    )
    write_page(page, story.out / "report.html")
    return {"page": "report.html", "MB": round((story.out / "report.html").stat().st_size / 1e6, 2)}


def summary(story: Story, stages: Sequence[Stage]) -> dict[str, Any]:
    """`summary.json`: every stage's seconds, counts and metrics; what the verb returns is its head."""
    results = story.results
    whole = {
        "armillary": __version__,
        "settings": dict(story.settings),
        "machine": {"cores": cores(), "memory_gb": memory_gb(), "system": platform.platform()},
        "seconds": round(sum(story.seconds.values()), 2),
        "memory_mb": max(story.memory_mb.values()),
        "stages": [
            {"name": s.name, "title": s.title, "seconds": story.seconds[s.name], "memory_mb": story.memory_mb[s.name]}
            for s in stages
        ],
        "results": {name: value for name, value in results.items() if name != "report"},
        "headline": headline(story),
    }
    write_json(story.out / "summary.json", whole)
    return {
        "out": str(story.out),
        "report": str(story.out / "report.html"),
        "summary": str(story.out / "summary.json"),
        "seconds": whole["seconds"],
        "memory_mb": whole["memory_mb"],
        **whole["headline"],
        "next": f"armillary generate {story.out}/world-diffusion/model --image {story.out}/dreams/start.png --out dream.mp4",
    }


def headline(story: Story) -> dict[str, Any]:
    """The few numbers that say whether it worked."""
    out: dict[str, Any] = {}
    for kind in FAMILY:
        m = story.results["evaluate"][kind]["metrics"]
        out[kind] = {
            f"+{h}": {
                "psnr": _mean(m["psnr"]["dream"].get(h)),
                "copy": _mean(m["psnr"]["copy"].get(h)),
                "over_copy": _mean(m["over_copy"].get(h)),
            }
            for h in ("1", "8", "16", "28")
            if h in m["psnr"]["dream"]
        }
    if "control" in story.results["evaluate"]:
        m = story.results["evaluate"]["control"]["metrics"]
        out["control"] = {"verdict": m["verdict"], "swap_ratio": _mean(m["variants"]["swapped"]["ratio"])}
    return out


def _mean(estimate: Mapping[str, Any] | None) -> float | None:
    return None if estimate is None or estimate["mean"] is None else round(float(estimate["mean"]), 3)


def _decibel(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else (f"{value:+.1f} dB" if sign else f"{value:.1f} dB").replace("-", "−")


def _in_short(story: Story) -> Section:
    head = headline(story)
    figures = []
    for kind, title in FAMILY.items():
        for step in ("+1", "+8"):
            if step in head[kind]:
                row = head[kind][step]
                label = f"{title.split()[0].lower()} world over copying the last frame, frame {step}"
                note = f"PSNR {_decibel(row['psnr'])} against {_decibel(row['copy'])}"
                figures.append(Figure(_decibel(row["over_copy"], sign=True), label, note))
    if "control" in head:
        ratio = head["control"]["swap_ratio"]
        figures.append(
            Figure(
                "–" if ratio is None else f"{ratio:.0f}×",
                "swapped actions change the future",
                "against another seed of the same actions",
            )
        )
    figures.append(Figure(clock(sum(story.seconds.values())), "of work", f"on {cores()} cores"))
    figures.append(Figure(f"{max(story.memory_mb.values()) / 1024:.1f} GB", "peak memory", "largest process"))
    starts = [
        f"- {name.replace('-', ' ')}: from {story.results[name]['start']}, then {story.results[name]['steps']} steps here"
        for name in ("tokenizer-continuous", "tokenizer-discrete", "world-diffusion", "world-autoregressive")
    ]
    return Section("In short", [Figures(figures), Prose("What was trained, and from what:"), Prose("\n".join(starts))])


def _movie(story: Story, path: str, label: str) -> Movie:
    return Movie(label, media.read_video(story.out / path).frames, 10.0)


def _footage(story: Story) -> Section:
    film, kept = story.results["film"], story.results["record"]["episodes"]
    apart = story.results["record"]["held-out"]["episodes"]
    text = (
        f"{kept['episodes']} episodes of {kept['fps']:g} frames a second were recorded in a simulated tabletop "
        f"(a robot arm pushes objects; MuJoCo physics, pixels from a ray caster) and {apart} more were kept apart "
        f"for evaluation. The first were joined into {film['films']} raw films with hard cuts, a dissolve, a frozen stretch, "
        "burnt-in text, a near duplicate, and one file cut off in the middle."
    )
    films = {p.stem: media.read_video(p).frames for p in sorted((story.out / "footage").glob("film-[0-9fr]*.mp4"))}
    length = min(map(len, films.values()))
    movies = [Movie(name, media.resize(frames[:length], (128, 128)), 15.0) for name, frames in list(films.items())[-4:]]
    return Section(
        "Raw footage", [Prose(text), Videos([Group(movies)], note=f"The first {length} frames of some, half again as fast.")]
    )


def _curation(story: Story) -> Section:
    result = story.results["curate"]
    clips = load_clips(story.out / "curated")
    kept = [c for c in clips if not c.rejected]
    table: list[tuple[Cell, ...]] = []
    for c in clips:
        reasons = "; ".join(r.reason for r in c.rejected)
        row = (Path(c.source).name, round(c.start, 2), round(c.end, 2), "no" if reasons else "yes", reasons or c.caption)
        table.append(row)
    blocks: list[Block] = [
        Figures(
            [
                Figure(str(len(clips)), "clips found"),
                Figure(str(len(kept)), "clips kept", f"{sum(c.end - c.start for c in kept):.0f} s of video"),
                Figure(str(len(result.get("errors", ()))), "damaged files", "listed below"),
            ]
        )
    ]
    if truth := result.get("against truth"):
        lines: list[tuple[Cell, ...]] = [
            (kind, v["shots"], v["rejected"], ", ".join(f"{k} ({n})" for k, n in v["by"].items()) or "–")
            for kind, v in truth["shots"].items()
        ]
        blocks += [
            Prose(f"Where the footage was joined is known: {truth['cuts found']} of {truth['cuts']} joins were found."),
            Table(("what was put in", "shots", "rejected", "by"), lines, "Against what was put in"),
        ]
    if errors := result.get("errors"):
        blocks.append(
            Table(
                ("file", "kind", "reason"), [(Path(e["source"]).name, e["kind"], e["reason"]) for e in errors], "Damaged files"
            )
        )
    blocks.append(
        Details("Every clip, with caption or reason", [Table(("file", "from, s", "to, s", "kept", "caption or reason"), table)])
    )
    return Section("Curation", blocks)


def _curve(story: Story, stage: str, title: str) -> Chart:
    curve = story.results[stage]["curve"]
    series = []
    for kind in ("train", "held-out"):
        points = [(row["step"], row["loss"]) for row in curve if row["of"] == kind]
        if points:
            series.append(Series("training" if kind == "train" else kind, [x for x, _ in points], [y for _, y in points]))
    return Chart(title, series, "step", "loss")


def _training(story: Story, stage: str) -> Prose:
    r = story.results[stage]
    return Prose(
        f"{r['parameters'] / 1e6:.1f} million parameters; {r['steps']} steps from {r['start']}; {clock(story.seconds[stage])} in all."
    )


def _tokenizers(story: Story) -> Section:
    blocks: list[Block] = []
    rows: list[tuple[Cell, ...]] = []
    for kind in ("continuous", "discrete"):
        r = story.results[f"tokenizer-{kind}"]["reconstruction"]
        codes = r.get("codes")
        rows.append(
            (
                kind,
                _mean(r["psnr"]),
                _mean(r["psnr_foreground"]),
                _mean(r["ssim"]),
                f"{codes['bits_per_pixel']:.2f} bits a pixel" if codes else f"{r['compression']:.0f}× fewer values",
                f"{codes['used']} of {codes['vocab']}" if codes else "–",
            )
        )
    blocks.append(
        Table(
            ("tokenizer", "PSNR, dB", "moving pixels, dB", "SSIM", "size", "codes in use"),
            rows,
            "On held-out video, which no stage trained on",
        )
    )
    for kind in ("continuous", "discrete"):
        stage = f"tokenizer-{kind}"
        blocks += [_training(story, stage), _curve(story, stage, f"{kind.capitalize()} tokenizer")]
    return Section("Tokenizers", blocks)


def _rollouts(story: Story, kind: str, given: int) -> Videos:
    names = json.loads((story.out / "rollouts" / f"{kind}.json").read_text())
    groups = []
    for n, name in enumerate(names):
        truth = media.read_video(story.out / "rollouts" / f"{kind}-{n}-truth.mp4").frames
        dream = media.read_video(story.out / "rollouts" / f"{kind}-{n}-dream.mp4").frames
        movies = [Movie("truth", truth), Movie("dream", dream), Movie("difference", difference(truth, dream))]
        groups.append(Group(movies, Path(name).name, given=given))
    return Videos(groups, "Truth beside dream", "Held-out beginnings; the first frames were given.")


def _world(story: Story, kind: str) -> Section:
    stage = f"world-{kind}"
    held = story.results["evaluate"][kind]
    report = Report(FAMILY[kind], {**held["metrics"], "frames_per_second": held["speed"]}, held["notes"])
    given = int(held["metrics"].get("past", 4))
    before = [_training(story, stage), _rollouts(story, kind, given)]
    section = world_section(report, FAMILY[kind], before)
    return Section(section.title, [*section.blocks, _curve(story, stage, "Training")])


def _control(story: Story) -> Section:
    held = story.results["evaluate"]["control"]
    return control_section(Report("Control", held["metrics"], held["notes"]), "Does it follow its actions?")


def _dreams(story: Story) -> Section:
    groups: list[Group] = []
    rows: list[tuple[Cell, ...]] = []
    for name, made in story.results["generate"].items():
        if "blocked" in made:
            rows.append((name, made["world"], made["blocked"]))
            continue
        groups.append(Group([_movie(story, made["file"], made["world"])], name.replace("-", " "), given=made["given"]))
        rows.append((name, made["world"], made["prompt"] or f"actions: {made['actions']}"))
    return Section("Generated", [Videos(groups), Table(("dream", "world", "asked for"), rows)])


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    return [Verdict(**{k: v for k, v in row.items() if k in Verdict.__dataclass_fields__}) for row in rows]


def _guard(story: Story) -> Section:
    result = story.results["guard"]
    blocks: list[Block] = []
    for asked in result["prompts"]:
        blocks.append(
            Verdicts(_verdicts(asked["verdicts"]), f"{'Refused' if asked['blocked'] else 'Passed'}: “{asked['prompt']}”")
        )
    face = result["face"]
    movies = [_movie(story, "guard/face.mp4", "before"), _movie(story, "guard/face-blurred.mp4", "after")]
    blocks.append(
        Videos([Group(movies)], "Face blur", f"A drawn face; {face['frames blurred']} of {face['frames']} frames were changed.")
    )
    blocks.append(Verdicts(_verdicts(face["verdicts"]), "After generation, on that video"))
    for name, made in story.results["generate"].items():
        if "verdicts" in made:
            blocks.append(Details(f"Verdicts on the dream “{name}”", [Verdicts(_verdicts(made["verdicts"]))]))
    return Section("Guard", blocks)


def _ran(story: Story) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (name, clock(seconds), round(seconds, 1), round(story.memory_mb[name])) for name, seconds in story.seconds.items()
    ]
    return Section("What ran", [Table(("stage", "time", "seconds", "peak memory so far, MB"), rows)])


def _commit() -> str:
    """The checkout's commit, for a report that can be traced; nothing in an installed package."""
    try:
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""
