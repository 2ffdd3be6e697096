"""A voice is maps: the conditioning's maps from the embedding are its own, which is AdaSpeech's choice."""

from __future__ import annotations

from collections.abc import Sequence

from shared_models.partition import Owner
from shared_models.speakers.adaptation.adaptation import AdaptableModel
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.voice import VoiceTensor


class PersonalMaps:
    """What AdaSpeech (arXiv 2103.00993) fine-tunes: the maps, and here the prosody."""

    def adds(self, sizes: Sizes) -> Sequence[VoiceTensor]:  # noqa: ARG002
        """Nothing."""
        return ()

    def offsets(self, takes: Sequence[VoiceTensor]) -> Sequence[VoiceTensor]:
        """What nothing but a voice's own numbers makes."""
        return [declared for declared in takes if declared.made_by == "voice"]

    def install(self, model: AdaptableModel) -> None:
        """Make the maps personal."""
        model.maps.belongs_to = Owner.PERSONAL  # type: ignore[assignment]
