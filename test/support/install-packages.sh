#!/bin/sh
# Installs the Debian packages that the integration tests use, where that is possible. Where it is
# not, says which are missing; the tests that need them are skipped with the reason.
set -u
wanted="iproute2 nftables conntrack openssl procps tcpdump tshark samba
  golang-go netcat-openbsd python3 util-linux bsdutils nginx-light apache2-bin
  openvpn gnutls-bin haproxy varnish libnginx-mod-stream socat"

missing=""
for package in $wanted; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests that need these Debian packages will be skipped:$missing" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# Some of these are servers. The tests start their own; nothing here is to listen, now or after a boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
apt-get update -qq || echo "the package lists could not be renewed" >&2
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
  echo "these Debian packages could not be installed:$missing" >&2
}
case "$missing " in
  *" samba "*) systemctl disable --quiet smbd nmbd samba-ad-dc 2>/dev/null || true ;;
esac
case "$missing " in
  *" openvpn "*) systemctl disable --quiet openvpn 2>/dev/null || true ;;
esac
case "$missing " in
  *" nginx-light "*) systemctl disable --quiet nginx 2>/dev/null || true ;;
esac
case "$missing " in
  *" haproxy "*) systemctl disable --quiet haproxy 2>/dev/null || true ;;
esac
case "$missing " in
  *" varnish "*) systemctl disable --quiet varnish varnishncsa 2>/dev/null || true ;;
esac
