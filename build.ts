/**
 * `node build.ts`: makes dist/, which is what the package holds. The library is emitted file by
 * file by the compiler; the command is bundled with everything it uses, so that the package needs no
 * other one. Beside it lie the dashboard, the manual page and the schema of the configuration file. Ends
 * with 1 where that would not be true.
 * @module
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import { build, type Metafile } from 'esbuild';
import { configJsonSchema } from './src/daemon/config-json-schema.ts';
import { buildWeb } from './web/build.ts';

const ROOT = import.meta.dirname;
const DIST = path.join(ROOT, 'dist');
const CLI = path.join(DIST, 'cli');
/** Loaded where it is found, and its absence is told. */
const OPTIONAL = ['koffi'];

/** CommonJS in the bundle asks for Node's modules by `require`, which an ES module does not have. */
const BANNER = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);`;

function fail(text: string): never {
  process.stderr.write(`build: ${text}\n`);
  process.exit(1);
}

/** JavaScript and declarations of the library. */
function emitLibrary(): void {
  const compiler = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (status !== 0) fail('the compiler found errors');
  // The compiler rewrites import extensions in JavaScript only; others' compilers want both.
  for (const file of globSync('**/*.d.ts', { cwd: DIST })) {
    const place = path.join(DIST, file);
    const text = readFileSync(place, 'utf8');
    writeFileSync(place, text.replaceAll(/(\bfrom '\.[^']*)\.ts'/g, "$1.js'"));
  }
}

/** The command, in chunks that are loaded when a command needs them. They lie flat in one folder. */
async function bundleCommand(): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['src/cli/main.ts', 'src/daemon/config-process.ts', 'src/relay/relay-process.ts'],
    outdir: CLI,
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    external: OPTIONAL,
    banner: { js: BANNER },
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  chmodSync(path.join(CLI, 'main.js'), 0o755);
  return metafile;
}

/** The folder in node_modules that a bundled file came from, or `undefined` for a file of ours. */
function packageOf(file: string): string | undefined {
  return /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
}

/** The licence of every package in the bundle, as each of them asks for. */
function writeLicences(...metafiles: readonly Metafile[]): void {
  const inputs = metafiles.flatMap((metafile) => Object.keys(metafile.inputs));
  const folders = new Set(inputs.flatMap((file) => packageOf(file) ?? []));
  const texts = [...folders]
    .toSorted((a, b) => a.localeCompare(b, 'en'))
    .map((folder) => {
      const place = path.join(ROOT, folder);
      const { name, version, license } = JSON.parse(
        readFileSync(path.join(place, 'package.json'), 'utf8'),
      );
      const files = readdirSync(place).filter((file) => /^(licen[cs]e|notice)/i.test(file));
      if (license === undefined && files.length === 0) fail(`${name} has no licence`);
      const body = files.map((file) => readFileSync(path.join(place, file), 'utf8').trim());
      if (files.length === 0) body.push('Its package holds no text of the licence.');
      return [`${name} ${version} (${license ?? 'see below'})`, ...body].join('\n\n');
    });
  const head = 'linkhold bundles these packages into its command and dashboard. Their licences:';
  const rule = `\n\n${'-'.repeat(80)}\n\n`;
  writeFileSync(path.join(CLI, 'THIRD-PARTY-LICENSES.txt'), `${[head, ...texts].join(rule)}\n`);
}

/** For editors: what may stand in a configuration file. */
function writeSchema(): void {
  const text = JSON.stringify(configJsonSchema(), null, 2);
  writeFileSync(path.join(DIST, 'linkhold.schema.json'), `${text}\n`);
}

/** The manual page, by the command that was just made. */
function writeManual(): void {
  const { status, stdout } = spawnSync(process.execPath, [path.join(CLI, 'main.js'), 'man']);
  if (status !== 0) fail('the command does not run');
  mkdirSync(path.join(DIST, 'man'));
  writeFileSync(path.join(DIST, 'man/linkhold.1'), stdout);
}

/** What the package would need from elsewhere, if anything. */
function refuseDependencies(metafile: Metafile): void {
  const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const required = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
  if (required.length > 0) fail(`the package must need no other one, not ${required.join(', ')}`);
  const provided = new Set([...builtinModules, ...OPTIONAL]);
  const refuse = (file: string, name: string) => {
    if (name.startsWith('node:') || provided.has(name)) return;
    fail(`${file} imports ${name}, which the package does not have`);
  };
  for (const [file, { imports }] of Object.entries(metafile.outputs)) {
    if (path.dirname(file) !== path.relative(ROOT, CLI))
      fail(`${file} does not lie flat in ${CLI}`);
    for (const { path: name, external } of imports) if (external === true) refuse(file, name);
  }
  for (const file of globSync('**/*.js', { cwd: DIST, exclude: ['cli/**'] })) {
    const text = readFileSync(path.join(DIST, file), 'utf8');
    for (const [, name = ''] of text.matchAll(/\bfrom '([^']+)'|^import '([^']+)'/gm)) {
      if (!name.startsWith('.')) refuse(file, name);
      else if (!existsSync(path.resolve(DIST, path.dirname(file), name))) refuse(file, name);
    }
  }
}

rmSync(DIST, { recursive: true, force: true });
emitLibrary();
const metafile = await bundleCommand();
writeSchema();
writeManual();
writeLicences(metafile, await buildWeb());
refuseDependencies(metafile);
