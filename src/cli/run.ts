/**
 * `linkhold run [FILE]`: the daemon in the foreground, with its log on stdout.
 * @module
 */
import v8 from 'node:v8';
import type { pino } from 'pino';
import { loadConfig } from '../daemon/config.ts';
import { Daemon } from '../daemon/daemon.ts';
import type { LoggedEvent } from '../daemon/event-log.ts';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { UsageError } from '../time/usage-error.ts';
import { describeEvent, subjectOf } from './describe.ts';
import { openLog } from './log.ts';
import { print, printJson } from './output.ts';
import { ServiceManager } from './service-manager.ts';
import { listenForStop } from './signals.ts';
import { version } from './version.ts';

export interface RunFlags {
  readonly check?: boolean;
  readonly json?: boolean;
  readonly listen: string;
  readonly stateDir?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/**
 * V8 lets its memory grow to several times of what is in use before it looks for garbage. That is for
 * programs that end: a daemon's pages would leave twice its size. It collects at a third more.
 */
const COLLECT_SOONER = '--heap-growing-percent=30';
const ANSWERED_MS = 100;

/** Resolves with 0 when told to stop. Throws `UsageError` and `SystemError`. */
export async function run(file: string, flags: RunFlags): Promise<number> {
  if (flags.check === true) {
    const { links, groups, relays, routes, protect } = loadConfig(file);
    const count = (entries: object) => Object.keys(entries).length;
    const counts = {
      links: count(links),
      groups: count(groups),
      relays: count(relays),
      ...(count(routes) === 0 ? {} : { routes: count(routes) }),
      ...(protect.length === 0 ? {} : { 'protect rules': protect.length }),
    };
    const parts = Object.entries(counts).map(([noun, number]) => `${number} ${noun}`);
    if (flags.json === true) printJson({ file, good: true, ...counts });
    else print(`${file}: good, ${parts.join(', ')}`);
    return 0;
  }
  const tls = tlsOf(flags);
  v8.setFlagsFromString(COLLECT_SOONER);
  const { log, close, flush } = openLog(flags.json === true);
  const { listen, stateDir = defaultStateDir() } = flags;
  const daemon = new Daemon({ file, listen, stateDir, version: version(), tls });
  const manager = new ServiceManager({
    status: () => daemon.summary(),
    trouble: (text) => log.warn(text),
  });
  daemon.log.on('event', (event) => {
    logEvent(log, event);
    manager.changed();
  });
  let running = false;
  let wanted = false;
  const reload = () => {
    // One that comes while it starts would end it, and is obeyed afterwards.
    if (!running) {
      wanted = true;
      return;
    }
    manager.reloading();
    daemon
      .reload()
      .then(
        () => log.info(`reloaded ${file}`),
        (error: Error) => {
          const kept =
            error instanceof UsageError ? 'not reloaded, what ran runs on' : 'reloaded, but';
          log.error(`${kept}: ${error.message}`);
        },
      )
      .finally(() => manager.ready());
  };
  process.on('SIGHUP', reload);
  // One that comes while it starts would end it half-way: it is obeyed afterwards.
  const stop = listenForStop();
  try {
    await daemon.start();
  } catch (error) {
    stop.forget();
    throw error;
  }
  running = true;
  manager.ready();
  log.info(
    `linkhold ${version()} runs ${file}; page and API: ${tls ? 'https' : 'http'}://${listen}/`,
  );
  if (wanted) reload();
  const why = await Promise.race([stop.told, daemon.upgradeAsked]);
  process.off('SIGHUP', reload);
  if (why === undefined) {
    manager.reloading();
    return await replace(daemon, log, flush);
  }
  log.info(`stopping on ${why}`);
  manager.stopping();
  await daemon.stop();
  await close();
  return 0;
}

/** Another program goes on in this process, by the same command line; it does not return. */
async function replace(
  daemon: Daemon,
  log: pino.Logger,
  flush: () => Promise<void>,
): Promise<number> {
  log.info('upgrading; relayed connections go on');
  // The answer to whoever asked is on its way.
  await new Promise((resolve) => setTimeout(resolve, ANSWERED_MS));
  await daemon.release();
  await flush();
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, command, process.env);
  return 3;
}

/** Both files or neither. Throws `UsageError`. */
function tlsOf({
  tlsCert: cert,
  tlsKey: key,
}: RunFlags): { cert: string; key: string } | undefined {
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  throw new UsageError('bad-tls', 'write --tls-cert and --tls-key together, or neither');
}

function logEvent(log: pino.Logger, event: LoggedEvent): void {
  const bad = event.type === 'state' && (event.to === 'down' || event.to === 'suspect');
  const line = `${subjectOf(event)}  ${describeEvent(event)}`;
  if (bad) log.warn({ event }, line);
  else log.info({ event }, line);
}
