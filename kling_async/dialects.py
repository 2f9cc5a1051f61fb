"""How a host speaks: where it lives, how its paths begin, which JSON types it wants, which words mean done.

Stage: registry and wire. After: models. A host is data; what it can do beyond this is learned (sweep.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal

import attrs
from yarl import URL

from .errors import ConfigError, clean_text
from .models import TaskStatus

NumberAs = Literal["string", "number", "integer"]
Family = Literal[
    "official", "cometapi", "new-api", "gateway", "kapon", "hingnet", "crazyrouter", "aimanyi", "cloudsway"
]
Part = Literal["list", "batch", "external", "new", "solutions", "account"]
"""A part of the service that a host may not have: two forms of query, questions by external id, the new standard,
the Solutions API, the account's own pages."""

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
        prompt_limits: longest prompt and negative prompt this host prints for its first video endpoints, in
            characters; None where it prints none.
        roots: what stands between the prefix and a path of the legacy standard (where the service has "/v1"), and of
            the new one.
        new_single: where a single query of the new standard goes: to "tasks", as at the service, or to the "path" of
            the create call.
        lacks: parts of the service this host is known not to have; what is not listed is found out.
        undocumented: parts that no page of this host speaks of; using one gives advice.
        retention_s: how long the URLs of assets are said to work, seconds; None where nothing is said.
    """

    url: URL = attrs.field(converter=URL)
    prefix: str = ""
    family: Family = "gateway"
    seconds_as: NumberAs = "string"
    element_id_as: Literal["string", "integer"] = "integer"
    prompt_limits: tuple[int, int] | None = None
    roots: tuple[str, str] = ("/v1", "")
    new_single: Literal["tasks", "path"] = "path"
    lacks: frozenset[Part] = frozenset({"solutions", "account"})
    undocumented: frozenset[Part] = frozenset({"new"})
    retention_s: float | None = None

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
        legacy, new = self.roots
        rooted = legacy + path.removeprefix("/v1") if path.startswith("/v1/") else new + path
        return self.url.join(URL(f"{self.prefix}{rooted}", encoded=True))


def _shown(url: URL) -> str:
    return f"{url.scheme}://{url.host_subcomponent}" + (f":{url.explicit_port}" if url.explicit_port else "")


def is_loopback(host: str) -> bool:
    """Tell whether a host name stands for this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


_DAY_S = 86_400.0
_OFFICIAL_ONLY: frozenset[Part] = frozenset({"solutions", "account"})

# What is known of each family of hosts. Source: service reference, "Hosts", "Query, Gateways" and "CometAPI
# specifics"; each gateway's own pages. What is not here is discovered.
_HABITS: Mapping[Family, Mapping[str, Any]] = {
    # Results are cleared after 30 days; source: service reference, "Query Task".
    "official": {
        "prefix": "",
        "new_single": "tasks",
        "lacks": frozenset(),
        "undocumented": frozenset(),
        "retention_s": 30 * _DAY_S,
    },
    # Limits printed in its "Text to Video": 500 and 200 characters. No list, batch or account is documented.
    "cometapi": {"prompt_limits": (500, 200)},
    # Its source has no list, batch or new-standard route, and looks up its own task id only.
    "new-api": {"lacks": _OFFICIAL_ONLY | {"list", "batch", "external", "new"}},
    # "Either id", and ?pageNum&pageSize on each type of task; source: its "Task Query".
    "kapon": {"lacks": _OFFICIAL_ONLY | {"batch"}},
    # The service's id, its own platform id or the external one; source: its "Task Query".
    "hingnet": {"lacks": _OFFICIAL_ONLY | {"batch"}},
    # Six query paths by its task id, and no other; source: its "Query".
    "crazyrouter": {"lacks": _OFFICIAL_ONLY | {"list", "batch", "external"}},
    # Serves a new-standard path and asks at the same path; its legacy pages type `duration` as a number.
    "aimanyi": {
        "seconds_as": "number",
        "prompt_limits": (500, 200),
        "undocumented": frozenset(),
        "lacks": _OFFICIAL_ONLY | {"batch"},
    },
    # Paths are /v1/ai/{endpointPath}/kling/videos/..., of both standards; source: its "Kling 3.0 Turbo".
    "cloudsway": {"roots": ("", "/videos"), "undocumented": frozenset(), "lacks": _OFFICIAL_ONLY | {"batch"}},
    "gateway": {},
}


