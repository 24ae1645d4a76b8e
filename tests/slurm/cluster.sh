#!/usr/bin/env bash
# A real Slurm on the loopback of this machine, for tests: munged, slurmctld and one slurmd, all state in one folder.
#
#     apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
#     tests/slurm/cluster.sh start /tmp/cluster    # then: . /tmp/cluster/environment; sinfo
#     tests/slurm/cluster.sh stop /tmp/cluster
#
# No accounting database, no cgroups: what a container has. Nothing outside the folder is written; the ports are free
# ones, bound to the loopback.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
PATH=$PATH:/usr/sbin

start() {
    mkdir -p "$folder"/{bin,munge,state,spool}
    chmod -R go-w "$folder" && chmod 700 "$folder/munge"
    head -c 64 /dev/urandom > "$folder/munge/key" && chmod 600 "$folder/munge/key"
    read -r controller daemon < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])')
    cat > "$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$controller
SlurmdPort=$daemon
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=86400
ReturnToService=2
EnforcePartLimits=ALL
SlurmdTimeout=300
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=$(hostname -s) CPUs=$(env -u OMP_NUM_THREADS nproc) RealMemory=$(
        awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
    # Snakemake's job step drops SLURM_CONF from the environment of srun.
    printf '#!/bin/sh\nSLURM_CONF=%q exec /usr/bin/srun "$@"\n' "$folder/slurm.conf" > "$folder/bin/srun"
    chmod +x "$folder/bin/srun"
    printf 'export SLURM_CONF=%q PATH=%q:"$PATH"\n' "$folder/slurm.conf" "$folder/bin" > "$folder/environment"

    # shellcheck source=/dev/null
    . "$folder/environment"
    munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge/seed"
    slurmctld -c
    slurmd -N localhost
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then
            return
        fi
        sleep 0.5
    done
    echo "Slurm did not come up; see $folder/*.log" >&2
    tail -n 5 "$folder"/*.log >&2
    return 1
}

end() {  # a process, gently at first
    for signal in TERM KILL; do
        kill "-$signal" "$1" 2> /dev/null || return 0
        for _ in $(seq 20); do
            case $(ps -o stat= -p "$1") in "" | Z*) return ;; esac
            sleep 0.5
        done
    done
}

stop() {
    # shellcheck source=/dev/null
    . "$folder/environment" && timeout 10 scancel --user="$(id -un)" || true
    for name in slurmd slurmctld munged; do
        if [ -s "$folder/$name.pid" ]; then
            end "$(cat "$folder/$name.pid")"
        fi
    done
}

case $action in
    start) start || { stop; exit 1; } ;;
    stop) stop ;;
    *) echo "usage: $0 start|stop FOLDER" >&2; exit 2 ;;
esac
