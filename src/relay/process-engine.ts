/**
 * Relays by a process of their own, which this one starts, watches and replaces: another stands by, so
 * that one that ends is followed within milliseconds by the next, with all of its flows. A process that
 * finds the flows of an earlier daemon in the directory takes those over too.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { kernelCalls } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';
import type { RelayEngine, RelayEngineEvents, RelayFailure } from './relay-engine.ts';
import type { PlannedRelay, RelayCounts, RelayNews, RelayOrder } from './relay-plan.ts';

/** In a checkout it lies beside this file, in the package in the command's folder. */
const PROGRAM: string = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? './relay-process.ts' : './relay-process.js',
    import.meta.url,
  ),
);
/** A process that ends so soon after it began is not replaced at once. */
const SHORT_LIFE_MS = 1_000;
/** How long one that is told to stop may take. */
const STOP_MS = 5_000;
const STOPPED = 'exit code 0';
const WNOHANG_WALL = 0x4000_0001;
/** What is kept of what it wrote to its standard error. */
const LONGEST_LAST_WORDS = 2_000;

/** One process; its words come as events. */
class RelayChild extends EventEmitter<{ news: [RelayNews]; exit: [string] }> {
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  lastWords = '';
  /** How it ended. */
  ended: string | undefined;

  constructor() {
    super();
    this.#child = spawn(process.execPath, [PROGRAM], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      // A terminal's Ctrl-C is meant for the daemon, which then tells it to stop.
      detached: true,
    });
    this.#control = this.#child.stdio[3] as Duplex;
    // Its end is told by `exit`. Its keeper has the other end of this, so there is no other sign.
    const end = () => undefined;
    const lines = createInterface(this.#control.on('error', end));
    lines.on('error', end).on('line', (line) => this.emit('news', JSON.parse(line) as RelayNews));
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.lastWords = (this.lastWords + String(chunk)).slice(-LONGEST_LAST_WORDS);
    });
    this.#child.once('error', (error) => this.#end(error.message));
    this.#child.once('exit', (code, signal) => this.#end(signal ?? `exit code ${code}`));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  tell(order: RelayOrder): void {
    this.#control.write(`${JSON.stringify(order)}\n`);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Tells it to stop, and resolves when it is gone: true if it did as it was told. */
  async stop(): Promise<boolean> {
    if (this.ended === undefined) {
      const gone = once(this, 'exit');
      const giveUp = setTimeout(() => this.kill(), STOP_MS);
      this.tell({ do: 'stop' });
      await gone;
      clearTimeout(giveUp);
    }
    return this.ended === STOPPED;
  }

  /** Neither it nor its sockets keep this process from ending. */
  release(): void {
    this.#child.unref();
    this.#control.destroy();
    this.#child.stderr?.destroy();
  }

  #end(how: string): void {
    if (this.ended !== undefined) return;
    this.ended = how;
    this.emit('exit', how);
  }
}

export class ProcessEngine extends EventEmitter<RelayEngineEvents> implements RelayEngine {
  readonly #directory: string;
  #relays: readonly PlannedRelay[] = [];
  #current: RelayChild | undefined;
  #standby: RelayChild | undefined;
  #counts: Readonly<Record<string, RelayCounts>> = {};
  #begunAt = 0;
  #shortLives = 0;
  #closing = false;
  /** How many of those who wait are answered next: all that waited when the process began, then each. */
  #answered = 1;
  #again: NodeJS.Timeout | undefined;
  readonly #waiting: ((failures: readonly RelayFailure[]) => void)[] = [];

  /** `directory` is for the table of the flows; made if need be. */
  constructor(directory: string) {
    super();
    this.#directory = directory;
  }

  get pid(): number {
    return this.#current?.pid ?? 0;
  }

