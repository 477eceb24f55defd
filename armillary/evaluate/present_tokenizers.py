"""What `compare_tokenizers` measured, as a page: the contenders, what each had to beat, the worst clips, and published figures apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.evaluate.blocks import Block, Cell, Details, Figure, Figures, Group, Movie, Page, Prose, Section, Table, Videos
from armillary.evaluate.compare import Shown, threads
from armillary.evaluate.present import amount, between
from armillary.evaluate.published import PROTOCOL, TABLES
from armillary.evaluate.sheet import difference
from armillary.types import Report

ROWS = 200  # clips that are listed one by one
DISTANCES = (
    ("rfvd", "rfvd", "rFVD"),
    ("rfid", "rfid", "rFID"),
    ("perceptual", "rfvd", "perceptual"),
)  # key, whose extractor, title


def tokenizer_page(report: Report, shown: Sequence[Shown], data: str) -> Page:
    """The whole page; `data` names what was measured on."""
    m = report.metrics
    sections = [
        Section("Reconstruction", _front(m)),
        Section("The worst clips", _worst(m, shown)),
        Section("Clip by clip", [_clips(m)]),
        Section("Published figures", _published(m)),
        Section("How this was measured", [Prose("\n\n".join(report.notes)), *_settings(m), *_skipped(m)]),
    ]
    if not shown:
        del sections[1]
    eyes = [m["features"][k] for k in ("rfvd", "rfid")]
    seen = sorted({f"{e['name']} {e['sha256'][:8]}".strip() for e in eyes if e})
    facts = (
        ("Clips", f"{m['clips']} ({m['frames']} frames)"),
        ("Sizes", ", ".join(m["sizes"][:3]) + (" ..." if len(m["sizes"]) > 3 else "")),
        ("Features", ", ".join(seen) or "none"),
        ("Timing", f"{m['timing']['device']}, {threads(m['timing']['threads'])}"),
    )
    return Page(report.title, f"On {m['clips']} clips of {data}.", sections, facts)


def _own(m: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [c for c in m["contenders"] if c["kind"] == "tokenizer"]


def _interval(value: Mapping[str, Any], digits: int) -> str:
    if value["mean"] is None:
        return "–"
    return f"{value['mean']:.{digits}f}\n{value['low']:.{digits}f} to {value['high']:.{digits}f}"


def _signed(value: Mapping[str, Any]) -> str:
    if value["mean"] is None:
        return "–"
    return f"{value['mean']:+.1f} dB\n{value['low']:+.1f} to {value['high']:+.1f}".replace("-", "−")


def _front(m: Mapping[str, Any]) -> list[Block]:
    first = _own(m)[0]
    eyes = m["features"]
    figures = [
        Figure(amount(first["psnr"], 1, " dB"), f"PSNR, {first['name']}", between(first["psnr"])),
        Figure(amount(first["ssim"], 3), "SSIM", between(first["ssim"], 3)),
        Figure(f"{first['bits_per_pixel']:.3f}", "bits a pixel", f"{first['compression']:.0f}× fewer than the pixels have"),
        Figure(f"{first['encode_ms']:.1f} + {first['decode_ms']:.1f} ms", "a frame, there and back", m["timing"]["device"]),
    ]
    if eyes["rfvd"] and first["rfvd"]["mean"] is not None:
        figures.insert(
            2, Figure(amount(first["rfvd"], 3), "rFVD", f"by features {eyes['rfvd']['name']}; {between(first['rfvd'], 3)}")
        )
    if codes := first.get("codes"):
        figures.append(Figure(f"{codes['used']}", "codes in use", f"of {codes['vocab']}; perplexity {codes['perplexity']:.0f}"))
    blocks: list[Block] = [Figures(figures), _quality(m), *_distances(m), _cost(m)]
    if against := _against(m):
        blocks.append(against)
    return blocks


def _quality(m: Mapping[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for c in m["contenders"]:
        cells = [_interval(c[k], d) for k, d in (("psnr", 1), ("psnr_foreground", 1), ("ssim", 3), ("flicker", 2))]
        rows.append((_title(c), *cells, f"{c['bits_per_pixel']:.3f}"))
    note = "Small: 95 % interval. Flicker in grey levels, lower is better."
    columns = ("", "PSNR, dB", "moving pixels, dB", "SSIM", "flicker", "bits/pixel")
    return Table(columns, rows, "Quality", note, _strong(m))


def _distances(m: Mapping[str, Any]) -> list[Block]:
    """What the extractors say, each named in its column."""
    eyes = m["features"]
    columns = [(k, f"{title} ({eyes[of]['name']})") for k, of, title in DISTANCES if eyes[of] and m["contenders"][0][k]["n"]]
    if not columns:
        return []
    rows = [(_title(c), *(_interval(c[k], 3) for k, _ in columns)) for c in m["contenders"]]
    note = "Lower is nearer to the truth. Values compare within a column only, and only with values by the same extractor."
    return [Table(["", *(title for _, title in columns)], rows, "Distances by features", note, _strong(m))]


def _strong(m: Mapping[str, Any]) -> list[int]:
    return [i for i, c in enumerate(m["contenders"]) if c["kind"] == "tokenizer"]


def _title(contender: Mapping[str, Any]) -> str:
    """A tokenizer's name, kept in one line; a baseline's with the tokenizer it was held to beneath."""
    whole = contender["for"]
    short = contender["name"].removesuffix(f" for {whole}").rstrip(",") if whole else contender["name"]
    return (short + (f"\nas large as {whole}" if whole else "")).replace("-", "\u2011")


def _cost(m: Mapping[str, Any]) -> Table:
    columns = ("", "encode, ms/frame", "decode, ms/frame", "parameters", "bits/frame", "compression", "codes in use")
    rows: list[tuple[Cell, ...]] = []
    for c in _own(m):
        codes = c.get("codes")
        rows.append(
            (
                _title(c),
                f"{c['encode_ms']:.2f}",
                f"{c['decode_ms']:.2f}",
                f"{c['parameters'] / 1e6:.2f} M",
                f"{c['bits_per_frame']:.0f}",
                f"{c['compression']:.0f}×",
                f"{codes['used']} of {codes['vocab']}" if codes else "–",
            )
        )
    return Table(columns, rows, "Cost")


def _against(m: Mapping[str, Any]) -> Table | None:
    rows: list[tuple[Cell, ...]] = []
    by_name = {c["name"]: c for c in m["contenders"]}
    for c in _own(m):
        for name, gain in c["over"].items():
            short = name.removesuffix(f" for {c['name']}").rstrip(",")
            kept = "the same values" if by_name[name]["kind"] == "bicubic" and not c.get("codes") else "the same bits"
            rows.append((c["name"], short, kept, _signed(gain)))
    note = "PSNR of the tokenizer less that of the baseline, clip by clip. Above zero the tokenizer is nearer to the truth."
    return Table(("", "against", "at", "gain"), rows, "Over what it has to beat", note, grouped=True) if rows else None


def _worst(m: Mapping[str, Any], shown: Sequence[Shown]) -> list[Block]:
    names = [c["name"] for c in _own(m)]
    bars = [c["name"] for c in m["contenders"] if c["for"] == names[0]][-1:]
    groups = []
    for clip in shown:
        movies = [Movie("truth", clip.truth, clip.fps), *(Movie(n, clip.made[n], clip.fps) for n in (*names, *bars))]
        movies.append(Movie(f"error of {names[0]}, 3×", difference(clip.truth, clip.made[names[0]]), clip.fps))
        groups.append(Group(movies, f"`{clip.name}`: {clip.psnr:.1f} dB"))
    return [Videos(groups, note=f"Those that {names[0]} loses most of.")]


def _clips(m: Mapping[str, Any]) -> Block:
    first = _own(m)[0]["clips"]
    columns = ["clip", "frames", "size"]
    for c in m["contenders"]:
        columns.append(f"{c['name']}, dB")
    rows: list[tuple[Cell, ...]] = []
    for i, r in enumerate(first[:ROWS]):
        rows.append((r["name"], r["frames"], f"{r['width']}×{r['height']}", *(c["clips"][i]["psnr"] for c in m["contenders"])))
    note = f"The first {ROWS} of {len(first)}; result.json has all." if len(first) > ROWS else ""
    return Details("PSNR of every clip", [Table(columns, rows, note=note)], open=len(first) <= 12)


def _published(m: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [
        Prose(
            "These figures were not measured here. They are what the authors report on their own clips, at full size, and with "
            "extractors of their own; beside the table above they say what the field reaches, not who is better."
        )
    ]
    for title, (kind, rows) in TABLES.items():
        distance = "rFID" if kind == "image" else "rFVD"
        first, second = ("COCO", "ImageNet") if kind == "image" else ("DAVIS", "TokenBench")
        columns = ["", *(f"{k} {s}" for s in (first, second) for k in ("PSNR", "SSIM", distance))]
        if kind == "video":
            columns.insert(1, "frames")
        cells: list[tuple[Cell, ...]] = []
        for p in rows:
            values = [
                f"{v:.3g}" if isinstance(v, float) and v < 1 else v
                for i in (0, 1)
                for v in (p.psnr[i], p.ssim[i], p.distance[i])
            ]
            cells.append((p.name, *([p.frames or None] if kind == "video" else []), *values))
        blocks.append(Details(f"{title}, published", [Table(columns, cells, note=f"Not measured here. {PROTOCOL[kind]}.")]))
    return blocks


def _settings(m: Mapping[str, Any]) -> list[Block]:
    rows = [(c["name"], c["settings"]) for c in m["contenders"] if c["settings"]]
    return [Table(("baseline", "settings"), rows, "Settings of the baselines")] if rows else []


def _skipped(m: Mapping[str, Any]) -> list[Block]:
    rows = [(s["name"], s["why"]) for s in m["skipped"]]
    return [Table(("left out", "why"), rows, "Clips that could not be read")] if rows else []
