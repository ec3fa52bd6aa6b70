/**
 * Notices that the machine was suspended: CLOCK_BOOTTIME (`os.uptime`) has run ahead of
 * CLOCK_MONOTONIC (`performance.now`), which stands still meanwhile, so that no timer is late and
 * nothing else would tell.
 * @module
 */
import os from 'node:os';

const CHECK_EVERY_MS = 1_000;
/** `os.uptime` counts in steps of 10 ms and is read a moment apart from the other clock. */
const TOLERANCE_MS = 1_000;

const sleepers = new Set<() => void>();
let timer: NodeJS.Timeout | undefined;
let ahead = 0;

function aheadMs(): number {
  return os.uptime() * 1_000 - performance.now();
}

function check(): void {
  const now = aheadMs();
  const slept = now - ahead > TOLERANCE_MS;
  ahead = now;
  if (slept) for (const wake of [...sleepers]) wake();
}

/** Calls `wake` after each suspension of the machine, until the returned function is called. */
export function onWake(wake: () => void): () => void {
  sleepers.add(wake);
  if (timer === undefined) {
    ahead = aheadMs();
    timer = setInterval(check, CHECK_EVERY_MS).unref();
  }
  return () => {
    sleepers.delete(wake);
    if (sleepers.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
