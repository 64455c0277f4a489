"""What each example must answer when it runs. A check raises Failed; its docstring is the table's last column."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

from tests.shapes.house import House, expect, free_port

CHECKS: dict[str, Callable[[House], None]] = {}


def check(example: str) -> Callable[[Callable[[House], None]], Callable[[House], None]]:
    """Registers the check of a folder of examples/."""

    def register(function: Callable[[House], None]) -> Callable[[House], None]:
        CHECKS[example] = function
        return function

    return register


@check("python-web")
def python_web(at: House) -> None:
    """a page from a user without rights; healthy; no pip cache in the image"""
    port = free_port()
    web = at.start("python-web", "-p", f"127.0.0.1:{port}:8000")
    expect(at.page(web, port) == "hello from user 1001\n", "the page tells its user")
    at.healthy(web)
    expect(
        at.ask(web, "sh", "-c", "ls -d /root/.cache /home/app/.cache 2>/dev/null; true") == "",
        "no cache was left in a layer",
    )
    expect(at.stop(web) == 0, "gunicorn ends in order")


@check("node-nginx")
def node_nginx(at: House) -> None:
    """the page that npm built; no node in the image; SIGQUIT ends nginx in order"""
    port = free_port()
    site = at.start("node-nginx", "-p", f"127.0.0.1:{port}:80")
    expect("<strong>built</strong> by npm" in at.page(site, port, "/index.html"), "the page is what npm built")
    expect(at.door.run("exec", site, "node", "--version").returncode == 127, "node isn't in the image")
    expect('"GET /index.html' in at.logs(site), "the access log is the container's log")
    expect(at.stop(site) == 0, "nginx ends in order")


@check("go-scratch")
def go_scratch(at: House) -> None:
    """a page from an image of one file, read-only and without rights"""
    port = free_port()
    hello = at.start("go-scratch", "-p", f"127.0.0.1:{port}:8080", "--read-only", "--cap-drop=ALL")
    expect(at.page(hello, port) == "hello, version dev, user 65534\n", "the page tells version and user")
    layers = at.door.image("go-scratch")["RootFS"]["Layers"]
    expect(len(layers) == 1, f"one layer, not {len(layers)}")


@check("c-cmake")
def c_cmake(at: House) -> None:
    """standard input through a program alone in its image; the stage of tests passes"""
    said = at.door.say("run", "-i", "--rm", "--network=none", "shape/c-cmake", text=b"five words in two\nlines\n")
    expect(said == "5", f"five words, not {said}")
    at.door.make("c-cmake", "--target=test")


@check("java-maven")
def java_maven(at: House) -> None:
    """a page from the jar that Maven built and tested"""
    port = free_port()
    hello = at.start("java-maven", "-p", f"127.0.0.1:{port}:8080", "--memory=256m")
    expect(at.page(hello, port) == "hello, java\n", "the page")
    expect(at.stop(hello) == 143, "the JVM ends by SIGTERM")  # 128 + 15: its own convention


@check("nginx-templates")
def nginx_templates(at: House) -> None:
    """its configuration comes from the environment of this start"""
    port = free_port()
    site = at.start(
        "nginx-templates", "-p", f"127.0.0.1:{port}:8080", "-e", "NGINX_PORT=8080", "-e", "GREETING=good day"
    )
    expect(at.page(site, port, "/here") == "good day from /here\n", "variables of the environment, and nginx's own")
    expect(at.stop(site) == 0, "nginx ends in order")


@check("redis")
def redis(at: House) -> None:
    """a key survives a re-created container"""
    data = at.volume("data")
    first = at.start("redis", "-v", f"{data}:/data")
    at.healthy(first)
    expect(at.ask(first, "redis-cli", "set", "key", "kept") == "OK", "a key is set")
    expect(at.stop(first) == 0, "redis ends in order")
    at.remove(first)
    second = at.start("redis", "-v", f"{data}:/data")
    at.healthy(second)
    expect(at.ask(second, "redis-cli", "get", "key") == "kept", "the key is there again")


@check("memcached")
def memcached(at: House) -> None:
    """set and get over a published port"""
    port = free_port()
    cache = at.start("memcached", "-p", f"127.0.0.1:{port}:11211", command=("-m", "16"))
    at.until(lambda: _speak(port, b"version\r\n").startswith(b"VERSION"), cache, "answered")
    expect(_speak(port, b"set key 0 0 4\r\nkept\r\n") == b"STORED\r\n", "a key is set")
    expect(_speak(port, b"get key\r\n") == b"VALUE key 0 4\r\nkept\r\nEND\r\n", "and read")
    expect(b"limit_maxbytes 16777216" in _speak(port, b"stats\r\n"), "its argument counts")


def _speak(port: int, words: bytes) -> bytes:
    """One request and its answer; nothing when nobody listens yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(words)
            return sock.recv(65536)
    except OSError:
        return b""


@check("rabbitmq")
def rabbitmq(at: House) -> None:
    """AMQP's greeting; a queue and its message survive a restart"""
    broker = at.start("rabbitmq", "-v", f"{at.volume('data')}:/var/lib/rabbitmq")
    at.healthy(broker)
    control = "/usr/lib/rabbitmq/bin/rabbitmqctl"
    at.ask(broker, control, "-q", "eval", DECLARE)
    expect(at.stop(broker) == 0, "the broker ends in order")
    at.door.say("start", broker)
    at.until(lambda: "orders\t1" in _queues(at, broker, control), broker, "showed its queue again")


