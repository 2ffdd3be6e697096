"""A step of DP-SGD is computed where the voice is, and reads no number of any utterance back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from numbers_of_nothing import reading_gives
from synthetic_batches import random_features, small_model

from client.home.ledger import Ledger
from client.learning.private_adaptation import private_steps
from client.task import Task
from shared_models.algorithms.cloning import CLONING
from shared_models.config import SpeakerConfig, parse_recipe
from shared_models.partition import PartitionedModel

META = torch.device("meta")
RECIPE = parse_recipe(
    {
        "personal_privacy": {"enabled": True, "noise_multiplier": 1.0},
        "client": {"batch_size": 3},
        "cloning": {"steps": 3},
    },
    where="test",
)


@pytest.mark.parametrize("personal", ["vectors", "maps"])
def test_private_steps_make_no_tensor_elsewhere_and_read_whether_the_voice_is_finite_once(
    personal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = SpeakerConfig.model_validate({"personal": personal})
    model = PartitionedModel(small_model(speaker=speaker).to(META))
    utterances = [random_features(5 + n, 30 + n, n).to(META) for n in range(4)]
    with reading_gives(1, monkeypatch) as read:
        private_steps(
            CLONING, model, utterances, Task(RECIPE, "test", 0, 0, simulated=True),
            book=Ledger(tmp_path / "ledger", None, 1e-3), purpose="test", generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
    assert len(read) == 1
