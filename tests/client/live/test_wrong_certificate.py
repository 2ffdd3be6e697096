"""A wrong certificate is known by the error that it raised, however deep, and not by words."""

from __future__ import annotations

import ssl

from client.live.wrong_certificate import shows_wrong_certificate


def raised(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException as error:
            raise OSError("library") from error
    except OSError as outer:
        return outer


def test_it_is_found_among_the_causes() -> None:
    assert shows_wrong_certificate(ssl.SSLCertVerificationError("no"))
    assert shows_wrong_certificate(raised(ssl.SSLCertVerificationError("no")))


def test_anything_else_is_not_one_whatever_it_says() -> None:
    assert not shows_wrong_certificate(raised(ConnectionError("CERTIFICATE_VERIFY_FAILED")))
    assert not shows_wrong_certificate(ssl.SSLError("another trouble of TLS"))
