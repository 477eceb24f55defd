"""What people say beside the lexicon, and the words that add no fact. world -> phrase -> what it stands for."""

from __future__ import annotations

from armillary.sims.words.facts import GRIPPER

SIDE = {
    "left": "left", "leftward": "left", "to left": "left", "right": "right", "rightward": "right", "to right": "right",
    "away": "far", "back": "far", "backward": "far", "towards the back": "far", "to the far edge": "far", "at the far edge": "far",
    "to the far rim": "far", "towards the far edge": "far", "far away": "far", "into the background": "far",
    "towards the camera": "near", "toward the camera": "near", "forward": "near", "closer": "near", "to the near edge": "near",
    "at the near edge": "near", "to the near rim": "near", "nearer": "near", "towards us": "near", "toward the viewer": "near",
    "into the foreground": "near", "away from the camera": "far", "over to the far edge": "far", "over to the near edge": "near",
}  # fmt: skip
for _side in ("left", "right"):
    for _form in ("to the {} edge", "at the {} edge", "to the {} rim", "over to the {} edge", "over to the {}", "towards the {} edge",
                  "toward the {}", "to the {} side of the tray", "{} side"):  # fmt: skip
        SIDE[_form.format(_side)] = _side
FAR_SIDES = {f"{said}{side} {edge}": side for said in ("", "to the ", "at the ", "over to the ", "towards the ") for side in
             ("left", "right", "far", "near") for edge in ("side", "edge", "rim")}  # fmt: skip
RELATIONS = {
    "to the left of": ("left of", False), "left of": ("left of", False), "to the right of": ("left of", True),
    "right of": ("left of", True), "behind": ("behind", False), "further back than": ("behind", False),
    "in front of": ("behind", True), "nearer than": ("behind", True), "on top of": ("on", False),
    "stacked on": ("on", False), "upon": ("on", False),
}  # fmt: skip
HAS = {
    "on top of it": ("on", True),
    "on its left": ("left of", True),
    "behind it": ("behind", True),
    "on its right": ("left of", False),
}  # O has S on its left
FREE = "fall falls falling fell drop drops dropping dropped bounce bounces bouncing plunge plunges plunging plunged gravity".split()
EXPERIMENTS: dict[str, tuple[str, ...]] = {  # the first that is named decides
    "gyroscope": ("gyroscope", "spinning top", "spin", "spins", "spinning", "spun", "whirl", "whirls", "whirling", "whirled"),
    "seesaw": ("seesaw", "see saw"),
    "dominoes": ("domino", "dominoes", "dominos"),
    "u slope": ("trough", "half pipe", "u shaped", "u slope", "bowl"),
    "slope": ("slope", "ramp", "incline", "tilted plane", "downhill"),
    "unstable stack": ("comes down", "coming down", "came down", "topple", "topples", "toppling", "toppled", "collapse", "collapses",
                       "collapsing", "collapsed", "tumble", "tumbles", "tumbling", "tumbled", "unstable", "do not balance", "not stable"),
    "stable stack": ("stable", "stack", "stacked", "tower"),
    "free fall": tuple(FREE),
}  # fmt: skip
MOVES: dict[str, dict[str, tuple[str, ...]]] = {
    "rooms": {
        "walk": ("walk", "move", "wander", "stroll", "explore", "tour"),
        "stand": ("stand", "keep its place", "stay in one place", "remain standing", "not move"),
    },
    "driving": {
        "drive": ("drive", "go", "travel", "cruise", "ride"),
        "halt": ("stand", "stand still", "wait", "be parked", "stop", "parked"),
    },
}
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "driving": {
        "empty near": ("no other traffic is near", "the road is empty", "there is nobody else on the road", "empty road"),
        "empty view": ("no other vehicle is in the picture", "nobody else is in this view", "there is nobody else in the picture"),
        "weather rain": ("rainy", "rain", "raining", "through rain", "wet weather"),
        "weather fog": ("foggy", "fog", "misty", "mist", "through fog"),
        "weather night": ("night", "nighttime", "after dark"),
        "weather dusk": ("dusk", "sunset", "evening"),
        "weather clear": ("sunny", "clear weather", "clear day", "clear sky", "sunshine", "blue sky"),
        "weather overcast": ("overcast", "cloudy", "grey sky"),
        "street grass": ("country road", "rural road", "country lane", "countryside"),
        "street paving": ("city street", "town street", "urban street", "city", "downtown"),
        "street sand": ("desert", "desert road", "sandy road", "sand"),
        "street snow": ("snow", "snowy road", "snowy"),
        "pace faster": ("speeds up", "sped up", "accelerates", "accelerate", "faster"),
        "pace slower": ("slows down", "slowed down", "brakes", "brake", "slower"),
        "bend left": ("turning left", "bends left", "bend to the left", "left bend", "turns left", "curving left", "left curve"),
        "bend right": ("turning right", "bends right", "bend to the right", "right bend", "turns right", "curving right", "right curve"),
    },
    "rooms": {
        "turn left": ("turning left", "turn left", "turned left", "turning to the left", "left turn"),
        "turn right": ("turning right", "turn right", "turned right", "turning to the right", "right turn"),
    },
    "physics": {
        "floor wood": ("wooden floor", "wood floor"),
        "floor tiles": ("tiled floor", "tiles"),
        "floor stone": ("stone floor",),
        "floor carpet": ("carpet", "rug"),
        "floor plain": ("plain floor",),
    },
    "tabletop": {},
    GRIPPER: {},
}  # fmt: skip
ABOUT = {"at first it looks at": "face", "at first it looked at": "face", "at first it is looking at": "face", "into view first": "face",
         "at the beginning": "face", "in the end": "reach", "at the end": "reach", "sees last": "reach"}  # fmt: skip
