/**
 * The daemon's log lines on stdout. A reader that stalls (a paused pager, a stuck collector) must
 * not stall the daemon, so a pipe is written without waiting and lines that do not fit are dropped,
 * and counted.
 * @module
 */
import { fstatSync } from 'node:fs';
import net from 'node:net';
import { pino } from 'pino';
import { prettyFactory } from 'pino-pretty';

/** What may wait for a reader: 50,000 links that come up at once. Lines beyond it are lost. */
const MOST_UNREAD = 16 * 1_024 * 1_024;
/** How long the last lines may take at the end. */
const LAST_LINES_MS = 500;

/** A log, and its end. */
export interface Log {
  readonly log: pino.Logger;
  /** Gives a reader a moment for what is still to be written. */
  close(): Promise<void>;
  /** As `close`, but stdout stays open: for the program that goes on in this process. */
  flush(): Promise<void>;
}

/** Log lines as JSON, or for people. */
export function openLog(json: boolean): Log {
  const kind = fstatSync(1);
  const pipe = kind.isFIFO() || kind.isSocket();
  // Node writes to a pipe on stdout and waits for the reader; a socket of our own does not.
  const out = pipe ? new net.Socket({ fd: 1, readable: false }) : process.stdout;
  if (pipe) out.on('error', () => undefined);
  const colorize = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  const people = prettyFactory({ colorize, translateTime: 'SYS:HH:MM:ss.l', hideObject: true });
  let dropped = 0;
  const write = (line: string) => {
    if (out.destroyed) return;
    if (out.writableLength > MOST_UNREAD) {
      dropped += 1;
      return;
    }
    const lost = dropped;
    dropped = 0;
    if (lost > 0) log.warn(`${lost} lines were lost: nobody read them`);
    out.write(json ? line : people(line));
  };
  const log: pino.Logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    { write },
  );
  const flush = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LAST_LINES_MS);
      // Called once all that was written before is out, or cannot be.
      out.write('', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  const close = () =>
    new Promise<void>((resolve) => {
      // A reader that left has ended it already.
      if (!pipe || out.destroyed) {
        resolve();
        return;
      }
      const timer = setTimeout(() => out.destroy(), LAST_LINES_MS);
      out.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      out.end(() => out.destroy());
    });
  return { log, close, flush };
}
