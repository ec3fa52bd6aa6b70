import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../../test/support/cli.ts';
import { loadConfig } from './config.ts';
import { readConfig } from './config-reader.ts';

/** A file of 1,000 links, which is more than is read in this process, and one line more. */
function largeFile(t: TestContext, line = '') {
  const file = path.join(temporaryDirectory(t), 'linkhold.yaml');
  const links = Array.from({ length: 1_000 }, (_, index) => {
    return `  l${index}: { url: "beat://127.0.0.1:7200?key=secret", time: 45s, tags: [a, b] }`;
  });
  writeFileSync(file, ['links:', ...links, line, ''].join('\n'));
  return file;
}

suite('a configuration file of 80 KiB', () => {
  test('is the same as read in this process, and timers have their turn meanwhile', async (t) => {
    const file = largeFile(t);
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    const config = await readConfig(file);
    clearInterval(timer);
    assert(turns > 0);
    assert.deepStrictEqual(config, loadConfig(file));
  });

  test('is refused in the same words', async (t) => {
    const file = largeFile(t, '  l1000: { url: "beat://127.0.0.1" }');
    const refused = { name: 'UsageError', code: 'bad-config', message: /^\S+:1002:\d+: links\./ };
    await assert.rejects(readConfig(file), refused);
  });

  test('that is gone before it is read is refused, as one that never was', async (t) => {
    const file = largeFile(t);
    const reading = readConfig(file);
    rmSync(file);
    const refused = { name: 'UsageError', code: 'bad-config', message: /cannot be read/ };
    await assert.rejects(reading, refused);
    await assert.rejects(readConfig(file), refused);
  });

  test('whose reader ends without a word is told as such', async (t) => {
    const file = largeFile(t);
    const { execPath } = process;
    t.after(() => {
      process.execPath = execPath;
    });
    process.execPath = '/bin/false';
    await assert.rejects(readConfig(file), {
      name: 'SystemError',
      code: 'ECHILD',
      message: `${file}: the process that reads it ended: exit code 1`,
    });
    process.execPath = '/nowhere/node';
    await assert.rejects(readConfig(file), { name: 'SystemError', message: /ENOENT/ });
  });
});
