"""The simulators' vocabulary: every way a colour, a shape, an action or a setting is named. Plain tables; the first entry is the plainest.

An entry that begins with `~` is held out: `words.tell` uses it only when asked for held-out wordings, so that what is trained on captions
can be tested on words and sentences it has never met. Colours and shapes that are held out are new phrases, most with a word in them that
can be known (`cherry red`): that `jade` is green cannot be guessed by anyone who has not met it. A reader (`words.read`) knows all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from armillary.sims.words.facts import GRIPPER

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "bright red", "crimson", "scarlet", "ruby", "~cherry red", "~deep red"),
    "green": ("green", "leaf green", "emerald", "grass-coloured", "jade", "~forest green", "~dark green"),
    "blue": ("blue", "deep blue", "cobalt", "azure", "sapphire", "~royal blue", "~sky blue"),
    "yellow": ("yellow", "bright yellow", "lemon", "golden", "amber", "~canary yellow", "~sun yellow"),
    "orange": ("orange", "bright orange", "tangerine", "~pumpkin orange", "~vivid orange"),
    "purple": ("purple", "violet", "plum", "~deep purple"),
    "white": ("white", "snow-white", "~off-white"),
    "black": ("black", "jet black", "~coal black"),
    "cyan": ("cyan", "turquoise", "teal", "~bright cyan"),
    "pink": ("pink", "rose-coloured", "~light pink"),
}
SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "tabletop": {
        "block": ("block", "cube", "box", "brick", "~square block"),
        "cylinder": ("cylinder", "puck", "drum", "~round piece", "~short cylinder"),
        "bar": ("bar", "stick", "beam", "long block", "strip", "~long bar"),
        "tee": ("tee", "T-shaped piece", "T-shape", "~T", "~T-shaped block"),
    },
    "physics": {
        "block": ("block", "cube", "box", "brick", "~square block"),
        "cylinder": ("cylinder", "drum", "~round block", "~short cylinder"),
        "ball": ("ball", "sphere", "orb", "~round ball"),
        "pill": ("pill", "capsule", "~rounded rod"),
        "slab": ("slab", "thin board", "plate", "panel", "~flat slab"),
        "wheel": ("wheel", "disc", "top", "flywheel", "~spinning disc"),
    },
    "rooms": {
        "table": ("table", "desk", "~wide table"),
        "shelf": ("shelf", "bookcase", "shelving unit", "~tall shelf"),
        "crate": ("crate", "box", "chest", "trunk", "~big crate"),
        "pillar": ("pillar", "column", "post", "~round pillar"),
        "globe": ("globe", "sphere on a stand", "~big globe"),
        "sofa": ("sofa", "couch", "settee", "~long sofa"),
    },
    "driving": {
        "car": ("car", "automobile", "passenger car", "sedan", "~small car"),
        "van": ("van", "delivery van", "transporter", "~tall van"),
    },
    GRIPPER: {
        "block": ("block", "cube", "box", "~square block"),
        "bar": ("bar", "long block", "stick", "~long bar"),
        "cylinder": ("cylinder", "can", "~short cylinder"),
        "ball": ("ball", "sphere", "~round ball"),
        "cup": ("cup", "mug", "beaker", "~drinking cup"),
        "ring": ("ring", "hoop", "~round ring"),
        "pill": ("pill", "capsule", "~rounded rod"),
        "plate": ("plate", "dish", "~round plate"),
        "bin": ("bin", "open box", "crate", "~square bin"),
        "zone": ("zone", "square", "patch", "~painted square"),
    },
}
WORLD_COLOURS = {
    "tabletop": ("red", "green", "blue", "yellow"),
    "physics": tuple(COLOURS),
    "rooms": tuple(COLOURS),
    "driving": tuple(c for c in COLOURS if c != "pink"),
    GRIPPER: tuple(COLOURS),
}
ACTORS = {
    "tabletop": ("robot arm", "arm", "robot", "mechanical arm", "~manipulator", "~robotic arm"),
    GRIPPER: ("robot arm with a gripper", "gripper arm", "robot arm", "robot", "arm", "~robot hand", "~grasping arm"),
    "physics": (),
    "rooms": ("camera", "viewer", "~observer"),
    "driving": ("car", "ego car", "vehicle", "~driver's car"),
}

# Verb -> base forms; `words.tell.inflect` makes the others. Particles follow the verb.
VERBS: dict[str, tuple[str, ...]] = {
    "push": ("push", "shove", "slide", "move", "shift", "~nudge", "~propel"),
    "go": ("move", "slide", "travel", "~glide", "~drift"),
    "be": ("be",),
    "lie": ("lie", "be", "rest", "~be placed", "~sit"),
    "stay": ("stay where it is", "stay in place", "remain untouched", "~keep its place"),
    "stays": ("stay where they are", "stay in place", "remain untouched", "~keep their places"),
    "put": ("put", "place", "lay", "~deposit"),
    "lift": ("lift", "pick up", "raise", "~hoist"),
    "grasp": ("grasp", "grip", "take hold of", "~seize"),
    "drop": ("drop", "let go of", "release", "~let loose"),
    "hover": (
        "move about without moving anything",
        "wander over the table without moving anything",
        "~roam about, moving nothing",
    ),
    "roam": (
        "move about without pushing anything",
        "sweep through the tray and touch nothing",
        "~wander about, touching nothing",
    ),
    "rest": ("stand still", "hold still", "stay motionless", "~remain at rest", "~wait"),
    "fall": ("fall to the floor and bounce", "drop and bounce", "fall down", "~plunge to the ground"),
    "rock": ("roll to and fro", "swing back and forth", "~roll from side to side"),
    "strike": ("strike", "hit", "knock against", "~bump into", "~collide with"),
    "throw": ("throw", "fling", "~hurl", "~toss"),
    "spin": ("spin", "whirl", "turn fast", "~rotate"),
    "hold": ("stand and stay", "hold", "~keep its balance"),
    "walk": ("walk", "move", "wander", "~stroll"),
    "stand": ("stand", "stay in one place", "~remain standing"),
    "drive": ("drive", "go", "travel", "~cruise"),
    "halt": ("stand", "stand still", "wait", "~be parked"),
}
# Kinds whose way is one phrase; {kind: {way: phrases}}.
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "side": {
        "left": (
            "to the left",
            "leftwards",
            "towards the left",
            "to the left side",
            "~over to the left",
            "~to the left-hand side",
        ),
        "right": (
            "to the right",
            "rightwards",
            "towards the right",
            "to the right side",
            "~over to the right",
            "~to the right-hand side",
        ),
        "far": (
            "away to the back",
            "to the back",
            "away from the viewer",
            "backwards",
            "~towards the rear",
            "~to the far side",
        ),
        "near": (
            "towards the front",
            "to the front",
            "towards the viewer",
            "forwards",
            "~closer to the viewer",
            "~to the near side",
        ),
    },
    "turn": {
        "left": ("turns to the left", "turns left", "~swings round to the left"),
        "right": ("turns to the right", "turns right", "~swings round to the right"),
    },
    "bend": {
        "left": ("bending to the left", "in a bend to the left", "~curving leftwards"),
        "right": ("bending to the right", "in a bend to the right", "~curving rightwards"),
    },
    "pace": {
        "faster": ("speeding up", "gathering speed", "accelerating", "~picking up speed"),
        "slower": ("slowing down", "losing speed", "braking", "~slowing more and more"),
    },
    "light": {
        "left": ("from the left", "from the left-hand side", "~out of the left"),
        "right": ("from the right", "from the right-hand side", "~out of the right"),
        "above": ("from above", "from overhead", "~straight from above"),
    },
    "table": {
        "grey": ("grey", "plain grey", "gray", "~stone-grey"),
        "wooden": ("wooden", "brown wooden", "oak", "~wood-grained"),
        "checkered": ("checkered", "chequered", "~checkerboard"),
        "white": ("white", "plain white", "~chalk-white"),
        "dark": ("dark", "black", "~nearly black"),
        "marble": ("marble", "polished marble", "~marbled"),
        "striped": ("striped", "stripy", "~banded"),
        "dotted": ("dotted", "spotted", "~dot-patterned"),
        "woven": ("woven", "cloth-covered", "~fabric-covered"),
        "tiled": ("tiled", "brick-patterned", "~tile-topped"),
    },
    "floor": {
        "wood": ("on a wooden floor", "on wooden boards", "~on a floor of wood"),
        "tiles": ("on a tiled floor", "on tiles", "~on a floor of tiles"),
        "stone": ("on a stone floor", "on stone", "~on a floor of stone"),
        "plain": ("on a plain floor", "on an even grey floor", "~on a bare floor"),
        "carpet": ("on a carpet", "on a carpeted floor", "~on a rug"),
    },
    "street": {
        "grass": ("a country road", "a road through fields", "a rural road", "~a road in the country"),
        "paving": ("a city street", "a street in town", "an urban street", "~a street in the city"),
        "sand": ("a road through sand", "a desert road", "~a sandy road"),
        "snow": ("a road through snow", "a snowy road", "~a road between fields of snow"),
    },
    "weather": {
        "clear": ("in clear weather", "on a clear day", "under a blue sky", "in sunshine", "~in clear bright weather"),
        "overcast": ("under an overcast sky", "on a cloudy day", "under grey clouds", "~under cloudy skies"),
        "rain": ("in the rain", "on a rainy day", "~in rainy weather"),
        "fog": ("in fog", "on a foggy day", "in the mist", "~in foggy weather"),
        "dusk": ("at dusk", "in the evening light", "at sunset", "~in the light of dusk"),
        "night": ("at night", "in the dark", "by night", "~in the dark of night"),
    },
}
# Where a thing is put -> how it gets there; "" is another thing.
INTO: dict[str, tuple[str, ...]] = {
    "bin": ("in", "into", "~inside"),
    "plate": ("on", "onto", "~upon"),
    "zone": ("on", "onto", "~upon"),
    "": ("on", "on top of", "onto", "~upon"),
}
BESIDE = ("next to", "beside", "close to", "~alongside")
# Camera name of a world -> how a caption says it.
CAMERAS: dict[str, dict[str, tuple[str, ...]]] = {
    "tabletop": {
        "front": ("from the front by a fixed camera", "by a fixed camera in front", "~by a still camera that faces the tray"),
        "side": ("from the side by a fixed camera", "by a fixed camera at the side", "~by a still camera beside the tray"),
        "wrist": ("by the camera on the wrist", "by a camera on the arm", "~by a camera that moves with the gripper"),
    },
    GRIPPER: {
        "front": ("from the front by a fixed camera", "by a fixed camera in front", "~by a still camera that faces the table"),
        "side": ("from the side by a fixed camera", "by a fixed camera at the side", "~by a still camera beside the table"),
        "wrist": ("by the camera on the wrist", "by a camera on the arm", "~by a camera that moves with the hand"),
    },
    "physics": {
        "front": (
            "from the front by a fixed camera",
            "by a fixed camera in front",
            "~by a still camera that looks straight at it",
        ),
        "left": ("from the left by a fixed camera", "by a fixed camera on the left", "~by a still camera further left"),
        "right": ("from the right by a fixed camera", "by a fixed camera on the right", "~by a still camera further right"),
        "high": ("from high up by a fixed camera", "by a fixed camera looking down", "~by a still camera above"),
    },
    "rooms": {
        "eye": ("by a camera at eye level that looks ahead", "by a camera looking ahead", "~by a camera facing where it goes"),
        "back": ("by a camera that looks back", "by a camera looking behind", "~by a camera facing backwards"),
    },
    "driving": {
        "front": ("by the front camera", "by the camera facing ahead", "~by the camera behind the windscreen"),
        "left": ("by the left camera", "by the camera facing left", "~by the camera on the left flank"),
        "right": ("by the right camera", "by the camera facing right", "~by the camera on the right flank"),
        "rear": ("by the rear camera", "by the camera facing back", "~by the camera at the tail"),
        "rear_left": ("by the rear left camera", "by the camera facing back and left", "~by the camera at the left tail"),
        "rear_right": ("by the rear right camera", "by the camera facing back and right", "~by the camera at the right tail"),
    },
}


def held(entry: str) -> bool:
    return entry.startswith("~")


def bare(entry: str) -> str:
    return entry.removeprefix("~")


def words_of(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Every wording, lower case, -> what it names."""
    return {bare(e).casefold(): key for key, entries in table.items() for e in entries}
