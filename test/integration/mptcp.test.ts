/** Multipath TCP in the real kernel: one held connection over two paths, of which one dies, then both. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { runCli, temporaryDirectory } from '../support/cli.ts';
import { Lab, labMissing, Peer, pause, START_MS } from '../support/lab.ts';
import { mptcpMissing } from '../support/mptcp.ts';

const PORT = '7300';
const TIMING = 'time: 1s, interval: 1s, probes: 3';
/** Of a subflow, and so of the link when none is left: 4 s, and what a busy machine may be late by. */
const BOUND_MS = 4_000 + 4_000;
/** Until the kernel sends by another path what it had sent by one that is dead, it tries there for long. */
const FLOW_MS = 60_000;

function missing(): string | false {
  const unfit = labMissing() || mptcpMissing();
  if (unfit !== false) return unfit;
  const { status } = spawnSync('ip', ['mptcp', 'limits'], { stdio: 'ignore' });
  if (status !== 0) return 'needs ip-mptcp (Debian: iproute2)';
  const python = spawnSync('python3', ['--version'], { stdio: 'ignore' });
  return python.error === undefined ? false : 'needs the command python3 (Debian: python3)';
}

interface Row {
  readonly name: string;
  readonly state: string;
  readonly since: string;
  readonly reason: string;
  readonly mptcp?: { readonly inUse: boolean; readonly subflows: number };
}

interface Status {
  readonly links: readonly Row[];
  readonly relays: readonly {
    readonly pid: number;
    readonly mptcp?: { inUse: number; fellBack: number };
  }[];
}

/** A client and a server that two paths join, and a daemon that holds a link between them. */
class TwoPaths {
  readonly lab: Lab;
  readonly client: string;
  readonly server: string;
  readonly #devices: string[] = [];
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.lab = new Lab(t);
    this.client = this.lab.space('c');
    this.server = this.lab.space('s');
    for (const net of ['10.78.1', '10.78.2']) {
      this.#devices.push(this.lab.join(this.client, `${net}.1`, this.server, `${net}.2`).b);
    }
    for (const space of [this.client, this.server]) {
      this.lab.run(
        space,
        'ip',
        'mptcp',
        'limits',
        'set',
        'subflows',
        '2',
        'add_addr_accepted',
        '2',
      );
    }
    // The server tells of its second address; the client's kernel joins it by itself.
    this.lab.run(this.server, 'ip', 'mptcp', 'endpoint', 'add', '10.78.2.2', 'signal');
  }

  async serve(...args: string[]): Promise<void> {
    const file = path.join(import.meta.dirname, '../support/peer-mptcp.py');
    const peer = new Peer(this.lab.spawn(this.server, 'python3', file, PORT, ...args));
    await peer.line('listening', START_MS);
  }

  /** A daemon that holds a link to the server, and does what else its file says. */
  hold(...lines: readonly string[]): Peer {
    const home = temporaryDirectory(this.#t);
    const file = path.join(home, 'linkhold.yaml');
    const url = `tcp://10.78.1.2:${PORT}?mptcp=true`;
    writeFileSync(file, [`links:`, `  far: { url: "${url}", ${TIMING} }`, ...lines, ''].join('\n'));
    const bin = path.join(import.meta.dirname, '../../bin/linkhold');
    return new Peer(this.lab.spawn(this.client, bin, 'run', file, '--state-dir', home));
  }

  async status(): Promise<Status | undefined> {
    const under = ['ip', 'netns', 'exec', this.client];
    const { code, stdout } = await runCli(this.#t, ['status', '--json'], { under });
    // 1: something is down.
    return code === 0 || code === 1 ? (JSON.parse(stdout) as Status) : undefined;
  }

  /** Waits until the link's row fits. */
  async until(what: string, fits: (row: Row) => boolean, boundMs = START_MS): Promise<Row> {
    const end = performance.now() + boundMs;
    for (;;) {
      const row = (await this.status())?.links[0];
      if (row !== undefined && fits(row)) return row;
      assert(performance.now() < end, `not within ${boundMs} ms: ${what}; ${JSON.stringify(row)}`);
      // Each look is a process that must start.
      await pause(200);
    }
  }

  /** Drops what comes by a path, without a word. */
  cut(which: 0 | 1): void {
    const device = this.#devices[which] ?? '';
    for (const rule of [
      'add table netdev lost',
      `add chain netdev lost in${which} { type filter hook ingress device "${device}" priority 0; policy drop; }`,
    ]) {
      this.lab.run(this.server, 'nft', rule);
    }
  }

  heal(): void {
    this.lab.run(this.server, 'nft', 'delete', 'table', 'netdev', 'lost');
  }
}

suite('tcp:// by Multipath TCP', { skip: missing(), concurrency: true, timeout: 180_000 }, () => {
  test('a path of two that dies takes no state; without both it is down, and comes back', async (t) => {
    const lab = new TwoPaths(t);
    await lab.serve();
    lab.hold();
    const joined = await lab.until('two subflows', ({ mptcp }) => mptcp?.subflows === 2);
    assert.equal(joined.state, 'up');
    assert.equal(joined.mptcp?.inUse, true);
    lab.cut(0);
    const alone = await lab.until('one is left', ({ mptcp }) => mptcp?.subflows === 1, BOUND_MS);
    assert.equal(alone.state, 'up');
    assert.equal(alone.since, joined.since, 'it was always up');
    lab.cut(1);
    const down = await lab.until('it is down', ({ state }) => state === 'down', BOUND_MS);
    assert.equal(down.reason, 'no-answer');
    lab.heal();
    const back = await lab.until('it is back', ({ mptcp }) => mptcp?.subflows === 2);
    assert.equal(back.state, 'up');
  });

  test('a server without it is held by plain TCP, and told so', async (t) => {
    const lab = new TwoPaths(t);
    await lab.serve('tcp');
    const daemon = lab.hold();
    const row = await lab.until('it is up', ({ state }) => state === 'up');
    assert.deepEqual(row.mptcp, { inUse: false, subflows: 0 });
    await daemon.line('the peer has no Multipath TCP', START_MS);
  });

  test('a flow of a relay outlives the first of its two paths, and then the relay: 60 MiB, unchanged', async (t) => {
    const lab = new TwoPaths(t);
    await lab.serve();
    const daemon = lab.hold(
      'groups: { far: { paths: [ { link: far } ] } }',
      'relays: { far: { listen: "127.0.0.1:7301", group: far, mptcp: true } }',
    );
    await daemon.line(' runs ', START_MS);
    await lab.until('two subflows', ({ mptcp }) => mptcp?.subflows === 2);
    const [carrier] = (await lab.status())?.relays ?? [];
    const client = lab.lab.start(lab.client, 'test/support/peer-echo-client.ts', '7301', '60');
    await client.line('block 20', START_MS);
    lab.cut(0);
    await client.line('block 30', FLOW_MS);
    process.kill(carrier?.pid ?? 0, 'SIGKILL');
    await daemon.line('took over 1 flows', START_MS);
    await client.line('done', FLOW_MS);
    const [next] = (await lab.status())?.relays ?? [];
    assert.notEqual(next?.pid, carrier?.pid);
    assert.deepEqual(next?.mptcp, { inUse: 1, fellBack: 0 });
  });
});
