/**
 * `linkhold notify --test [CHANNEL]`: a test message by each channel of a configuration, and what
 * its receiver answered.
 * @module
 */
import { randomUUID } from 'node:crypto';
import { loadConfig } from '../daemon/config.ts';
import { createChannel } from '../daemon/notify/channels.ts';
import { deliver } from '../daemon/notify/courier.ts';
import type { Message } from '../daemon/notify/message.ts';
import { UsageError } from '../time/usage-error.ts';
import { columns, paint, plain, print, printJson } from './output.ts';

export interface NotifyFlags {
  readonly config: string;
  readonly json?: boolean;
}

/** Resolves with 0 if every receiver took it, else 1. Throws `UsageError`. */
export async function notify(only: string | undefined, flags: NotifyFlags): Promise<number> {
  const channels = Object.entries(loadConfig(flags.config).notify?.channels ?? {});
  const chosen = channels.filter(([name]) => only === undefined || name === only);
  if (chosen.length === 0) {
    const names = channels.map(([name]) => name).join(', ');
    const text =
      names === ''
        ? `${flags.config} has no channels; write some under notify.channels`
        : `there is no channel "${only}"; use: ${names}`;
    throw new UsageError('no-channel', text);
  }
  const results = await Promise.all(
    chosen.map(async ([name, entry]) => {
      const channel = createChannel(entry, `notify.channels.${name}`);
      const from = performance.now();
      const [delivered, answer] = await deliver(channel, testMessage()).then(
        (text) => [true, text] as const,
        (error: Error) => [false, error.message] as const,
      );
      const tookMs = Math.round(performance.now() - from);
      return { channel: name, type: entry.type, delivered, answer, tookMs };
    }),
  );
  if (flags.json === true) printJson(results);
  else {
    const rows = results.map(({ channel, type, delivered, answer }) => {
      const verdict = delivered ? paint('green', 'delivered') : paint('red', 'failed');
      return [channel, type, verdict, plain(answer)];
    });
    for (const line of columns(rows)) print(line);
  }
  return results.every(({ delivered }) => delivered) ? 0 : 1;
}

function testMessage(): Message {
  const at = new Date().toISOString();
  const notice = { kind: 'test', of: 'link', name: 'test', since: at } as const;
  return { id: randomUUID(), at, rule: 'test', notices: [notice], closed: [], afterQuiet: false };
}
