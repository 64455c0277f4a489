"""Swarm's commands: one paragraph each, its first line `command | call | usage | help | least most words`, then its flags.

An empty call asks the engine nothing. The flags of `service create` and `service update` are in servicewords.py.
"""

TABLE = """
config create | POST /configs/create | [OPTIONS] CONFIG file|- | Create a config from a file or stdin | 2 2
-l --label list  Label (name=value)
   --template-driver string  Template driver

config inspect | GET /configs/{} | [OPTIONS] CONFIG [CONFIG...] | Show one or more configs in detail | 1 -1
-f --format string  Print each one with a Go template, or table or json
   --pretty bool  Print for people to read

config ls | GET /configs | [OPTIONS] | List configs | 0 0
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
-q --quiet bool  Print ids only

config rm | DELETE /configs/{} | CONFIG [CONFIG...] | Remove one or more configs | 1 -1

node demote | GET /nodes/{} | NODE [NODE...] | Make managers of the swarm plain workers | 1 -1

node inspect | GET /nodes/{} | [OPTIONS] self|NODE [NODE...] | Show one or more nodes in detail | 1 -1
-f --format string  Print each one with a Go template, or table or json
   --pretty bool  Print for people to read

node ls | GET /nodes | [OPTIONS] | List nodes of the swarm | 0 0
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
-q --quiet bool  Print ids only

node promote | GET /nodes/{} | NODE [NODE...] | Make nodes managers of the swarm | 1 -1

node ps | GET /tasks | [OPTIONS] [NODE...] | List tasks on one or more nodes | 0 -1
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
   --no-resolve bool  Show ids in place of names
   --no-trunc bool  Don't cut ids and texts
-q --quiet bool  Print ids only

node rm | DELETE /nodes/{} | [OPTIONS] NODE [NODE...] | Remove one or more nodes from the swarm | 1 -1
-f --force bool  Even if something speaks against it

node update | GET /nodes/{} | [OPTIONS] NODE | Change a node | 1 1
   --availability string  Availability
   --label-add list  Add: Label
   --label-rm list  Remove: Label
   --role string  Role

secret create | POST /secrets/create | [OPTIONS] SECRET [file|-] | Create a secret from a file or stdin | 1 2
-d --driver string  Driver
-l --label list  Label (name=value)
   --template-driver string  Template driver

secret inspect | GET /secrets/{} | [OPTIONS] SECRET [SECRET...] | Show one or more secrets in detail | 1 -1
-f --format string  Print each one with a Go template, or table or json
   --pretty bool  Print for people to read

secret ls | GET /secrets | [OPTIONS] | List secrets | 0 0
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
-q --quiet bool  Print ids only

secret rm | DELETE /secrets/{} | SECRET [SECRET...] | Remove one or more secrets | 1 -1

service create | POST /services/create | [OPTIONS] IMAGE [COMMAND] [ARG...] | Create a service | 1 -1

service inspect | GET /services/{} | [OPTIONS] SERVICE [SERVICE...] | Show one or more services in detail | 1 -1
-f --format string  Print each one with a Go template, or table or json
   --pretty bool  Print for people to read

service logs | GET /services/{} | [OPTIONS] SERVICE|TASK | Fetch the logs of a service or task | 1 1
   --details bool  Details
-f --follow bool  Follow
   --no-resolve bool  Show ids in place of names
   --no-task-ids bool  No task ids
   --no-trunc bool  Don't cut ids and texts
   --raw bool  Raw
   --since string  Since
-n --tail string=all  Tail
-t --timestamps bool  Timestamps

service ls | GET /services | [OPTIONS] | List services | 0 0
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
-q --quiet bool  Print ids only

service ps | GET /services | [OPTIONS] SERVICE [SERVICE...] | List the tasks of one or more services | 1 -1
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
   --no-resolve bool  Show ids in place of names
   --no-trunc bool  Don't cut ids and texts
-q --quiet bool  Print ids only

service rm | DELETE /services/{} | SERVICE [SERVICE...] | Remove one or more services | 1 -1

service rollback | GET /services/{} | [OPTIONS] SERVICE | Undo the last change of a service | 1 1
-d --detach bool  Return at once
-q --quiet bool  Print ids only

service scale | GET /services/{} | SERVICE=REPLICAS [SERVICE=REPLICAS...] | Change the number of tasks of services | 1 -1
-d --detach bool  Return at once

service update | GET /services/{} | [OPTIONS] SERVICE | Change a service | 1 1

stack config |  | [OPTIONS] | Print the merged and completed Compose files | 0 0
-c --compose-file strings  Compose file
   --skip-interpolation bool  Skip interpolation

stack deploy | POST /services/create | [OPTIONS] STACK | Deploy a stack, or bring it up to date | 1 1
-c --compose-file strings  Compose file
-d --detach bool=true  Return at once
   --prune bool  Prune
-q --quiet bool  Print ids only
   --resolve-image string=always  Resolve image
   --with-registry-auth bool  With registry auth

stack ls | GET /services | [OPTIONS] | List stacks | 0 0
   --format string  Print each one with a Go template, or table or json

stack ps | GET /tasks | [OPTIONS] STACK | List the tasks of a stack | 1 1
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
   --no-resolve bool  Show ids in place of names
   --no-trunc bool  Don't cut ids and texts
-q --quiet bool  Print ids only

stack rm | GET /services | [OPTIONS] STACK [STACK...] | Remove one or more stacks | 1 -1
-d --detach bool=true  Return at once

stack services | GET /services | [OPTIONS] STACK | List the services of a stack | 1 1
-f --filter filter:filter  Show only what matches (name=value)
   --format string  Print each one with a Go template, or table or json
-q --quiet bool  Print ids only

swarm ca | GET /swarm | [OPTIONS] | Show or rotate the swarm's root authority | 0 0
   --ca-cert pem-file  Ca cert
   --ca-key pem-file  Ca key
   --cert-expiry duration=2160h0m0s  Cert expiry
-d --detach bool  Return at once
   --external-ca external-ca  External ca
-q --quiet bool  Print ids only
   --rotate bool  Rotate

swarm init | POST /swarm/init | [OPTIONS] | Begin a swarm | 0 0
   --advertise-addr string  Advertise addr
   --autolock bool  Autolock
   --availability string=active  Availability
   --cert-expiry duration=2160h0m0s  Cert expiry
   --data-path-addr string  Data path addr
   --data-path-port uint32  Data path port
   --default-addr-pool ipNetSlice  Default addr pool
   --default-addr-pool-mask-length uint32=24  Default addr pool mask length
   --dispatcher-heartbeat duration=5s  Dispatcher heartbeat
   --external-ca external-ca  External ca
   --force-new-cluster bool  Force new cluster
   --listen-addr node-addr=0.0.0.0:2377  Listen addr
   --max-snapshots uint  Max snapshots
   --snapshot-interval uint=10000  Snapshot interval
   --task-history-limit int=5  Task history limit

swarm join | POST /swarm/join | [OPTIONS] HOST:PORT | Join a swarm as worker or manager | 1 1
   --advertise-addr string  Advertise addr
   --availability string=active  Availability
   --data-path-addr string  Data path addr
   --listen-addr node-addr=0.0.0.0:2377  Listen addr
   --token string  Token

swarm join-token | GET /swarm | [OPTIONS] (worker|manager) | Show or renew what lets nodes join | 1 1
-q --quiet bool  Print ids only
   --rotate bool  Rotate

swarm leave | POST /swarm/leave | [OPTIONS] | Leave the swarm | 0 0
-f --force bool  Even if something speaks against it

swarm unlock | POST /swarm/unlock |  | Unlock a manager | 0 0

swarm unlock-key | GET /swarm/unlockkey | [OPTIONS] | Show or renew the key that unlocks managers | 0 0
-q --quiet bool  Print ids only
   --rotate bool  Rotate

swarm update | GET /swarm | [OPTIONS] | Change the swarm | 0 0
   --autolock bool  Autolock
   --cert-expiry duration=2160h0m0s  Cert expiry
   --dispatcher-heartbeat duration=5s  Dispatcher heartbeat
   --external-ca external-ca  External ca
   --max-snapshots uint  Max snapshots
   --snapshot-interval uint=10000  Snapshot interval
   --task-history-limit int=5  Task history limit
"""
