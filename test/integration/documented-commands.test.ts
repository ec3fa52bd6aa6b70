/** The command lines that the documentation shows can be typed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import { commandLines } from '../support/documented-commands.ts';

const ROOT = path.join(import.meta.dirname, '../..');
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

suite('documented commands', () => {
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
});
