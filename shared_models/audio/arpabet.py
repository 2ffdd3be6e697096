"""ARPAbet, in which English dictionaries and aligners label phones, as the project's symbols."""

from __future__ import annotations

from shared_models.text.symbols import SYMBOL_IDS

_IPA = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AX": "ə", "AY": "aɪ",
    "B": "b", "CH": "t͡ʃ", "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɚ", "EY": "eɪ",
    "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "d͡ʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p",
    "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u",
    "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}


def arpabet_to_symbol(label: str) -> str | None:
    """The symbol of a phone such as ``AH0`` or ``JH``, stress included; None for an unknown label."""
    base, stress = (label[:-1], label[-1]) if label[-1:] in _STRESS else (label, "0")
    if base.upper() not in _IPA:
        return None
    if label.upper() == "AH0":  # ARPAbet's schwa
        return "ə"
    symbol = _STRESS[stress] + _IPA[base.upper()]
    return symbol if symbol in SYMBOL_IDS else None
