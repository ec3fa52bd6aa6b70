/** What keeps the house in order: headers, sizes, layers, and no file that nobody uses. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';

const ROOT = path.join(import.meta.dirname, '..');

/** Room → rooms it may import. The linter has the same table; this one is read by people. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  time: [],
  wire: [],
  keepalive: ['time'],
  path: ['time', 'keepalive'],
  sys: [],
  link: ['time', 'wire', 'keepalive', 'sys'],
  relay: ['time', 'wire', 'path', 'sys'],
  host: ['time', 'wire', 'keepalive', 'sys'],
  daemon: ['time', 'wire', 'keepalive', 'path', 'sys', 'link', 'relay', 'host'],
  cli: ['time', 'wire', 'keepalive', 'path', 'sys', 'link', 'relay', 'host', 'daemon'],
};
const PURE = ['time', 'wire', 'keepalive', 'path'];
/** Files that are started or published rather than imported. */
const ENTRIES = [
  'src/index.ts',
  'src/cli/main.ts',
  'src/daemon/config-process.ts',
  'src/relay/relay-process.ts',
  'web/main.tsx',
  'web/build.ts',
];
const SUPPORT_PROGRAMS = /^test\/support\/peer-/;

/** Spelt apart, for this file is looked at too. */
const UNWANTED = [`TO${'DO'}`, `FIX${'ME'}`, `@ts-${'ignore'}`, `@ts-${'nocheck'}`, `.only${'('}`];
const HEADER = /^(#!.*\n)?\/\*\*\n \* [\s\S]*?@module\n \*\//;

const MOST_LINES = 400;
const MOST_LINES_OF_A_TEST = 600;

interface SourceFile {
  readonly name: string;
  readonly text: string;
  readonly lines: number;
  readonly isTest: boolean;
  readonly imports: readonly string[];
}

const files: readonly SourceFile[] = globSync(
  ['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'web/**/*.{ts,tsx}'],
  { cwd: ROOT },
).map((name) => {
  const text = readFileSync(path.join(ROOT, name), 'utf8');
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
    ([, specifier = '']) => specifier,
  );
  return {
    name,
    text,
    lines: text.split('\n').length - 1,
    isTest: name.endsWith('.test.ts'),
    imports: specifiers.map((specifier) =>
      specifier.startsWith('.') ? path.join(path.dirname(name), specifier) : specifier,
    ),
  };
});

const roomOf = (name: string) => /^src\/([^/]+)\//.exec(name)?.[1];

suite('tidy', () => {
  test('there are files to look at', () => assert(files.length > 50, `${files.length} files`));

  for (const { name, text, lines, isTest, imports } of files) {
    const room = roomOf(name);
    test(`${name} is in order`, () => {
      assert(lines <= (isTest ? MOST_LINES_OF_A_TEST : MOST_LINES), `${lines} lines`);
      for (const words of UNWANTED) assert(!text.includes(words), `it says "${words}"`);
      if (!isTest) assert.match(text, HEADER, 'no @module header');
      if (name.startsWith('web/') && !isTest) {
        const taken = text.match(/^import (?!type\b)[^;]*'\.\.\/src\/[^']*'/gm);
        assert.equal(taken, null, 'web/ may import nothing but types from src/');
      }
      if (room === undefined || isTest) return;
      const allowed = MAY_IMPORT[room];
      assert(allowed !== undefined, `no room "${room}" in the table`);
      for (const imported of imports) {
        const other = roomOf(imported);
        if (other !== undefined && other !== room) {
          assert(allowed.includes(other), `${room} may not import ${imported}`);
        }
        if (imported === 'koffi') assert.equal(room, 'sys');
        if (PURE.includes(room)) assert(imported.startsWith('src/'), `${room} imports ${imported}`);
      }
    });
  }

  test('no file is dead: each is imported by product code, an entry, or a test', () => {
    const used = new Set(files.flatMap(({ name, imports }) => imports.filter((i) => i !== name)));
    const productUses = new Set(
      files.filter(({ isTest }) => !isTest).flatMap(({ imports }) => imports),
    );
    const dead = files.filter(
      ({ name, isTest }) =>
        !isTest &&
        !ENTRIES.includes(name) &&
        !name.startsWith('bench/') &&
        !SUPPORT_PROGRAMS.test(name) &&
        !(name.startsWith('src/') ? productUses : used).has(name),
    );
    assert.deepEqual(
      dead.map(({ name }) => name),
      [],
    );
  });

  test('the linter has the same table of rooms', () => {
    const config = JSON.parse(readFileSync(path.join(ROOT, 'biome.json'), 'utf8'));
    for (const [room, allowed] of Object.entries(MAY_IMPORT)) {
      if (room === 'cli') continue;
      const override = config.overrides.find(
        (one: { includes: string[]; linter: { rules: { style?: object } } }) =>
          one.includes[0] === `src/${room}/**` &&
          JSON.stringify(one).includes('noRestrictedImports'),
      );
      const forbidden = override.linter.rules.style.noRestrictedImports.options.patterns[0].group;
      for (const other of Object.keys(MAY_IMPORT)) {
        if (other === room) continue;
        assert.equal(
          forbidden.includes(`../${other}/**`),
          !allowed.includes(other),
          `${room} → ${other}`,
        );
      }
    }
  });
});