TRAFFIC = {"ahead": "ahead", "in front of the ego car": "ahead", "the other way": "oncoming", "oncoming": "oncoming",
           "in the opposite lane": "oncoming", "follow": "following", "follows": "following", "following": "following",
           "followed": "following", "behind in the same lane": "following"}  # fmt: skip
MOVES_ABOUT = {"tabletop": "roam", GRIPPER: "hover"}  # an arm that touches nothing
UNTOUCHED = {
    "tabletop": ("without touching anything", "touches nothing", "without pushing anything", "touching nothing"),
    GRIPPER: ("without moving anything", "moves nothing", "moving nothing"),
}
DEEDS = {  # verbs of a gripper beside the lexicon's
    "put": ("set", "stack", "balance", "carry", "belong"),
    "lift": ("pick", "hold up", "hold it up", "lift up", "lift it up", "pick it up"),
    "grasp": ("grab", "hold on to", "clutch"),
    "drop": ("drop",),
}
SAID: dict[str, tuple[str, ...]] = {  # token of a gripper -> phrases
    "lift": ("into the air", "in the air", "above the table", "off the table"),
    "down": ("down again", "back down", "it down", "down on the table", "back on the table"),
    "onto": ("in", "into", "inside", "on", "onto", "on top of", "upon", "stacked on", "carry it to", "carries it to", "carried it to",
             "on to", "goes on top of", "carrying it to"),
    "beside": ("next to", "beside", "close to", "alongside", "up to", "over to", "nearly touches", "touches", "up against"),
    "together": ("side by side", "together"),
    "be": ("on the table", "over the table", "at the table", "and let go", "and lets go", "without lifting it", "without lifting",
           "so that the two stand together", "by pushing the first", "between the fingers", "hang", "hangs", "hung", "hanging", "open",
           "for something", "tower", "build a tower with", "until", "get", "happens", "not involved", "again",
           "take", "takes", "took", "taken", "taking", "goes", "belongs", "them", "keeps it in the air", "fingers", "gripper's"),
}  # fmt: skip
# Words that add no fact of their own.
COMMON = set(
    """
begins rises makes loses apart leads back thing things object objects item items piece gets got getting next past onto
a about above after air all alone along among an and another approach approached approaches approaching are around as
at axis badly balance balanced be been beginning behind being both by came camera cameras cars clip come comes coming
consists create did do does down drive each ego else end everything experiment falling falls fast faster film filmed
find finds first fixed floor forth found free fro from furnished furniture gather gathering gathers go goes going
ground had happened happening happens has have held hold holds in into involved is it its just keep keeps kept knock
lamp land landed landing lands lane last lay leans leaves leaving left let lets lie lies light like lit look looked
looking looks make me meanwhile middle moved moves moving near nearby neither nobody nothing of of's off on one one's
or other out over own part picture pivot place placed please point pulled pulling pulls raised ran reached reaches
reaching remain remained remains rest rested rests ride rides road rode roll rolled rolling rolls room rotated rotates
rotating round row run running runs same sat scene see seen sees seesaw set sets shadows shallow shines shining shone
short show shown shows side simple sit sits slowly so some speed stand standing stands stay stayed stays stood
straight street swinging swings swung table taken takes taking that the them then there they this through tilted to
took traffic tray tray's turn turned turning turns unmoved untouched up us vehicle very video view was way went were
what when where whereas which while who with without worked working works
""".split()
)
DENY = set("no not never without nothing none neither nor don't doesn't isn't aren't didn't cannot except instead un".split())
COUNT = set("two three four five six seven eight nine ten several many both dozen pair couple 2 3 4 5 6 7 8 9".split())
