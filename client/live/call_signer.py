"""Signs every call of the SuperNode whole: Flower's own signature covers the time alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from shared_models.call_signature import (
    DIGEST_HEADER,
    NUMBER_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    CallNumbers,
    body_digest,
    signed_content,
)

if TYPE_CHECKING:
    import httpx


class CallSigner:
    """An interceptor of Flower's HTTP client; the last of them, since it sends a request again.

    The server says what its session is when it refuses a call for having been signed for another one: on the first
    call of either side's process. The same call is then signed anew, once.
    """

    def __init__(self, sign: Callable[[bytes], bytes]) -> None:
        self._sign = sign
        self._session = ""
        self._numbers = CallNumbers()

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        """Sign the request in ``context`` and send it on."""
        request: httpx.Request = context.request
        session = self._session
        self._add_headers(request, session)
        response = call_next(context)
        told = response.headers.get(SESSION_HEADER, "")
        if response.status_code != HTTPStatus.UNAUTHORIZED or told in ("", session):
            return response
        response.close()
        self._session = told
        self._add_headers(request, told)
        return call_next(context)

    def _add_headers(self, request: httpx.Request, session: str) -> None:
        digest, number = body_digest(request.content), self._numbers.next()
        target = request.url.raw_path.decode("ascii")
        proof = self._sign(signed_content(session, request.method, target, digest, number))
        request.headers.update(
            {
                SESSION_HEADER: session,
                DIGEST_HEADER: digest,
                NUMBER_HEADER: number,
                SIGNATURE_HEADER: base64.b64encode(proof).decode(),
            }
        )
