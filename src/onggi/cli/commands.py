"""The commands: words → where the code is. Nothing of a command is imported before it is chosen.

An entry is `module:function`; the function's module has its flags and usage beside it (see Command in main.py).
"""

from __future__ import annotations

CONTAINER = {
    "attach": "running:attach", "commit": "containers:commit", "cp": "copying:cp", "create": "running:create",
    "diff": "containers:diff", "exec": "execs:exec", "export": "containers:export", "inspect": "inspecting:container",
    "kill": "containers:kill", "logs": "logs:logs", "ls": "listing:ps", "list": "listing:ps", "ps": "listing:ps",
    "pause": "containers:pause", "port": "containers:port", "prune": "pruning:containers", "rename": "containers:rename",
    "restart": "containers:restart", "rm": "containers:rm", "remove": "containers:rm", "run": "running:run",
    "start": "running:start", "stats": "stats:stats", "stop": "containers:stop", "top": "containers:top",
    "unpause": "containers:unpause", "update": "containers:update", "wait": "containers:wait",
}  # fmt: skip

IMAGE = {
    "build": "building:build", "history": "images:history", "import": "transfer:import_", "inspect": "inspecting:image",
    "load": "transfer:load", "ls": "images:images", "list": "images:images", "prune": "pruning:images",
    "pull": "transfer:pull", "push": "transfer:push", "rm": "images:rmi", "remove": "images:rmi", "save": "transfer:save",
    "tag": "images:tag",
}  # fmt: skip

NETWORK = {
    "connect": "networks:connect", "create": "networks:create", "disconnect": "networks:disconnect",
    "inspect": "inspecting:network", "ls": "networks:ls", "list": "networks:ls", "prune": "pruning:networks",
    "rm": "networks:rm", "remove": "networks:rm",
}  # fmt: skip

VOLUME = {
    "create": "volumes:create", "inspect": "inspecting:volume", "ls": "volumes:ls", "list": "volumes:ls",
    "prune": "pruning:volumes", "rm": "volumes:rm", "remove": "volumes:rm",
}  # fmt: skip

SYSTEM = {
    "df": "system:df", "dial-stdio": "system:dial_stdio", "events": "events:events", "info": "system:info",
    "prune": "pruning:system",
}  # fmt: skip

GROUPS = {
    "builder": {"build": "building:build", "prune": "pruning:builder"},
    "container": CONTAINER,
    "image": IMAGE,
    "network": NETWORK,
    "system": SYSTEM,
    "volume": VOLUME,
}

TOP = {
    **{word: CONTAINER[word] for word in (
        "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "ps", "pause", "port", "rename",
        "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait")},
    **{word: IMAGE[word] for word in ("build", "history", "import", "load", "pull", "push", "save", "tag")},
    "images": "images:images", "rmi": "images:rmi", "inspect": "inspecting:anything", "events": "events:events",
    "info": "system:info", "version": "system:version", "login": "login:login", "logout": "login:logout",
    "deploy": "deploying:deploy", "rollback": "deploying:rollback", "doctor": "doctor:doctor",
}  # fmt: skip
