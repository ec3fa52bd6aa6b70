/** Completion by the real shells, and the manual page by the programs that show it. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { runCli, temporaryDirectory } from '../support/cli.ts';

const ZSH_COMPLETES = path.resolve(import.meta.dirname, '../support/zsh-completes.zsh');
const BOUND_MS = 20_000;

function missing(program: string): string | false {
  const { error } = spawnSync(program, ['--version']);
  return error === undefined ? false : `needs ${program}`;
}

/** The script for a shell, in a directory with a folder and two files. */
async function script(t: TestContext, shell: string) {
  const cwd = temporaryDirectory(t);
  const { code, stdout, stderr } = await runCli(t, ['completion', shell]);
  assert.deepEqual([code, stderr], [0, '']);
  const file = path.join(cwd, 'script');
  writeFileSync(file, stdout);
  mkdirSync(path.join(cwd, 'folder'));
  writeFileSync(path.join(cwd, 'fort.yaml'), '');
  return { cwd, file };
}

async function output(program: string, args: readonly string[], cwd: string): Promise<string> {
  const options = { cwd, timeout: BOUND_MS };
  return (await promisify(execFile)(program, args, options)).stdout;
}

/** A line up to the cursor, and all that may stand there. */
const CASES: readonly (readonly [line: string, words: readonly string[]])[] = [
  ['linkhold ch', ['check']],
  ['linkhold dr', ['drain']],
  ['linkhold token ', ['add', 'list', 'remove']],
  ['linkhold token add --sc', ['--scope']],
  ['linkhold completion ', ['bash', 'fish', 'zsh']],
  ['linkhold run --tls-', ['--tls-cert', '--tls-key']],
  ['linkhold run --tls-cert fo', ['folder', 'fort.yaml']],
  ['linkhold run fo', ['folder', 'fort.yaml']],
  ['linkhold status --state-dir fo', ['folder']],
  ['linkhold check --time ', []],
  ['linkhold events --lin', ['--link']],
];

suite('completion', { concurrency: true, timeout: 120_000 }, () => {
  test('bash completes commands, options, choices, files and folders', {
    skip: missing('bash'),
  }, async (t) => {
    const { cwd, file } = await script(t, 'bash');
    // What bash itself does on Tab, but for `compopt`, which only an interactive one has.
    const complete = `compopt() { :; }; source "$1"; read -ra COMP_WORDS <<<"$2"
      [[ $2 == *' ' ]] && COMP_WORDS+=('')
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _linkhold; printf '%s\\n' "\${COMPREPLY[@]}"`;
    for (const [line, words] of CASES) {
      const text = await output('bash', ['-c', complete, 'bash', file, line], cwd);
      assert.deepEqual(text.split('\n').filter(Boolean).toSorted(), words, line);
    }
  });

  test('fish too, and says what each is', { skip: missing('fish') }, async (t) => {
    const { cwd, file } = await script(t, 'fish');
    const complete = 'source $argv[1]; complete -C "$argv[2]"';
    const ask = (line: string) => output('fish', ['-N', '-c', complete, file, line], cwd);
    for (const [line, words] of CASES) {
      const found = (await ask(line)).split('\n').filter(Boolean);
      const names = found.map((one) => one.split('\t')[0]?.replace(/\/$/, ''));
      assert.deepEqual(names.toSorted(), words, line);
    }
    assert.match(await ask('linkhold ch'), /^check\tone verdict a link$/m);
  });

  test('zsh too', { skip: missing('zsh') }, async (t) => {
    const { cwd, file } = await script(t, 'zsh');
    const one = CASES.filter(([, words]) => words.length === 1);
    assert(one.length >= 4);
    const types = async ([line, [word = '']]: (typeof CASES)[number]) => {
      const text = await output('zsh', ['-f', ZSH_COMPLETES, file, line], cwd);
      const typed = line.slice(0, line.lastIndexOf(' ') + 1);
      assert(text.includes(`${typed}${word}`), `${line}: ${JSON.stringify(text)}`);
    };
    await Promise.all(one.map(types));
  });

  test('another shell is refused with those that there are', async (t) => {
    const { code, stderr } = await runCli(t, ['completion', 'tcsh']);
    assert.equal(code, 2);
    assert.match(stderr, /'tcsh' is invalid .* bash, zsh, fish\.\n$/);
  });
});

suite('the manual page', { timeout: 120_000 }, () => {
  /** Of every command and option in the help. */
  async function page(t: TestContext): Promise<string> {
    const file = path.join(temporaryDirectory(t), 'linkhold.1');
    const { code, stdout } = await runCli(t, ['man']);
    assert.equal(code, 0);
    writeFileSync(file, stdout);
    return file;
  }

  test('man shows it without a warning, with each command and option', {
    skip: missing('man'),
  }, async (t) => {
    const file = await page(t);
    const env = { ...process.env, MANWIDTH: '100', MANROFFOPT: '', LC_ALL: 'C.UTF-8' };
    const options = { encoding: 'utf8', env, timeout: BOUND_MS } as const;
    const { status, stdout: text, stderr } = spawnSync('man', ['--warnings', '-l', file], options);
    assert.deepEqual([status, stderr], [0, '']);
    const help = (await runCli(t, ['--help'])).stdout;
    const names = [...help.matchAll(/^ {2}([a-z]+) (?=.*\[)/gm)].map(([, name = '']) => name);
    assert(names.length >= 15, help);
    for (const name of names.filter((one) => one !== 'help')) {
      assert.match(text, new RegExp(`^ +linkhold ${name}\\b`, 'm'), name);
    }
    assert.match(text, /--user-timeout <duration>\s+limit for unacknowledged data/);
    assert.match(text, /\(default: "127\.0\.0\.1:7117"\)/);
    assert.match(text, /linkhold token add grafana --scope read/);
    for (const heading of ['EXIT STATUS', 'ENVIRONMENT', 'FILES', 'SEE ALSO']) {
      assert.match(text, new RegExp(`^${heading}$`, 'm'));
    }
  });

  test('mandoc finds no fault but that it has no date', { skip: missing('mandoc') }, async (t) => {
    const { stdout } = spawnSync('mandoc', ['-Tlint', '-W', 'warning', await page(t)], {
      encoding: 'utf8',
    });
    assert.match(stdout, /^(.*missing date.*\n)?$/);
  });
});
