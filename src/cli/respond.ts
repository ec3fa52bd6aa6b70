/**
 * `linkhold respond`: answers `beat://` links until told to stop.
 * @module
 */
import { parseAddress } from '../daemon/address.ts';
import { readKey } from '../link/beat-auth.ts';
import { BeatResponder, type ResponderCounts } from '../link/beat-responder.ts';
import { print, printJson } from './output.ts';
import { toldToStop } from './signals.ts';

export interface RespondFlags {
  readonly listen: string;
  readonly key?: string;
  readonly keyFile?: string;
  readonly json?: boolean;
}

const REPORT_EVERY_MS = 60_000;

/** Resolves with 0 when told to stop. Throws `UsageError` and `SystemError`. */
export async function respond(flags: RespondFlags): Promise<number> {
  const { host, port } = parseAddress(flags.listen, '--listen');
  const responder = new BeatResponder(host, port, readKey(flags, '--key'));
  const say = (text: string, facts: object) => {
    const at = new Date().toISOString();
    if (flags.json === true) printJson({ at, type: 'note', text, ...facts });
    else print(`${at}  ${text}`);
  };
  responder.on('error', (error) => say(`socket error: ${error.message}`, {}));
  const bound = await responder.start();
  say(`answering on udp ${bound}`, { listen: bound });
  let told = responder.counts;
  const timer = setInterval(() => {
    const counts = responder.counts;
    const refused = refusals(counts) - refusals(told);
    told = counts;
    if (refused > 0) say(`${refused} packets were not answered`, { counts });
  }, REPORT_EVERY_MS);
  await toldToStop();
  clearInterval(timer);
  responder.close();
  return 0;
}

function refusals({ malformed, notAuthentic, overRate }: ResponderCounts): number {
  return malformed + notAuthentic + overRate;
}
