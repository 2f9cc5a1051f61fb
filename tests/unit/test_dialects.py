"""dialects.py: hosts by name and URL, and the words for where a task stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_tools import GATEWAY
from yarl import URL

from kling_async import ConfigError, Host, ImageToVideo, Operation, TaskStatus, TextToVideo, new_api, official
from kling_async.dialects import PRESETS, STATUS_WORDS, find_host, is_loopback, status_of
from kling_async.endpoints import body_of

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


# --- every family ----------------------------------------------------------------------------------------------------

LEGACY, NEW, SOLUTION = "/v1/videos/text2video", "/text-to-video/kling-3.0-turbo", "/solutions/e-commerce/goods_studio"
CLOUDSWAY = "https://genaiapi.cloudsway.net/v1/ai/abc/kling"
# Sources: service reference, "Hosts" and "Query, Gateways"; kapon, hingnet and crazyrouter: their own "Task Query" and
# "Query"; aimanyi: the legacy page and "kling-3.0-turbo"; cloudsway: "MaaS_KL" and "MaaS_KL_3.0_turbo".
ROOTS = {
    "global": ("https://api-singapore.klingai.com/v1/videos", "https://api-singapore.klingai.com"),
    "china": ("https://api-beijing.klingai.com/v1/videos", "https://api-beijing.klingai.com"),
    "cometapi": ("https://api.cometapi.com/kling/v1/videos", "https://api.cometapi.com/kling"),
    "kapon": ("https://models.kapon.cloud/kling/v1/videos", "https://models.kapon.cloud/kling"),
    "hingnet": ("https://models.hingnet.com.cn/kling/v1/videos", "https://models.hingnet.com.cn/kling"),
    "crazyrouter": ("https://crazyrouter.com/kling/v1/videos", "https://crazyrouter.com/kling"),
    "new-api:https://gw.example": ("https://gw.example/kling/v1/videos", "https://gw.example/kling"),
    "aimanyi:https://gw.example": ("https://gw.example/kling/v1/videos", "https://gw.example/kling"),
    "gateway:https://gw.example": ("https://gw.example/kling/v1/videos", "https://gw.example/kling"),
    "official:https://gw.example": ("https://gw.example/v1/videos", "https://gw.example"),
    "https://gw.example/deep/kling": ("https://gw.example/deep/kling/v1/videos", "https://gw.example/deep/kling"),
    f"cloudsway:{CLOUDSWAY}": (f"{CLOUDSWAY}/videos", f"{CLOUDSWAY}/videos"),
    "https://api.klingai.com": ("https://api.klingai.com/v1/videos", "https://api.klingai.com"),
}


@pytest.mark.parametrize(("name", "legacy", "new"), [(name, *roots) for name, roots in ROOTS.items()])
def test_every_family_has_both_standards_where_its_own_pages_have_them(name: str, legacy: str, new: str) -> None:
    """A path of either standard, and one below it, becomes the URL that the host's pages print."""
    host = find_host(name)
    assert str(host.path(LEGACY)) == f"{legacy}/text2video"
    assert str(host.path(f"{LEGACY}/a%2Fb?pageNum=1")) == f"{legacy}/text2video/a%2Fb?pageNum=1"
    assert str(host.path(NEW)) == f"{new}/text-to-video/kling-3.0-turbo"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_known_by_its_address_and_no_other_path_of_it(name: str) -> None:
    host = PRESETS[name]
    assert find_host(host.name) == find_host(f"{host.url}/") == find_host(f"{host.name}/v1") == host
    other = find_host(f"{host.url.origin()}/other")
    assert (other.family, other.name) == ("gateway", f"{host.url.origin()}/other")


# Source: service reference, "Account and billing", "Solutions API", "Query, Gateways".
LACKS = {
    "global": set(),
    "china": set(),
    "official:https://gw.example": set(),
    "cometapi": {"solutions", "account"},
    "kapon": {"solutions", "account", "batch"},
    "hingnet": {"solutions", "account", "batch"},
    "crazyrouter": {"solutions", "account", "batch", "list", "external"},
    "new-api:https://gw.example": {"solutions", "account", "batch", "list", "external", "new"},
    "aimanyi:https://gw.example": {"solutions", "account", "batch"},
    f"cloudsway:{CLOUDSWAY}": {"solutions", "account", "batch"},
    "https://gw.example": {"solutions", "account"},
    "https://api.klingai.com": {"solutions", "account", "batch", "new"},
}


@pytest.mark.parametrize("name", LACKS)
def test_a_host_lacks_what_its_pages_say_and_the_rest_is_found_out(name: str) -> None:
    host = find_host(name)
    assert set(host.lacks) == LACKS[name]
    assert (host.retention_s == 30 * 86_400) == (host.family == "official")
    assert host.new_single == ("tasks" if host.family == "official" else "path")
    documented = name.startswith(("aimanyi", "cloudsway")) or host.family == "official"
    assert set(host.undocumented) == (set() if documented else {"new"})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("new-api", "new-api:https://"),
        ("aimanyi", "aimanyi:https://"),
        ("cloudsway", "cloudsway:https://genaiapi.cloudsway.net/v1/ai/<endpointPath>/kling"),
        ("official", "official:https://"),
    ],
)
def test_a_family_without_an_address_of_its_own_says_how_to_write_one(name: str, written: str) -> None:
    """Its name alone is not enough, and the error holds what to write instead; written so, it is taken."""
    with pytest.raises(ConfigError, match="needs an address") as caught:
        find_host(name)
    assert written in str(caught.value)
    shown = str(caught.value).partition("write ")[2].strip("'")
    assert find_host(shown.replace("<endpointPath>", "abc")).family == name


def test_lengths_are_of_the_type_that_the_host_wants() -> None:
    """Aimanyi's pages type `duration` as a number; the service, and whoever says nothing of it, wants a text."""
    clips = (TextToVideo(prompt="a", duration="5"), TextToVideo(prompt="a", duration=5))
    frames = ImageToVideo(image="https://pictures.example/a.png", prompt="a", duration="10")
    new = Operation(operation="text-to-video", model="kling-3.0-turbo", prompt="a", settings={"duration": 5})
    for name in ROOTS:
        host = find_host(name)
        number = name.startswith("aimanyi")
        for clip in clips:
            assert body_of(clip, host)["duration"] == (5 if number else "5"), name
        assert body_of(frames, host)["duration"] == (10 if number else "10"), name
        assert body_of(new, host)["settings"] == {"duration": 5}, "the new standard has numbers everywhere"
