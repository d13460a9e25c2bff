"""What comes in, what does not, and how refusals look: over a real port."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from house import House

from lavra.serving.access import hash_key, make_key
from lavra.serving.documents import safe_filename
from lavra.serving.errors import ApiError
from lavra.serving.guard import SECURITY_HEADERS, Guard, host_name
from lavra.serving.settings import KeySettings, ServeSettings

Serve = Callable[..., str]
QUESTION = {"messages": [{"role": "user", "content": "How high is the daily allowance abroad?"}]}
COUNCIL = {"messages": [{"role": "user", "content": "How much did the council agree that salaries rise?"}]}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- the shape of refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/v1/models", None, 405),
        ("POST", "/v1/chat/completions", "{not json", 400),
        ("POST", "/v1/chat/completions", "[]", 400),
        ("POST", "/v1/chat/completions", "", 400),
        ("POST", "/v1/chat/completions", '{"messages": [{"role": "robot", "content": "x"}]}', 400),
        ("POST", "/v1/embeddings", "{}", 400),
        ("POST", "/api/documents", "{}", 400),
        ("GET", "/api/sources/0123456789abcdef", None, 404),
        ("GET", "/sources/0123456789abcdef?start=minus", None, 400),
        ("GET", "/static/../app.py", None, 404),
        ("GET", "/static/%2e%2e/app.py", None, 404),
    ],
)
def test_every_refusal_has_openais_shape(
    address: str, method: str, path: str, content: str | None, status: int
) -> None:
    response = httpx.request(method, address + path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


def test_a_validation_error_names_the_parameter(address: str) -> None:
    body = {"messages": [{"role": "robot", "content": "x"}]}
    error = httpx.post(f"{address}/v1/chat/completions", json=body).json()["error"]
    assert error["param"] == "messages.0.role"
    error = httpx.post(f"{address}/v1/embeddings", json={}).json()["error"]
    assert (error["param"], error["code"]) == ("input", "missing_required_parameter")


# --- hosts, origins, headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1/models", "/static/chat.js", "/nowhere", "/health", "/metrics"])
def test_every_response_carries_the_security_headers(address: str, path: str) -> None:
    headers = httpx.get(address + path).headers
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == value
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "a@b:c"])
def test_a_rebound_name_is_turned_away(address: str, host: str) -> None:
    for path in ("/", "/v1/models", "/metrics"):
        response = httpx.get(address + path, headers={"Host": host})
        assert response.status_code == 421
        assert response.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:1", "[::1]:80", "localhost."])
def test_this_machine_may_be_called_by_its_names(address: str, host: str) -> None:
    assert httpx.get(f"{address}/v1/models", headers={"Host": host}).status_code == 200


def test_a_configured_name_is_known(serve: Serve) -> None:
    address = serve(House(), ServeSettings(allowed_hosts=("Assistant.example",)))
    assert httpx.get(f"{address}/v1/models", headers={"Host": "assistant.example"}).status_code == 200
    assert httpx.get(f"{address}/v1/models", headers={"Host": "other.example"}).status_code == 421
    for origin, status in (("https://assistant.example", 200), ("https://other.example", 403), ("http://[", 403)):
        # behind a proxy that calls us by another name than the browser does
        response = httpx.post(f"{address}/v1/chat/completions", json=QUESTION, headers={"Origin": origin})
        assert response.status_code == status


def test_beyond_this_machine_any_address_is_known_but_no_foreign_name() -> None:
    guard = Guard(lambda *_: None, ServeSettings(host="0.0.0.0"))  # type: ignore[arg-type, return-value]
    assert guard.any_address
    assert socket.gethostname().lower() in guard.hosts
    assert "evil.example" not in guard.hosts
    assert not Guard(lambda *_: None, ServeSettings()).any_address  # type: ignore[arg-type, return-value]


def test_host_names_are_read_as_browsers_write_them() -> None:
    assert host_name("[::1]:8000") == "::1"
    assert host_name("Example.ORG:80") == "example.org"
    assert host_name("[nonsense") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/api/documents"])
def test_a_page_of_another_site_can_change_nothing(
    address: str, house: House, headers: dict[str, str], path: str
) -> None:
    asked, uploaded = len(house.quoting.asked), len(house.uploaded)
    response = httpx.post(address + path, json=QUESTION, headers=headers)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "origin_not_allowed"
    assert (len(house.quoting.asked), len(house.uploaded)) == (asked, uploaded)


def test_the_servers_own_page_may(address: str) -> None:
    headers = {"Origin": address, "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(f"{address}/v1/chat/completions", json=QUESTION, headers=headers).status_code == 200


# --- uploads ----------------------------------------------------------------------------------------------------


@pytest.fixture
def own(serve: Serve) -> tuple[str, House]:
    house = House()
    return serve(house, ServeSettings(max_upload_bytes=100_000, max_request_bytes=20_000)), house


def test_an_upload_can_be_asked_about_at_once(own: tuple[str, House]) -> None:
    address, house = own
    files = [
        ("file", ("../../etc/bikes\x1b.md", b"# Bicycles\n\nThe institute lends bicycles to every visitor.")),
        ("file", ("fake.pdf", b"PK\x03\x04")),
    ]
    response = httpx.post(f"{address}/api/documents", files=files)
    added, skipped = response.json()["results"]
    assert added["result"] == "added"
    assert house.uploaded[0][0] == "bikes_.md"
    assert (skipped["result"], skipped["source"]) == ("skipped", "fake.pdf")
    assert "zip" in skipped["reason"]
    question = {"messages": [{"role": "user", "content": "Which institute lends bicycles to every visitor?"}]}
    answer = httpx.post(f"{address}/v1/chat/completions", json=question).json()
    assert answer["citations"][0]["document_id"] == added["document_id"]


def test_a_declared_length_above_the_limit_is_refused_before_the_body_is_sent(own: tuple[str, House]) -> None:
    address, house = own
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=5)
    connection.putrequest("POST", "/api/documents")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders()  # and not a byte of the body
    response = connection.getresponse()
    assert response.status == 413
    assert b'"code":"too_large"' in response.read()
    assert not house.uploaded


def test_an_undeclared_body_is_refused_at_the_limit(own: tuple[str, House]) -> None:
    address, house = own
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        while sent < 2**30:
            sent += 2**14
            yield b"a" * 2**14

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        assert httpx.post(f"{address}/api/documents", content=endless(), headers=headers).status_code == 413
    except httpx.WriteError:
        pass  # the server has closed the door while we were still pushing
    assert sent < 2**24  # what the kernel's buffers hold, far from all
    assert not house.uploaded


def test_a_long_json_body_is_refused_too(own: tuple[str, House]) -> None:
    response = httpx.post(f"{own[0]}/v1/chat/completions", content=b" " * 30_000)
    assert response.status_code == 413
    assert response.json()["error"]["message"].startswith("The body is larger than")


def test_uploads_can_be_switched_off(serve: Serve) -> None:
    address = serve(House(), ServeSettings(uploads=False))
    response = httpx.post(f"{address}/api/documents", files={"file": ("a.txt", b"text")})
    assert response.status_code == 403
    assert 'id="add"' not in httpx.get(address).text


# --- keys and roles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("relatório de março.pdf", "relatório de março.pdf"),
        ("C:\\Users\\me\\plan.docx", "plan.docx"),
        ("../../.ssh/.config", "config"),
        ("a\u202excod.exe\x00", "a_xcod.exe_"),
        ("x" * 300 + ".pdf", "x" * 130 + ".pdf"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_a_file_name_is_kept_as_far_as_it_is_one(given: str, kept: str) -> None:
    assert safe_filename(given) == kept


def test_a_name_reaches_the_index_as_it_was_written(own: tuple[str, House]) -> None:
    address, house = own
    httpx.post(f"{address}/api/documents", files={"file": ("relatório.md", b"# Ol\xc3\xa1")})
    assert house.uploaded[0][0] == "relatório.md"


@pytest.mark.parametrize("name", ["", "...", "/", "   "])
def test_a_file_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match="no usable name"):
        safe_filename(name)


@pytest.fixture(scope="module")
def keys() -> tuple[dict[str, str], ServeSettings]:
    visitor, visitor_record = make_key("visitor", uploads=False)
    council, council_record = make_key("council", ["public", "council"])
    chosen = KeySettings(name="chosen", hash=hash_key("correct horse", slow=True))
    settings = ServeSettings(keys=(visitor_record, council_record, chosen), roles=frozenset({"public", "council"}))
    return {"visitor": visitor, "council": council, "chosen": "correct horse"}, settings


def test_with_keys_only_the_page_and_the_health_are_open(
    serve: Serve, keys: tuple[dict[str, str], ServeSettings]
) -> None:
    house = House()
    address = serve(house, keys[1])
    schema = httpx.get(f"{address}/openapi.json", headers=bearer(keys[0]["visitor"])).json()
    routes = [(method, path) for path, methods in schema["paths"].items() for method in methods]
    assert len(routes) > 8
    routes += [("get", "/sources/x"), ("get", "/openapi.json"), ("get", "/nowhere")]
    for method, path in routes:
        expected = 200 if path.startswith("/health") else 401
        for headers in ({}, bearer("lavra-guess"), {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
            response = httpx.request(method, address + path, headers=headers)
            assert response.status_code == expected, (method, path, headers)
        if expected == 401:
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["WWW-Authenticate"] == "Bearer"
    page = httpx.get(address).text
    assert "allowance" not in page  # no example questions, no counts
    assert "2 documents" not in page


@pytest.mark.parametrize("name", ["visitor", "council", "chosen"])
def test_a_good_key_opens(serve: Serve, keys: tuple[dict[str, str], ServeSettings], name: str) -> None:
    address = serve(House(), keys[1])
    assert httpx.get(f"{address}/v1/models", headers=bearer(keys[0][name])).status_code == 200


def test_a_keys_roles_decide_what_is_found_and_what_opens(
    serve: Serve, keys: tuple[dict[str, str], ServeSettings]
) -> None:
    house = House()
    address = serve(house, keys[1])
    council, visitor = bearer(keys[0]["council"]), bearer(keys[0]["visitor"])
    seen = httpx.post(f"{address}/v1/chat/completions", json=COUNCIL, headers=council).json()
    assert "3.1 percent" in seen["choices"][0]["message"]["content"]
    unseen = httpx.post(f"{address}/v1/chat/completions", json=COUNCIL, headers=visitor).json()
    assert "3.1 percent" not in unseen["choices"][0]["message"]["content"]
    secret = seen["citations"][0]["document_id"]
    for path in (f"/sources/{secret}", f"/api/sources/{secret}"):
        assert httpx.get(address + path, headers=council).status_code == 200
        hidden = httpx.get(address + path, headers=visitor)
        missing = httpx.get(address + path.replace(secret, "0" * 16), headers=visitor)
        assert hidden.status_code == missing.status_code == 404
        assert hidden.text == missing.text  # that it exists is not told either


def test_uploads_belong_to_the_uploaders_group(serve: Serve, keys: tuple[dict[str, str], ServeSettings]) -> None:
    house = House()
    address = serve(house, keys[1])
    file = {"file": ("plan.txt", b"A plan.")}
    refused = httpx.post(f"{address}/api/documents", files=file, headers=bearer(keys[0]["visitor"]))
    assert refused.status_code == 403
    assert httpx.post(f"{address}/api/documents", files=file, headers=bearer(keys[0]["council"])).status_code == 200
    assert house.uploaded[0][2] == frozenset({"council"})  # not public


def test_only_hashes_of_keys_are_kept(keys: tuple[dict[str, str], ServeSettings]) -> None:
    kept = keys[1].model_dump_json()
    assert not any(key in kept for key in keys[0].values())


# --- health and metrics -----------------------------------------------------------------------------------------


def test_health_tells_a_server_that_can_answer_from_one_that_cannot(serve: Serve) -> None:
    house = House()
    address = serve(house)
    assert httpx.get(f"{address}/health", headers={"Host": "10.0.0.7"}).json()["status"] == "ok"
    house.assistants.clear()
    assert httpx.get(f"{address}/health/ready").status_code == 503
    assert httpx.get(f"{address}/health/live").status_code == 200


def test_metrics_count_what_happened_and_hold_no_text(serve: Serve) -> None:
    address = serve(House())
    httpx.post(f"{address}/v1/chat/completions", json=QUESTION)
    nothing = {"messages": [{"role": "user", "content": "Who won the cup?"}]}
    httpx.post(f"{address}/v1/chat/completions", json=nothing)
    httpx.get(f"{address}/wp-admin/{'x' * 50}")
    text = httpx.get(f"{address}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['lavra_requests_total{method="POST",route="/v1/chat/completions",status="200"}'] == "2.0"
    assert values['lavra_requests_total{method="GET",route="other",status="404"}'] == "1.0"
    assert values['lavra_prompt_tokens_total{model="handbook"}'] == "14.0"
    assert float(values['lavra_completion_tokens_total{model="handbook"}']) > 5
    assert values['lavra_answers_without_source_total{model="handbook"}'] == "1.0"
    assert values['lavra_time_to_first_token_seconds_count{model="handbook"}'] == "1.0"
    assert values["lavra_queue_length"] == values["lavra_answers_in_flight"] == "0.0"
    assert "allowance" not in text
    assert "wp-admin" not in text
