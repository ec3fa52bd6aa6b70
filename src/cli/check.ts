/**
 * `linkhold check URL…`: one verdict a link, as fast as evidence allows.
 * @module
 */
import { describeMptcp } from '../link/held-tcp.ts';
import type { Link, LinkStatus } from '../link/link.ts';
import { createLink } from '../link/registry.ts';
import { formatDuration } from '../time/duration.ts';
import { FLAGS } from '../time/usage-error.ts';
import { describeEvidence, proofLines } from './describe.ts';
import { type TimingFlags, timingOf } from './flags.ts';
import { columns, paintState, plain, print, printJson, roundTrip } from './output.ts';

/** Resolves with the exit code: 0 if every link is up. Throws `UsageError`, `SystemError`. */
export async function check(
  urls: readonly string[],
  flags: TimingFlags & { readonly json?: boolean },
): Promise<number> {
  const links = urls.map((url) => createLink(url, timingOf(flags), FLAGS));
  let verdicts: LinkStatus[];
  try {
    verdicts = await Promise.all(links.map(verdictOf));
  } finally {
    for (const link of links) link.close();
  }
  if (flags.json === true) printJson(verdicts);
  else for (const line of render(verdicts)) print(line);
  return verdicts.every(({ state }) => state === 'up') ? 0 : 1;
}

/** Waits for the first state that is known, at most for the bound that the link states. */
function verdictOf(link: Link): Promise<LinkStatus> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      resolve(link.status());
    };
    // The event that brings the verdict may still be followed by the fact it rests on.
    link.once('state', () => setImmediate(finish));
    link.on('note', ({ text }) => process.stderr.write(`${plain(text)}\n`));
    link.start();
    const timer = setTimeout(finish, Math.min(link.detectsWithinMs, 2 ** 31 - 1));
  });
}

function render(verdicts: readonly LinkStatus[]): string[] {
  const rows = verdicts.map((status) => [
    paintState(status.state),
    status.url,
    status.state === 'up' ? roundTrip(status.rttMs) : status.reason,
    status.state === 'up'
      ? [
          `knows a dead peer within ${formatDuration(status.detectsWithinMs)}`,
          `silent at most ${formatDuration(status.largestSilenceMs)}`,
          describeMptcp(status.mptcp),
        ]
          .filter(Boolean)
          .join(', ')
      : describeEvidence(status.evidence),
  ]);
  return [...columns(rows), ...proofLines(verdicts)];
}
