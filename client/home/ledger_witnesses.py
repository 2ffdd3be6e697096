"""What else in a device's home tells that its ledger must know of something.

The ledger and the memory outside of the home (:mod:`client.home.ledger_anchor`) can be lost together, as when an owner
deletes both, or takes a home to another computer without its ledger. What was answered, what is kept to be sent
again, and the personal voice after each round are witnesses: each came after an entry in the ledger. The files are
compared before anything is spent, and a contradiction is refused with a sentence on how to mend it.
"""

from __future__ import annotations

import re

from client.home.device import Device
from client.home.ledger import Ledger
from client.home.ledger_anchor import LedgerAnchor
from client.home.spending import rounds_known
from client.rounds.answers import Answers
from client.rounds.outbox import Outbox
from shared_models.errors import StaleCopyError

_QUESTION = re.compile(r"\(question ([0-9a-f]{64})\)")


def check_against_witnesses(ledger: Ledger, answers: Answers, outbox: Outbox) -> None:
    """Raise :class:`StaleCopyError` if another file of this home knows of what the ledger does not, or the reverse."""
    entered = _questions_of(ledger)
    paid_for = set(entered)
    records = answers.all().values()
    admitted = {digest: a for record in records for digest, a in record.admitted.items()}
    forgotten = [digest for digest, a in admitted.items() if a.paid and digest not in paid_for]
    if forgotten:
        raise _lost(
            ledger,
            f"{answers.path.name} remembers {len(forgotten)} answers of which the ledger holds no entry",
        )
    strangers = [digest for digest in outbox.questions() if digest not in admitted and digest not in paid_for]
    if strangers:
        raise _lost(
            ledger,
            f"the outbox holds {len(strangers)} answers of which neither the ledger nor {answers.path.name} knows",
        )
    # The newest may have been entered just before a crash.
    unheard = [digest for digest in entered[:-1] if digest not in admitted]
    if unheard:
        raise StaleCopyError(
            f"the ledger {ledger.path} paid for {len(unheard)} questions that {answers.path} knows nothing of: that "
            "file is an older copy or was deleted, so put the newest back; nothing is sent by a device that forgot "
            "what it answered"
        )


def check_personal_files(ledger: Ledger, device: Device, run: str) -> None:
    """Raise :class:`StaleCopyError` if a personal voice was kept after a round that the ledger never paid for.

    For runs in mode central, where every round is paid for before it is trained.
    """
    trained = device.last_round(run)
    if trained > rounds_known(ledger, run):
        raise _lost(
            ledger, f"this home holds a voice after round {trained} of the run, for which it has no entry"
        )


def check_beginning(ledger: Ledger, anchor: LedgerAnchor) -> None:
    """Raise :class:`StaleCopyError` if a home that took part has an empty ledger and nothing outside of it.

    A home gets its memory outside and then its identity. One that has the identity alone came from another computer
    or lost the memory, and then at least its ledger must have come along.
    """
    if not anchor.path.exists() and not ledger.history():
        raise _lost(ledger, "this home took part before (it has an identity) and its ledger is empty")


def _questions_of(ledger: Ledger) -> list[str]:
    found = (_QUESTION.search(entry.spend.purpose) for entry in ledger.history())
    return [match[1] for match in found if match]


def _lost(ledger: Ledger, what: str) -> StaleCopyError:
    return StaleCopyError(
        f"{what}: the ledger {ledger.path} was deleted or is another's, so put the newest copy of the whole home back; "
        "without one, leave the federation and join it anew with an empty home, and count what was sent before as spent"
    )
