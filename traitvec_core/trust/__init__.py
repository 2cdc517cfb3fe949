"""Trust: what an experiment's file may make this machine do, and whether its owner allowed it."""

from traitvec_core.trust.check import check_trust, untrusted_grants
from traitvec_core.trust.exposed import exposed_keys
from traitvec_core.trust.grants import TRUSTED_SETTINGS, Grant, grants_of
from traitvec_core.trust.record import (
    TRUST_VARIABLE,
    allow,
    is_allowed,
    revoke,
    trust_file,
    trust_for_other_machines,
)

__all__ = [
    "TRUSTED_SETTINGS",
    "TRUST_VARIABLE",
    "Grant",
    "allow",
    "check_trust",
    "exposed_keys",
    "grants_of",
    "is_allowed",
    "revoke",
    "trust_file",
    "trust_for_other_machines",
    "untrusted_grants",
]
