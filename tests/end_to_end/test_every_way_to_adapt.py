"""Three rounds of every recipe of a paper on voices: what is sent, what stays, and that the voice speaks from its file.

Devices answer through the wire and their personal sets through files, with the recipe's model made small.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from three_rounds import small_paper, speaks_from_its_file, three_rounds

PAPERS = (
    "adapter", "adaspeech", "chien2021", "embedding_only", "fedspeech", "lora", "meta_stylespeech", "prosodyspeech",
    "speaker_table", "stylespeech", "whole_model",
)  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_three_rounds_train_it_and_only_the_shared_set_is_sent(name: str, tmp_path: Path) -> None:
    recipe = small_paper(name)
    speaks_from_its_file(recipe, three_rounds(recipe), tmp_path / "me.voice.safetensors")
