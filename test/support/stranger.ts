/**
 * Somebody else on this machine: a process without rights in a network namespace of its own, and our
 * code run by such a process. Everything is gone at the end of the test.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { ffiMissing } from '../../src/sys/libc.ts';

const SOURCE = path.join(import.meta.dirname, '..', '..', 'src');
const NOBODY = ['--reuid=65534', '--regid=65534', '--clear-groups'];
const BOUND_MS = 30_000;

let missing: string | false | undefined;

/** Why there is nobody else to be had, or `false`. Looked for once. */
export function strangerMissing(): string | false {
  missing ??= whatIsMissing();
  return missing;
}

function whatIsMissing(): string | false {
  if (process.getuid?.() !== 0) return 'needs root, to become somebody else';
  for (const tool of ['setpriv', 'unshare', 'nsenter', 'ip', 'bash']) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0) {
      return `needs the command ${tool}`;
    }
  }
  const { status, stderr } = spawnSync('unshare', ['--net', 'true'], { encoding: 'utf8' });
  if (status !== 0) return `cannot make a network namespace: ${stderr.trim()}`;
  const reads = ['test', '-r', path.join(SOURCE, 'index.ts')];
  if (spawnSync('setpriv', [...NOBODY, ...reads]).status !== 0) {
    return 'needs a checkout that nobody can read, not one below a private folder';
  }
  return ffiMissing() ?? false;
}

/** A child that lives until the end of the test, once it has said its first words. */
async function living(t: TestContext, child: ChildProcess): Promise<ChildProcess> {
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  assert(child.stdout !== null);
  await once(child.stdout, 'data', { signal: AbortSignal.timeout(BOUND_MS) });
  return child;
}

/** A process of nobody, alone in a network namespace whose loopback is up; answers its namespace. */
export async function elsewhere(t: TestContext): Promise<{ pid: number; file: string }> {
  const script = `ip link set lo up && exec setpriv ${NOBODY.join(' ')} sh -c 'echo here; exec cat'`;
  const { pid = -1 } = await living(t, spawn('unshare', ['--net', 'sh', '-c', script]));
  return { pid, file: `/proc/${pid}/ns/net` };
}

/** A process of root in that namespace that connects to a port of it; the id of it. */
export async function caller(t: TestContext, file: string, port: number): Promise<number> {
  const script = 'exec 3<>/dev/tcp/127.0.0.1/$1 && echo connected && exec cat';
  const words = [`--net=${file}`, 'bash', '-c', script, 'bash', String(port)];
  return (await living(t, spawn('nsenter', words))).pid ?? -1;
}

/**
 * What `body` answers, run by nobody: lines of an async function with `load(file)` for our modules,
 * `attempt(function)` for what may throw, and `given`.
 */
export async function asNobody<Answer>(body: string, given: unknown = null): Promise<Answer> {
  return await answerOf(['setpriv', ...NOBODY, process.execPath], '', body, given);
}

/** The same, run by ourselves where the package koffi is not installed. */
export async function withoutKoffi<Answer>(body: string): Promise<Answer> {
  const hide = `
    const { registerHooks } = await import('node:module');
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier !== 'koffi') return next(specifier, context);
        throw Object.assign(new Error('not installed'), { code: 'MODULE_NOT_FOUND' });
      },
    });`;
  return await answerOf([process.execPath], hide, body, null);
}

async function answerOf<Answer>(
  [program = '', ...words]: readonly string[],
  before: string,
  body: string,
  given: unknown,
): Promise<Answer> {
  const script = `${before}
    const load = (file) => import(${JSON.stringify(SOURCE)} + '/' + file);
    const attempt = (act) => {
      try {
        return { answer: act() };
      } catch (error) {
        return { name: error.name, code: error.code, message: error.message };
      }
    };
    const given = ${JSON.stringify(given)};
    const answer = await (async () => { ${body} })();
    process.stdout.write(JSON.stringify(answer), () => process.exit(0));`;
  const run = promisify(execFile);
  const flags = ['--no-warnings', '--input-type=module', '-e', script];
  const { stdout } = await run(program, [...words, ...flags], { cwd: '/', timeout: BOUND_MS });
  return JSON.parse(stdout) as Answer;
}
