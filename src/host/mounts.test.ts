import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { cgroupById, cgroupDirectory, cgroupId, cgroupIds, cgroupRoot } from './mounts.ts';

const mounts = () => readFileSync('/proc/self/mounts', 'utf8').split('\n');
const mounted = mounts().some((line) => line.split(' ')[2] === 'cgroup2');

suite('control groups', { skip: mounted ? false : 'no cgroup2 filesystem is mounted here' }, () => {
  const root = mounted ? cgroupRoot() : '/';

  test('the root is where the kernel says that version 2 is mounted', () => {
    assert(mounts().some((line) => line.includes(` ${root} cgroup2 `)));
  });

  test('one is named by its path, whatever its form, or by its name under the root', () => {
    assert.equal(cgroupDirectory(root, '--cgroup'), root);
    assert.equal(cgroupDirectory(`${root}/`, '--cgroup'), root);
    assert.equal(cgroupDirectory(`${root}/./../${path.basename(root)}`, '--cgroup'), root);
    assert.equal(cgroupDirectory('.', '--cgroup'), root);
  });

  for (const [text, message] of [
    ['linkhold-none', `--cgroup: there is no control group ${root}/linkhold-none`],
    ['/linkhold-none', '--cgroup: there is no control group /linkhold-none'],
    [`${root}/cgroup.procs`, `--cgroup: there is no control group ${root}/cgroup.procs`],
    ['/etc', `--cgroup: /etc is no control group of version 2; those are under ${root}`],
    ['../../..', /is no control group of version 2/],
  ] as const) {
    test(`"${text}" is wrong usage, and says why`, () => {
      const error = { name: 'UsageError', code: 'no-cgroup', message };
      assert.throws(() => cgroupDirectory(text, '--cgroup'), error);
    });
  }

  const needs = process.getuid?.() === 0 ? false : 'needs root, to make a control group';

  test('one is known by its number, with all below it', { skip: needs }, (t) => {
    const group = path.join(root, `linkhold-mounts-${process.pid}`);
    const below = path.join(group, 'below');
    mkdirSync(below, { recursive: true });
    t.after(() => {
      rmdirSync(below);
      rmdirSync(group);
    });
    assert.equal(cgroupById(cgroupId(below)), below);
    assert.equal(cgroupDirectory(path.basename(group), '--cgroup'), group);
    assert.deepEqual(cgroupIds(group), new Set([cgroupId(group), cgroupId(below)]));
    assert.deepEqual(cgroupIds(below), new Set([cgroupId(below)]));
    assert(cgroupIds(root).has(cgroupId(below)));
  });

  test('those that come and go while they are looked through are no error', {
    skip: needs,
  }, async (t) => {
    const group = path.join(root, `linkhold-churn-${process.pid}`);
    const churn = `
      const { mkdirSync, rmdirSync } = require('node:fs');
      const { workerData: [group, state] } = require('node:worker_threads');
      const below = ['/a', '/a/b'].map((name) => group + name);
      while (state[0] === 0) {
        for (const place of below) mkdirSync(place);
        for (const place of below.toReversed()) rmdirSync(place);
      }`;
    const state = new Int32Array(new SharedArrayBuffer(4));
    mkdirSync(group);
    const worker = new Worker(churn, { eval: true, workerData: [group, state] });
    t.after(async () => {
      state[0] = 1;
      await once(worker, 'exit');
      rmdirSync(group);
    });
    await once(worker, 'online');
    const seen = { there: 0, gone: 0 };
    for (const endAt = performance.now() + 10_000; performance.now() < endAt; ) {
      seen[cgroupIds(group).size > 1 ? 'there' : 'gone'] += 1;
      if (Math.min(seen.there, seen.gone) > 800) break;
    }
    assert(seen.there > 0 && seen.gone > 0, JSON.stringify(seen));
  });

  test('a number that none has leads nowhere', () => {
    assert.equal(cgroupById(2 ** 52 + 1), undefined);
    assert.deepEqual(cgroupIds('/linkhold-none'), new Set());
  });
});
