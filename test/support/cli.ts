/**
 * Runs `bin/linkhold` as a child process, as a person or a script would: collects what it prints,
 * waits for a line, an end or an answer of its API, each with a bound, and kills it by its id when
 * the test ends.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LAUNCHER = path.join(ROOT, 'bin', 'linkhold');
/** Node's own cache of compiled modules halves the time each process takes to start. */
const COMPILE_CACHE = path.join(ROOT, 'node_modules', '.cache', 'linkhold-compile');
/** Long enough for a process to start on a busy machine; only a test that fails waits so long. */
const BOUND_MS = 30_000;

/** What would change a command's behaviour if the caller happened to have it set. */
const SCRUBBED = ['LINKHOLD_KEY', 'LINKHOLD_TOKEN', 'NO_COLOR', 'FORCE_COLOR', 'NODE_TEST_CONTEXT'];

export interface CliOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The command that runs it, for example `setpriv` with its arguments: it must exec. */
  readonly under?: readonly string[];
}

/** How a command ended. */
export interface CliResult {
  /** The exit code, or `null` if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that is running or has run. */
export class CliProcess {
  readonly #child: ChildProcess;
  readonly #args: readonly string[];
  readonly #closed: Promise<unknown>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], { env = {}, cwd, under = [] }: CliOptions) {
    this.#args = args;
    const inherited = { ...process.env };
    for (const name of SCRUBBED) delete inherited[name];
    const [program = LAUNCHER, ...words] = [...under, LAUNCHER, ...args];
    this.#child = spawn(program, words, {
      env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...inherited, ...env },
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#closed = once(this.#child, 'close');
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** What it has printed so far. */
  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Whole lines on stdout so far. */
  get lines(): readonly string[] {
    return this.#stdout.split('\n').slice(0, -1);
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The first line on stdout, already there or still to come, that fits. */
  async line(pattern: RegExp, boundMs: number = BOUND_MS): Promise<string> {
    const find = () => this.lines.find((line) => pattern.test(line));
    return await this.#waitFor(find, `a line that fits ${pattern}`, boundMs);
  }

  /** Closes our end of its stdout, as `| head` does. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its end, within the bound. */
  async ended(boundMs: number = BOUND_MS): Promise<CliResult> {
    await this.#waitFor(() => (this.running ? undefined : true), 'an end', boundMs);
    await this.#closed;
    const { exitCode: code, signalCode: signal } = this.#child;
    return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
  }

  async #waitFor<Found>(
    find: () => Found | undefined,
    what: string,
    boundMs: number,
  ): Promise<Found> {
    const lateAt = performance.now() + boundMs;
    for (;;) {
      const running = this.running;
      const found = find();
      if (found !== undefined) return found;
      const command = `linkhold ${this.#args.join(' ')}`;
      const output = `stdout: ${this.#stdout}\nstderr: ${this.#stderr}`;
      if (!running && this.#child.stdout?.readableEnded !== false) {
        throw new Error(`${command} ended without ${what}\n${output}`);
      }
      if (performance.now() > lateAt) {
        throw new Error(`${command}: no ${what} within ${boundMs} ms\n${output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Starts a command; it is killed and gone when the test ends. */
export function startCli(
  t: TestContext,
  args: readonly string[],
  options: CliOptions = {},
): CliProcess {
  const command = new CliProcess(args, options);
  t.after(async () => {
    command.kill('SIGKILL');
    await command.ended();
  });
  return command;
}

/** Runs a command to its end. */
export async function runCli(
  t: TestContext,
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  return await startCli(t, args, options).ended();
}

/** The JSON at `url` once it is there and fits; refused connections are waited out. */
export async function apiAnswer<Answer>(
  url: string,
  fits: (answer: Answer) => boolean = () => true,
  boundMs: number = BOUND_MS,
): Promise<Answer> {
  const lateAt = performance.now() + boundMs;
  let last = 'no answer';
  while (performance.now() < lateAt) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(boundMs) });
      const text = await response.text();
      last = `${response.status} ${text}`;
      if (response.ok && fits(JSON.parse(text) as Answer)) return JSON.parse(text) as Answer;
    } catch (error) {
      last = String((error as Error & { cause?: unknown }).cause ?? error);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${url} did not answer as expected within ${boundMs} ms; last: ${last}`);
}

/** A directory that is removed with the test. */
export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
