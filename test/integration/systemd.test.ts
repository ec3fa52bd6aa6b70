/**
 * The daemon as a service: what it tells a service manager, received by a program that is not ours,
 * and the unit files of the package, judged by systemd itself.
 * @module
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { type CliProcess, startCli, temporaryDirectory } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { Peer } from '../support/lab.ts';
import { PYTHON, until } from '../support/machine.ts';

const EXAMPLES = path.resolve(import.meta.dirname, '../../examples/systemd');
const RECEIVER = path.resolve(import.meta.dirname, '../support/peer-notify.py');
const BOUND_MS = 15_000;
const GOOD = 'links:\n  a: { url: "tcp://127.0.0.1:9", time: 60s }\n';

const { status: python } = spawnSync(PYTHON[0], ['--version']);
const skip = python === 0 ? false : `needs ${PYTHON[0]}`;

interface Told {
  /** When it arrived, by CLOCK_MONOTONIC. */
  readonly atUs: number;
  readonly lines: readonly string[];
}

interface Service {
  readonly daemon: CliProcess;
  readonly file: string;
  /** All that was told so far. */
  told(): readonly Told[];
  /** The first that holds `line` after the first `from`. */
  hears(line: string | RegExp, from?: number): Promise<Told>;
}

/** A daemon, and who it tells. `name` is a path under its directory, or an abstract name. */
async function serve(t: TestContext, name: string, env: Record<string, string> = {}) {
  const directory = temporaryDirectory(t);
  const socket = name.startsWith('@') ? name : path.join(directory, name);
  const receiver = new Peer(spawn(PYTHON[0], [...PYTHON.slice(1), RECEIVER, socket]));
  t.after(() => receiver.child.kill('SIGKILL'));
  await receiver.line('ready', BOUND_MS);
  let text = '';
  receiver.child.stdout?.on('data', (chunk) => {
    text += String(chunk);
  });
  const file = path.join(directory, 'linkhold.yaml');
  writeFileSync(file, GOOD);
  const listen = `127.0.0.1:${await freePort()}`;
  const args = ['run', file, '--listen', listen, '--state-dir', path.join(directory, 'state')];
  const daemon = startCli(t, args, { env: { NOTIFY_SOCKET: socket, ...env } });
  const told = () => {
    const lines = text
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as Told);
  };
  const fits = (wanted: string | RegExp) => (line: string) =>
    typeof wanted === 'string' ? line === wanted : wanted.test(line);
  const hears = async (line: string | RegExp, from = 0) =>
    await until(
      () =>
        told()
          .slice(from)
          .find(({ lines }) => lines.some(fits(line))),
      `${line} in ${text}`,
      BOUND_MS,
    );
  return { daemon, file, told, hears } satisfies Service;
}

const nowUs = () => Number(process.hrtime.bigint() / 1_000n);

suite('the daemon tells its service manager', { skip, timeout: 120_000 }, () => {
  test('that it has started, in one datagram with its status, and that it stops', async (t) => {
    const { daemon, told, hears } = await serve(t, 'notify');
    const { lines } = await hears('READY=1');
    assert.deepEqual(told()[0]?.lines, lines, 'nothing before it');
    assert.match(lines[1] ?? '', /^STATUS=1 link: 1 (unknown|down)$/);
    await hears('STATUS=1 link: 1 down');
    daemon.kill('SIGTERM');
    const { code } = await daemon.ended(BOUND_MS);
    assert.equal(code, 0);
    await hears('STOPPING=1');
    assert.deepEqual(told().at(-1)?.lines, ['STOPPING=1', 'STATUS=stopping']);
  });

  test('by an abstract name too', async (t) => {
    const { hears } = await serve(t, `@linkhold-test-${process.pid}`);
    await hears('READY=1');
  });

  test('that a reload begins, since when, and that it is over, for good or bad', async (t) => {
    const { daemon, file, told, hears } = await serve(t, 'notify');
    await hears('READY=1');
    for (const [text, status] of [
      [`${GOOD}groups: {}\n`, /^STATUS=1 link: 1 down$/],
      ['links: 7\n', /^STATUS=1 link: 1 down; the last reload failed: /],
    ] as const) {
      writeFileSync(file, text);
      const [from, beganUs] = [told().length, nowUs()];
      daemon.kill('SIGHUP');
      const began = await hears('RELOADING=1', from);
      const ended = await hears('READY=1', from);
      const [, atUs] = /^MONOTONIC_USEC=(\d+)$/.exec(began.lines[1] ?? '') ?? [];
      assert(Number(atUs) >= beganUs && Number(atUs) <= began.atUs, `${atUs} of ${beganUs}`);
      assert.match(ended.lines[1] ?? '', status);
      assert(began.atUs < ended.atUs);
    }
  });

  test('that it lives, at half of the interval asked for, and not while it is stopped', async (t) => {
    const { daemon, told, hears } = await serve(t, 'notify', { WATCHDOG_USEC: '400000' });
    const ready = await hears('READY=1');
    const signs = () => told().filter(({ lines }) => lines[0] === 'WATCHDOG=1');
    const five = await until(() => signs().length >= 5 && signs(), 'five signs', BOUND_MS);
    const [first = ready] = five;
    assert(first.atUs - ready.atUs >= 190_000, 'the first one is due after 200 ms');
    const spanUs = (five[4]?.atUs ?? 0) - first.atUs;
    assert(spanUs >= 760_000, `five signs in ${spanUs} µs`);
    daemon.kill('SIGSTOP');
    const stoppedUs = nowUs();
    // As long as four more would take.
    await new Promise((resolve) => setTimeout(resolve, 800));
    const late = signs().filter(({ atUs }) => atUs > stoppedUs + 50_000);
    daemon.kill('SIGCONT');
    assert.deepEqual(late, []);
    const before = signs().length;
    await until(() => signs().length > before, 'a sign after it goes on', BOUND_MS);
  });

  test('nothing it can be told by is one warning, and the daemon runs', async (t) => {
    const { daemon } = await serve(t, 'notify', { NOTIFY_SOCKET: '/nowhere/notify' });
    await daemon.line(/WARN.*systemd cannot be told: connect\(\/nowhere\/notify\).*ENOENT/);
    await daemon.line(/ runs /);
  });
});

const { status: analyze } = spawnSync('systemd-analyze', ['--version']);
const noAnalyze = analyze === 0 ? false : 'needs systemd-analyze';

/** The unit in a directory of its own, with these drop-ins. */
function unit(t: TestContext, dropIns: readonly string[]): string {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.service');
  copyFileSync(path.join(EXAMPLES, 'linkhold.service'), file);
  mkdirSync(`${file}.d`);
  for (const name of dropIns) copyFileSync(path.join(EXAMPLES, name), path.join(`${file}.d`, name));
  return file;
}

suite('the unit files', { skip: noAnalyze }, () => {
  const all = globSync('*.conf', { cwd: EXAMPLES }).toSorted();

  for (const dropIns of [[], ...all.map((name) => [name]), all]) {
    test(`systemd finds no fault with the service and ${dropIns.join(', ') || 'nothing more'}`, (t) => {
      const file = unit(t, dropIns);
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
        encoding: 'utf8',
      });
      assert.equal(stderr, '');
      assert.equal(status, 0);
    });
  }

  test('the service alone is exposed little: below 2 of 10, by systemd', (t) => {
    const args = ['security', '--offline=true', '--no-pager', '--threshold=20', unit(t, [])];
    const { status, stdout } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
    const last = stdout.trimEnd().split('\n').at(-1) ?? '';
    t.diagnostic(last.trim());
    assert.equal(status, 0, last);
  });
});
