/**
 * `linkhold upgrade`: has the daemon replaced by the program that is installed now, in the same process
 * and with the same flags, and waits until that one answers.
 * @module
 */
import { SystemError } from '../sys/system-error.ts';
import { callDaemon, type DaemonFlags } from './api-client.ts';
import { print, printJson } from './output.ts';

/** As much of `/healthz` as tells one program from the next. */
interface Health {
  readonly version: string;
  readonly pid: number;
  readonly uptimeMs: number;
}

const WAIT_MS = 60_000;
const AGAIN_MS = 100;

/** Resolves with 0. Throws `SystemError` if no new one answers, and `UsageError` for a bad file. */
export async function upgrade(flags: DaemonFlags & { readonly json?: boolean }): Promise<number> {
  const before = (await callDaemon(flags, 'GET', '/healthz')) as Health;
  await callDaemon(flags, 'POST', '/api/v1/upgrade');
  const asked = performance.now();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    const waitedMs = performance.now() - asked;
    const now = await health(flags);
    if (now !== undefined && now.uptimeMs < before.uptimeMs + waitedMs / 2) {
      if (flags.json === true) printJson({ from: before.version, to: now.version, pid: now.pid });
      else print(`${before.version} → ${now.version}, process ${now.pid}`);
      return 0;
    }
    if (waitedMs > WAIT_MS) {
      throw new SystemError('ETIMEDOUT', 'no new daemon answers; look at its log');
    }
  }
}

/** Nothing while none answers. */
async function health(flags: DaemonFlags): Promise<Health | undefined> {
  try {
    return (await callDaemon(flags, 'GET', '/healthz')) as Health;
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}