def _of_family(family: Family, origin: URL, prefix: str) -> Host:
    habits = {"prefix": "/kling", **_HABITS[family]}
    return Host(url=origin, family=family, **{**habits, "prefix": prefix or habits["prefix"]})


# Source: service reference, "Hosts"; the gateways' own pages.
PRESETS: Mapping[str, Host] = {
    "cometapi": _of_family("cometapi", URL("https://api.cometapi.com"), ""),
    "global": _of_family("official", URL("https://api-singapore.klingai.com"), ""),
    "china": _of_family("official", URL("https://api-beijing.klingai.com"), ""),
    "kapon": _of_family("kapon", URL("https://models.kapon.cloud"), ""),
    "hingnet": _of_family("hingnet", URL("https://models.hingnet.com.cn"), ""),
    "crazyrouter": _of_family("crazyrouter", URL("https://crazyrouter.com"), ""),
}
# Families whose address only the user knows: how to write it.
_NEEDS_URL: Mapping[str, str] = {
    "new-api": "new-api:https://your.gateway",
    "aimanyi": "aimanyi:https://its.address",
    "cloudsway": "cloudsway:https://genaiapi.cloudsway.net/v1/ai/<endpointPath>/kling",
    "official": "official:https://its.address",
}
_BY_NAME = {preset.url.host: preset for preset in PRESETS.values()}
_OLD_OFFICIAL = "api.klingai.com"


def new_api(url: str) -> Host:
    """Give the host at `url` as a new-api gateway: paths under /kling, single queries only.

    Raises:
        ConfigError: not an https URL (http is allowed on loopback only).
    """
    return _of_family("new-api", *_split(url))


def official(url: str) -> Host:
    """Give the host at `url` as one that speaks exactly as the official ones do.

    Raises:
        ConfigError: not an https URL (http is allowed on loopback only).
    """
    return _of_family("official", *_split(url))


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


def find_host(base_url: str | Host) -> Host:
    """Resolve what a user gave as `base_url`.

    Args:
        base_url: "cometapi", "global", "china", "kapon", "hingnet", "crazyrouter", a URL, or a Host. A URL with a path
            keeps it as the prefix; one without gets "/kling", as gateways have it. The addresses of the presets are
            recognised. A family before a URL ("official:", "new-api:", "aimanyi:", "cloudsway:", "kapon:", ...) says
            how the host there speaks.

    Raises:
        ConfigError: not a preset and not an https URL (http is allowed on loopback only).
    """
    if isinstance(base_url, Host):
        return base_url
    if base_url in PRESETS:
        return PRESETS[base_url]
    if base_url in _NEEDS_URL:
        raise ConfigError(f"base_url {base_url!r} needs an address: write {_NEEDS_URL[base_url]!r}")
    for family in _HABITS:
        if base_url.startswith(f"{family}:"):
            return _of_family(family, *_split(base_url.removeprefix(f"{family}:")))
    origin, prefix = _split(base_url)
    known = _BY_NAME.get(origin.host)
    if known is not None and prefix in {"", known.prefix}:
        return attrs.evolve(known, url=origin)
    if origin.host == _OLD_OFFICIAL:
        # It serves only the /v1 tree.
        return attrs.evolve(official(base_url), lacks=frozenset({"new", "batch", "solutions", "account"}))
    return _of_family("gateway", origin, prefix)
