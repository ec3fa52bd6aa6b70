import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import { loopback } from '../../test/support/loopback.ts';
import { recordOf } from '../../test/support/socket-record.ts';
import { ffiMissing } from '../sys/libc.ts';
import { parseTo } from './rule.ts';
import { namespaceOf, type Selection, selector } from './selection.ts';

/** 10.0.0.2:41844 → 10.0.0.5:5432 of the inode 4711 in the control group 77. */
const selects = (selection: Selection, ...given: Parameters<typeof recordOf>) =>
  selector(selection)(recordOf(...given));
const to = (text: string) => parseTo(text, 'test');
/** No process has such an id: the kernel's highest is 4,194,304. */
const NO_PROCESS = 4_194_305;

suite('which connections are meant', () => {
  for (const [what, selection, expected] of [
    ['nothing in particular', {}, true],
    ['its remote port', { port: 5_432 }, true],
    ['its local port', { port: 41_844 }, true],
    ['another port', { port: 5_433 }, false],
    ['the prefix of its remote end', { to: to('10.0.0.0/24') }, true],
    ['its remote address', { to: to('10.0.0.5') }, true],
    ['its local address', { to: to('10.0.0.2') }, false],
    ['another prefix', { to: to('10.0.1.0/24') }, false],
    ['every address of IPv6', { to: to('::/0') }, true],
    ['a prefix of IPv6', { to: to('fd00::/8') }, false],
    ['port and prefix', { port: 5_432, to: to('10.0.0.0/8') }, true],
    ['its port and another prefix', { port: 5_432, to: to('11.0.0.0/8') }, false],
    ['its prefix and another port', { port: 22, to: to('10.0.0.0/8') }, false],
  ] as const) {
    test(`by ${what}: ${expected ? 'this one' : 'not this one'}`, () => {
      assert.equal(selects(selection), expected);
    });
  }

  test('IPv6 in the address of its family', () => {
    const remoteAddress = 'fd00:1::9';
    assert(selects({ to: to('fd00:1::/32') }, { remoteAddress }));
    assert(!selects({ to: to('10.0.0.0/8') }, { remoteAddress }));
  });

  test('by process: those whose inode one of its descriptors leads to', async (t) => {
    const { fd } = await loopback(t);
    const link = readlinkSync(`/proc/self/fd/${fd}`);
    const inode = Number(/\d+/.exec(link)?.[0]);
    assert(selects({ pid: process.pid }, { inode }));
    assert(!selects({ pid: process.pid }, { inode: 1 }));
    assert(!selects({ pid: process.pid }, { inode: 0 }), "what no process has is nobody's");
    assert(!selects({ pid: process.pid, port: 1 }, { inode }));
    assert(!selects({ pid: NO_PROCESS }, { inode }));
  });

  test('by control group: those that were made in it or below it', (t) => {
    const group = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(group, { recursive: true }));
    const below = path.join(group, 'a', 'b');
    mkdirSync(below, { recursive: true });
    const id = (directory: string) => statSync(directory).ino;
    for (const directory of [group, path.join(group, 'a'), below]) {
      assert(selects({ cgroup: group }, { cgroupId: id(directory) }), directory);
    }
    assert(!selects({ cgroup: below }, { cgroupId: id(group) }), 'above it');
    assert(!selects({ cgroup: group }, { cgroupId: id(os.tmpdir()) }));
    assert(!selects({ cgroup: group }, { cgroupId: undefined }), 'the kernel does not tell');
    assert(!selects({ cgroup: group, port: 1 }, { cgroupId: id(group) }));
  });
});

suite('which network namespace is meant', { skip: ffiMissing() ?? false }, () => {
  const own = `/proc/${process.pid}/ns/net`;
  for (const [what, text, pid, expected] of [
    ['nothing', undefined, undefined, undefined],
    ['a process', undefined, process.pid, own],
    ['a process id as a name', String(process.pid), undefined, own],
    ['a file', own, undefined, own],
    ['a name that goes before the process', '/proc/self/ns/net', process.pid, '/proc/self/ns/net'],
  ] as const) {
    test(`by ${what}: ${expected ?? 'our own'}`, () => {
      assert.equal(namespaceOf(text, pid), expected);
    });
  }

  test('a process that is not there is wrong usage, also beside a name', () => {
    const error = {
      name: 'UsageError',
      code: 'no-process',
      message: `--pid: there is no process ${NO_PROCESS}`,
    };
    assert.throws(() => namespaceOf(undefined, NO_PROCESS), error);
    assert.throws(() => namespaceOf(own, NO_PROCESS), error);
  });

  for (const text of ['', '..', 'linkhold-none', String(NO_PROCESS), '/run/netns/linkhold-none']) {
    test(`--netns "${text}" is wrong usage, and says what may be named`, () => {
      assert.throws(() => namespaceOf(text, undefined), {
        name: 'UsageError',
        code: 'no-namespace',
        message: `--netns: there is no network namespace "${text}"; name one of \`ip netns list\`, a process id, or a file such as /run/netns/NAME`,
      });
    });
  }
});
