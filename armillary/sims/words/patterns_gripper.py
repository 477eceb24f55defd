"""The sentences of a gripper's captions, beside those it shares with the tabletop (`words.patterns`, which puts them together)."""

from __future__ import annotations

from armillary.sims.words.facts import GRIPPER

LONG: dict[str, tuple[str, ...]] = {
    "put": (
        "{arm} [put] {S} {in} {O}",
        "{S} [be] [put.pp] {in} {O} by {arm}",
        "{arm} [lift] {S} and [put] it {in} {O}",
        "what {arm} [do] is to [put.plain] {S} {in} {O}",
        "~by {arm} {S} [be] [put.pp] {in} {O}",
        "~{arm} [grasp] {S}, [lift] it and [put] it {in} {O}",
    ),
    "set down": (
        "{arm} [lift] {O} and [=put] it down again",
        "{O} [be] [lift.pp] by {arm} and [=put.pp] down again",
        "{arm} [lift] {O} and [=put] it back down",
        "~{arm} [grasp] {O}, [lift] it and [=put] it down again",
    ),
    "grasp": (
        "{arm} [grasp] {O}",
        "{O} [be] [grasp.pp] by {arm}",
        "{arm} [reach] for something and [grasp] {O}",
        "~by {arm} {O} [be] [grasp.pp]",
    ),
    "lift": (
        "{arm} [lift] {O}",
        "{O} [be] [lift.pp] by {arm}",
        "{arm} [=hold] {O} in the air",
        "{O} [=hang] in the air between the fingers of {arm}",
        "~by {arm} {O} [be] [lift.pp]",
        "~{arm} [lift] {O} and keeps it in the air",
    ),
    "drop": ("{arm} [drop] {O}", "{O} [be] [drop.pp] by {arm}", "~by {arm} {O} [be] [drop.pp]"),
    "gather": (
        "{arm} [push] {S} {near} {O}",
        "{S} [be] [push.pp] {near} {O} by {arm}",
        "what {arm} [do] is to [push.plain] {S} {near} {O}",
        "~by {arm} {S} [be] [push.pp] {near} {O}",
    ),
    "move hover": ("{arm} [hover]", "all the while {arm} [hover]", "~nothing else happens: {arm} [hover]"),
    f"place {GRIPPER}": (
        "{Arm} [work] at {table}",
        "the scene is {table} with {Arm}",
        "{Arm} [reach] over {table}",
        "on {table} there [=stand] {Arm}",
        "~everything takes place on {table}, over which {Arm} [reach]",
        "~there is {table}, and over it {Arm}",
    ),
    f"things {GRIPPER}": (
        "{L} [lie:L] on the table",
        "there [be:L] {L} on the table",
        "on the table [be:L] {L}",
        "~one finds {L} on the table",
        "~{L} [be:L] to be seen on the table",
    ),
}
MIDDLE: dict[str, tuple[str, ...]] = {
    f"at {GRIPPER}": ("on {table}, {C}", "at {table}, {C}", "~everything happens on {table}: {C}"),
}
SHORT: dict[str, tuple[str, ...]] = {
    "put": (
        "{Arm} [put] {S} {in} {O}",
        "[put.plain] the {s} {in} the {o}",
        "{s} [put.pp] {in} {o}",
        "[lift.plain] the {s} and [put.plain] it {in} the {o}",
        "robot [put.ing] the {s} {in} the {o}",
        "~an arm that [put] {S} {in} {O}",
        "~the {s} [be] [put.pp] {in} the {o} by a robot",
    ),
    "set down": (
        "{Arm} [lift] {O} and [=put] it down again",
        "[lift.plain] the {o} and [=put.plain] it down again",
        "~an arm that [lift] {O} and [=put] it down again",
    ),
    "grasp": ("{Arm} [grasp] {O}", "[grasp.plain] the {o}", "robot [grasp.ing] the {o}", "~an arm that [grasp] {O}"),
    "lift": (
        "{Arm} [lift] {O}",
        "[lift.plain] the {o}",
        "{o} [lift.pp] by a robot",
        "robot [lift.ing] the {o}",
        "~an arm that [lift] {O}",
        "~the {o} [be] [lift.pp]",
    ),
    "drop": ("{Arm} [drop] {O}", "robot [drop.ing] the {o}", "~an arm that [drop] {O}"),
    "gather": (
        "{Arm} [push] {S} {near} {O}",
        "[push.plain] the {s} {near} the {o}",
        "{s} [push.pp] {near} {o}",
        "~an arm that [push] {S} {near} {O}",
    ),
    f"{GRIPPER} hover": ("{Arm} [hover]", "robot arm, [hover.ing]", "~an arm that [hover]"),
    f"{GRIPPER} rest": ("{Arm} [rest]", "robot arm, [rest.ing]", "~an arm that [rest]"),
}
