"""Telling a server that shows a wrong certificate from one that cannot be reached."""

from __future__ import annotations

import ssl


def shows_wrong_certificate(error: BaseException) -> bool:
    """Whether a request failed because the certificate was not signed by the authority that was expected.

    What a client library raises is its own; the reason is among the errors that it came from.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
