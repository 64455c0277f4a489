#!/bin/bash
# First start: an empty volume becomes a server with the users that the environment names. Then: the server itself, as mysql.
set -euo pipefail

# value NAME: $NAME, or what is in the file that $NAME_FILE names (a secret), or nothing.
value() {
    local file="${1}_FILE"
    if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}

# quoted TEXT: as a string of SQL.
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"; }

initialize() {
    local root user password database
    root=$(value MARIADB_ROOT_PASSWORD) user=$(value MARIADB_USER) password=$(value MARIADB_PASSWORD) database=$(value MARIADB_DATABASE)
    [ -n "$root" ] || { echo "set MARIADB_ROOT_PASSWORD or MARIADB_ROOT_PASSWORD_FILE" >&2; exit 1; }
    mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=normal >/dev/null
    # Until all is in place nobody from outside may see it: no network.
    mariadbd --user=mysql --skip-networking &
    local server=$!
    for _ in $(seq 120); do mariadb-admin --silent ping 2>/dev/null && break; sleep 0.25; done
    {
        echo "CREATE USER healthcheck@'127.0.0.1';"
        [ -z "$database" ] || echo "CREATE DATABASE \`$database\`;"
        if [ -n "$user" ]; then
            echo "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$password");"
            [ -z "$database" ] || echo "GRANT ALL ON \`$database\`.* TO $(quoted "$user")@'%';"
        fi
        echo "CREATE USER root@'%' IDENTIFIED BY $(quoted "$root"); GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
        echo "SET PASSWORD FOR root@localhost = PASSWORD($(quoted "$root"));"
    } | mariadb
    export MYSQL_PWD=$root
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) . "$file" ;;
            *.sql) mariadb "$database" <"$file" ;;
            *.sql.gz) gunzip -c "$file" | mariadb "$database" ;;
        esac
    done
    mariadb-admin shutdown
    unset MYSQL_PWD
    wait "$server"
}

if [ "$1" = mariadbd ]; then
    chown mysql:mysql /var/lib/mysql /run/mysqld
    [ -d /var/lib/mysql/mysql ] || initialize
    set -- "$@" --user=mysql
fi
exec "$@"
