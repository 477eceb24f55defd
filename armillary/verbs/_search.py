"""`armillary curate search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def curate_search(
    query: tyro.conf.Positional[str], *, folder: Annotated[Path, tyro.conf.arg(name="in")] = Path("curated"), top: int = 10
) -> dict[str, Any]:
    """Find curated clips that look like a clip, or whose captions say certain words.

    A file or the id of a kept clip is compared by its embedding: the same footage, place or layout is found, not the same kind of thing.
    Anything else is looked for as words in captions and tags (BM25); what no caption says is not found.

    Example: armillary curate search "car panning left" --in curated --top 5

    Args:
        query: words, a video file, or the id of a clip (its first letters will do).
        folder: the folder that `curate` wrote.
        top: how many to give at most.
    """
    from armillary.curate.index import Index, embed_file
    from armillary.errors import BadInput

    if top < 1:
        raise BadInput(f"--top wants a number from 1 on; got {top}.")
    index = Index.load(folder)
    path, clip = Path(query), index.find(query)
    if clip is not None and clip.embedding is not None:
        by, hits = "clip", index.like(clip.embedding, top, but=clip.id)
    elif len(query) < 4096 and path.is_file():
        by, hits = "file", index.like(embed_file(path), top)
    elif path.suffix.lower() in VIDEOS:
        raise BadInput(f"There is no file {query}; name a video that is there, the id of a clip, or words.")
    else:
        by, hits = "words", index.saying(query, top)
    rows = []
    for hit in hits:
        c = hit.clip
        rows.append(
            {
                "clip_id": c.id,
                "score": hit.score,
                "source": c.source,
                "start_s": c.start,
                "end_s": c.end,
                "caption": c.caption,
                "path": c.path,
            }
        )
    score = "BM25 over captions and tags" if by == "words" else "cosine of embeddings"
    return {"query": query, "by": by, "score": score, "clips": len(index.clips), "found": rows}
