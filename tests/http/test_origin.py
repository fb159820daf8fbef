"""Where a token may be sent: TLS or this machine, no password on the way, and Asana with the path of its API."""

from typing import Any

import pytest

import asana_jobs
from asana_jobs import AsanaClient
from asana_jobs._client.http.origin import check_base_url


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://app.asana.com/api/1.0", "https://app.asana.com/api/1.0"),
        ("https://app.asana.com/api/1.0/", "https://app.asana.com/api/1.0"),
        ("https://app.asana.com", "https://app.asana.com"),
        ("HTTPS://App.Asana.com/api", "https://app.asana.com/api"),
        ("https://proxy.example:8443/asana", "https://proxy.example:8443/asana"),
        ("http://localhost:8080/api/1.0", "http://localhost:8080/api/1.0"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/api", "http://[::1]:8080/api"),
    ],
)
def test_base_urls_that_a_token_may_be_sent_to(base_url: str, kept: str) -> None:
    """TLS anywhere, plain http to this machine; a trailing slash does not matter."""
    assert check_base_url(base_url) == kept


REFUSED: list[tuple[Any, str]] = [
    (
        "https://user@app.asana.com/api",
        "must not hold a user name or password; the token goes into a header$",
    ),
    ("https://user:pass@app.asana.com/api", "must not hold a user name or password"),
    ("https://app.asana.com@evil.example/api", "must not hold a user name or password"),
    ("http://localhost@evil.example/", "must not hold a user name or password"),
    ("http://app.asana.com/api/1.0", "must be https, or http to this machine only"),
    ("http://localhost.evil.example/", "must be https, or http to this machine only"),
    ("http://127.0.0.1.evil.example/", "must be https, or http to this machine only"),
    ("http://0.0.0.0/", "must be https, or http to this machine only"),
    ("https://app.asana.com/api?x=1", "must not have a query or a fragment$"),
    ("https://app.asana.com/api#x", "must not have a query or a fragment$"),
    ("ftp://app.asana.com/", "must start with https://"),
    ("file:///etc/passwd", "must start with https://"),
    ("app.asana.com/api/1.0", "must start with https://"),
    ("//app.asana.com/api/1.0", "must start with https://"),
    ("https://", "must start with https://"),
    ("", "must start with https://"),
    ("https://app.asana.com:99999/", "is not a URL"),
    ("https://app.asana.com\\@evil.example/", "is not a URL"),
    (" https://asana.example", "has blanks or line breaks around it: strip it$"),
    ("https://asana.example/api/1.0 ", "has blanks or line breaks around it: strip it$"),
    ("\ufeffhttps://asana.example", "has blanks or line breaks around it: strip it$"),
    ("https://asana.example/an api", "has blanks in it$"),
    ("https://asana.exa\nmple/api", "has blanks in it$"),
    ('"https://asana.example"', "has quotation marks around it: write it without them$"),
    (5, "is not a URL"),
    (None, "is not a URL"),
]


@pytest.mark.parametrize(("base_url", "complaint"), REFUSED)
def test_base_urls_that_a_token_must_not_be_sent_to(base_url: Any, complaint: str) -> None:
    """User names, plain http elsewhere, queries and other schemes are a ValueError that says why."""
    with pytest.raises(ValueError, match=f"^base_url {complaint}"):
        check_base_url(base_url)


@pytest.mark.parametrize(
    "base_url", ["https://user:hush@app.asana.com", "ftp://user:hush@x", "https://u:hush@x:99999"]
)
def test_a_password_in_a_base_url_is_not_shown(base_url: str) -> None:
    """The refusal does not quote the password."""
    with pytest.raises(ValueError, match=r"^base_url ") as caught:
        check_base_url(base_url)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("base_url", "complaint"), [row for row in REFUSED if row[0] is not None])
def test_the_client_checks_its_base_url(base_url: Any, complaint: str) -> None:
    """A base URL is refused at construction; an empty one is not taken for none."""
    with pytest.raises(ValueError, match=f"^base_url {complaint}"):
        AsanaClient("test-token", base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [row for row in REFUSED if isinstance(row[0], str) and row[0] and "strip it" not in row[1]],
)
def test_a_base_url_of_the_environment_is_refused_by_its_name(
    base_url: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable, since nobody wrote the argument."""
    monkeypatch.setenv("ASANA_BASE_URL", base_url)
    with pytest.raises(ValueError, match=rf"^base_url \(of ASANA_BASE_URL\) {complaint}"):
        AsanaClient("test-token")


@pytest.mark.parametrize(
    ("value", "base_url"),
    [
        ("http://localhost:8123/api/1.0 ", "http://localhost:8123/api/1.0"),
        ("\ufeffhttp://localhost:8123/api/1.0\r\n", "http://localhost:8123/api/1.0"),
        ("", "https://app.asana.com/api/1.0"),
        (" \n", "https://app.asana.com/api/1.0"),
    ],
)
def test_blanks_around_a_base_url_of_the_environment_are_dropped(
    value: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line end that a file or a script left is no part of it, and an empty variable is none."""
    monkeypatch.setenv("ASANA_BASE_URL", value)

    assert AsanaClient("test-token").base_url == base_url


@pytest.mark.parametrize(
    "base_url",
    [
        *("https://app.asana.com", "https://app.asana.com/", "https://APP.Asana.com/api"),
        *("https://app.asana.com/api/1.0/jobs", "https://app.asana.com/0/my-apps", "https://asana.com"),
    ],
)
def test_asanas_address_without_the_path_of_its_api_is_refused(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would answer 404 to everything, as if the gid were wrong."""
    advice = "must end with the path of Asana's API: write https://app.asana.com/api/1.0, not https://"
    with pytest.raises(ValueError, match=f"^base_url {advice}"):
        AsanaClient("test-token", base_url=base_url)
    with pytest.raises(ValueError, match=f"^base_url {advice}"):
        asana_jobs.wait_for_job("1203", token="test-token", base_url=base_url)
    monkeypatch.setenv("ASANA_BASE_URL", base_url)
    with pytest.raises(ValueError, match=rf"^base_url \(of ASANA_BASE_URL\) {advice}"):
        AsanaClient("test-token")


@pytest.mark.parametrize(
    "base_url", ["https://asana.example", "https://notasana.com", "http://localhost:8123"]
)
def test_any_other_host_may_have_any_path(base_url: str) -> None:
    """A gateway or a simulator keeps the API where it likes."""
    assert AsanaClient("test-token", base_url=base_url).base_url == base_url
