"""How a host speaks: where it lives, how its paths begin, which JSON types it wants, which words mean done.

Stage: registry and wire. After: models. A host is data; what it can do beyond this is learned (sweep.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Literal

import attrs
from yarl import URL

from .errors import ConfigError, clean_text
from .models import TaskStatus

NumberAs = Literal["string", "number", "integer"]
Family = Literal["official", "cometapi", "new-api", "gateway"]

# Source: service reference, "Query Task", and what gateways were seen to say. Compared in lower case.
STATUS_WORDS: Mapping[str, TaskStatus] = {
    "submitted": TaskStatus.SUBMITTED,
    "queued": TaskStatus.SUBMITTED,
    "pending": TaskStatus.SUBMITTED,
    "not_start": TaskStatus.SUBMITTED,
    "processing": TaskStatus.PROCESSING,
    "in_progress": TaskStatus.PROCESSING,
    "running": TaskStatus.PROCESSING,
    "succeed": TaskStatus.SUCCEEDED,
    "succeeded": TaskStatus.SUCCEEDED,
    "success": TaskStatus.SUCCEEDED,
    "completed": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
    "error": TaskStatus.FAILED,
}


def status_of(word: object) -> TaskStatus:
    """Translate a host's status word; anything not listed is UNKNOWN, never a guess."""
    return STATUS_WORDS.get(word.lower(), TaskStatus.UNKNOWN) if isinstance(word, str) else TaskStatus.UNKNOWN


@attrs.frozen(kw_only=True)
class Host:
    """One host of the service.

    Attributes:
        url: scheme, name and port; https, except on loopback.
        prefix: what stands before the service's own paths ("/kling" on gateways).
        family: whose habits it has.
        seconds_as: JSON type of `duration`: the service wants a string, some gateways a number or an integer.
        element_id_as: JSON type of `element_id`: the service wants an integer, some gateways a string.
        prompt_limits: longest prompt and negative prompt this host prints, in characters; None where it prints none.
    """

    url: URL = attrs.field(converter=URL)
    prefix: str = ""
    family: Family = "gateway"
    seconds_as: NumberAs = "string"
    element_id_as: Literal["string", "integer"] = "integer"
    prompt_limits: tuple[int, int] | None = None

    def __attrs_post_init__(self) -> None:
        url = self.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise ConfigError(f"base_url {_shown(url)} is not an http(s) URL")
        if url.user is not None or url.password is not None or url.query_string or url.fragment:
            raise ConfigError("base_url must not hold credentials, a query or a fragment")
        if url.scheme == "http" and not is_loopback(url.host):
            raise ConfigError(f"base_url {_shown(url)} is not https: the key would travel in the clear")

    @property
    def name(self) -> str:
        """The host's address, as a person would say it."""
        return f"{_shown(self.url)}{self.prefix}"

    def path(self, path: str) -> URL:
        """Give the URL of one of the service's own paths; `path` must be percent-encoded already."""
        return self.url.join(URL(f"{self.prefix}{path}", encoded=True))


def _shown(url: URL) -> str:
    return f"{url.scheme}://{url.host_subcomponent}" + (f":{url.explicit_port}" if url.explicit_port else "")


def is_loopback(host: str) -> bool:
    """Tell whether a host name stands for this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# Source: service reference, "API domain"; CometAPI reference, "Text to Video" (limits printed there: 500 and 200).
PRESETS: Mapping[str, Host] = {
    "cometapi": Host(url=URL("https://api.cometapi.com"), prefix="/kling", family="cometapi", prompt_limits=(500, 200)),
    "global": Host(url=URL("https://api-singapore.klingai.com"), family="official"),
    "china": Host(url=URL("https://api-beijing.klingai.com"), family="official"),
}
_BY_NAME = {preset.url.host: preset for preset in PRESETS.values()}
_OLD_OFFICIAL = "api.klingai.com"


def new_api(url: str) -> Host:
    """Give the host at `url` as a new-api gateway: paths under /kling, single queries only.

    Raises:
        ConfigError: not an https URL (http is allowed on loopback only).
    """
    origin, prefix = _split(url)
    return Host(url=origin, prefix=prefix or "/kling", family="new-api")


def official(url: str) -> Host:
    """Give the host at `url` as one that speaks exactly as the official ones do.

    Raises:
        ConfigError: not an https URL (http is allowed on loopback only).
    """
    origin, prefix = _split(url)
    return Host(url=origin, prefix=prefix, family="official")


def _split(base_url: str) -> tuple[URL, str]:
    """Give scheme, name and port, and the prefix of paths, percent-encoded."""
    try:
        url = URL(base_url)
        if not url.absolute:
            shown = "" if "@" in base_url else f" {clean_text(repr(base_url), 80)}"  # it may hold a password
            raise ConfigError(f"base_url{shown} is neither an https URL nor one of {', '.join(PRESETS)}")
        Host(url=url)  # sees the whole URL, so that credentials in it are refused and not silently dropped
        return url.origin(), url.raw_path.rstrip("/").removesuffix("/v1")
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError("base_url is not a URL") from None


_FAMILIES: Mapping[str, Callable[[str], Host]] = {"official": official, "new-api": new_api}


def find_host(base_url: str | Host) -> Host:
    """Resolve what a user gave as `base_url`.

    Args:
        base_url: "cometapi", "global", "china", a URL, or a Host. A URL with a path keeps it as the prefix; one
            without gets "/kling", as gateways have it. The addresses of the presets are recognised. "official:" or
            "new-api:" before a URL names the family, as `official()` and `new_api()` do.

    Raises:
        ConfigError: not a preset and not an https URL (http is allowed on loopback only).
    """
    if isinstance(base_url, Host):
        return base_url
    if base_url in PRESETS:
        return PRESETS[base_url]
    family, _, url = base_url.partition(":")
    if family in _FAMILIES:
        return _FAMILIES[family](url)
    origin, prefix = _split(base_url)
    known = _BY_NAME.get(origin.host)
    if known is not None and prefix in {"", known.prefix}:
        return attrs.evolve(known, url=origin)
    if origin.host == _OLD_OFFICIAL:
        return official(base_url)
    return Host(url=origin, prefix=prefix or "/kling")
