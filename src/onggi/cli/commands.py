"""The commands: words → where the code is. Nothing of a command is imported before it is chosen.

An entry is `module:function`; the function's module has its flags and usage beside it (see Command in main.py). In a
group the first word of an entry is its name, further words for the same entry are its aliases.
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
    "prune": "pruning:volumes", "rm": "volumes:rm", "remove": "volumes:rm", "update": "volumes:update",
}  # fmt: skip

SYSTEM = {
    "df": "diskusage:df", "dial-stdio": "dialing:dial_stdio", "events": "events:events", "info": "system:info",
    "prune": "pruning:system",
}  # fmt: skip

CONTEXT = {
    "create": "contexting:create", "export": "contexting:export", "import": "contexting:import", "inspect": "contexting:inspect",
    "ls": "contexting:ls", "list": "contexting:ls", "rm": "contexting:rm", "remove": "contexting:rm", "show": "contexting:show",
    "update": "contexting:update", "use": "contexting:use",
}  # fmt: skip


def _all(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


def _swarm(group: str, *names: str) -> dict[str, str]:
    """Names of the group's commands; `rm=remove` gives an alias."""
    return {word: f"swarm:{group} {name.partition('=')[0]}" for name in names for word in name.split("=")}


GROUPS = {
    "builder": {"build": "building:build", "prune": "pruning:builder"},
    "checkpoint": {**_all("checkpoints", "create", "ls", "rm"), "list": "checkpoints:ls", "remove": "checkpoints:rm"},
    "completion": _all("completion", "bash", "fish", "powershell", "zsh"),
    "config": _swarm("config", "create", "inspect", "ls=list", "rm=remove"),
    "container": CONTAINER,
    "context": CONTEXT,
    "image": IMAGE,
    "manifest": _all("manifests", "annotate", "create", "inspect", "push", "rm"),
    "network": NETWORK,
    "node": _swarm("node", "demote", "inspect", "ls=list", "promote", "ps", "rm=remove", "update"),
    "plugin": {
        **_all("engineplugins", "create", "disable", "enable", "inspect", "install", "ls", "push", "rm", "set", "upgrade"),
        "list": "engineplugins:ls", "remove": "engineplugins:rm",
    },
    "secret": _swarm("secret", "create", "inspect", "ls=list", "rm=remove"),
    "service": _swarm("service", "create", "inspect", "logs", "ls=list", "ps", "rm=remove", "rollback", "scale", "update"),
    "stack": _swarm("stack", "config", "deploy=up", "ls=list", "ps", "rm=remove=down", "services"),
    "swarm": _swarm("swarm", "ca", "init", "join", "join-token", "leave", "unlock", "unlock-key", "update"),
    "system": SYSTEM,
    "volume": VOLUME,
}  # fmt: skip

TOP = {
    **{word: CONTAINER[word] for word in (
        "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "ps", "pause", "port", "rename",
        "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait")},
    **{word: IMAGE[word] for word in ("build", "history", "import", "load", "pull", "push", "save", "tag")},
    "images": "images:images", "rmi": "images:rmi", "inspect": "inspecting:anything", "events": "events:events",
    "info": "system:info", "version": "system:version", "login": "login:login", "logout": "login:logout",
    "search": "searching:search", "deploy": "deploying:deploy", "rollback": "deploying:rollback",
    "recreate": "recreating:recreate", "debug": "debugging:debug", "doctor": "doctor:doctor",
}  # fmt: skip
