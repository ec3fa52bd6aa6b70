/** Pages that are generated say what the code says. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { parseConfig } from '../src/daemon/config.ts';
import { temporaryDirectory } from './support/cli.ts';
import { comparedTable } from './support/compared-table.ts';
import { configurationKeys } from './support/configuration-keys.ts';
import { commandLines } from './support/documented-commands.ts';

const ROOT = path.join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8');

const pages = () => globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT });

/** What a command says of itself: its arguments and options. */
function helpOf(words: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(
    path.join(ROOT, 'bin/linkhold'),
    [...words, '--help'],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, `linkhold ${words.join(' ')}: ${stderr}`);
  return stdout;
}

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

  test('every command on a page is one that there is, with options that it has', () => {
    const helps = new Map<string, string>();
    const help = (words: readonly string[]) => {
      const name = words.join(' ');
      const text = helps.get(name) ?? helpOf(words);
      helps.set(name, text);
      return text;
    };
    const names = [...help([]).matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name);
    let lines = 0;
    for (const file of pages()) {
      for (const { line, command, options } of commandLines(read(file))) {
        const where = `${file}: ${line}`;
        assert(names.includes(command[0]), `${where}: there is no such command`);
        const known = help(command[0] === 'token' ? command.slice(0, 2) : command.slice(0, 1));
        for (const { name, hasValue } of options) {
          const row = new RegExp(`^ +(?:-\\w, )?${name}(?= |$)( <)?`, 'm').exec(known);
          assert(row !== null, `${where}: it has no ${name}`);
          if (row[1] !== undefined) assert(hasValue, `${where}: ${name} needs a value`);
        }
        lines += 1;
      }
    }
    assert(lines >= 25, `${lines} commands`);
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
