/**
 * `linkhold run [FILE]`: the daemon in the foreground, with its log on stdout.
 * @module
 */
import { pino } from 'pino';
import pretty from 'pino-pretty';
import { loadConfig } from '../daemon/config.ts';
import { Daemon } from '../daemon/daemon.ts';
import type { LoggedEvent } from '../daemon/event-log.ts';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { describeEvent, subjectOf } from './describe.ts';
import { print } from './output.ts';
import { version } from './version.ts';

export interface RunFlags {
  readonly check?: boolean;
  readonly json?: boolean;
  readonly listen: string;
  readonly stateDir?: string;
}

/** Resolves with 0 when told to stop. Throws `UsageError` and `SystemError`. */
export async function run(file: string, flags: RunFlags): Promise<number> {
  if (flags.check === true) {
    const { links, groups, relays } = loadConfig(file);
    const count = (entries: object, noun: string) => `${Object.keys(entries).length} ${noun}`;
    const parts = [count(links, 'links'), count(groups, 'groups'), count(relays, 'relays')];
    print(`${file}: good, ${parts.join(', ')}`);
    return 0;
  }
  const log = makeLog(flags.json === true);
  const stateDir = flags.stateDir ?? defaultStateDir();
  const daemon = new Daemon({ file, listen: flags.listen, stateDir, version: version() });
  daemon.log.on('event', (event) => logEvent(log, event));
  await daemon.start();
  log.info(`linkhold ${version()} runs ${file}; page and API: http://${flags.listen}/`);
  const reload = () => {
    daemon.reload().then(
      () => log.info(`reloaded ${file}`),
      (error: Error) =>
        log.error(`not reloaded, the running configuration stays: ${error.message}`),
    );
  };
  process.on('SIGHUP', reload);
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGINT', resolve).once('SIGTERM', resolve);
  });
  log.info(`stopping on ${signal}`);
  process.off('SIGHUP', reload);
  await daemon.stop();
  return 0;
}

function makeLog(json: boolean): pino.Logger {
  const base = { base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (json) return pino(base, pino.destination({ fd: 1, sync: true }));
  const colorize = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  const stream = pretty({
    colorize,
    sync: true,
    translateTime: 'SYS:HH:MM:ss.l',
    hideObject: true,
  });
  return pino(base, stream);
}

function logEvent(log: pino.Logger, event: LoggedEvent): void {
  const bad = event.type === 'state' && (event.to === 'down' || event.to === 'suspect');
  const line = `${subjectOf(event)}  ${describeEvent(event)}`;
  if (bad) log.warn({ event }, line);
  else log.info({ event }, line);
}
