"""``fedvoice leave``: take this device out of its federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared_models import console
from shared_models.shown_text import shown


def leave(
    home: Annotated[Path, typer.Option("--home", help="Where this device keeps its files.")] = Path(
        "~/.fedvoice/device"
    ),
) -> None:
    """Deregister this device. Your recordings, your personal voice and the ledger stay where they are.

    A fedvoice join that runs on the same home is asked to stop first.
    """
    from client.live.enrolment import leave as deregister
    from client.live.holding import is_held, only_one, stop_holder
    from client.live.home import Membership

    home = home.expanduser()
    Membership.load(home)
    if is_held(home):
        console.notices().print(
            f"a fedvoice join runs on {home}: asking it to stop", highlight=False, soft_wrap=True
        )
        stop_holder(home)
    with only_one(home):
        member = deregister(home)
        # What is kept has to be enrolled anew to be of use; the key is of no use to anybody else either.
        for gone in ("federation.json", "node.key", "live/online.json", "live/inbox.json"):
            (home / gone).unlink(missing_ok=True)
    console.output().print(
        f"Left '{shown(member.federation)}' at {member.server}. Recordings, personal voice and ledger are still in "
        f"{home}; what was sent before cannot be taken back.",
        highlight=False,
        soft_wrap=True,
    )
