"""The errors a user can act on.

Each is raised where the fact is known, with a message of one sentence that says what is wrong, where,
and how to mend it. The command line prints that sentence and exits with ``exit_code``; anything that is
not a ``FedVoiceError`` is a bug and keeps its traceback.
"""

from __future__ import annotations

from shared_models.refusals import Refusal


class FedVoiceError(Exception):
    """Base of every error that is the user's to mend, not ours."""

    exit_code: int = 2
    refusal: Refusal = Refusal.FAILED
    """What a server is told that the error is, where a device answers with it."""


class RecipeError(FedVoiceError):
    """A recipe with an unknown field, a wrong type or values that contradict each other."""


class CorpusError(FedVoiceError):
    """A corpus that is missing, unreadable as a whole, or too small for what is asked of it."""


class AudioError(FedVoiceError):
    """One recording that cannot be read or used. Never ends a run: the recording is left out."""

    def __init__(self, said: str, *, kind: str = "unusable") -> None:
        super().__init__(said)
        self.kind = kind
        """In a word, for lists of problems."""


class TextError(FedVoiceError):
    """Text that cannot be turned into phonemes, or a language without a phonemizer."""


class PartitionError(FedVoiceError):
    """A model with a tensor that is neither declared shared nor personal, or is declared both."""


class WireError(FedVoiceError):
    """A message that does not hold what the receiver agreed to: names, shapes, round, finiteness."""


class DivergedError(WireError):
    """An update that is no longer finite: training diverged. Nothing of it may be sent."""

    refusal = Refusal.DIVERGED


class LacksAnchorError(WireError):
    """Weights that came as the change since others, which this device does not have. The server sends those."""

    refusal = Refusal.LACKS_ANCHOR


class CheckpointError(FedVoiceError):
    """A checkpoint or voice profile that is truncated, or belongs to another model or recipe."""


class OtherTrainingError(CheckpointError):
    """An output folder that holds another training: the same command would be refused again."""


class PrivacyError(FedVoiceError):
    """A privacy target that cannot be reached, or a mechanism used outside of what its proof covers."""


class BudgetError(PrivacyError):
    """A release that the device's privacy budget does not allow. Nothing was released."""


class StorageError(FedVoiceError):
    """A disk that is full or not writable. What was written before is intact."""

    refusal = Refusal.DISK


class AcceleratorError(FedVoiceError):
    """The device that work is to run on is not there, or its name is none."""


class MissingExtraError(FedVoiceError):
    """An optional package that the asked-for feature needs and that is not installed."""


class EnrolmentError(FedVoiceError):
    """A device that cannot enrol: a damaged, used or expired join code, or a server that is not the one it names."""


class BundleError(FedVoiceError):
    """A run whose bundle is not this installation's: another version, or code that a device never runs."""


class NotFiniteError(FedVoiceError):
    """A federation whose weights left the finite numbers. Those of before are kept."""


class CollapsedError(FedVoiceError):
    """A training whose network has come to say the same of everything: going on with it would change nothing."""


class FruitlessError(FedVoiceError):
    """A live run whose rounds bring nothing, again and again, until somebody looks after it."""


class ServiceError(FedVoiceError):
    """A live server or device that cannot start or go on: a second one on its home, a port in use, a lost peer."""


class DeclinedError(FedVoiceError):
    """A round that the device's owner does not allow. Its text goes to the server: it names no person."""

    refusal = Refusal.DECLINED


class ServerRolledBackError(DeclinedError):
    """A round that the device answered already, on other weights: the server was restored from an older copy."""

    refusal = Refusal.SERVER_ROLLED_BACK


class RefusedError(FedVoiceError):
    """A failure on a device as its server may know it: its kind, without a name or a file."""

    def __init__(self, refusal: Refusal, said: str) -> None:
        super().__init__(said)
        self.refusal = refusal


class StaleCopyError(FedVoiceError):
    """A device's or server's files that are older than what was already released from it, as from a backup."""

    refusal = Refusal.DEVICE_ROLLED_BACK


class WatermarkError(FedVoiceError):
    """Speech that cannot be marked as synthetic. Nothing is spoken without the mark."""
