"""auth.py: bearer tokens, when they are renewed, and that no secret is ever seen."""

import base64
import copy
import hashlib
import hmac
import json
import pickle
import string
import traceback
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.auth import ApiKey, Credentials, KeyPair, Secret, find_credentials, sign
from kling_async.errors import ConfigError

ACCESS, SECRET_KEY, KEY = "access-key-AAAA", "secret-key-SSSS", "api-key-KKKK"
NOW = 1_790_000_000.0
LIFE_S = 1800


def decode(token: Secret, secret_key: str = SECRET_KEY) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify and read a JWT as its receiver does, from RFC 7515 and not from the code under test."""
    head, claims, mac = token.reveal().split(".")
    assert "=" not in token.reveal()
    signed = hmac.digest(secret_key.encode(), f"{head}.{claims}".encode(), hashlib.sha256)
    assert hmac.compare_digest(unpad(mac), signed)
    return json.loads(unpad(head)), json.loads(unpad(claims))


def unpad(part: str) -> bytes:
    assert set(part) <= set(string.ascii_letters + string.digits + "-_")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def pair() -> KeyPair:
    return KeyPair(Secret(ACCESS), Secret(SECRET_KEY))


def expiry(token: Secret) -> int:
    return int(decode(token)[1]["exp"])


# --- the token -------------------------------------------------------------------------------------------------------


def test_the_token_is_the_one_the_reference_describes() -> None:
    header, claims = decode(sign(Secret(ACCESS), Secret(SECRET_KEY), NOW + 0.9))
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims == {"iss": ACCESS, "exp": int(NOW) + 1800, "nbf": int(NOW) - 5}
    assert type(claims["exp"]) is type(claims["nbf"]) is int


@given(st.text("abcXYZ019-_.", min_size=1), st.text(st.characters(codec="ascii"), min_size=1), st.floats(0, 4e9))
def test_every_token_verifies_with_its_key_and_no_other(access: str, secret: str, now: float) -> None:
    token = sign(Secret(access), Secret(secret), now)
    assert decode(token, secret)[1]["iss"] == access
    assert secret not in token.reveal() or len(secret) < 4
    with pytest.raises(AssertionError):
        decode(token, secret + "x")


def test_it_agrees_with_pyjwt() -> None:
    jwt = pytest.importorskip("jwt")
    secret = SECRET_KEY * 4  # it warns of less than 32 bytes
    token = sign(Secret(ACCESS), Secret(secret), NOW).reveal()
    claims = jwt.decode(token, secret, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert claims["iss"] == ACCESS


# --- when it is renewed ----------------------------------------------------------------------------------------------


def test_a_token_serves_for_80_percent_of_its_life() -> None:
    keys = pair()
    first = keys.bearer(NOW)
    assert keys.bearer(NOW + 0.8 * LIFE_S - 0.001) is first
    second = keys.bearer(NOW + 0.8 * LIFE_S)
    assert expiry(second) == int(NOW + 0.8 * LIFE_S) + LIFE_S


@given(st.lists(st.floats(-7200, 7200), max_size=30))
def test_no_token_is_used_near_its_end_whatever_the_clock_does(steps: list[float]) -> None:
    """Local age, clock set back included, is always below the life, and the token is already valid."""
    keys = pair()
    wall_s = NOW
    for step in steps:
        wall_s += step
        _, claims = decode(keys.bearer(wall_s))
        assert claims["exp"] - wall_s > 0.2 * LIFE_S - 1
        assert claims["exp"] - wall_s <= 1.2 * LIFE_S


def test_a_clock_set_back_makes_a_new_token() -> None:
    keys = pair()
    first = keys.bearer(NOW)
    assert keys.bearer(NOW - 300) is first  # real age is at most 1740 s when it is renewed
    assert keys.bearer(NOW - 361) is not first
    keys = pair()
    keys.bearer(NOW)
    assert expiry(keys.bearer(NOW - 86_400)) == int(NOW) - 86_400 + LIFE_S


def test_case_35_the_servers_time_corrects_ours() -> None:
    """Section 20, case 35: more than 5 s of skew is refused as 1003; the server's Date says by how much."""
    keys = pair()
    first = keys.bearer(NOW)
    keys.notice_server_time(NOW + 2, NOW)  # the Date header has whole seconds and has travelled
    assert keys.bearer(NOW) is first
    keys.notice_server_time(NOW - 3600, NOW)
    assert expiry(keys.bearer(NOW)) == int(NOW) - 3600 + LIFE_S
    late = keys.bearer(NOW + 1)
    keys.notice_server_time(NOW - 3600 + 2.5, NOW)
    assert keys.bearer(NOW + 1) is late
    keys.notice_server_time(NOW + 1, NOW)
    assert expiry(keys.bearer(NOW + 1)) == int(NOW) + 1 + LIFE_S


