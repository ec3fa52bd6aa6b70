import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { loopback } from '../../test/support/loopback.ts';
import { iteratorMissing } from '../../test/support/rights.ts';
import { asNobody, strangerMissing } from '../../test/support/stranger.ts';
import { ffiMissing } from '../sys/libc.ts';
import {
  descriptorsFromProc,
  knowsProcessIds,
  ownersByIterator,
  processName,
  socketsOf,
} from './owners.ts';

/** No process has such an id: the kernel's highest is 4,194,304. */
const NO_PROCESS = 4_194_305;

const inodeOf = (fd: number) => Number(/^socket:\[(\d+)\]$/.exec(linkOf(fd))?.[1]);
const linkOf = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);

/** A program that lives until the end of the test, once it has been executed. */
async function running(t: TestContext, child: ChildProcess): Promise<number> {
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  child.stdin?.write('here\n');
  assert(child.stdout !== null);
  await once(child.stdout, 'data');
  return child.pid ?? NO_PROCESS;
}

suite('which process has a socket', { skip: ffiMissing() ?? false }, () => {
  test('by /proc: this process and its descriptor, for both ends of its connection', async (t) => {
    const { fd } = await loopback(t);
    const inode = inodeOf(fd);
    assert.deepEqual(descriptorsFromProc().get(inode), { pid: process.pid, fd });
    assert(socketsOf(process.pid).has(inode));
  });

  test('a socket that was closed is of nobody', async (t) => {
    const { fd, socket } = await loopback(t);
    const inode = inodeOf(fd);
    socket.destroy();
    await once(socket, 'close');
    assert.equal(descriptorsFromProc().get(inode), undefined);
    assert(!socketsOf(process.pid).has(inode));
  });

  test('of several processes the one with the lowest id', {
    skip: iteratorMissing(),
  }, async (t) => {
    const { fd } = await loopback(t);
    const inode = inodeOf(fd);
    const pid = await running(t, spawn('cat', { stdio: ['pipe', 'pipe', 'inherit', fd] }));
    assert(socketsOf(pid).has(inode), 'it is inherited');
    const lowest = Math.min(pid, process.pid);
    assert.equal(descriptorsFromProc().get(inode)?.pid, lowest);
    assert.equal(ownersByIterator().get(inode), lowest);
  });

  test('only sockets are told: no file and no pipe of this process', () => {
    const own = [...descriptorsFromProc().values()].filter(({ pid }) => pid === process.pid);
    for (const { fd } of own) assert.match(linkOf(fd), /^socket:/);
  });

  test('a process that is gone has none', () => {
    assert.deepEqual(socketsOf(NO_PROCESS), new Set());
  });

  test('without rights only processes of the same user are looked into, and nothing is thrown', {
    skip: strangerMissing(),
  }, async () => {
    const body = `
      const { statSync } = await import('node:fs');
      const { descriptorsFromProc, ownersByIterator, socketsOf } = await load('host/owners.ts');
      const pids = new Set([...descriptorsFromProc().values()].map(({ pid }) => pid));
      const users = [...pids].map((pid) => attempt(() => statSync('/proc/' + pid).uid).answer);
      return [users, socketsOf(given).size, attempt(ownersByIterator)];`;
    const [users, ours, iterated] = await asNobody<[number[], number, unknown]>(body, process.pid);
    // What is gone meanwhile has no user.
    assert(
      users.every((user) => user === 65_534 || user === null),
      `${users}`,
    );
    assert.equal(ours, 0);
    assert.deepEqual(iterated, {
      name: 'SystemError',
      code: 'EPERM',
      message: 'bpf(programLoad): the kernel answered EPERM',
    });
  });
});

suite('which process has a socket, by BPF iterator', { skip: iteratorMissing() }, () => {
  test('ids are those of /proc only in the first process namespace', () => {
    const first = readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]';
    assert.equal(knowsProcessIds(), first);
  });

  test('says of every socket of this process what /proc says', async (t) => {
    const ends = [await loopback(t), await loopback(t, '::1')];
    const byProc = descriptorsFromProc();
    const byIterator = ownersByIterator();
    const own = [...socketsOf(process.pid)];
    assert(own.length >= 2 * ends.length);
    for (const inode of own) assert.equal(byIterator.get(inode), byProc.get(inode)?.pid);
    assert.equal(byIterator.get(0), undefined);
  });
});

suite('names of processes', () => {
  test('this one is that of its program, also where the runtime names its threads', () => {
    assert.equal(processName(process.pid), path.basename(process.argv0));
  });

  test('one that is gone is ?', () => assert.equal(processName(NO_PROCESS), '?'));

  for (const [file, argv0, expected] of [
    ['with-dash', undefined, 'with-dash'],
    // The kernel keeps 15 letters.
    ['a-very-long-program-name', undefined, 'a-very-long-pro'],
    // It calls itself by the beginning of its name.
    ['main-thread', '/usr/bin/main', 'main'],
    ['main-thread', 'other', 'main-thread'],
  ] as const) {
    const called = argv0 === undefined ? '' : `, called "${argv0}"`;
    test(`a program ${file}${called} is ${expected}`, async (t) => {
      const folder = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
      t.after(() => rmSync(folder, { recursive: true }));
      const program = path.join(folder, file);
      copyFileSync('/bin/cat', program);
      const child = spawn(program, { ...(argv0 === undefined ? {} : { argv0 }) });
      assert.equal(processName(await running(t, child)), expected);
    });
  }
});
