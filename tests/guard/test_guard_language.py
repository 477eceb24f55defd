"""What is not English is said to be unsupported; disguised English is not taken for another language."""

from __future__ import annotations

import pytest

from armillary.errors import BadInput
from armillary.guard.classifier import load_model
from armillary.guard.language import Language
from armillary.guard.measure import DISGUISES

OTHER = [
    "Ein Roboterarm schneidet eine Tomate auf einem Holzbrett in der Küche.", "Un homme tue une femme avec un couteau dans la rue.",
    "Un hombre mata a una mujer con un cuchillo en la calle.", "Un uomo con un coltello in una strada della città di notte.",
    "Мужчина убивает человека ножом на улице", "一个男人用刀杀人", "男が女を刺す", "رجل يقتل امرأة في الشارع", "남자가 여자를 칼로 찌른다",
    "एक आदमी सड़क पर चल रहा है", "Mężczyzna z nożem jest na ulicy przez całą noc", "Een man met een mes staat op het dak van een huis",
    "zxqv wprt klmgh bvcxz qwrtp", "Um homem mata uma mulher com uma faca na rua",
]  # fmt: skip
ENGLISH = [
    "A robot arm places a red cube on a blue plate.", "push cube", "Red cube, blue plate, wooden table, soft light.", "robot",
    "A barista in a café in São Paulo pours a latte.", "el Capitan at sunrise, drone view", "A señora dances in Las Vegas at night.",
]  # fmt: skip


@pytest.fixture(scope="module")
def known():
    return load_model().known


@pytest.mark.parametrize("text", OTHER)
def test_other_languages(known, text):
    finding = Language(known).check(text)
    assert finding.blocked and "unsupported language" in finding.reason
    recorded = Language(known, "record").check(text)
    assert not recorded.blocked and "unsupported language" in recorded.reason


@pytest.mark.parametrize("text", ENGLISH)
def test_english(known, text):
    finding = Language(known).check(text)
    assert not finding.blocked, finding.reason


@pytest.mark.parametrize("name", sorted(DISGUISES))
def test_disguised_english_is_english(known, name):
    finding = Language(known).check(DISGUISES[name]("A woman walks with her dog along the street in the evening light"))
    assert not finding.blocked, finding.reason


def test_unknown_policy(known):
    with pytest.raises(BadInput, match="block, record"):
        Language(known, "allow")