def test_renew_drops_the_token_of_a_pair_and_is_useless_for_a_key() -> None:
    keys = pair()
    first = keys.bearer(NOW)
    assert keys.renew() is True
    assert keys.bearer(NOW) is not first
    key = ApiKey(Secret(KEY))
    assert key.renew() is False
    key.notice_server_time(NOW, 0)
    assert key.bearer(NOW).reveal() == key.bearer(0).reveal() == KEY


def test_what_must_never_be_seen_is_known() -> None:
    keys = pair()
    assert {secret.reveal() for secret in keys.secrets} == {ACCESS, SECRET_KEY}
    token = keys.bearer(NOW)
    assert {secret.reveal() for secret in keys.secrets} == {ACCESS, SECRET_KEY, token.reveal()}
    assert [secret.reveal() for secret in ApiKey(Secret(KEY)).secrets] == [KEY]


# --- nothing shows ---------------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    return f"{value} {value!s} {value!r} {value!a} {value!r:>50}"


@pytest.mark.parametrize("holder", [Secret(KEY), ApiKey(Secret(KEY)), KeyPair(Secret(KEY), Secret(KEY))])
def test_no_way_of_printing_shows_a_secret(holder: Any) -> None:
    if isinstance(holder, KeyPair):
        token = holder.bearer(NOW).reveal()
        assert token not in shown(holder)
    else:
        assert isinstance(holder, Secret | ApiKey)
    assert KEY not in shown(holder) + shown([holder, {"k": holder}])
    if attrs.has(type(holder)):
        assert KEY not in repr(attrs.asdict(holder)) + repr(attrs.astuple(holder))
    else:
        assert KEY not in f"{holder:>40}"


@pytest.mark.parametrize("holder", [Secret(KEY), ApiKey(Secret(KEY)), KeyPair(Secret(KEY), Secret(KEY))])
def test_a_secret_is_neither_pickled_nor_copied_away(holder: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(holder)


def test_a_secret_has_no_attributes_to_look_through() -> None:
    assert not hasattr(Secret(KEY), "__dict__")
    with pytest.raises(TypeError):
        vars(Secret(KEY))


def test_secrets_compare_by_value() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret(KEY + "x")
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1


def test_a_secret_is_scrubbed_out_of_what_a_host_echoes() -> None:
    assert Secret(KEY).scrub(f"invalid token {KEY}, {KEY}".encode()) == b"invalid token ***, ***"
    data = b"nothing of it"
    assert Secret(KEY).scrub(data) is data
    assert Secret("").scrub(data) is data


BAD = ["", "   ", f"{KEY}\n", f" {KEY}", f"{KEY}\x00", f"Bearer\t{KEY}", f"{KEY}é", f"{KEY}\u200b"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["api_key", "access_key", "secret_key", "environment"])
def test_a_wrong_key_is_refused_without_showing_it_even_in_a_traceback_with_locals(bad: str, where: str) -> None:
    arguments: dict[str, Secret | None] = {"api_key": None, "access_key": None, "secret_key": None}
    environ: dict[str, str] = {}
    if where == "environment":
        environ["KLING_API_KEY"] = bad
    elif where == "api_key":
        arguments["api_key"] = Secret(bad)
    else:
        arguments |= {"access_key": Secret(KEY), "secret_key": Secret(KEY), where: Secret(bad)}
    with pytest.raises(ConfigError) as caught:
        find_credentials(**arguments, environ=environ)
    error: BaseException = caught.value
    if where == "environment" and not bad:
        assert "no credentials" in str(error)
    else:
        assert ("api_key" if where == "environment" else where) in str(error)
    assert error.__traceback__ is not None
    # The first frame is this test's own, which knows the key.
    report = traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True)
    assert KEY not in "".join(report.format())


