"""Teams and ServiceNow: what they are sent. ServiceNow's records are read back by pysnc."""

import json
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

import pytest
from channels import Service, payment
from pysnc import ServiceNowClient

from conftest import Server


class Instance(Service):
    """A Table API with one table."""

    def __init__(self):
        self.records = {}
        super().__init__(self.table)

    def table(self, method, path, body, headers):
        if b64decode(headers["authorization"].removeprefix("Basic ")).decode() != "creto:secret":
            return 401, {"error": {"message": "User Not Authenticated"}}
        at = urlsplit(path)
        if at.path.startswith("/api/now/table/task/"):
            record = self.records.get(at.path.rsplit("/", 1)[1])
            if method == "PATCH":
                record.update(body)
            return (200, {"result": record}) if record else (404, {"error": {"message": "No Record found"}})
        if method == "POST":
            record = {**body, "sys_id": f"{len(self.records):032x}", "active": str(body["active"]).lower()}
            self.records[record["sys_id"]] = record
            return 201, {"result": record}
        query = parse_qs(at.query).get("sysparm_query", [""])[0]
        wanted = dict(part.split("=", 1) for part in query.split("^") if "=" in part)
        found = [r for r in self.records.values() if all(r.get(k) == v for k, v in wanted.items())]
        return 200, {"result": found}


@pytest.fixture(scope="module")
def services():
    teams, instance = Service(lambda *_: (202, {})), Instance()
    yield teams, instance
    teams.close()
    instance.close()


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory, services):
    teams, instance = services
    data = tmp_path_factory.mktemp("cards") / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(
        f'teams = true\noutbound_allow = ["{teams.place}", "{instance.place}"]\n'
        f'[servicenow]\ninstance = "http://{instance.place}"\nuser = "creto"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRETO_TEAMS_URL", f"http://{teams.place}/workflows/1")
        patch.setenv("CRETO_SERVICENOW_PASSWORD", "secret")
        server = Server(binary, data)
    yield server
    server.stop()


def test_a_request_is_a_card_that_links_and_a_record_that_is_closed(server, services, tool):
    teams, instance = services
    asked = server.agent().call("POST", "/v1/actions", payment(tool, arguments={"note": "[click](https://evil.example)\u200b"}))
    request = asked["request"]
    _, path, body, _ = teams.until(lambda all_of: next((r for r in all_of if request in json.dumps(r[2])), None), "teams was told")
    (attachment,) = body["attachments"]
    card = attachment["content"]
    assert path == "/workflows/1" and attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert [action["type"] for action in card["actions"]] == ["Action.OpenUrl"], "a link, and nothing that decides"
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}, "nothing that others wrote is read as Markdown"
    assert "⟦U+200B⟧" in json.dumps(card, ensure_ascii=False)

    instance.until(lambda _: [r for r in instance.records.values() if r["correlation_id"] == request], "servicenow has a record")
    client = ServiceNowClient("https://instance.example", ("creto", "secret"))
    client._ServiceNowClient__instance = f"http://{instance.place}"  # it takes no plain address, and ours is on loopback
    record = client.GlideRecord("task")
    record.add_query("correlation_id", request)
    record.query()
    assert len(record) == 1 and record.next() and record.get_value("active") == "true"
    assert asked["digest"] in record.get_value("description")

    server.operator.call("POST", f"/v1/oversight/requests/{request}/deny", {"comment": "no"})
    instance.until(lambda _: any(r["correlation_id"] == request and r["active"] is False for r in instance.records.values()), "it is closed")
