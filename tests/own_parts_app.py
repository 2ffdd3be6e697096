"""The ClientApp of a process in which a test's own parts are registered, for the engine: ``own_parts_app:app``."""

from __future__ import annotations

from own_parts import OWN

from client.app import app as app

for kinds, name, place in OWN:
    kinds[name] = place
