#!/bin/sh
set -eu
printf 'bind 0.0.0.0\nprotected-mode no\ndir /data\nappendonly yes\nmaxmemory %s\n' "$MAXMEMORY" >/tmp/redis.conf
exec redis-server /tmp/redis.conf
