/**
 * Linkhold as varnishtest sees it: each file of `test/vtc` scripts both ends, the servers that are watched
 * and the clients that are carried, and runs the command in between. varnishtest is the judge.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../support/free-port.ts';

const ROOT = path.join(import.meta.dirname, '../..');
/** For varnishtest, which ends whatever it has started. */
const BOUND_SECONDS = 60;

function varnishtestMissing(): string | false {
  const { error } = spawnSync('varnishtest', ['-h'], { stdio: 'ignore' });
  return error === undefined ? false : 'needs the command varnishtest (Debian: varnish)';
}

interface Failure {
  readonly stdout?: string;
  readonly stderr?: string;
}

/**
 * Runs one file; fails with all that varnishtest saw. Its own servers take ports of 127.0.0.1, as many
 * as they like: what is to be free for long is on an address of its own.
 */
async function play(file: string, host: string): Promise<void> {
  const macros = {
    linkhold: path.join(ROOT, 'bin/linkhold'),
    api: `${host}:${await freePort(host)}`,
    relay: `${host}:${await freePort(host)}`,
  };
  const defined = Object.entries(macros).map(([name, value]) => `-D${name}=${value}`);
  // Colours would be in the way of what is expected.
  const options = { env: { ...process.env, NO_COLOR: '1' }, maxBuffer: 2 ** 26 };
  try {
    await promisify(execFile)('varnishtest', ['-t', `${BOUND_SECONDS}`, ...defined, file], options);
  } catch (error) {
    const { stdout = '', stderr = '' } = error as Failure;
    assert.fail(`${(error as Error).message}\n${stdout}${stderr}`);
  }
}

suite('scripted by varnishtest', { skip: varnishtestMissing(), concurrency: true }, () => {
  const files = globSync('test/vtc/*.vtc', { cwd: ROOT }).sort();

  test('there are files to play', () => assert(files.length > 0));

  for (const [index, file] of files.entries()) {
    const title = /^varnishtest "(.+)"$/m.exec(readFileSync(path.join(ROOT, file), 'utf8'))?.[1];
    test(`${file}: ${title}`, () => play(path.join(ROOT, file), `127.17.0.${index + 1}`));
  }
});
