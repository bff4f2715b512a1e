"""The relay's certificate: read from its files, and read again when they are renewed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger()
_LOOK_S = 60.0


class Certificate:
    """A server's TLS context whose certificate follows its files: at a handshake, and at most once a minute.

    A file that cannot be read, or a key that does not fit, leaves the certificate as it was and is logged once.
    """

    def __init__(self, chain: Path, key: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`key` is None where the chain's file holds it too. Raises OSError, ssl.SSLError."""
        self._chain, self._key, self._clock = chain, key, clock
        self._looked_at = clock()
        self._files = self._stat()
        self._current = self.context = self._read()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL asks at every handshake, whether the client names a server or not."""
        self._look()
        connection.context = self._current

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        files = self._stat()
        if files == self._files:
            return
        self._files = files  # whatever comes of it: another try needs other files
        try:
            self._current = self._read()
        except OSError as trouble:  # errors of TLS are OSErrors too
            log.error("certificate-kept", file=str(self._chain), trouble=str(trouble))
        else:
            log.info("certificate-renewed", file=str(self._chain))

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file is written or replaced; nothing where one is gone."""
        try:
            found = [path.stat() for path in (self._chain, self._key) if path is not None]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(self._chain, self._key, password="")
        return context
