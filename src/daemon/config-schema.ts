/**
 * What a configuration file may say: the types, and the schema that checks them. References, URLs
 * and timings are checked where the file is loaded.
 * @module
 */
import { z } from 'zod';
import { MOST_RULES } from '../host/rule.ts';
import type { ProfileName, TimingInput } from '../keepalive/timing.ts';
import { OLD_FLOWS, type OldFlows } from '../relay/relay.ts';

/** One link: its URL, and its timing as everywhere. */
export interface LinkEntry extends TimingInput {
  readonly url: string;
}

/** One path of a group. */
export interface PathEntry {
  /** The link that says whether the path works. */
  readonly link: string;
  /** Lower is preferred. Default 1. */
  readonly tier?: number | undefined;
  /** Among equal tiers, heavier is preferred. Default 1. */
  readonly weight?: number | undefined;
  /** Where relays connect to, `HOST:PORT`. Default: host and port of the link's URL. */
  readonly to?: string | undefined;
}

/** Paths to one destination, of which one is in use. */
export interface GroupEntry {
  readonly paths: readonly PathEntry[];
  /** Bad results in a row that take a path down. Default 1: a link has counted probes already. */
  readonly fall?: number | undefined;
  /** Good results in a row that bring it back. Default 2. */
  readonly rise?: number | undefined;
  /** How long a better path must have been good before traffic returns to it. Default 60s. */
  readonly failbackAfter?: string | undefined;
  /** A path that keeps falling is last choice for so long, times its falls. Default 30s. */
  readonly holdDown?: string | undefined;
}

/** A listener in front of a group. */
export interface RelayEntry {
  /** `ADDRESS:PORT`. */
  readonly listen: string;
  readonly group: string;
  /** What becomes of flows on a path that was left. Default `keep`. */
  readonly oldFlows?: OldFlows | undefined;
  /** With `drain`: how long old flows may go on. Default 30s. */
  readonly grace?: string | undefined;
}

/** A responder for `beat://` links inside the daemon. */
export interface ResponderEntry {
  /** `ADDRESS:PORT`, UDP. */
  readonly listen: string;
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** Keepalive for connections of other programs on this machine, those that exist and those to come. */
export interface ProtectEntry extends Omit<TimingInput, 'beat'> {
  /** Of either end. Default: any. */
  readonly port?: number | undefined;
  /** Of the remote end: an address or a prefix. Default: any. */
  readonly to?: string | undefined;
  /** Only what this control group and those below it have. Default: all of the machine. */
  readonly cgroup?: string | undefined;
  /** The program cannot undo it. Default: it can. */
  readonly lock?: boolean | undefined;
}

/** A whole file, as written: durations are still text. */
export interface Config {
  readonly links: Readonly<Record<string, LinkEntry>>;
  readonly groups: Readonly<Record<string, GroupEntry>>;
  readonly relays: Readonly<Record<string, RelayEntry>>;
  readonly respond: readonly ResponderEntry[];
  readonly protect: readonly ProtectEntry[];
}

const PROFILE_NAMES: readonly [ProfileName, ...ProfileName[]] = [
  'rfc9293',
  'linux',
  'windows',
  'windows-legacy',
  'macos',
  'typical',
  'default',
];

/** What links, groups and relays may be called: fit for URLs, pages and terminals. */
export const NAME: RegExp = /^[A-Za-z\d][\w-]{0,63}$/;

const name = z.string().regex(NAME);
const duration = z.string({ error: 'write a duration with its unit: 500ms, 45s, 10m, 2h' });
const count = z.int().min(1).max(1_000);

const timing = {
  profile: z.enum(PROFILE_NAMES).optional(),
  time: duration.optional(),
  interval: duration.optional(),
  probes: z.int().optional(),
  userTimeout: duration.optional(),
};

const link = z.strictObject({
  url: z.string(),
  ...timing,
  beat: duration.optional(),
});

const protect = z.strictObject({
  port: z.int().min(1).max(65_535).optional(),
  to: z.string().optional(),
  cgroup: z.string().optional(),
  lock: z.boolean().optional(),
  ...timing,
});

const path = z.strictObject({
  link: z.string(),
  tier: z.int().min(1).max(100).optional(),
  weight: z.number().positive().max(1_000).optional(),
  to: z.string().optional(),
});

const group = z.strictObject({
  paths: z.array(path).min(1).max(64),
  fall: count.optional(),
  rise: count.optional(),
  failbackAfter: duration.optional(),
  holdDown: duration.optional(),
});

const relay = z.strictObject({
  listen: z.string(),
  group: z.string(),
  oldFlows: z.enum(OLD_FLOWS).optional(),
  grace: duration.optional(),
});

const responder = z.strictObject({
  listen: z.string(),
  key: z.string().optional(),
  keyFile: z.string().optional(),
});

/** A section whose entries are all commented out is there, and empty. */
function section<Entry extends z.ZodType>(entries: Entry, empty: z.output<Entry>) {
  return entries.nullish().transform((given) => given ?? empty);
}

/** Checks the shape of a file. Sections left out are empty. */
export const configSchema: z.ZodType<Config> = z.strictObject({
  links: section(z.record(name, link), {}),
  groups: section(z.record(name, group), {}),
  relays: section(z.record(name, relay), {}),
  respond: section(z.array(responder).max(1_000), []),
  protect: section(z.array(protect).max(MOST_RULES), []),
});
