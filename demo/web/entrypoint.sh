#!/bin/sh
# Writes the configuration from the environment, as images of databases and web servers do, and becomes the program.
set -eu
mkdir -p /run/web
cat >/run/web/web.ini <<INI
[web]
version = ${VERSION}
port = ${PORT}
greeting = ${GREETING}
redis = ${REDIS_URL}
INI
[ "$1" = serve ] && exec python3 -u /app/app.py
exec "$@"
