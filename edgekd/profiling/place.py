"""Where to measure, as `--on` names it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from edgekd.errors import InputError

_FORMS = {
    "ssh": (
        "ssh://user@host, with :port if it is not the usual one",
        "Passwords are never taken from the command line: use a key that ssh knows (ssh-copy-id user@host).",
    ),
    "rpc": (
        "rpc://tracker:port/key",
        "Give the port of TVM's tracker, which is 9190 as a rule, and the key of the boards: rpc://tracker:9190/rpi4.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to measure: `local`; `user@host` and a port over ssh; or host and port of TVM's tracker and a key there."""

    kind: str
    host: str = ""
    port: int | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """What the user called it."""
        port = f":{self.port}" if self.port is not None else ""
        key = f"/{self.key}" if self.key else ""
        return self.kind if self.kind == "local" else f"{self.kind}://{self.host}{port}{key}"


def parse_place(text: str) -> Place:
    """Return the place that `--on` names.

    Raises:
        InputError: It has another form.
    """
    if text == "local":
        return Place(kind="local")
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    key = parts.path.strip("/")
    if parts.scheme == "rpc":
        is_whole = port is not None and bool(key) and "/" not in key and "@" not in host
    else:
        is_whole = parts.scheme == "ssh" and not key
    if not is_whole or not parts.hostname or parts.password is not None or port == -1 or host.startswith("-"):
        raise _malformed(text, parts)
    return Place(kind=parts.scheme, host=host, port=port, key=key)


def _malformed(text: str, parts: SplitResult) -> InputError:
    forms = [form for form, _ in _FORMS.values()]
    form, hint = _FORMS.get(parts.scheme, ("; ".join(["local", *forms]), "Correct the address."))
    found = f"'{text}'" if parts.password is None else "an address with a password in it"
    return InputError("--on", expected=form, found=found, hint=hint)
