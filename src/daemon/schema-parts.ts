/**
 * What several sections of the configuration have in common: names, durations, timing, old flows.
 * @module
 */
import { z } from 'zod';
import type { ProfileName, TimingInput } from '../keepalive/timing.ts';

const PROFILE_NAMES: readonly [ProfileName, ...ProfileName[]] = [
  'rfc9293',
  'linux',
  'windows',
  'windows-legacy',
  'macos',
  'typical',
  'default',
];

/** What links, groups, relays and routes may be called: fit for URLs, pages and terminals. */
export const NAME: RegExp = /^[A-Za-z\d][\w-]{0,63}$/;

/** Every key of a type and no other: what the schema forgets, or makes up, does not compile. */
export type Shape<Entry> = { readonly [Key in keyof Entry]-?: z.ZodType<Entry[Key]> };

/** What happens to flows of a path that was left: stay, stay for a grace, or be reset at once. */
export const OLD_FLOWS = ['keep', 'drain', 'reset'] as const;
export type OldFlows = (typeof OLD_FLOWS)[number];

export const name: z.ZodType<string> = z.string().regex(NAME);
export const duration: z.ZodType<string> = z.string({
  error: 'write a duration with its unit: 500ms, 45s, 10m, 2h',
});
export const count: z.ZodType<number> = z.int().min(1).max(1_000);

export const timing: Shape<Omit<TimingInput, 'beat'>> = {
  profile: z
    .enum(PROFILE_NAMES)
    .optional()
    .describe(
      'Where the timing begins; every other key overrides it. Default `default`: 60s/10s/3.',
    ),
  time: duration
    .optional()
    .describe(
      'Quiet before the first probe. Too small costs traffic, too large and bindings expire. Default 60s.',
    ),
  interval: duration
    .optional()
    .describe(
      'Gap between unanswered probes. Too small and a short outage kills, too large and death is known late. Default 10s.',
    ),
  probes: z
    .int()
    .optional()
    .describe(
      'Unanswered probes before the peer is dead, 2 to 127: one proves nothing. Default 3.',
    ),
  userTimeout: duration
    .optional()
    .describe(
      'How long sent data may stay unacknowledged (TCP only). `0s`: the kernel decides, about 15 minutes. Too small kills slow readers. Default: the detection bound.',
    ),
};

export const oldFlows: z.ZodType<OldFlows | undefined> = z
  .enum(OLD_FLOWS)
  .optional()
  .describe('What becomes of flows on a path that was left. Default `keep`.');
export const grace: z.ZodType<string | undefined> = duration
  .optional()
  .describe('With `oldFlows: drain`: how long they may go on. Default 30s.');
