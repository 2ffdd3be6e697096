"""A language by any of its usual names."""

from __future__ import annotations

import pytest

from shared_models.text.languages import Language
from shared_models.text.phonemes import phonemize


@pytest.mark.parametrize(
    "name",
    [
        "en-AU",
        "en-CA",
        "en-IN",
        "en-NZ",
        "en-IE",
        "en-ZA",
        "eng",
        "EN_us.UTF-8",
        " English ",
        "en-GB-oxendict",
    ],
)
def test_english_by_any_name(name: str) -> None:
    assert phonemize("Good.", name) == phonemize("Good.", "en")


@pytest.mark.parametrize(
    "name",
    ["zh-TW", "zh-SG", "zh-Hant", "zh-Hans-CN", "cmn-CN", "zho", "zh_CN.UTF-8", "Mandarin", "cmn-Hant-TW"],
)
def test_mandarin_by_any_name(name: str) -> None:
    assert phonemize("好。", name) == phonemize("好。", "zh")


def test_cantonese_is_not_mandarin() -> None:
    assert {Language.of(name).code for name in ("yue", "zh-yue", "zh-yue-HK", "Cantonese")} == {"yue"}


def test_the_region_decides_which_number_of_a_date_is_the_day() -> None:
    by_region = {
        name: Language.of(name).day_first for name in ("en", "en-US", "eng", "en-AU", "en_GB", "en-IN")
    }
    assert by_region == {
        "en": False,
        "en-US": False,
        "eng": False,
        "en-AU": True,
        "en_GB": True,
        "en-IN": True,
    }
    assert phonemize("5/6/2024", "en-GB") == phonemize("the fifth of June, twenty twenty four", "en")


def test_a_region_without_a_voice_of_its_own_is_its_language() -> None:
    pytest.importorskip("espeakng_loader")
    assert phonemize("Guten Tag", "de-AT") == phonemize("Guten Tag", "deu") == phonemize("Guten Tag", "de")