  async apply(relays: readonly PlannedRelay[]): Promise<readonly RelayFailure[]> {
    this.#relays = relays;
    if (this.#current === undefined) {
      if (relays.length === 0) return [];
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    }
    const answer = new Promise<readonly RelayFailure[]>((resolve) => this.#waiting.push(resolve));
    if (this.#current === undefined) this.#begin(new RelayChild());
    else this.#current.tell({ do: 'plan', relays });
    return await answer;
  }

  reset(relay: string, path: string): void {
    this.#current?.tell({ do: 'reset', relay, path });
  }

  counts(relay: string): RelayCounts | undefined {
    return this.#counts[relay];
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#again);
    this.#standby?.kill();
    const current = this.#current;
    if (current === undefined) return;
    if (!(await current.stop())) {
      // It left a keeper with its flows, which only a next one can end.
      const last = new RelayChild();
      last.tell({ do: 'begin', directory: this.#directory, relays: [] });
      await last.stop();
    }
    this.#current = undefined;
    this.#answer(this.#waiting.length, []);
  }

  /** Lets go of the process that carries: it goes on without us, for a daemon after this one. */
  async release(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#again);
    const standby = this.#standby;
    if (standby !== undefined) {
      const gone = once(standby, 'exit');
      standby.kill();
      await gone;
    }
    this.#current?.release();
  }

  #begin(child: RelayChild): void {
    this.#current = child;
    this.#begunAt = performance.now();
    this.#answered = this.#waiting.length;
    child.on('news', (news) => this.#hear(child, news));
    child.once('exit', (how) => this.#replace(child, how));
    child.tell({ do: 'begin', directory: this.#directory, relays: this.#relays });
  }

  #hear(child: RelayChild, news: RelayNews): void {
    if (child !== this.#current) return;
    switch (news.news) {
      case 'ready':
        this.#standBy();
        this.#welcome(news);
        break;
      case 'planned':
        this.#answer(this.#answered, news.failures);
        this.#answered = 1;
        break;
      case 'counts':
        this.#counts = news.relays;
        break;
      case 'refused':
        this.emit('refused', news.relay, news.path);
        break;
      case 'note':
        this.emit('note', news.text);
        break;
      case 'standing-by':
        break;
    }
  }

  #answer(count: number, failures: Extract<RelayNews, { news: 'planned' }>['failures']): void {
    const errors = failures.map(({ relay, errno }) => failureOf(relay, errno));
    for (const resolve of this.#waiting.splice(0, count)) resolve(errors);
  }

  #welcome({ flows, bytes, ms, replaced }: Extract<RelayNews, { news: 'ready' }>): void {
    // Where this program was replaced in place, that one is still a child of ours.
    if (replaced > 0) kernelCalls().waitpid(replaced, WNOHANG_WALL);
    if (replaced === 0) return;
    const what = `${flows} flows and ${bytes} bytes on their way`;
    this.emit('note', `relay process ${this.pid} took over ${what} from ${replaced} in ${ms} ms`);
  }

  #standBy(): void {
    if (this.#closing) return;
    const standby = new RelayChild();
    this.#standby = standby;
    standby.once('exit', () => {
      if (this.#standby === standby) this.#standby = undefined;
    });
  }

  /** The process that carried is gone: the next takes over. */
  #replace(child: RelayChild, how: string): void {
    if (this.#closing || child !== this.#current) return;
    const words = child.lastWords.trim();
    this.emit(
      'note',
      `relay process ${child.pid} ended (${how})${words === '' ? '' : `: ${words}`}`,
    );
    const lived = performance.now() - this.#begunAt;
    this.#shortLives = lived < SHORT_LIFE_MS ? this.#shortLives + 1 : 0;
    const next = this.#standby;
    this.#standby = undefined;
    next?.removeAllListeners('exit');
    const begin = () => this.#begin(next ?? new RelayChild());
    // Its flows are kept meanwhile; whatever ends it so soon would end the next one too.
    if (this.#shortLives < 3) begin();
    else this.#again = setTimeout(begin, SHORT_LIFE_MS);
  }
}

function failureOf(relay: string, errno: string): RelayFailure {
  return { relay, error: new SystemError(errno, `cannot listen: ${errno}`) };
}
