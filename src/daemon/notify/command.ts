/**
 * Messages for a program of this machine: JSON on its stdin, the same in short in its environment.
 * No shell is between. It is killed, with all it started, when it takes too long.
 * @module
 */
import { spawn } from 'node:child_process';
import { parseDuration } from '../../time/duration.ts';
import { UsageError } from '../../time/usage-error.ts';
import { type Channel, DELIVERY_LIMIT_MS, DeliveryError, quote } from './channel.ts';
import type { Message } from './message.ts';
import type { CommandEntry } from './notify-schema.ts';
import { cut, gravityOf, linesOf, titleOf } from './text.ts';
import { toJson } from './webhook.ts';

const MOST_OUTPUT = 16 * 1_024;
const LONGEST_LIMIT_MS = 300_000;
/** What is ours and concerns no program that is told something. */
const KEPT_BACK = ['LINKHOLD_TOKEN', 'LINKHOLD_KEY'];

/** Throws `UsageError`. */
export function commandChannel({ command, timeout }: CommandEntry, where: string): Channel {
  const [program = '', ...args] = command;
  if (program === '') throw new UsageError('bad-config', `${where}.command: name a program`);
  if (command.some((word) => word.includes('\0'))) {
    throw new UsageError('bad-config', `${where}.command: no word may hold a zero byte`);
  }
  const given = timeout === undefined ? undefined : parseDuration(timeout, `${where}.timeout`);
  const limitMs = given ?? DELIVERY_LIMIT_MS;
  if (limitMs < 1 || limitMs > LONGEST_LIMIT_MS) {
    throw new UsageError('bad-config', `${where}.timeout: write 1ms to 5m`);
  }
  return { limitMs, send: (message, signal) => run(program, args, message, signal) };
}

function run(
  program: string,
  args: readonly string[],
  message: Message,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    // A group of its own, so that its children can be ended with it.
    const child = spawn(program, args, {
      env: environmentOf(message),
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const end = () => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    };
    signal.addEventListener('abort', end, { once: true });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(0, MOST_OUTPUT);
      });
    }
    // It need not read what it is given.
    child.stdin.on('error', () => undefined).end(toJson(message));
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(new DeliveryError(`${program} cannot be started (${error.code ?? 'unknown'})`));
    });
    child.on('exit', (code, killedBy) => {
      // A child of it may hold its output open for ever.
      setImmediate(() => {
        signal.removeEventListener('abort', end);
        for (const stream of child.stdio) stream?.destroy();
        const said = quote(output, []);
        const how = signal.aborted ? 'took too long' : `ended by ${killedBy ?? code}`;
        const text = `${program} ${how}${said === '' ? '' : `: ${said}`}`;
        if (code === 0) resolve(text);
        else reject(new DeliveryError(text));
      });
    });
  });
}

function environmentOf(message: Message): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of KEPT_BACK) delete env[name];
  const [first] = message.notices;
  return {
    ...env,
    LINKHOLD_ID: message.id,
    LINKHOLD_AT: message.at,
    LINKHOLD_RULE: message.rule,
    LINKHOLD_GRAVITY: gravityOf(message),
    LINKHOLD_TITLE: titleOf(message),
    LINKHOLD_TEXT: linesOf(message).join('\n'),
    LINKHOLD_KIND: first?.kind ?? '',
    LINKHOLD_NAMES: cut([...new Set(message.notices.map(({ name }) => name))].join(' '), 32_768),
  };
}
