/**
 * `node bench/failover.ts [FAULT…]`: two servers, the first preferred, behind HAProxy (checks of layer 4
 * and of layer 7) and behind Linkhold, all at the same time and with the same pace: every 500 ms, every
 * 100 ms while in doubt, three to fall, two to rise. Each fault happens to the first server in front of
 * the eyes of users who connect again and again; printed is how long it took until all of them were
 * answered again, how many were not, and how long after the mend the first server was back. Needs root
 * (network namespaces) and haproxy (Debian: haproxy). Nothing is asserted.
 * @module
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Lab, labMissing, Peer, pause, START_MS } from '../test/support/lab.ts';

const PORTS = { 'haproxy, layer 4': '8101', 'haproxy, layer 7': '8102', linkhold: '8103' };
const SERVER = '8080';
const [A, B] = ['10.79.1.2', '10.79.2.2'];
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
  server a ${A}:${SERVER} on-marked-down shutdown-sessions
  server b ${B}:${SERVER} backup
frontend seven
  bind 127.0.0.1:8102
  default_backend seven
backend seven
  option httpchk GET /
  timeout check 100ms
  server a ${A}:${SERVER} on-marked-down shutdown-sessions
  server b ${B}:${SERVER} backup
`;

const LINKHOLD = `
links:
  a: { url: "http://${A}:${SERVER}", time: 500ms, interval: 100ms, probes: 3 }
  b: { url: "http://${B}:${SERVER}", time: 500ms, interval: 100ms, probes: 3 }
groups:
  web: { paths: [ { link: a, tier: 1 }, { link: b, tier: 2 } ], fall: 1, rise: 2, failbackAfter: 0s, holdDown: 0s }
relays:
  web: { listen: "127.0.0.1:8103", group: web, oldFlows: reset }
`;

interface Answer {
  readonly port: string;
  readonly asked: number;
  readonly answered: number;
  readonly who: string;
}

const print = (line: string) => process.stdout.write(`${line}\n`);

class Scene {
  readonly #lab: Lab;
  readonly #spaces: { readonly client: string; readonly a: string; readonly b: string };
  readonly #observers: Peer[];
  readonly #users: Peer;
  #device: string;
  #server: Peer;

  private constructor(lab: Lab, home: string) {
    this.#lab = lab;
    const [client, a, b] = [lab.space('c'), lab.space('a'), lab.space('b')];
    this.#spaces = { client, a, b };
    this.#device = lab.join(client, '10.79.1.1', a, A).b;
    lab.join(client, '10.79.2.1', b, B);
    this.#server = this.#serve(a, 'a');
    this.#serve(b, 'b');
    writeFileSync(path.join(home, 'haproxy.cfg'), HAPROXY);
    writeFileSync(path.join(home, 'linkhold.yaml'), LINKHOLD);
    const bin = path.join(import.meta.dirname, '../bin/linkhold');
    this.#observers = [
      new Peer(lab.spawn(client, 'haproxy', '-db', '-f', path.join(home, 'haproxy.cfg'))),
      new Peer(
        lab.spawn(client, bin, 'run', path.join(home, 'linkhold.yaml'), '--state-dir', home),
      ),
    ];
    this.#users = lab.start(client, 'bench/failover-client.ts', ...Object.values(PORTS));
  }

  static async begin(lab: Lab, home: string): Promise<Scene> {
    const scene = new Scene(lab, home);
    await scene.settle();
    return scene;
  }

  /** Waits until the first server has answered everybody for a second. */
  async settle(): Promise<void> {
    const end = performance.now() + START_MS;
    for (;;) {
      await pause(1_000);
      const last = this.answersSince(Date.now() - 1_000);
      const all = Object.values(PORTS).every((port) => {
        const own = last.filter((answer) => answer.port === port);
        return own.length > 5 && own.every(({ who }) => who === 'a');
      });
      if (all) return;
      if (performance.now() > end) throw new Error(`no calm: ${JSON.stringify(last.slice(-9))}`);
    }
  }

  answersSince(from: number): Answer[] {
    const all = this.#users.lines.slice(-20_000).map((line) => JSON.parse(line) as Answer);
    return all.filter(({ asked }) => asked >= from);
  }

  get faults(): Readonly<Record<string, { begin: () => void; end: () => void }>> {
    const { a } = this.#spaces;
    const nft = (...rules: string[]) => {
      this.#lab.run(a, 'nft', 'add table inet fault');
      for (const rule of rules) this.#lab.run(a, 'nft', rule);
    };
    const drop = (hook: string, what = 'drop') => [
      `add chain inet fault ${hook}s { type filter hook ${hook} priority -10; }`,
      `add rule inet fault ${hook}s ${what}`,
    ];
    const end = () => this.#lab.run(a, 'nft', 'delete table inet fault');
    const loss = 'numgen random mod 100 < 30 drop';
    return {
      'process killed': {
        begin: () => this.#server.signal('SIGKILL'),
        end: () => {
          this.#server = this.#serve(a, 'a');
        },
      },
      'process stopped': {
        begin: () => this.#server.signal('SIGSTOP'),
        end: () => this.#server.signal('SIGCONT'),
      },
      'port closed': {
        begin: () => this.#server.tell('close'),
        end: () => this.#server.tell('open'),
      },
      'dropped on the way there': { begin: () => nft(...drop('input')), end },
      'dropped on the way back': { begin: () => nft(...drop('output')), end },
      'dropped both ways': { begin: () => nft(...drop('input'), ...drop('output')), end },
      '30 % lost each way': {
        begin: () => nft(...drop('input', loss), ...drop('output', loss)),
        end,
      },
      'answers after 3 s': {
        begin: () => this.#server.tell('slow'),
        end: () => this.#server.tell('fast'),
      },
      'another address': {
        begin: () => this.#address('10.79.1.9', A),
        end: () => this.#address(A, '10.79.1.9'),
      },
      reboot: {
        begin: () => {
          this.#lab.run(a, 'ip', 'link', 'set', this.#device, 'down');
          this.#server.signal('SIGKILL');
        },
        end: () => {
          this.#lab.run(a, 'ip', 'link', 'set', this.#device, 'up');
          this.#server = this.#serve(a, 'a');
        },
      },
      'observers stopped': {
        begin: () => {
          for (const observer of this.#observers) observer.signal('SIGSTOP');
        },
        end: () => {
          for (const observer of this.#observers) observer.signal('SIGCONT');
        },
      },
    };
  }

  #serve(space: string, name: string): Peer {
    return this.#lab.start(space, 'bench/failover-server.ts', name, SERVER);
  }

  #address(to: string, from: string): void {
    const { a } = this.#spaces;
    // In this order, for the second address of a network goes with the first.
    this.#lab.run(a, 'ip', 'addr', 'del', `${from}/24`, 'dev', this.#device);
    this.#lab.run(a, 'ip', 'addr', 'add', `${to}/24`, 'dev', this.#device);
  }
}

