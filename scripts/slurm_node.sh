#!/usr/bin/env bash
# A real Slurm cluster of one node on a development or CI machine (Debian or Ubuntu, as root):
#   export SLURM_CONF=$(scripts/slurm_node.sh start)   # then sinfo, sbatch, hydra/launcher=slurm
#   scripts/slurm_node.sh stop
# All its state lies in one folder and its ports are its own: no file of another Slurm is touched.
set -euo pipefail

state=${TSDTP_SLURM_DIR:-${TMPDIR:-/tmp}/tsdtp-slurm}
export SLURM_CONF=$state/slurm.conf
host=$(hostname -s 2>/dev/null || uname -n)
mark="# tsdtp slurm_node.sh"

say() { echo "slurm_node.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

install_packages() {
  command -v slurmctld slurmd sinfo munged >/dev/null && return
  command -v apt-get >/dev/null || fail "no slurmctld, slurmd, sinfo and munged, and no apt-get"
  say "installing slurm-wlm and munge"
  local log=$state/apt.log
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; fail "apt-get could not install slurm-wlm and munge"; }
}

# Containers often do not know their own name, and Slurm's daemons look it up.
make_host_known() {
  getent hosts "$host" >/dev/null || echo "127.0.0.1 $host $mark" >>/etc/hosts
}

# In place: a container's /etc/hosts is a mount and cannot be replaced.
forget_host() {
  grep -qF "$mark" /etc/hosts || return 0
  local rest
  rest=$(grep -vF "$mark" /etc/hosts || true)
  echo "$rest" >/etc/hosts
}

write_config() {
  # What this machine has, in Slurm's own words: CPUs, their layout and RealMemory.
  local node
  node=$(slurmd -C | head -n 1 | sed 's/^NodeName=[^ ]* //')
  [[ $node == *CPUs=*RealMemory=* ]] || fail "slurmd -C does not say what this machine has: $node"
  # A container may not manage cgroups; before 23.11 nothing below asks for any.
  local version
  version=$(slurmd -V | grep -o '[0-9.]*$')
  [[ $(printf '%s\n' 23.11 "$version" | sort -V | head -n 1) != 23.11 ]] ||
    echo "CgroupPlugin=disabled" >"$state/cgroup.conf"
  cat >"$SLURM_CONF" <<END
ClusterName=tsdtp
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 $node
PartitionName=tsdtp Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

start_daemons() {
  head -c 1024 /dev/urandom >"$state/munge.key"
  # --force: the daemon runs as root, in a folder below one that all may write to.
  munged --force --key-file="$state/munge.key" --socket="$state/munge.socket" \
    --pid-file="$state/munged.pid" --log-file="$state/munged.log" \
    --seed-file="$state/munge.seed" 2>>"$state/munged.err" || return
  slurmctld -c && slurmd
}

node_is() { [[ -f $SLURM_CONF && $(timeout 5 sinfo --noheader --format=%T 2>/dev/null) =~ ^($1)$ ]]; }

wait_until_idle() {
  for _ in {1..60}; do
    node_is idle && return
    sleep 0.5
  done
  say "the node is not idle after 30 seconds: $(timeout 5 sinfo --format='%T %E' 2>&1 | tail -n 1)"
  return 1
}

start() {
  # A node at work is up as well: its jobs are not ours to end.
  if node_is 'idle|mixed|allocated|completing'; then echo "$SLURM_CONF"; return; fi
  stop
  mkdir -p "$state"/{ctld,spool}
  chmod 755 "$state"
  (umask 077; : >"$state/munge.key")
  install_packages
  make_host_known
  write_config
  if ! { start_daemons && wait_until_idle; } >&2; then
    tail -n 5 "$state"/{munged,slurmctld,slurmd}.log >&2 || true
    stop
    fail "could not start; the last lines of the logs are above"
  fi
  say "node $host is idle"
  echo "$SLURM_CONF"
}

stop_daemon() {
  local pid
  pid=$(cat "$state/$1.pid" 2>/dev/null) || return 0
  # The file may outlive its process and the number belong to another by now.
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]] || return 0
  kill "$pid"
  for _ in {1..50}; do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  kill -9 "$pid"
}

stop() {
  [[ ! -f $state/slurmctld.pid ]] || timeout 10 scancel --partition=tsdtp 2>/dev/null || true
  for daemon in slurmd slurmctld munged; do stop_daemon "$daemon"; done
  rm -rf "$state"
  forget_host
}

[[ ${1:-} == start || ${1:-} == stop ]] || fail "usage: slurm_node.sh {start|stop}"
[[ $(id -u) == 0 ]] || fail "needs root: it installs packages and starts daemons"
"$1"
