/**
 * `node bench/failover.ts [--damped] [FAULT…]`: two servers, the first preferred, behind HAProxy (checks
 * of layer 4 and of layer 7) and behind Linkhold, all at the same time and with the same pace: every
 * 500 ms, every 100 ms while in doubt, three to fall, two to rise. Each fault happens to the first server
 * in front of the eyes of users who connect again and again; printed is how long it took until all of
 * them were answered again, how many were not, and how long after the mend the first server was back.
 * Linkhold's damping is off, as HAProxy has none; `--damped` leaves it as it is by default. Needs root
 * (network namespaces) and haproxy (Debian: haproxy). Nothing is asserted.
 * @module
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { A, type Answer, B, FailoverScene, SERVER_PORT } from '../test/support/failover-scene.ts';
import { Lab, labMissing, pause } from '../test/support/lab.ts';

const PORTS = { 'haproxy, layer 4': '8101', 'haproxy, layer 7': '8102', linkhold: '8103' };
/** How long a fault lasts, and how long users are watched after it is mended. */
const FAULT_MS = 6_000;
const BACK_MS = 10_000;

const HAPROXY = `
defaults
  mode tcp
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  default-server check inter 500ms fastinter 100ms downinter 500ms fall 3 rise 2
frontend four
  bind 127.0.0.1:8101
  default_backend four
backend four
  server a ${A}:${SERVER_PORT} on-marked-down shutdown-sessions
  server b ${B}:${SERVER_PORT} backup
frontend seven
  bind 127.0.0.1:8102
  default_backend seven
backend seven
  option httpchk GET /
  timeout check 100ms
  server a ${A}:${SERVER_PORT} on-marked-down shutdown-sessions
  server b ${B}:${SERVER_PORT} backup
`;

const faults = process.argv.slice(2).filter((word) => word !== '--damped');
const UNDAMPED = process.argv.includes('--damped') ? '' : ', failbackAfter: 0s, holdDown: 0s';
const LINKHOLD = `
links:
  a: { url: "http://${A}:${SERVER_PORT}", time: 500ms, interval: 100ms, probes: 3 }
  b: { url: "http://${B}:${SERVER_PORT}", time: 500ms, interval: 100ms, probes: 3 }
groups:
  web: { paths: [ { link: a, tier: 1 }, { link: b, tier: 2 } ], fall: 1, rise: 2${UNDAMPED} }
relays:
  web: { listen: "127.0.0.1:8103", group: web, oldFlows: reset }
`;

const print = (line: string) => process.stdout.write(`${line}\n`);

/** What became of one port's users: how long until all were answered, how many were not, how long back. */
function judge(
  answers: readonly Answer[],
  port: string,
  begun: number,
  ending: number,
  ended: number,
): string[] {
  const own = answers.filter((answer) => answer.port === port);
  const during = own.filter(({ asked }) => asked < ending);
  const lastBad = during.findLastIndex(({ who }) => who === '-');
  const good = during[lastBad + 1];
  const failed = own.filter(({ who }) => who === '-').length;
  const others = during.some(({ who }) => who === 'b');
  const back = own.find(({ asked, who }) => asked >= ended && who === 'a');
  const until = lastBad < 0 ? '0' : good === undefined ? 'never' : String(good.answered - begun);
  const returned = back === undefined ? 'not yet' : String(back.answered - ended);
  return [until, String(failed), others ? 'b' : 'a', returned];
}

const missing = labMissing() || (spawnSync('haproxy', ['-v']).error ? 'needs haproxy' : false);
if (missing !== false) {
  print(missing);
  process.exit(3);
}
const removals: (() => void)[] = [];
const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-failover-'));
try {
  const [haproxy, linkhold] = [path.join(home, 'haproxy.cfg'), path.join(home, 'linkhold.yaml')];
  writeFileSync(haproxy, HAPROXY);
  writeFileSync(linkhold, LINKHOLD);
  const bin = path.join(import.meta.dirname, '../bin/linkhold');
  const scene = new FailoverScene(
    new Lab({ after: (remove: () => void) => removals.push(remove) }),
    {
      observers: [
        ['haproxy', '-db', '-f', haproxy],
        [bin, 'run', linkhold, '--state-dir', home],
      ],
      ports: Object.values(PORTS),
    },
  );
  print(`${'fault'.padEnd(26)}${'by'.padEnd(18)}answered after  failed  by  back after (ms)`);
  for (const [name, { begin, end }] of Object.entries(scene.faults)) {
    if (faults.length > 0 && !faults.some((word) => name.includes(word))) continue;
    await scene.answered('a', Date.now());
    const begun = Date.now();
    await begin();
    await pause(FAULT_MS);
    const ending = Date.now();
    await end();
    const ended = Date.now();
    await pause(BACK_MS);
    const answers = scene.answersSince(begun);
    for (const [who, port] of Object.entries(PORTS)) {
      const [until = '', failed = '', by = '', back = ''] = judge(
        answers,
        port,
        begun,
        ending,
        ended,
      );
      print(
        `${name.padEnd(26)}${who.padEnd(18)}${until.padStart(14)}${failed.padStart(8)}   ${by}${back.padStart(13)}`,
      );
    }
  }
} finally {
  for (const remove of removals) remove();
  rmSync(home, { recursive: true, force: true });
}
process.exit();
