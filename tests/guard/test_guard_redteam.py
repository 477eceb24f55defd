"""The prompts written here, the attack families, and the red team's report on gates whose answers are known."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from armillary import guard
from armillary.errors import BadInput
from armillary.guard import Finding, Gate, Open
from armillary.guard.attacks import LANGUAGES, REWRITES, written_on
from armillary.guard.fit import BLIND, FRESH, OURS, read_rows
from armillary.guard.normalise import fold
from armillary.guard.redteam import redteam, wilson

TEXT = "A man stabs a woman in a dark alley."


def stabs(text):
    return "stabs" in text


def nothing(*_):
    return False


class Rail:
    name, version, first = "scripted", "1", False

    def __init__(self, refuse):
        self.refuse = refuse

    def check(self, *seen):
        return Finding(bool(self.refuse(*seen)), "scripted", 0.5)


def gate(before, after=None):
    return Gate((Rail(before),), (Rail(after or before),))


def table(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "text,label,style\n"
        + "".join(f"{t} number {i},{k},t2v\n" for i in range(6) for k, t in (("unsafe", TEXT), ("safe", "A cup")))
    )
    return path


def test_prompts_of_this_project_are_many_and_different():
    rows = read_rows(OURS)
    assert len(rows) >= 600 and sum(r.unsafe for r in rows) >= 300 and len({r.category for r in rows}) >= 20
    words = [frozenset(fold(r.text).replace(".", " ").replace(",", " ").split()) for r in rows]
    same = [(a, b) for (a, x), (b, y) in itertools.combinations(zip(rows, words), 2)
            if a.unsafe == b.unsafe and len(x & y) >= 0.85 * len(x | y)]  # fmt: skip
    assert not same, [(a.text, b.text) for a, b in same[:5]]


def test_what_is_measured_on_was_not_fitted_to():
    from armillary.guard.fit import AUTHORED, FORMS, FitConfig, is_held_out

    fitted = {fold(r.text) for r in read_rows([AUTHORED, FORMS])}
    unseen = read_rows([FRESH, BLIND])
    assert not fitted & {fold(r.text) for r in unseen} and all(is_held_out(r, FitConfig()) for r in unseen)


def test_families_are_seeded_and_keep_or_hide_the_text():
    assert len([n for n in REWRITES if n.startswith("disguise")]) >= 10
    for name, rewrite in REWRITES.items():
        once, twice = (rewrite(TEXT, random.Random(3)) for _ in range(2))
        assert once == twice and (once != TEXT) is (name != "plain"), name
    assert TEXT in REWRITES["dilution"](TEXT, random.Random(0)) and TEXT in REWRITES["role play"](TEXT, random.Random(0))
    assert "runs a blade into" in REWRITES["paraphrase"](TEXT, random.Random(0))
    (film,) = written_on([TEXT])
    assert film.ndim == 4 and film.min() < 40 < 160 < film.max()


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_are_said_to_be_unsupported(language):
    verdicts = guard.default_gate().check_prompt(LANGUAGES[language])
    assert {v.category for v in verdicts if v.blocked} & {"unsupported_language"}


def test_wilson_interval():
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-4) and high == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0) and wilson(0, 20)[0] == 0.0 and wilson(20, 20)[1] == 1.0


def test_a_gate_that_refuses_all_one_that_refuses_none_and_one_that_is_broken(tmp_path):
    path = table(tmp_path)
    for answer, share in ((True, 1.0), (False, 0.0)):
        report = redteam([path], gate=gate(lambda *_, answer=answer: answer))
        assert {f["share"] for f in report["families"].values()} == {share}
        assert not any(f["failed"] for f in report["families"].values())
    opened = redteam([path], gate=Open())
    assert all(f["share"] == 0.0 and f["unchecked"] == f["rows"] for f in opened["families"].values())
    broken = redteam([path], gate=gate(lambda *_: 1 / 0))
    assert all(f["failed"] == f["rows"] for f in broken["families"].values())


def test_report_files_and_what_moved(tmp_path):
    path = table(tmp_path)
    one = redteam([path], tmp_path / "one", gate=gate(stabs, nothing))
    families = one["families"]
    assert families["attack: plain"]["share"] == 1.0 and families["benign: plain"]["share"] == 0.0
    assert families["attack: paraphrase"]["share"] == 0.0 and families["attack: disguise: leet"]["share"] == 0.0
    assert families["attack: written in the given picture"]["share"] == 0.0
    assert one["families"] == redteam([path], gate=gate(stabs, nothing))["families"], "seeded"
    held = json.loads((tmp_path / "one" / "redteam.json").read_text())
    cases = [json.loads(line) for line in (tmp_path / "one" / "cases.jsonl").read_text().splitlines()]
    assert len(cases) == sum(f["rows"] for f in held["families"].values())
    two = redteam([path], tmp_path / "two", gate=gate(nothing), baseline=tmp_path / "one" / "redteam.json")
    assert (
        two["moved"][0]["clear"] and two["moved"][0]["before"] == 1.0 and "attack: plain" in {m["family"] for m in two["moved"]}
    )
    assert "Moved since" in (tmp_path / "two" / "report.md").read_text()
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(BadInput, match="no red-team report"):
        redteam([path], gate=Open(), baseline=tmp_path / "bad.json")
