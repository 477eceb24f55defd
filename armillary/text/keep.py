"""What holds for every prompt upsampler: what it is told, and that nothing a user said is lost or contradicted by what it makes.

The check is `sims.words.read`: what prompt and caption state in the simulators' vocabulary. Words outside it cannot be checked here.
"""

from __future__ import annotations

from collections.abc import Callable

from armillary.errors import Failed
from armillary.sims.words.facts import contradicted, lost
from armillary.sims.words.read import read

LIMIT = 2000  # characters of a prompt given and of one made
INSTRUCTION = (
    "You turn a short prompt for a video generator into one caption of at most 100 words, as a careful viewer would describe the finished "
    "video: first who or what is seen and what it does, then the surroundings, the light and how the camera behaves. Keep every subject, "
    "number, colour, direction and action of the prompt. Add no further subject, event or writing. Answer with the caption alone."
)
SEEN = " The picture is the video's first frame: describe what it shows, and then what the prompt asks for."
Fits = Callable[[str], bool]  # whether the world's text encoder takes in the whole of a text


def sentence(prompt: str) -> str:
    """The prompt as a whole sentence, in its own words."""
    text = " ".join(prompt.split())
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?。！？" else text + "."


def faithful(prompt: str, made: str) -> tuple[bool, bool]:
    """Whether `made` states every fact of `prompt`, and whether it contradicts none."""
    wanted = read(prompt).facts
    if not wanted.world:
        return True, True
    said = read(made, wanted.world).facts
    return not lost(wanted, said), not contradicted(wanted, said)


def kept(prompt: str, made: str, fits: Fits | None = None) -> str:
    """`made`, with the user's own words before it where it would lose a fact of them.

    Raises:
        Failed: it contradicts the prompt, or is longer than the world's text encoder takes in. The prompt was not replaced.
    """
    whole, true = faithful(prompt, made)
    if not true:
        raise Failed(f"The longer prompt contradicts what was asked for: {made[:200]!r}")
    if not whole:
        made = f"{sentence(prompt)} {made}"
    if len(made) > LIMIT or (fits is not None and not fits(made)):
        raise Failed(f"The longer prompt is longer than this world reads: {made[:200]!r}")
    return made
