#!/usr/bin/env bash
# Generates a Python client from the OpenAPI document of `serve`, and decodes every documented error with
# it. Needs a Java runtime. The generator and the client's packages are installed into
# target/openapi-client.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="openapi-generator-cli==7.26.0 pydantic==2.14.4 python-dateutil==4.0.0
    typing-extensions==4.16.0 urllib3==2.8.0"
tools=$PWD/target/openapi-client

if ! command -v java >/dev/null; then
    echo "openapi-generator needs java: install default-jre-headless"
    exit 1
fi
if [ "$(cat "$tools/packages" 2>/dev/null)" != "$packages" ]; then
    python3 -m venv --clear "$tools"
    # One word a package.
    # shellcheck disable=SC2086
    "$tools/bin/pip" install --quiet --disable-pip-version-check $packages
    echo "$packages" >"$tools/packages"
fi

directory=$(mktemp -d)
cargo build --workspace --example serve
serve=$(cargo build --workspace --example serve --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"serve".*"executable":"\([^"]*\)".*/\1/p')
"$serve" --listen 127.0.0.1:0 --db memory: --seed tests/vectors/fixture.json --no-view-key \
    --clock 2024-09-27T14:26:18Z >"$directory/out" 2>"$directory/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$directory"' EXIT
for _ in $(seq 600); do
    url=$(sed -n 's/^listening on //p' "$directory/out")
    [ -z "$url" ] || break
    kill -0 $server 2>/dev/null || break
    sleep 0.1
done
if [ -z "$url" ]; then
    cat "$directory/log"
    exit 1
fi

document=$directory/document.json
"$tools/bin/python" - "$url/api/v3/schema/" "$document" <<'PYTHON'
import sys, urllib.request

urllib.request.urlretrieve(sys.argv[1], sys.argv[2])
PYTHON
if ! "$tools/bin/openapi-generator-cli" generate --generator-name python \
    --package-name tokenkeep_client --input-spec "$document" --output "$directory/client" \
    >"$directory/generator" 2>&1; then
    cat "$directory/generator"
    exit 1
fi
PYTHONPATH=$directory/client "$tools/bin/python" tests/openapi_client.py "$url" "$document"
