import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { asNobody, elsewhere, strangerMissing } from '../../test/support/stranger.ts';
import { inNetNamespace, netNamespaceFile } from './net-namespace.ts';

const OWN = '/proc/thread-self/ns/net';
const here = () => readlinkSync(OWN);
/** Interfaces that this thread sees. */
const interfaces = () =>
  [...readFileSync('/proc/thread-self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm)].map(
    ([, name]) => name,
  );
const NEEDS = { skip: strangerMissing() };

suite('another network namespace', () => {
  test('runs what it is given there, answers its result, and comes home', NEEDS, async (t) => {
    const home = here();
    const { file } = await elsewhere(t);
    const open = descriptors();
    const seen = inNetNamespace(file, () => ({ space: here(), interfaces: interfaces() }));
    assert.deepEqual(seen, { space: readlinkSync(file), interfaces: ['lo'] });
    assert.notEqual(seen.space, home);
    assert.equal(here(), home);
    assert.deepEqual(descriptors(), open, 'no descriptor is left');
  });

  test('comes home from a body that throws, with its error', NEEDS, async (t) => {
    const home = here();
    const { file } = await elsewhere(t);
    const open = descriptors();
    const error = new Error('from there');
    const fail = () => {
      assert.notEqual(here(), home);
      throw error;
    };
    assert.throws(() => inNetNamespace(file, fail), error);
    assert.equal(here(), home);
    assert.deepEqual(descriptors(), open, 'no descriptor is left');
  });

  test('one within the other leads home step by step', NEEDS, async (t) => {
    const home = here();
    const [one, two] = [await elsewhere(t), await elsewhere(t)];
    const seen = inNetNamespace(one.file, () => [
      here(),
      inNetNamespace(two.file, here),
      here(),
      inNetNamespace(one.file, here),
    ]);
    const [first, second] = [readlinkSync(one.file), readlinkSync(two.file)];
    assert.deepEqual(seen, [first, second, first, first]);
    assert.equal(here(), home);
  });

  test('a socket that is opened there stays there', NEEDS, async (t) => {
    const { file } = await elsewhere(t);
    const server = inNetNamespace(file, () => net.createServer().listen(0));
    t.after(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const listening = () => readFileSync('/proc/thread-self/net/tcp6', 'utf8').trim().split('\n');
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const there = inNetNamespace(file, listening);
    assert.equal(there.length, 2, 'a head, and that socket alone');
    assert.match(there[1] ?? '', new RegExp(`:${hex} `));
  });

  test('our own need not be entered: as undefined, as a file, as a process', () => {
    for (const file of [undefined, OWN, `/proc/${process.pid}/ns/net`]) {
      assert.equal(inNetNamespace(file, here), here());
    }
  });

  test(
    'without rights it says in one line what is missing, and stays at home',
    NEEDS,
    async (t) => {
      const { file } = await elsewhere(t);
      const body = `
      const { inNetNamespace, netNamespaceFile } = await load('sys/net-namespace.ts');
      const { readdirSync, readlinkSync } = await import('node:fs');
      const look = () => [readlinkSync('${OWN}'), readdirSync('/proc/self/fd').length];
      const enter = (file) => attempt(() => inNetNamespace(file, () => 'inside'));
      enter(given.file); // What is loaded on first use has descriptors of its own.
      const before = look();
      const answers = [enter(given.file), enter(given.ours)];
      answers.push(attempt(() => netNamespaceFile(given.ours.split('/')[2])));
      answers.push(enter('/proc/self/ns/net')); // Our own needs no right.
      return { answers, before, after: look() };`;
      const ours = `/proc/${process.pid}/ns/net`;
      const seen = await asNobody<Record<string, unknown>>(body, { file, ours });
      const refused = (code: string, message: string) => ({ name: 'SystemError', code, message });
      const needs = 'entering a network namespace needs CAP_SYS_ADMIN';
      const hidden = `${ours}: the kernel answered EACCES; another user's process needs CAP_SYS_PTRACE`;
      assert.deepEqual(seen['answers'], [
        refused('EPERM', `setns(${file}): the kernel answered EPERM; ${needs}`),
        refused('EACCES', hidden),
        refused('EACCES', hidden),
        { answer: 'inside' },
      ]);
      assert.deepEqual(seen['after'], seen['before']);
    },
  );

  for (const [what, file, code] of [
    ['that is gone', '/run/netns/linkhold-none', 'ENOENT'],
    ['of a process that is gone', '/proc/4194305/ns/net', 'ENOENT'],
  ] as const) {
    test(`one ${what} is a SystemError with ${code}`, () => {
      assert.throws(() => inNetNamespace(file, () => 'never'), { name: 'SystemError', code });
    });
  }

  test('a file that is none is a SystemError with EINVAL', NEEDS, () => {
    const home = here();
    const message = '/etc/passwd is no network namespace';
    const error = { name: 'SystemError', code: 'EINVAL', message };
    assert.throws(() => inNetNamespace('/etc/passwd', () => 'never'), error);
    assert.equal(here(), home);
  });
});

suite('the file of a network namespace', () => {
  test('of a process, by its id', () => {
    assert.equal(netNamespaceFile(String(process.pid)), `/proc/${process.pid}/ns/net`);
    assert.equal(netNamespaceFile('4194305'), undefined);
  });

  test('by the name that `ip netns` gave it', NEEDS, (t) => {
    const name = `linkhold-unit-${process.pid}`;
    execFileSync('ip', ['netns', 'add', name]);
    t.after(() => execFileSync('ip', ['netns', 'del', name]));
    assert.match(netNamespaceFile(name) ?? '', new RegExp(`^(/var)?/run/netns/${name}$`));
    assert.deepEqual(inNetNamespace(netNamespaceFile(name), interfaces), ['lo']);
  });

  test('by its path, where there is one', (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(folder, { recursive: true }));
    assert.equal(netNamespaceFile(OWN), OWN);
    assert.equal(netNamespaceFile('./package.json'), './package.json');
    assert.equal(netNamespaceFile(path.join(folder, 'none')), undefined);
    assert.equal(netNamespaceFile('/etc/passwd/none'), undefined);
  });

  for (const text of ['', '.', '..', '/', '/proc', 'linkhold-none', '1e3', '-1', '%00']) {
    test(`"${text}" names none`, () => assert.equal(netNamespaceFile(text), undefined));
  }
});
