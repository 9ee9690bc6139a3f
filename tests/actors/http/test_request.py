"""`Request`: headers in any case, JSON, forms, and what is stored of it."""

from __future__ import annotations

import pytest

from understudy import BadRequest, FormFile, Request
from understudy.actors import values


def test_it_comes_back_as_it_was():
    request = Request(
        "POST",
        "/a/ü",
        headers={"X-One": "1", "Content-Type": "text/plain"},
        body=b"\x00\xff",
        params={"name": "ü"},
        query_pairs=(("a", "1"), ("a", "2"), ("b", "")),
    )
    back = values.unpack(values.pack(request))
    assert isinstance(back, Request)
    assert (back.method, back.path, back.body, back.params) == ("POST", "/a/ü", b"\x00\xff", {"name": "ü"})
    assert back.query == {"a": "2", "b": ""}
    assert back.query_pairs == request.query_pairs
    assert dict(back.headers) == {"x-one": "1", "content-type": "text/plain"}


def test_headers_are_found_in_any_case():
    request = Request("GET", "/", headers={"X-GitHub-Event": "push"})
    assert request.headers["x-github-event"] == request.headers.get("X-GITHUB-EVENT") == "push"
    assert "X-Github-Event" in request.headers
    assert request.headers.get("absent") is None


def test_json():
    assert Request("POST", "/", body=b'{"a": [1]}').json() == {"a": [1]}
    for body in (b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000):
        with pytest.raises(BadRequest):
            Request("POST", "/", body=body).json()


def form(kind: str, body: bytes) -> Request:
    return Request("POST", "/", headers={"Content-Type": kind}, body=body)


def test_a_form_of_a_page():
    assert form("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=%C3%BC+x&c=").form() == {
        "a": "1",
        "b": "ü x",
        "c": "",
    }


def test_a_form_with_a_file():
    body = (
        b'--X\r\nContent-Disposition: form-data; name="note"\r\n\r\n\xc3\xbc\r\n'
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--X--\r\n"
    )
    found = form('multipart/form-data; boundary="X"', body).form()
    assert found == {"note": "ü", "file": FormFile("a.bin", "application/octet-stream", b"\x00\xff")}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("", b"a=1"),
        ("application/x-www-form-urlencoded", b"a=%FF"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001)),
        ("multipart/form-data", b"--X"),
        ("multipart/form-data; boundary=X", b"nothing"),
        ("multipart/form-data; boundary=X", b"--X\r\n\r\nno name\r\n--X--\r\n"),
    ],
)
def test_what_is_no_form(kind: str, body: bytes):
    with pytest.raises(BadRequest):
        form(kind, body).form()
