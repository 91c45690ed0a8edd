# Shared by the scripts that run a private engine. Sourced, not run.
#
# A private engine lives in one folder, ROOT:
#   data/ exec/        its data-root and exec-root
#   davit.sock         where it listens
#   davitd.pid .log    the engine
#   registry/ registry.addr registry.pid registry.log   the registry beside it
# Its bridge and its cgroups bear a name made from the folder's path, so any
# number of engines run side by side.

die() { echo "${0##*/}: $*" >&2; exit 1; }

# root_of ARG: the absolute path of ROOT, or a message.
root_of() {
  [[ -n ${1:-} ]] || die "which folder? For example: make ${verb:-up} ROOT=/tmp/davit"
  realpath -m -- "$1"
}

need_root() { [[ $(id -u) == 0 ]] || die "an engine needs root; try: sudo make ${verb:-up} ROOT=${1:-dir}"; }

# tag_of ROOT: ten hex digits that stand for the folder.
tag_of() { printf %s "$1" | sha256sum | cut -c1-10; }

# bridge_of ROOT: at most 15 characters, the kernel's limit.
bridge_of() { echo "dv$(tag_of "$1")"; }

# alive PIDFILE PROGRAM: prints the pid if that very program runs under it; a
# pid that was given to another program meanwhile is not ours.
alive() {
  local pid comm
  pid=$(cat "$1" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  comm=$(cat "/proc/$pid/comm" 2>/dev/null) || return 1
  [[ $comm == "${2:0:15}" ]] && echo "$pid"
}

# wait_until SECONDS CMD...: polls until CMD succeeds.
wait_until() {
  local end=$((SECONDS + $1)); shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.02
  done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# end PID SECONDS: asks a process to end, insists after SECONDS, waits for it.
end() {
  kill -TERM "$1" 2>/dev/null || return 0
  wait_until "$2" gone "$1" && return 0
  kill -KILL "$1" 2>/dev/null || return 0
  wait_until 5 gone "$1"
}
