"""What a person or a script types, session by session: each is run through docker's client and through onggi.

A line is split as a shell splits it. `<<TEXT` at the end is what comes on stdin; `#` begins a remark.
"""

SESSIONS: dict[str, str] = {
    "containers": r"""
create --name web -l com.example.tier=front -l a=b -p 127.0.0.1:18080:80 -e A=1 -e UNSET --hostname box -v data:/data --tmpfs /scratch busybox sleep 1000
start web
ps
ps -a
ps -q --no-trunc
ps -aq --format {{.Names}}
ps --format 'table {{.Names}}\t{{.Image}}\t{{.Label "com.example.tier"}}\t{{.Ports}}'
ps --format json
ps --format '{{json .}}'
ps --format '{{.Names}} {{.Size}}'
ps --format raw --size
ps -s
ps -n 1
ps -l --no-trunc
ps --filter name=web --filter status=running --format '{{.ID}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.State}}'
ps --filter bogus
ps --filter bogus=1
ps extra
container list --format '{{.Command}}'
port web
port web 80
port web 80/udp
port web 99
top web
top web -o pid,comm
exec web sh -c 'echo $A-$UNSET-$HOSTNAME; exit 5'
exec -i web cat <<typed
exec -e B=2 -w /tmp -u 1 web sh -c 'echo $B $PWD; id -u'
exec -t web true <<
exec -it web true <<
exec -d web true
exec web touch /made
exec web nope
exec web /etc
exec nope true
exec web
exec --bogus web true
diff web
rename web site
rename site site
rename site ''
pause site
pause site
ps --format '{{.Status}}'
exec site true
unpause site
unpause site
update --memory 64m --memory-swap 128m --cpus 0.5 --restart on-failure:3 site
update site
update --restart sometimes site
inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy}}' site
kill -s USR1 site
kill -s NOPE site
stats --no-stream --format '{{.Name}} {{.PIDs}}' site
stats --no-stream nope
stop -t 0 site nope
wait site
start site
restart -t 0 site
stop --time 0 site
logs site
commit -m message -a me -c 'CMD ["true"]' -c 'ENV X=1' site made:1
image inspect --format '{{.Config.Cmd}} {{.Comment}} {{.Author}}' made:1
rm site nope
rm -f nope
rm -f site
rmi made:1
volume rm data
""",
    "runs": r"""
run --rm busybox echo hello
run --rm busybox sh -c 'echo out; echo err >&2; exit 7'
run --rm -i busybox cat <<typed
run --rm -i -a stdout busybox cat <<typed
run --rm -a stderr busybox sh -c 'echo out; echo err >&2'
run --rm busybox nope
run --rm busybox /etc
run --rm busybox sh -c 'kill -9 $$'
run --rm -t busybox true
run -it --rm busybox true <<
run -d --name back --cidfile session-cid busybox sleep 1000
run -d --cidfile session-cid busybox true
run -d -a stdout busybox true
run -d --name back busybox true
run --rm --env-file /nonexistent busybox true
run --rm --label-file /nonexistent busybox true
run --rm -e = busybox true
run --rm --mount type=nope busybox true
run --rm --mount type=bind,source=/nonexistent,target=/x busybox true
run --rm --mount type=tmpfs,target=/x,bind-propagation=shared busybox true
run --rm --mount type=tmpfs,target=/x,tmpfs-size=nope busybox true
run --rm --mount type=tmpfs,destination=/x,tmpfs-size=1m busybox df -k /x
run --rm --mount type=volume,target=/x,readonly=perhaps busybox true
run --rm --mount target=/x,nonsense=1 busybox true
run --rm --mount type=bind,src=/tmp busybox true
run --rm -v /a:/b:/c:/d busybox true
run --rm -v :/b busybox true
run --rm --tmpfs /x:size=1m,mode=1770 busybox stat -c %a /x
run --rm -p nope:80 busybox true
run --rm -p 80:nope busybox true
run --rm -p 1.2.3:80:80 busybox true
run --rm -p 80:80/icmp busybox true
run --rm -p 9-8:80 busybox true
run --rm --expose nope busybox true
run --rm --network nope busybox true
run --rm --network a=b busybox true
run --rm --network name=bridge,alias=x busybox true
run --rm --network none --network host busybox true
run --rm --network bridge --network bridge busybox true
run --rm --network-alias x busybox true
run --rm --ip 1.2.3.4 busybox true
run --rm --ip nope busybox true
run --rm --mac-address nope busybox true
run --rm --gpus nope=1 busybox true
run --rm --gpus 1,1 busybox true
run --rm --device nope:nope:nope busybox true
run --rm --device /dev/nope busybox true
run --rm --device-read-bps nope busybox true
run --rm --device-read-bps /dev/zero:nope busybox true
run --rm --device-cgroup-rule nope busybox true
run --rm --blkio-weight-device /dev/zero:1 busybox true
run --rm --ulimit nofile=2:1 busybox true
run --rm --ulimit nope=1 busybox true
run --rm --ulimit nofile=64:128 busybox sh -c 'ulimit -n; ulimit -Hn'
run --rm --sysctl nope busybox true
run --rm --sysctl net.ipv4.ip_forward=0 busybox cat /proc/sys/net/ipv4/ip_forward
run --rm --add-host nope busybox true
run --rm --add-host here=10.1.2.3 busybox grep here /etc/hosts
run --rm --add-host here:nope busybox true
run --rm --dns nope busybox true
run --rm --dns-search ./. busybox true
run --rm --link a:b:c busybox true
run --rm --memory nope busybox true
run --rm --memory-swappiness 101 busybox true
run --rm --cpus nope busybox true
run --rm --cpus 0.0000000001 busybox true
run --rm --blkio-weight 70000 busybox true
run --rm --health-interval 5 busybox true
run --rm --health-interval 5x busybox true
run --rm --health-interval -1s --health-cmd true busybox true
run --rm --no-healthcheck --health-cmd true busybox true
run --rm --stop-timeout nope busybox true
run --rm --restart always busybox true
run --restart on-failure:x busybox true
run --restart :1 busybox true
run --rm --pid nope busybox true
run --rm --uts nope busybox true
run --rm --userns nope busybox true
run --rm --cgroupns nope busybox true
run --rm --ipc nope busybox true
run --rm --security-opt nope busybox true
run --rm --security-opt seccomp=/nonexistent busybox true
run --rm --security-opt systempaths=unconfined busybox sh -c 'test -s /proc/kcore || echo masked'
run --rm --log-driver none --log-opt a=b busybox true
run --rm --log-driver nope busybox true
run --rm --storage-opt nope busybox true
run --rm --label =x busybox true
run --rm --pull nope busybox true
run --rm --pull never nope true
run --rm -a nope busybox true
run --rm NOPE true
run --rm 'a b' true
run --rm --name 'a b' busybox true
run --rm --entrypoint echo busybox a b
run --rm --entrypoint '' busybox echo a
run --rm --init busybox sh -c 'test $$ -ne 1 && echo behind an init'
run --rm --init=false --read-only busybox touch /x
run --rm -w /made/here -u 1:2 --group-add 3 busybox sh -c 'pwd; id -u; id -G'
run --rm -h name --domainname example.org busybox hostname
run --rm --annotation a=b busybox true
run --rm --stop-signal NOPE busybox true
create --cidfile /nonexistent/x busybox
create NOPE
create --bogus busybox
start -a nope
start -ai nope other
attach nope
attach
logs back
logs --since nope back
logs --tail nope back
logs -n 1 -t --details --until 10s back
wait nope
rm -f back
""",
    "images": r"""
images
images -q
images --no-trunc
images --digests
images --format json
images --format '{{.Repository}}:{{.Tag}} {{.Size}} {{.VirtualSize}} {{.Containers}} {{.SharedSize}}'
images --format 'table {{.ID}}\t{{.Size}}'
images -q --format '{{.Tag}}'
images --format raw
images nope
images --filter dangling=true
images --filter nope=1
image ls --bogus
tag busybox copy:1
tag busybox COPY
tag busybox 'a@b'
tag nope copy:2
images copy --format '{{.Repository}} {{.Tag}}'
history busybox
history --format '{{json .}}' busybox
history -H=false --no-trunc busybox
history -q busybox
history nope
image inspect --format '{{.Id}} {{.RepoTags}} {{.Os}}/{{.Architecture}} {{.RootFS}}' busybox
image inspect --format '{{.Config.Env}} {{.Config.Cmd}} {{.Config.Labels}} {{.Config.Labels.x}}' busybox
image inspect nope
image inspect --format '{{.Nope}}' busybox
save nope
save -o /nonexistent/x busybox
save -o /tmp busybox
load -i /nonexistent
load --bogus
import /nonexistent
import - NOPE <<x
pull NOPE
pull -a busybox:1
push NOPE
push nope
search
rmi copy:1 nope
rmi -f nope
rmi
image prune <<n
image prune -a <<n
image prune -f
""",
    "networks": r"""
network ls
network ls -q
network ls --no-trunc --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv4}} {{.IPv6}} {{.Internal}}'
network ls --format json --filter name=bridge
network ls --filter driver=nope
network create front --subnet 10.251.7.0/24 --ip-range 10.251.7.128/25 --gateway 10.251.7.1 --aux-address a=10.251.7.2 --label x=y -o com.docker.network.driver.mtu=1400
network inspect --format '{{.IPAM}} {{.IPAM.Config}} {{.Labels}} {{.Internal}} {{.Options}}' front
network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{.IPRange}}{{end}}' front
network inspect --format '{{.Nope}}' front
network inspect nope
network create front
network create --subnet nope other
network create --subnet 10.251.8.0/24 --gateway 10.9.9.9 other
network create --gateway 10.251.8.1 other
network create --subnet 10.251.8.0/24 --subnet 10.251.8.0/25 other
network create --subnet 10.251.8.0/24 --aux-address a=10.9.9.9 other
network create -d nope other
network create --label =x other
network create
run -d --name member --network front --network-alias alias --ip 10.251.7.9 busybox sleep 1000
inspect --format '{{range $name, $e := .NetworkSettings.Networks}}{{$name}} {{$e.IPAddress}} {{json $e.Aliases}}{{end}}' member
network connect --alias second --ip nope bridge member
network connect nope member
network connect bridge nope
network connect bridge member
network disconnect bridge member
network disconnect bridge member
network disconnect -f nope member
network rm front
rm -f member
network rm front nope
network rm -f nope
network rm bridge
network prune <<n
network prune -f
""",
    "volumes": r"""
volume create one --label a=b
volume create one
volume create -d nope two
volume create --label =x two
volume create 'a b'
volume ls
volume ls -q
volume ls --format json
volume ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label "a"}} {{.Links}} {{.Size}}'
volume ls --filter nope
volume ls --filter name=one -q
volume ls --cluster
volume inspect --format '{{.Name}} {{.Driver}} {{.Labels}} {{.Options}} {{.Scope}} {{.UsageData}}' one
volume inspect one nope --format '{{.Name}}'
volume inspect nope
volume update one
volume rm nope one
volume rm -f nope
volume prune <<n
volume prune -a --filter all=1
volume prune -f
volume create --type mount --group g cluster
volume rm cluster
""",
    "system": r"""
version --format '{{.Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Arch}}'
version --format '{{.Server.Nope}}'
version --format '{{.Nope}}'
version --format '{{'
version extra
info --format '{{.OSType}} {{.NCPU}} {{.Driver}} {{.Swarm.LocalNodeState}}'
info --format '{{json .SecurityOptions}} {{.Nope}}'
info --format '{{'
system df
system df -v
system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'
system df --format json
system prune <<n
system prune --volumes --filter until=1h
system prune -a --volumes --filter label=x <<n
container prune <<n
container prune -f --filter nope=1
events --since 1h --until 0s --format '{{.Nope}}'
events --since nope
inspect nope
inspect --type nope busybox
inspect --type container nope
inspect busybox nope --format '{{.Id}}'
inspect --format '{{' busybox
inspect -s busybox --format '{{.Os}}'
node ls
node inspect self
service ls
service rm x
service scale x=1
stack ls
stack deploy x
swarm init
swarm join-token worker
swarm leave
swarm unlock-key
secret ls
config inspect x
plugin ls
plugin inspect x
plugin rm x
plugin install x
login <<
login -u me
login --password-stdin
login -u me -p '' localhost:1
logout localhost:1
logout
context ls --format '{{.Name}} {{.Current}}'
context show
context use nope
context inspect nope
context create x
context create 'a b' --docker host=tcp://x:1
context rm default
cp
cp a b
cp nope:/x /tmp
run --help=false
""",
    "files": r"""
run -d --name box -v data:/data busybox sh -c 'mkdir -p /d/sub; echo one > /d/file; ln -s file /d/link; ln -s /d/sub /d/dirlink; echo line; echo error >&2; sleep 1000'
exec box sh -c 'while [ ! -e /d/dirlink ]; do sleep 0.05; done'
cp box:/d out
cp box:/d out
cp box:/d/. flat
cp box:/d/file renamed
cp box:/d/file out/
cp box:/d/file nowhere/
cp box:/d/file nowhere/x
cp box:/d/link aslink
cp -L box:/d/link asfile
cp -L box:/d/dirlink followed
cp -a box:/d/file archived
cp box:/nope x
cp box:/d renamed
cp nope:/x x
cp renamed box:/d/new
cp renamed box:/d/sub
cp renamed box:/d/sub/
cp renamed box:/d/none/x
cp renamed/x box:/d
cp out box:/fresh
cp out/. box:/fresh2
cp -q renamed box:/tmp/quiet
cp missing box:/
cp box:/d box:/e
cp - box:/tmp <<no tar
cp - box:/nope <<
cp renamed box:/data/in
exec box sh -c 'find /d /fresh /fresh2 /tmp/quiet /data -type f | sort; cat /d/new'
diff box
logs box
logs -n 0 box
logs --tail 1 --timestamps box
logs --until 1h box
logs --since 2100-01-01 box
logs --since 2020-01-01T00:00:00Z --until 2020-01-02 box
export -o exported.tar box
export -o /nonexistent/x box
export nope
import exported.tar again:1
import -c 'CMD ["sh"]' -m imported exported.tar again:2
image inspect --format '{{.Config.Cmd}} {{.Comment}}' again:2
save -o saved.tar again:1 again:2
rmi again:1 again:2
load -i saved.tar
load -q -i saved.tar
rmi again:1 again:2
commit box BAD
commit nope
commit --pause=false box made:2
history --format '{{.Comment}}' made:2
rmi made:2
stop -t 0 box
cp box:/d/file stopped
cp renamed box:/d/late
start box
exec box cat /d/late
top box -o comm
stats --no-stream --format 'table {{.Name}}\t{{.PIDs}}' box
wait nope box2
rm -fv box
volume rm data
""",
}
"""Name of a session → its lines."""
