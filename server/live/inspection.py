"""What whoever holds a join code may know of the federation before joining: one request, which uses nothing up.

It is what every device is told in its first round, and nothing of anybody who takes part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.live.home import ServerHome
from server.live.journal import read_standing
from server.live.registry import Registry
from server.live.signatures import from_base64, public_key
from shared_models.bundle import PROTOCOL
from shared_models.errors import EnrolmentError
from shared_models.join_code import SECRET_BYTES


def inspect(body: bytes, home: ServerHome, registry: Registry, version: str) -> dict[str, Any]:
    """Answer ``POST /fedvoice/inspect``: ``{"secret": base64, "public_key": PEM or absent}``.

    A code that this very key used already is answered as well, for a device whose enrolment was cut off. Raises
    :class:`EnrolmentError` with the sentence that enrolling would end in.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise EnrolmentError("the request is not a JSON object")
    secret = from_base64(asked.get("secret"))
    if len(secret) != SECRET_BYTES:
        raise EnrolmentError("the server does not know this join code: ask the operator for one")
    key = public_key(str(asked["public_key"]))[1] if asked.get("public_key") else None
    settings, recipe, standing = home.settings(), home.recipe(), read_standing(home.folder)
    expires_at = registry.check_invitation(secret, key, settings.population)
    told = recipe.override({"corpus.path": Path(recipe.corpus.path).name})
    return {
        "federation": settings.name,
        "population": settings.population,
        "recipe": told.model_dump_json(),
        "numbers": settings.update_bytes // 4,
        "round": standing.round,
        "state": standing.state,
        "epsilon": standing.epsilon,
        "version": version,
        "protocol": PROTOCOL,
        "expires_at": expires_at,
    }
