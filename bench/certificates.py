"""The certificate that all proxies of a run have: ECDSA on P-256, for the name the load client asks for; its authority.

Which proxy is told of it how is in `configs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trustme

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "bench.example"  # the Host of load.c, too


@attrs.frozen
class Files:
    """PEM files: `both` has certificate and key one behind the other."""

    authority: Path
    certificate: Path
    key: Path
    both: Path

    @property
    def placeholders(self) -> Mapping[str, str]:
        """What a template of `configs` may name of it."""
        return {"@CERTIFICATE@": str(self.certificate), "@KEY@": str(self.key), "@BOTH@": str(self.both)}


def make(folder: Path) -> Files:
    """The files in the folder, made where they are not there yet."""
    files = Files(*(folder / f"{name}.pem" for name in ("authority", "certificate", "key", "both")))
    if not files.both.exists():
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        made = authority.issue_cert(NAME, key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(files.authority)
        made.cert_chain_pems[0].write_to_path(files.certificate)
        made.private_key_pem.write_to_path(files.key)
        made.private_key_and_cert_chain_pem.write_to_path(files.both)
    return files
