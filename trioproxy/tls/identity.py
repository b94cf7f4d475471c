"""Who an upstream has to prove to be before anything is sent to it.

Reading the authorities is `contexts`' work, asking for the proof `stream`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import ssl
    from typing import Self


@attrs.frozen(eq=False)
class Identity:
    """A host name or IP address that its certificate has to be for, signed by who is trusted in `context`.

    Two are the same only if they are one: what was proven to an earlier one says nothing to the next.
    """

    name: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, server_name: str, host: str, context: ssl.SSLContext) -> Self:
        """That of an upstream at `host`, unless `server_name` says whose certificate it has."""
        return cls(server_name or host.partition("%")[0], context)  # no certificate is for fe80::1%eth0: it is local