/** What became of one port's users: how long until all were answered, how many were not, how long back. */
function judge(answers: readonly Answer[], port: string, begun: number, ended: number): string[] {
  const own = answers.filter((answer) => answer.port === port);
  const during = own.filter(({ asked }) => asked < ended);
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
  const scene = await Scene.begin(
    new Lab({ after: (remove: () => void) => removals.push(remove) }),
    home,
  );
  const asked = process.argv.slice(2);
  print(`${'fault'.padEnd(26)}${'by'.padEnd(18)}answered after  failed  by  back after (ms)`);
  for (const [name, { begin, end }] of Object.entries(scene.faults)) {
    if (asked.length > 0 && !asked.some((word) => name.includes(word))) continue;
    const begun = Date.now();
    begin();
    await pause(FAULT_MS);
    const ended = Date.now();
    end();
    await pause(BACK_MS);
    const answers = scene.answersSince(begun);
    for (const [who, port] of Object.entries(PORTS)) {
      const [until = '', failed = '', by = '', back = ''] = judge(answers, port, begun, ended);
      print(
        `${name.padEnd(26)}${who.padEnd(18)}${until.padStart(14)}${failed.padStart(8)}   ${by}${back.padStart(13)}`,
      );
    }
    await scene.settle();
  }
} finally {
  for (const remove of removals) remove();
  rmSync(home, { recursive: true, force: true });
}
process.exit();