# --- where they come from --------------------------------------------------------------------------------------------

ENV_KEY = {"KLING_API_KEY": "env-key"}
ENV_PAIR = {"KLING_ACCESS_KEY": "env-access", "KLING_SECRET_KEY": "env-secret"}


def revealed(credentials: Credentials) -> tuple[str, ...]:
    return tuple(secret.reveal() for secret in credentials.secrets)


@pytest.mark.parametrize(
    ("arguments", "environ", "found"),
    [
        ((KEY, None, None), {}, (KEY,)),
        ((KEY, None, None), ENV_KEY | ENV_PAIR, (KEY,)),
        ((None, ACCESS, SECRET_KEY), {}, (ACCESS, SECRET_KEY)),
        ((None, ACCESS, SECRET_KEY), ENV_KEY | ENV_PAIR, (ACCESS, SECRET_KEY)),
        ((None, None, None), ENV_KEY, ("env-key",)),
        ((None, None, None), ENV_PAIR, ("env-access", "env-secret")),
        ((None, None, None), {**ENV_PAIR, "KLING_API_KEY": ""}, ("env-access", "env-secret")),
        ((None, None, None), {**ENV_KEY, "KLING_ACCESS_KEY": "", "KLING_SECRET_KEY": ""}, ("env-key",)),
    ],
)
def test_arguments_come_before_the_environment(
    arguments: tuple[str | None, ...], environ: Mapping[str, str], found: tuple[str, ...]
) -> None:
    secrets = [None if value is None else Secret(value) for value in arguments]
    assert revealed(find_credentials(secrets[0], secrets[1], secrets[2], environ)) == found


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ((None, None, None), {}, "no credentials: set KLING_API_KEY"),
        ((KEY, ACCESS, SECRET_KEY), {}, "choose one"),
        ((KEY, ACCESS, None), {}, "choose one"),
        ((KEY, None, SECRET_KEY), {}, "choose one"),
        ((None, None, None), ENV_KEY | ENV_PAIR, "choose one"),
        ((None, ACCESS, None), {}, "secret_key (KLING_SECRET_KEY) is missing"),
        ((None, None, SECRET_KEY), {}, "access_key (KLING_ACCESS_KEY) is missing"),
        ((None, ACCESS, None), ENV_PAIR, "secret_key (KLING_SECRET_KEY) is missing"),
        ((None, None, None), {"KLING_ACCESS_KEY": ACCESS}, "secret_key (KLING_SECRET_KEY) is missing"),
        ((None, None, None), {"KLING_SECRET_KEY": SECRET_KEY}, "access_key (KLING_ACCESS_KEY) is missing"),
    ],
)
def test_what_is_missing_or_double_is_named_and_never_shown(
    arguments: tuple[str | None, ...], environ: Mapping[str, str], words: str
) -> None:
    secrets = [None if value is None else Secret(value) for value in arguments]
    with pytest.raises(ConfigError) as caught:
        find_credentials(secrets[0], secrets[1], secrets[2], environ)
    assert words in str(caught.value)
    for value in (KEY, ACCESS, SECRET_KEY, *ENV_KEY.values(), *ENV_PAIR.values()):
        assert value not in str(caught.value)
