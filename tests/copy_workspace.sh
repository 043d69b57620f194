#!/usr/bin/env bash
# Copies the workspace as it is in the work tree, for a build with other dependencies. Files that have not
# changed keep their time, so that the next build of the copy is short.
#
#   tests/copy_workspace.sh DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
rm -rf "$1/crates" "$1/tests" "$1/benches"
git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --create --null --files-from=- | tar --extract --directory "$1"
