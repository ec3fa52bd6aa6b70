/**
 * The syntax of OpenVPN's options files: an option a line, words in quotes, comments, and files that
 * stand in the file itself between `<ca>` and `</ca>`. What the options mean it does not know, only
 * which ones there are.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';

/** One option as it was written. */
export interface OpenvpnOption {
  readonly name: string;
  readonly words: readonly string[];
  /** What stands between `<name>` and `</name>`, if it was written so. */
  readonly inline?: string;
  /** `file:line`, for errors. */
  readonly place: string;
}

const LONGEST_FILE = 1_048_576;

/** Options that say how a VPN carries traffic or how its program runs; nothing here depends on them. */
const OTHERS = new Set(
  `allow-compression allow-deprecated-insecure-static-crypto allow-nonadmin allow-pull-fqdn
  allow-recursive-routing auth-gen-token auth-nocache auth-retry auth-token auth-token-user
  bcast-buffers bind bind-dev block-ipv6 block-outside-dns capath cd chroot client-nat
  comp-noadapt compat-mode compat-names connect-freq connect-retry connect-retry-max
  connect-timeout daemon dev-node dh dhcp-internal dhcp-option dhcp-pre-release dhcp-release
  dhcp-renew disable-dco disable-occ dns dns-updown down down-pre duplicate-cn ecdh-curve echo
  engine errors-to-stderr fast-io float force-tls-key-material-export group hash-size
  http-proxy-option http-proxy-override http-proxy-retry http-proxy-timeout http-proxy-user-pass
  ifconfig ifconfig-ipv6 ifconfig-noexec ifconfig-nowarn ignore-unknown-option inactive ip-win32
  ipchange iproute key-method keying-material-exporter keysize link-mtu lladdr log log-append
  machine-readable-output management management-client management-hold management-log-cache
  management-query-passwords management-signal management-up-down mark max-packet-size
  max-routes mktun mlock mssfix mtu-disc mtu-test multihome mute mute-replay-warnings
  ncp-disable nice nobind opt-verify parameter passtos pause-exit persist-key persist-local-ip
  persist-remote-ip persist-tun ping-timer-rem plugin preresolve prng proto-force providers
  pull-filter push-peer-info rcvbuf rdns-internal redirect-gateway redirect-private register-dns
  remap-usr1 remote-random remote-random-hostname reneg-bytes reneg-pkts replay-persist
  replay-window resolv-retry route route-delay route-gateway route-ipv6 route-ipv6-gateway
  route-method route-metric route-noexec route-nopull route-pre-down route-table route-up
  script-security server-poll-timeout service session-timeout setcon setenv setenv-safe shaper
  show-net-up single-session sndbuf socket-flags socks-proxy-retry status status-version
  suppress-timestamps syslog tap-sleep tcp-nodelay tcp-queue-limit tls-cert-profile tls-cipher
  tls-ciphersuites tls-exit tls-groups tls-timeout tls-version-max tmp-dir topology tran-window
  tun-ipv6 tun-mtu tun-mtu-extra tun-mtu-max txqueuelen udp-mtu up up-delay up-restart user verb
  win-sys windows-driver writepid x509-track`.split(/\s+/),
);

