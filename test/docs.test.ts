/** Pages that are generated say what the code says. */
import assert from 'node:assert/strict';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { parseConfig } from '../src/daemon/config.ts';
import { temporaryDirectory } from './support/cli.ts';
import { comparedTable } from './support/compared-table.ts';
import { configurationKeys } from './support/configuration-keys.ts';

const ROOT = path.join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8');

const pages = () => globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT });

suite('docs', () => {
  test('every configuration on a page is good', (t) => {
    const directory = temporaryDirectory(t);
    const [secret, url] = [path.join(directory, 'secret'), path.join(directory, 'url')];
    writeFileSync(secret, '0123456789abcdef0123456789abcdef');
    writeFileSync(url, 'https://chat.example.net/a-secret');
    const fileOf = (place: string) => (place.endsWith('url') ? url : secret);
    let blocks = 0;
    for (const file of pages()) {
      for (const [, text = ''] of read(file).matchAll(/^```yaml\n([\s\S]*?)^```/gm)) {
        if (!/^(links|groups|relays|routes|protect|respond|notify):/m.test(text)) continue;
        parseConfig(text.replaceAll(/\/etc\/linkhold\/[\w-]+/g, fileOf), file);
        blocks += 1;
      }
    }
    assert(blocks >= 7, `${blocks} blocks`);
  });

  test('the table of kinds is that of the code; node test/support/compared-table.ts prints it', () => {
    assert(read('docs/keepalive-compared.md').includes(comparedTable()));
  });

  test('the keys of a file are those of the schema; node test/support/configuration-keys.ts prints them', () => {
    const keys = configurationKeys();
    assert(read('docs/configuration.md').includes(keys));
    assert.doesNotMatch(keys, /\): ?$/m, 'a key without a description');
  });

  test('every kind of link has a row and a page, and every link between pages leads somewhere', () => {
    const kinds =
      /const KINDS[^=]*= \{([\s\S]*?)\n\};/.exec(read('src/link/registry.ts'))?.[1] ?? '';
    const names = [...kinds.matchAll(/^ {2}(?:'([^']+)'|(\w+)):/gm)].map(([, a, b]) => a ?? b);
    assert(names.length >= 6, `${names}`);
    for (const name of names) {
      assert(comparedTable().includes(`| [${name}](`), `no row for ${name}`);
    }
    for (const file of pages()) {
      for (const [, target = ''] of read(file).matchAll(/\]\(([^)#]+?)(?:#[^)]*)?\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const place = path.join(path.dirname(file), target);
        assert(globSync(place, { cwd: ROOT }).length > 0, `${file} leads to ${place}`);
      }
    }
  });
});
