"""dialects.py: hosts by name and URL, and the words for where a task stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_tools import GATEWAY
from yarl import URL

from kling_async import ConfigError, Host, TaskStatus, new_api, official
from kling_async.dialects import PRESETS, STATUS_WORDS, find_host, is_loopback, status_of

# Source: service reference, "Status map".
WORDS = {
    TaskStatus.SUBMITTED: ["submitted", "queued", "pending", "NOT_START", "SUBMITTED", "QUEUED"],
    TaskStatus.PROCESSING: ["processing", "in_progress", "running", "IN_PROGRESS"],
    TaskStatus.SUCCEEDED: ["succeed", "succeeded", "success", "completed", "SUCCESS", "SUCCEED"],
    TaskStatus.FAILED: ["failed", "failure", "error", "FAILURE"],
    TaskStatus.UNKNOWN: ["unknown", "UNKNOWN", "", "cancelled", "expired", "succeed ", "99%", "成功"],
}


@pytest.mark.parametrize(("status", "word"), [(status, word) for status, words in WORDS.items() for word in words])
def test_every_word_that_was_seen_is_known(status: TaskStatus, word: str) -> None:
    assert status_of(word) is status


def test_no_other_word_is_known() -> None:
    listed = {word.lower() for status, words in WORDS.items() for word in words if status is not TaskStatus.UNKNOWN}
    assert set(STATUS_WORDS) == listed


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.text()), st.text()))
def test_case_19_a_word_nobody_knows_is_never_a_guess(word: object) -> None:
    """Section 20, case 19: an unknown status keeps the task polled; it is never taken for failed."""
    known = isinstance(word, str) and word.lower() in STATUS_WORDS
    assert known or status_of(word) is TaskStatus.UNKNOWN


# --- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_url", "preset"),
    [
        ("cometapi", "cometapi"),
        ("global", "global"),
        ("china", "china"),
        ("https://api.cometapi.com", "cometapi"),
        ("https://api.cometapi.com/", "cometapi"),
        ("https://API.CometAPI.com/kling", "cometapi"),
        ("https://api.cometapi.com/kling/", "cometapi"),
        ("https://api.cometapi.com/kling/v1", "cometapi"),
        ("https://api-singapore.klingai.com", "global"),
        ("https://api-singapore.klingai.com/v1", "global"),
        ("https://api-beijing.klingai.com/", "china"),
    ],
)
def test_presets_are_known_by_name_and_by_address(given_url: str, preset: str) -> None:
    assert find_host(given_url) == PRESETS[preset]


@pytest.mark.parametrize(
    ("preset", "create"),
    [
        ("cometapi", "https://api.cometapi.com/kling/v1/videos/text2video"),
        ("global", "https://api-singapore.klingai.com/v1/videos/text2video"),
        ("china", "https://api-beijing.klingai.com/v1/videos/text2video"),
    ],
)
def test_presets_make_the_urls_of_the_reference(preset: str, create: str) -> None:
    assert str(PRESETS[preset].path("/v1/videos/text2video")) == create


def test_the_limits_that_cometapi_prints_are_its_own() -> None:
    assert PRESETS["cometapi"].prompt_limits == (500, 200)
    assert PRESETS["global"].prompt_limits is None
    assert PRESETS["china"].prompt_limits is None


@pytest.mark.parametrize(
    ("url", "name", "family"),
    [
        ("https://gateway.example", "https://gateway.example/kling", "gateway"),
        ("https://gateway.example/", "https://gateway.example/kling", "gateway"),
        ("https://gateway.example/v1/", "https://gateway.example/kling", "gateway"),
        ("https://gateway.example:8443/ai/kling/", "https://gateway.example:8443/ai/kling", "gateway"),
        ("https://gateway.example/kling/v1", "https://gateway.example/kling", "gateway"),
        ("https://gateway.example/a b", "https://gateway.example/a%20b", "gateway"),
        ("https://api.cometapi.com/other", "https://api.cometapi.com/other", "gateway"),
        ("https://api.klingai.com", "https://api.klingai.com", "official"),
        ("https://api.klingai.com/v1", "https://api.klingai.com", "official"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/kling", "gateway"),
        ("http://localhost:1/kling", "http://localhost:1/kling", "gateway"),
        ("http://[::1]:8080", "http://[::1]:8080/kling", "gateway"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]/kling", "gateway"),
    ],
)
def test_any_other_url_is_a_gateway(url: str, name: str, family: str) -> None:
    host = find_host(url)
    assert (host.name, host.family) == (name, family)
    assert str(host.path("/v1/videos/text2video/a%2Fb")) == f"{name}/v1/videos/text2video/a%2Fb"


def test_the_address_of_a_preset_with_another_port_keeps_it() -> None:
    assert find_host("https://api.cometapi.com:8443").name == "https://api.cometapi.com:8443/kling"


def test_a_host_is_taken_as_it_is() -> None:
    assert find_host(GATEWAY) is GATEWAY


SECRET = "s3cret-in-url"


@pytest.mark.parametrize("make", [find_host, official, new_api])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "api.cometapi.com",
        "/kling",
        "ftp://gateway.example",
        "file:///etc/passwd",
        "http://gateway.example",
        "http://api.cometapi.com",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://10.0.0.1",
        f"https://user:{SECRET}@gateway.example",
        f"https://{SECRET}@gateway.example",
        f"https://user:{SECRET}@api.cometapi.com",
        f"https://gateway.example/?key={SECRET}",
        f"https://gateway.example/#{SECRET}",
        f"https://api.klingai.com/?key={SECRET}",
        "https://gateway.example:99999",
        "https://",
        "https://[::1",
    ],
)
def test_what_is_no_safe_address_is_refused_without_showing_secrets(make: object, url: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError) as caught:
        make(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_makers_of_hosts_keep_the_path_as_prefix() -> None:
    assert new_api("https://gateway.example").name == "https://gateway.example/kling"
    assert new_api("https://gateway.example/relay/v1/").prefix == "/relay"
    assert new_api("https://gateway.example").family == "new-api"
    assert official("https://gateway.example").prefix == ""
    assert official("https://gateway.example/deep/").prefix == "/deep"
    assert official("https://gateway.example").family == "official"


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("emulator.localhost", True),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("example.com", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, *, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_a_host_is_a_value() -> None:
    one = Host(url=URL("https://gateway.example"), prefix="/kling")
    assert one == GATEWAY
    assert len({one, GATEWAY}) == 1


def test_a_family_can_be_named_before_the_url() -> None:
    """What `kling emulator` prints works in the environment too."""
    assert find_host("official:http://127.0.0.1:8123") == official("http://127.0.0.1:8123")
    assert find_host("new-api:https://gateway.example") == new_api("https://gateway.example")
    for wrong in ("official:", "new-api:ftp://gateway.example", "other:https://gateway.example"):
        with pytest.raises(ConfigError):
            find_host(wrong)
