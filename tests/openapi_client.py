"""Decodes every documented error of a server with a client generated from its OpenAPI document.

    openapi_client.py URL DOCUMENT

The server holds the fixture of the vectors, and keeps digests only.
"""

import json
import sys
import urllib.error
import urllib.request

import tokenkeep_client
from tokenkeep_client import ApiException, CoreApi, TokenRequest

URL, DOCUMENT = sys.argv[1:]
TOKENS = "/api/v3/core/tokens/"
ADMIN, AUDITOR = "key-admin", "key-auditor"
JSON = {"Content-Type": "application/json"}
STALE = JSON | {"If-Match": '"other"'}
NEW = {"identifier": "new"}

configuration = tokenkeep_client.Configuration(host=URL, access_token=ADMIN)
client = tokenkeep_client.ApiClient(configuration)
document = json.load(open(DOCUMENT))


def send(method, path, body=None, headers=JSON, key=ADMIN):
    """Returns the status and the text of an answer, whatever the status."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    headers = headers | {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(URL + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def documented():
    """Maps each operation and each status of its errors to the name of the schema."""
    schemas = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if path.startswith(TOKENS) and status.startswith("4"):
                    schema = answer["content"]["application/json"]["schema"]["$ref"]
                    schemas[method.upper(), path, int(status)] = schema.rsplit("/", 1)[-1]
    return schemas


def errors(method, path):
    """Yields requests to an operation, each with the status and the code of its refusal."""
    has_body = method in ("PUT", "PATCH") or path in (TOKENS, TOKENS + "{identifier}/set_key/")
    changes = path != TOKENS and method != "GET"
    at = path.replace("{identifier}", "bob-api")
    body = {"key": "k" * 32} if at.endswith("set_key/") else NEW
    body = body if has_body and method != "GET" else None
    yield (at, body, JSON, "nobody"), 403, "authentication_failed"
    if path != TOKENS:
        yield (path.replace("{identifier}", "nothing"), body), 404, "not_found"
    if changes:
        yield (at, body, STALE), 412, "precondition_failed"
        yield (at, body, STALE, AUDITOR), 403, "permission_denied"
    if at.endswith("view_key/"):
        yield (at,), 404, "key_not_retained"
    if at.endswith("rotate/"):
        yield (at.replace("bob-api", "alice-recovery"),), 400, "invalid"
    if (method, path) == ("GET", TOKENS):
        yield (at + "?page=99",), 404, "not_found"
        yield (at + "?intent=x&expires=x",), 400, "invalid"
        yield (at + "?search=%00",), 400, "invalid"
    elif has_body:
        field = "key" if at.endswith("set_key/") else "identifier"
        yield (at, {field: ""}), 400, "invalid"
        yield (at, {field: None, "intent": "x", "expires": "x"}), 400, "invalid"
        yield (at, []), 400, "invalid"
        yield (at, b"{"), 400, "parse_error"
        yield (at, b" " * 70_000), 413, "payload_too_large"
        yield (at, body, {"Content-Type": "text/plain"}), 415, "unsupported_media_type"


def decode(text, schema):
    """Decodes an error with the client, which must keep all of it."""
    model = client.deserialize(text, schema, "application/json")
    assert model.to_dict() == json.loads(text), f"{schema}: {text} became {model}"
    return model


schemas = documented()
provoked = set()
for method, path in sorted({(method, path) for method, path, _ in schemas}):
    for arguments, wanted, code in errors(method, path):
        status, text = send(method, *arguments)
        assert status == wanted, f"{method} {arguments}: {status} {text}, not {wanted}"
        model = decode(text, schemas[method, path, status])
        assert model.code == code, f"{method} {arguments}: {text}"
        provoked.add((method, path, status))
missing = schemas.keys() - provoked
assert not missing, f"documented, and never answered: {sorted(missing)}"

# No operation documents it: a method that is not there has no operation.
status, text = send("PUT", TOKENS, NEW)
assert status == 405 and decode(text, "GenericError").code == "method_not_allowed"

# Through the client's own methods.
api = CoreApi(client)


def refused(call, status, code):
    try:
        call()
    except ApiException as error:
        assert (error.status, error.data.code) == (status, code), error
        return error.data
    raise AssertionError(f"not refused: {call}")


created = api.core_tokens_create(TokenRequest(identifier="new"))
assert len(created.key) == 60 and created.user_obj.username == "akadmin", created
taken = refused(lambda: api.core_tokens_create(TokenRequest(identifier="new")), 400, "invalid")
assert taken.additional_properties["identifier"] == ["Token with this identifier already exists."]
refused(lambda: api.core_tokens_retrieve("nothing"), 404, "not_found")
refused(lambda: api.core_tokens_destroy("new", if_match='"other"'), 412, "precondition_failed")
assert api.core_tokens_list(search="new").pagination.count == 1
assert len(api.core_tokens_rotate_create("new").key) == 60
api.core_tokens_destroy("new")
print(f"the generated client decodes {len(provoked)} documented errors of {len(schemas)}")
