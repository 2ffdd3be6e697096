"""Several adaptations at once, as ``vectors+lora`` in a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from shared_models.kinds import class_at
from shared_models.model_config import SpeakerConfig
from shared_models.speakers.adaptation import ADAPTATIONS, kinds_of
from shared_models.speakers.adaptation.adaptation import AdaptableModel, Adaptation
from shared_models.speakers.voice import VoiceTensor


class Together:
    """All kinds that ``speaker.personal`` names; one alone is itself."""

    def __init__(self, settings: SpeakerConfig) -> None:
        self.parts: list[Adaptation] = [
            class_at(ADAPTATIONS[kind])(settings) for kind in kinds_of(settings.personal)
        ]

    def adds(self, acoustic: nn.Module) -> Sequence[VoiceTensor]:
        """What each adds."""
        return [added for part in self.parts for added in part.adds(acoustic)]

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What any of them keeps, in the order of ``takes``."""
        kept = {offset.name for part in self.parts for offset in part.offsets(takes)}
        return [declared for declared in takes if declared.name in kept]

    def install(self, model: AdaptableModel) -> None:
        """Each in turn: a layer that several change is changed by the first first."""
        for part in self.parts:
            part.install(model)