# A durable queue with one persistent message, through the broker's own functions: its image has no AMQP client.
DECLARE = """
Queue = rabbit_misc:r(<<"/">>, queue, <<"orders">>),
{new, _} = rabbit_amqqueue:declare(Queue, true, false, [], none, <<"shapes">>),
rabbit_basic:publish(rabbit_misc:r(<<"/">>, exchange, <<>>), <<"orders">>, [{delivery_mode, 2}], <<"one">>).
"""


def _queues(at: House, broker: str, control: str) -> str:
    done = at.door.run("exec", broker, control, "-q", "list_queues", "name", "messages")
    return done.stdout.decode()


@check("mariadb")
def mariadb(at: House) -> None:
    """users and initdb.d of a first start; rows survive a re-created container; SIGTERM ends it in order"""
    data = at.volume("data")
    script = "CREATE TABLE jars (id INT PRIMARY KEY, what TEXT); INSERT INTO jars VALUES (1, 'kimchi');"
    flags = ("-e", "MARIADB_ROOT_PASSWORD=it's secret", "-e", "MARIADB_DATABASE=shop", "-e", "MARIADB_USER=clerk", "-e",
             "MARIADB_PASSWORD=pass\\word", "-v", f"{data}:/var/lib/mysql")  # fmt: skip
    first = f"{at.name}-made"
    at.door.say("create", "--name", first, "--network", at.name, *flags, "shape/mariadb")
    at.adopt(first)
    at.copy_in(first, "/docker-entrypoint-initdb.d/10-jars.sql", script)
    at.door.say("start", first)
    at.healthy(first)
    clerk = ("mariadb", "--protocol=tcp", "-h127.0.0.1", "-uclerk", "-ppass\\word", "-N", "-B", "shop", "-e")
    expect(at.ask(first, *clerk, "SELECT what FROM jars") == "kimchi", "initdb.d ran")
    at.ask(first, *clerk, "INSERT INTO jars VALUES (2, 'soy')")
    expect(at.stop(first) == 0, "SIGTERM ends it in order")
    at.remove(first)
    second = at.start("mariadb", *flags)
    at.healthy(second)
    expect(
        at.ask(second, *clerk, "SELECT GROUP_CONCAT(what ORDER BY id) FROM jars") == "kimchi,soy",
        "rows are there again",
    )


@check("postgres")
def postgres(at: House) -> None:
    """locale, users and initdb.d of a first start; rows survive a re-created container"""
    data = at.volume("data")
    flags = (
        "-e",
        "POSTGRES_PASSWORD=secret",
        "-e",
        "POSTGRES_DB=shop",
        "-v",
        f"{data}:/var/lib/postgresql/data",
        "--shm-size=128m",
    )
    first = at.start("postgres", *flags)
    at.healthy(first)
    query = ("env", "PGPASSWORD=secret", "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "shop", "-qtA", "-c")
    expect(at.ask(first, *query, "SHOW lc_collate") == "en_US.UTF-8", "the image's locale counts")
    at.ask(first, *query, "CREATE TABLE jars (what TEXT); INSERT INTO jars VALUES ('soy'), ('Kimchi')")
    expect(at.stop(first) == 0, "SIGINT is its fast shutdown")
    at.remove(first)
    second = at.start("postgres", *flags)
    at.healthy(second)
    expect(
        at.ask(second, *query, "SELECT what FROM jars ORDER BY what") == "Kimchi\nsoy",
        "rows are there again, in the locale's order",
    )
    expect(
        at.ask(second, "stat", "-c", "%a %U", "/var/lib/postgresql/data") == "700 postgres",
        "the volume has the image's owner and mode",
    )


@check("wordpress")
def wordpress(at: House) -> None:
    """installs itself into MariaDB, shows its page, counts visits in Redis; a post survives new containers"""
    port, data = free_port(), at.volume("data")
    database = ("-e", "MARIADB_ROOT_PASSWORD=root", "-e", "MARIADB_DATABASE=wordpress", "-e", "MARIADB_USER=wp", "-e",
                "MARIADB_PASSWORD=wp", "-v", f"{data}:/var/lib/mysql")  # fmt: skip
    site = ("-p", f"127.0.0.1:{port}:80", "-e", "WORDPRESS_DB_HOST=db", "-e", "WORDPRESS_DB_USER=wp", "-e", "WORDPRESS_DB_PASSWORD=wp",
            "-e", "REDIS_HOST=cache")  # fmt: skip
    db, _cache = at.start("mariadb", *database, alias="db"), at.start("redis", alias="cache")
    at.healthy(db)
    web = at.start("wordpress", *site)
    expect("WordPress" in at.page(web, port, "/wp-admin/install.php"), "the installation's page")
    install = {"weblog_title": "Jars", "user_name": "keeper", "admin_password": "a long word", "admin_password2": "a long word",
               "pw_weak": "on", "admin_email": "keeper@example.org"}  # fmt: skip
    expect("Success" in at.post(port, "/wp-admin/install.php?step=2", install), "WordPress is installed")
    expect("Jars" in at.page(web, port), "its page has the title")
    expect([at.page(web, port, "/visits.php") for _ in range(2)] == ["1\n", "2\n"], "Redis counts")
    expect(at.stop(web) == 0, "Apache ends in order")
    expect(at.stop(db) == 0, "MariaDB too")
    for name in (web, db):
        at.remove(name)
    at.healthy(at.start("mariadb", *database, alias="db"))
    again = at.start("wordpress", *site)
    expect("Hello world!" in at.page(again, port), "its first post is there again")
    expect(
        json.loads(at.door.say("inspect", "-f", "{{json .NetworkSettings.Ports}}", again))["80/tcp"], "the port is told"
    )
