"""What the holder of a join code may know of the federation before joining. Asking does not use the code up.

It is what every device is told in its first round. It says nothing about a person who takes part.
"""

from __future__ import annotations

from typing import Any

from server.live import enrolment
from server.live.home import ServerHome
from server.live.journal import read_standing
from server.live.registry import Registry


def inspect(body: bytes, home: ServerHome, registry: Registry, version: str) -> dict[str, Any]:
    """Answer ``POST /fedvoice/inspect``: ``{"secret": base64, "public_key": PEM or absent, "version", "protocol"}``.

    A code that this very key used already is answered as well, for a device whose enrolment was cut off. Raises
    :class:`EnrolmentError` with the sentence that enrolling would end in.
    """
    checked = enrolment.invitation(body, home.settings(), registry, version)
    settings, recipe, standing = home.settings(), home.recipe(), read_standing(home.folder)
    told = recipe.without_folders()
    return {
        **checked,
        "population": settings.population,
        "recipe": told.model_dump_json(),
        "numbers": settings.update_bytes // 4,
        "round": standing.round,
        "state": standing.state,
        "epsilon": standing.epsilon,
        "version": version,
    }
