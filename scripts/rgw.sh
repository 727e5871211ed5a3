#!/usr/bin/env bash
# Run a command against a real S3 server: Ceph RGW in a temporary folder, on 127.0.0.1 only.
#
#   scripts/rgw.sh -- .venv/bin/python -m pytest -m "s3 or rgw" tests/store
#
# Installs the Debian packages when they are absent (needs root). The command sees AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION, ECGTWIN_TEST_S3_ENDPOINT and
# ECGTWIN_TEST_S3_BUCKET (a bucket that exists). Everything is in memory and gone afterwards.
# PYTHON names an interpreter that has boto3 (default .venv/bin/python).
set -euo pipefail

die() { echo "rgw.sh: $*" >&2; exit 2; }

[[ ${1:-} == -- && $# -ge 2 ]] || die "usage: scripts/rgw.sh -- COMMAND [ARGUMENT...]"
shift

PACKAGES=(ceph-mon ceph-osd radosgw)

install_packages() {
  command -v ceph-mon ceph-osd radosgw radosgw-admin >/dev/null && return
  command -v apt-get >/dev/null || die "needs ${PACKAGES[*]}; install them (no apt-get here)"
  [[ $(id -u) == 0 ]] || die "needs ${PACKAGES[*]}: run as root once, or 'apt-get install ${PACKAGES[*]}'"
  echo "rgw.sh: installing ${PACKAGES[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends "${PACKAGES[@]}" >"$FOLDER/apt.log" 2>&1 ||
    { apt-get update -q >>"$FOLDER/apt.log" 2>&1 &&
      apt-get install -y -q --no-install-recommends "${PACKAGES[@]}" >>"$FOLDER/apt.log" 2>&1; } ||
    { tail -5 "$FOLDER/apt.log" >&2; die "could not install ${PACKAGES[*]}"; }
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

PIDS=()

stop() {
  local status=$?
  trap - EXIT
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  for _ in {1..50}; do
    local alive=0
    for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null && alive=1; done
    ((alive)) || break
    sleep 0.1
  done
  for pid in "${PIDS[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$FOLDER"
  exit "$status"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds
wait_for() {
  local seconds=$1 what=$2
  shift 2
  for ((tries = 0; tries < seconds * 4; tries++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.25
  done
  tail -n 5 "$FOLDER"/*.log >&2 || true
  die "$what did not start within $seconds s"
}

write_configuration() {
  cat >"$CONF" <<EOF
[global]
fsid = $FSID
mon host = v2:127.0.0.1:$MON_PORT
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $FOLDER/keyring
run dir = $FOLDER
admin socket = $FOLDER/\$name.asok
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
osd pool default pg autoscale mode = off
mon max pg per osd = 2000
mon allow pool delete = true
mon allow pool size one = true
[mon.a]
mon data = $FOLDER/mon
mon data avail crit = 1
[osd.0]
osd data = $FOLDER/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd heartbeat grace = 600
[client.rgw.a]
rgw data = $FOLDER/rgw
rgw frontends = beast endpoint=127.0.0.1:$RGW_PORT
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
EOF
}

write_keys() {
  ceph-authtool --create-keyring "$FOLDER/keyring" --gen-key -n mon. --cap mon 'allow *'
  ceph-authtool "$FOLDER/keyring" --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  ceph-authtool "$FOLDER/keyring" --gen-key -n client.rgw.a \
    --cap mon 'allow rw' --cap osd 'allow rwx'
  ceph-authtool --create-keyring "$FOLDER/osd/keyring" --gen-key -n osd.0 \
    --cap mon 'allow profile osd' --cap osd 'allow *'
  ceph-authtool "$FOLDER/keyring" --import-keyring "$FOLDER/osd/keyring"
}

# start NAME COMMAND...: run in the background, log to NAME.log, remember the pid
start() {
  local name=$1
  shift
  "$@" >"$FOLDER/$name.log" 2>&1 &
  PIDS+=($!)
}

start_cluster() {
  mkdir -p "$FOLDER"/{mon,osd,rgw}
  write_configuration
  write_keys >/dev/null
  monmaptool --create --fsid "$FSID" --addv a "v2:127.0.0.1:$MON_PORT" "$FOLDER/monmap" >/dev/null
  ceph-mon -c "$CONF" --mkfs -i a --monmap "$FOLDER/monmap" --keyring "$FOLDER/keyring"
  start mon ceph-mon -c "$CONF" -i a -d
  wait_for 30 "ceph-mon" timeout 5 ceph -c "$CONF" mon stat
  # The monitor ignores an osd that boots with another uuid than it was announced with.
  local osd_uuid
  osd_uuid=$(cat /proc/sys/kernel/random/uuid)
  ceph -c "$CONF" osd new "$osd_uuid" 0 >/dev/null 2>&1
  ceph-osd -c "$CONF" -i 0 --mkfs --osd-uuid "$osd_uuid" >"$FOLDER/osd-mkfs.log" 2>&1
  start osd ceph-osd -c "$CONF" -i 0 -d
  wait_for 30 "ceph-osd" sh -c "timeout 5 ceph -c '$CONF' osd stat | grep -q '1 up'"
  start rgw radosgw -c "$CONF" -n client.rgw.a -d
  wait_for 60 "radosgw" python3 -c "import urllib.request as r; r.urlopen('$ENDPOINT', timeout=2)"
}

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/ecgtwin-rgw.XXXXXX")
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
CONF=$FOLDER/ceph.conf
FSID=$(cat /proc/sys/kernel/random/uuid)
MON_PORT=$(free_port)
RGW_PORT=$(free_port)
ENDPOINT=http://127.0.0.1:$RGW_PORT

install_packages
start_cluster

export AWS_ACCESS_KEY_ID=ecgtwin-test AWS_SECRET_ACCESS_KEY=ecgtwin-test-secret
export AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=$ENDPOINT
export ECGTWIN_TEST_S3_ENDPOINT=$ENDPOINT
radosgw-admin -c "$CONF" -n client.rgw.a user create --uid=ecgtwin --display-name=ecgtwin \
  --access-key="$AWS_ACCESS_KEY_ID" --secret="$AWS_SECRET_ACCESS_KEY" >"$FOLDER/user.log" 2>&1 ||
  { tail -5 "$FOLDER/user.log" >&2; die "could not create a user"; }
export ECGTWIN_TEST_S3_BUCKET=ecgtwin-test
"${PYTHON:-.venv/bin/python}" -c \
  "import boto3; boto3.client('s3').create_bucket(Bucket='$ECGTWIN_TEST_S3_BUCKET')"
echo "rgw.sh: Ceph RGW at $ENDPOINT after $SECONDS s" >&2

"$@"
