/**
 * Flags that several commands share.
 * @module
 */
import type { Command } from 'commander';
import type { ProfileName, TimingInput } from '../keepalive/timing.ts';
import { UsageError } from '../time/usage-error.ts';

/** Where a daemon's API listens unless told otherwise. */
export const DEFAULT_LISTEN = '127.0.0.1:7117';

/** Which connections of this machine are meant. */
export interface ConnectionFlags {
  readonly pid?: string;
  readonly port?: string;
  readonly netns?: string;
  readonly json?: boolean;
}

export interface TimingFlags {
  readonly time?: string;
  readonly interval?: string;
  readonly probes?: string;
  readonly userTimeout?: string;
  readonly beat?: string;
  readonly profile?: string;
}

/** Adds the timing flags, the same for every command that has them. */
export function addTimingFlags(command: Command): Command {
  return addTcpTimingFlags(command).option(
    '--beat <duration>',
    'send a beat after this much of sending nothing',
  );
}

/** The timing flags without a send clock, which TCP does not have. */
export function addTcpTimingFlags(command: Command): Command {
  return command
    .option('--time <duration>', 'quiet before the first probe (default 60s)')
    .option('--interval <duration>', 'gap between unanswered probes (default 10s)')
    .option('--probes <count>', 'unanswered probes before the peer is dead (default 3)')
    .option(
      '--user-timeout <duration>',
      'limit for unacknowledged data; 0s leaves it to the kernel',
    )
    .option('--profile <name>', 'rfc9293, linux, windows, windows-legacy, macos, typical, default');
}

/** The timing asked for by flags. Throws `UsageError`. */
export function timingOf(flags: TimingFlags): TimingInput {
  const { time, interval, userTimeout, beat } = flags;
  const probes = flags.probes === undefined ? undefined : wholeNumber(flags.probes, '--probes');
  const profile = flags.profile as ProfileName | undefined;
  return { time, interval, userTimeout, beat, probes, profile };
}

/** A whole number typed as a flag. Throws `UsageError`. */
export function wholeNumber(text: string, where: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError(
    'bad-number',
    `${where}: "${text}" is not a whole number; write for example 3`,
  );
}

/** A port typed as a flag, or `undefined`. Throws `UsageError`. */
export function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = wholeNumber(text, '--port');
  if (port >= 1 && port <= 65_535) return port;
  throw new UsageError('bad-number', `--port: ${port} is no port; write 1 to 65535`);
}

/** A process id typed as a flag, or `undefined`. Throws `UsageError`. */
export function pidOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : wholeNumber(text, '--pid');
}
