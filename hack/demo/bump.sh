#!/bin/sh
# The demo's agent: pins requests 2.32.4 wherever the repository pins another version. It needs no account.
set -eu
wanted=2.32.4
files=$(git grep --files-with-matches 'requests==' || true)
if [ -z "$files" ]; then
    echo "requests is pinned nowhere in $KUBETASK_REPOSITORY"
    exit 1
fi
sleep "${THINK_SECONDS:-1}"
for file in $files; do
    echo "bumping requests in $file"
    sed -i "s/requests==[0-9.]*/requests==$wanted/" "$file"
done
echo "Bump requests to $wanted"