/** Options that would change what goes over the wire, or who is trusted, and that are not known here. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  'comp-lzo': 'compression is not supported; remove it here and on the server',
  compress: 'compression is not supported; remove it here and on the server',
  fragment: 'fragments are not supported; remove it here and on the server',
  'http-proxy': 'proxies are not supported; remove it and reach the server directly',
  'socks-proxy': 'proxies are not supported; remove it and reach the server directly',
  pkcs12: 'not supported; write ca, cert and key as PEM files',
  'pkcs11-providers': 'not supported; write cert and key as PEM files',
  'pkcs11-id': 'not supported; write cert and key as PEM files',
  cryptoapicert: 'not supported; write cert and key as PEM files',
  'management-external-key': 'not supported; write key as a PEM file',
  'management-external-cert': 'not supported; write cert and key as PEM files',
  'peer-fingerprint': 'not supported; verify by ca and verify-x509-name',
  'verify-hash': 'not supported; verify by ca and verify-x509-name',
  'tls-verify': 'scripts are not run; verify by verify-x509-name',
  'tls-export-cert': 'scripts are not run; remove it',
  'remote-cert-ku': 'not supported; write remote-cert-tls server',
  'remote-cert-eku': 'not supported; write remote-cert-tls server',
  'x509-username-field': 'not supported; remove it',
  'static-challenge': 'nobody is there to answer it; give another login',
  'no-iv': 'not supported; remove it',
  'no-replay': 'not supported; remove it',
  connection: 'not supported; write remote, port and proto outside of <connection>',
  config: 'not supported; write its options here',
  'tls-server': 'a link is the client; write tls-client',
  server: "this is a server's file; give the client's",
  'server-bridge': "this is a server's file; give the client's",
  mode: "this is a server's file; give the client's",
};

function refuse(place: string, text: string): never {
  throw new UsageError('bad-openvpn-config', `${place}: ${text}`);
}

/** The words of a line. `"` allows escapes, `'` does not; `#` and `;` begin a comment. */
function wordsOf(line: string, place: string): string[] {
  const words: string[] = [];
  let rest = line;
  for (;;) {
    rest = rest.trimStart();
    if (rest === '' || rest.startsWith('#') || rest.startsWith(';')) return words;
    const [all = '', double, single, bare = ''] =
      /^(?:"((?:\\.|[^"\\])*)"|'([^']*)'|((?:\\.|[^\s"'\\])+))(?=\s|$)/.exec(rest) ?? [];
    if (all === '') refuse(place, 'a quote or a backslash is missing its end');
    words.push(single ?? (double ?? bare).replaceAll(/\\(.)/g, '$1'));
    rest = rest.slice(all.length);
  }
}

/** The options in a file, in their order. Throws `UsageError` (`bad-openvpn-config`). */
export function readOptions(
  text: string,
  file: string,
  known: ReadonlySet<string>,
): OpenvpnOption[] {
  if (text.length > LONGEST_FILE) refuse(file, `longer than ${LONGEST_FILE} bytes`);
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const options: OpenvpnOption[] = [];
  const ignored = new Set<string>();
  for (let at = 0; at < lines.length; at += 1) {
    const line = (lines[at] ?? '').trim();
    const place = `${file}:${at + 1}`;
    const tag = /^<([a-z\d-]+)>$/.exec(line)?.[1];
    let option: OpenvpnOption | undefined;
    if (tag === undefined) {
      const [first, ...words] = wordsOf(line, place);
      if (first !== undefined) option = { name: first.replace(/^--/, ''), words, place };
    } else {
      const end = lines.findIndex((other, index) => index > at && other.trim() === `</${tag}>`);
      if (end < 0) refuse(place, `<${tag}> has no </${tag}>`);
      option = { name: tag, words: [], inline: lines.slice(at + 1, end).join('\n'), place };
      at = end;
    }
    if (option === undefined) continue;
    if (option.name === 'ignore-unknown-option') for (const word of option.words) ignored.add(word);
    if (known.has(option.name)) options.push(option);
    else judge(option, ignored);
  }
  return options;
}

function judge({ name, place }: OpenvpnOption, ignored: ReadonlySet<string>): void {
  if (Object.hasOwn(UNSUPPORTED, name)) refuse(place, `${name}: ${UNSUPPORTED[name]}`);
  if (OTHERS.has(name) || ignored.has(name)) return;
  // A line of a key whose <tag> was forgotten is nobody's to see.
  const shown = /^[a-z\d-]{1,40}$/.test(name) ? `"${name}"` : 'this';
  refuse(place, `${shown} is no option of OpenVPN that is known here; correct or remove it`);
}
