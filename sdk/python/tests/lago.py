"""What the tests of Lago's API share: Lago's own Python client, unmodified (`pip install lago-python-client==1.55.0`), against the server."""

import uuid

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError


def client(server, role="operator"):
    """Lago's client with a key of this role."""
    return Client(api_key=server.key(role), api_url=f"{server.url}/lago/")


def code(prefix):
    """A code of this test alone."""
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def refused(status, call, *args, **kwargs):
    """The body of the refusal that a call of the client raises."""
    with pytest.raises(LagoApiError) as caught:
        call(*args, **kwargs)
    assert caught.value.status_code == status, caught.value.response
    body = caught.value.response
    assert body["status"] == status and body["error"] and body["creto"]["code"], body
    return body


def raw(server, key, method, path, body=None, **kwargs):
    """A request as any other client would send it."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = httpx.request(method, f"{server.url}/lago/api/v1/{path}", json=body, headers=headers, **kwargs)
    assert answer.headers["content-type"] == "application/json", f"{path}: {answer.status_code} {answer.text}"
    return answer
